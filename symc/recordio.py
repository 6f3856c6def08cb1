"""Files of records (.rec) and their indices (.idx), byte for byte as MXNet writes them; pictures and labels in them.

A record is a magic number, a word with its length (29 bits) and its part (3 bits), its bytes, and zeros up to a
multiple of four. Where the bytes hold the magic number at a multiple of four, it is left out and the record is cut
there into a first part, middle parts and a last one: so that whoever starts in the middle of a file finds the next
record.
"""

from __future__ import annotations

import numbers
import os
import struct
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array
from symc.pixels.codec import decode, decode_stored, encode

__all__ = ["IRHeader", "MXIndexedRecordIO", "MXRecordIO", "pack", "pack_img", "unpack", "unpack_img"]

_MAGIC = struct.pack("<I", 0xCED7230A)
_WORDS = struct.Struct("<II")
_LONGEST = (1 << 29) - 1
#: what the three bits above a length say
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class MXRecordIO:
    """Records one after the other: `flag` "r" reads them, "w" writes a new file.

    It can be pickled, and opens its file again where it is unpickled. A process that is forked may not go on reading
    from the middle (RuntimeError): call `reset` there first. Use it in a `with`, or call `close`.
    """

    def __init__(self, uri: str | os.PathLike[str], flag: str) -> None:
        self.uri, self.flag = os.fspath(uri), flag
        self.is_open = False
        self.pid: int | None = None
        self.open()

    def open(self) -> None:
        """Open the file. MXNetError if that cannot be done, ValueError if the flag is neither "r" nor "w"."""
        if self.flag not in ("r", "w"):
            raise ValueError(f"flag={self.flag!r} is none: 'r' reads records, 'w' writes them")
        self.writable = self.flag == "w"
        try:
            # what is written goes out at once: a buffer would be written a second time by a process that is forked
            self._file: Any = open(self.uri, self.flag + "b", buffering=0 if self.writable else -1)
        except OSError as problem:
            raise MXNetError(f"cannot open {self.uri}: {problem.strerror}") from None
        self.pid, self.is_open = os.getpid(), True

    def close(self) -> None:
        """Close the file; nothing happens if it is closed."""
        if self.is_open:
            self.is_open, self.pid = False, None
            self._file.close()

    def __del__(self) -> None:
        if getattr(self, "is_open", False):
            self.close()

    def __enter__(self) -> MXRecordIO:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # as in MXNet, the object that is pickled is closed: what it has written must be in the file
        was_open = self.is_open
        self.close()
        kept = {key: value for key, value in self.__dict__.items() if key != "_file"}
        return {**kept, "is_open": was_open}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, is_open=False)
        if state["is_open"]:
            self.open()

    def _usable(self, reopen: bool = False) -> None:
        """The position in a file is shared between a process and its forks, so that only one may move it."""
        if not self.is_open:
            raise MXNetError(f"{self.uri} is closed; open() or reset() opens it")
        if self.pid != os.getpid():
            if not reopen:
                raise RuntimeError(
                    f"{self.uri} was opened by the process that this one was forked from; call reset() here first"
                )
            self.reset()

    def reset(self) -> None:
        """Back to the first record; a file that is written is emptied."""
        self.close()
        self.open()

    def write(self, buf: bytes) -> None:
        """One more record."""
        assert self.writable, f"{self.uri} is open for reading"
        self._usable()
        if not isinstance(buf, (bytes, bytearray, memoryview)):
            raise TypeError(f"a record is bytes, got {type(buf).__name__}")
        data = bytes(buf)
        if len(data) > _LONGEST:
            raise MXNetError(f"a record has at most {_LONGEST} bytes, this one {len(data)}")
        rest = memoryview(b"".join(_framed(data)))
        while rest:
            rest = rest[self._file.write(rest) :]

    def read(self) -> bytes | None:
        """The next record; None at the end. MXNetError where the file is no file of records, or ends inside of one."""
        assert not self.writable, f"{self.uri} is open for writing"
        self._usable()
        parts: list[bytes] = []
        while True:
            at = self._file.tell()
            head = self._file.read(_WORDS.size)
            if not head and not parts:
                return None
            if len(head) < _WORDS.size or head[:4] != _MAGIC:
                what = "ends" if len(head) < _WORDS.size else f"has {head[:4].hex()}"
                raise MXNetError(
                    f"{self.uri} is damaged or no file of records: it {what} at byte {at}, where a record begins"
                )
            word = _WORDS.unpack(head)[1]
            part, length = word >> 29, word & _LONGEST
            if part > _LAST or (part in (_WHOLE, _FIRST)) != (not parts):
                raise MXNetError(f"{self.uri} is damaged: part {part} of a record at byte {at} is out of order")
            data = self._file.read(length + -length % 4)
            if len(data) < length + -length % 4:
                raise MXNetError(f"{self.uri} ends inside of the record at byte {at}, which has {length} bytes")
            parts.append(data[:length])
            if part in (_WHOLE, _LAST):
                return _MAGIC.join(parts)


def _framed(data: bytes) -> Iterator[bytes]:
    """The bytes of a file that stand for a record."""
    begin, cut = 0, _next_magic(data, 0)
    while cut >= 0:
        yield _MAGIC + struct.pack("<I", (_MIDDLE if begin else _FIRST) << 29 | cut - begin)
        yield data[begin:cut]
        begin = cut + 4
        cut = _next_magic(data, begin)
    rest = len(data) - begin
    yield _MAGIC + struct.pack("<I", (_LAST if begin else _WHOLE) << 29 | rest)
    yield data[begin:]
    yield bytes(-rest % 4)


def _next_magic(data: bytes, begin: int) -> int:
    """Where the magic number stands at a multiple of four, from `begin` on; -1 if it does not."""
    found = data.find(_MAGIC, begin)
    while found >= 0 and found % 4:
        found = data.find(_MAGIC, found + 1)
    return found


class MXIndexedRecordIO(MXRecordIO):
    """Records with keys: `idx_path` is a text file with a key and a position in each line. A forked process may read
    by keys; it opens the file again."""

    def __init__(
        self, idx_path: str | os.PathLike[str], uri: str | os.PathLike[str], flag: str, key_type: Any = int
    ) -> None:
        self.idx_path, self.key_type = os.fspath(idx_path), key_type
        self.idx: dict[Any, int] = {}
        self.keys: list[Any] = []
        self.fidx: IO[str] | None = None
        super().__init__(uri, flag)

    def open(self) -> None:
        """Open both files, and read the index. MXNetError for one that is no index."""
        super().open()
        self.idx, self.keys = {}, []
        try:
            self.fidx = open(self.idx_path, self.flag, buffering=1 if self.writable else -1, encoding="utf-8")
        except OSError as problem:
            self.close()
            raise MXNetError(f"cannot open {self.idx_path}: {problem.strerror}") from None
        if not self.writable:
            for number, line in enumerate(self.fidx, 1):
                try:
                    written, position = line.strip().split("\t")[:2]
                    key = self.key_type(written)
                    self.idx[key] = int(position)
                except ValueError:
                    self.close()
                    raise MXNetError(
                        f"{self.idx_path} is no index: line {number} is {line.strip()!r}, expected key, tab, position"
                    ) from None
                self.keys.append(key)

    def close(self) -> None:
        if self.is_open:
            super().close()
            if self.fidx is not None:
                self.fidx.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "fidx": None}

    def seek(self, idx: Any) -> None:
        """To the record of a key; `read` reads it. KeyError if there is none."""
        assert not self.writable, f"{self.uri} is open for writing"
        self._usable(reopen=True)
        self._file.seek(self.idx[idx])

    def tell(self) -> int:
        """The position at which the next record is written."""
        assert self.writable, f"{self.uri} is open for reading"
        return self._file.tell()

    def read_idx(self, idx: Any) -> bytes | None:
        """The record of a key. KeyError if there is none."""
        self.seek(idx)
        return self.read()

    def write_idx(self, idx: Any, buf: bytes) -> None:
        """One more record, with a key."""
        key, position = self.key_type(idx), self.tell()
        self.write(buf)
        assert self.fidx is not None
        self.fidx.write(f"{key}\t{position}\n")
        self.idx[key] = position
        self.keys.append(key)


class HEADER(NamedTuple):
    """What stands before the bytes of a packed record: how many labels follow (0: the label is here), the label (a
    number or an array), and two numbers that identify the record."""

    flag: int
    label: Any
    id: int
    id2: int


IRHeader = HEADER
_HEADER = struct.Struct("<IfQQ")


def pack(header: Any, s: bytes) -> bytes:
    """A header (IRHeader or four values) and bytes as one record. Several labels are written between them."""
    head = IRHeader(*header)
    if isinstance(head.label, numbers.Number):
        return _HEADER.pack(0, head.label, head.id, head.id2) + s
    labels = np.asarray(head.label, dtype="<f4")
    return _HEADER.pack(labels.size, 0, head.id, head.id2) + labels.tobytes() + s


def unpack(s: bytes) -> tuple[HEADER, bytes]:
    """The header and the bytes of a record. MXNetError if it is too short for them."""
    if len(s) < _HEADER.size:
        raise MXNetError(f"a packed record begins with {_HEADER.size} bytes; this one has {len(s)}")
    head, rest = IRHeader(*_HEADER.unpack_from(s)), s[_HEADER.size :]
    if head.flag > 0:
        if len(rest) < 4 * head.flag:
            raise MXNetError(
                f"a packed record says that it has {head.flag} labels; it has {len(rest)} bytes after its header"
            )
        head = head._replace(label=np.frombuffer(rest, "<f4", head.flag))
        rest = rest[4 * head.flag :]
    return head, rest


def unpack_img(s: bytes, iscolor: int = -1) -> tuple[HEADER, Array]:
    """The header and the picture of a record, as OpenCV gives it: (height, width, 3) with blue first, (height, width)
    for gray. `iscolor`: 1 color, 0 gray, -1 as the picture is stored."""
    head, data = unpack(s)
    if iscolor == 0:
        return head, decode(data, 1)[:, :, 0]
    pixels = decode(data) if iscolor > 0 else decode_stored(data)
    return head, _swapped(pixels)


def pack_img(header: Any, img: Array, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
    """A header and a picture (blue first, as OpenCV has it) as a record. `quality` is JPEG's (1 to 100), or how hard
    PNG is compressed (0 to 9)."""
    return pack(header, encode(_swapped(np.asarray(img)), img_fmt, quality))


def _swapped(pixels: Array) -> Array:
    """Red and blue exchanged, where there are colors."""
    if pixels.ndim < 3 or pixels.shape[2] < 3:
        return pixels
    return np.ascontiguousarray(pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]])

"""Protects: files of records are MXNet's byte for byte (answers in tests/golden/data), survive forks and pickling, and
are refused where they are damaged; pictures in records."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from golden.data.scenarios import MAGIC, RECORDS
from native import in_child

import symc as mx


@pytest.fixture
def files(tmp_path):
    """An index and a file of records, keys 0, 10, 20, ..."""
    index, path = tmp_path / "a.idx", tmp_path / "a.rec"
    with mx.recordio.MXIndexedRecordIO(index, path, "w") as writer:
        for number, record in enumerate(RECORDS):
            writer.write_idx(10 * number, record)
    return index, path


def test_reads_what_it_wrote(files):
    reader = mx.recordio.MXRecordIO(files[1], "r")
    assert [reader.read() for _ in range(len(RECORDS) + 2)] == [*RECORDS, None, None]
    reader.reset()
    assert reader.read() == RECORDS[0]
    indexed = mx.recordio.MXIndexedRecordIO(*files, "r")
    assert indexed.keys == [10 * n for n in range(len(RECORDS))]
    assert [indexed.read_idx(10 * n) for n in (6, 0, 8)] == [RECORDS[6], RECORDS[0], RECORDS[8]]
    assert indexed.read() == RECORDS[9]  # what follows
    with pytest.raises(KeyError):
        indexed.read_idx(5)


def test_random_bytes_with_the_magic_number():
    rng = np.random.RandomState(0)
    for _ in range(300):
        parts = [MAGIC if rng.rand() < 0.5 else rng.bytes(rng.randint(6)) for _ in range(rng.randint(8))]
        data = b"".join(parts)
        framed = b"".join(mx.recordio._framed(data))
        # nobody who looks for a record at multiples of four finds one where none begins
        places = [at for at in range(0, len(framed), 4) if framed[at : at + 4] == MAGIC]
        at, joined = 0, []
        for place in places:
            assert place == at
            length = struct.unpack_from("<I", framed, at + 4)[0] & (1 << 29) - 1
            joined.append(framed[at + 8 : at + 8 + length])
            at += 8 + length + -length % 4
        assert at == len(framed) and MAGIC.join(joined) == data


def test_keys_of_another_type(tmp_path):
    with mx.recordio.MXIndexedRecordIO(tmp_path / "a.idx", tmp_path / "a.rec", "w", key_type=str) as writer:
        writer.write_idx("cat", b"1")
    assert mx.recordio.MXIndexedRecordIO(tmp_path / "a.idx", tmp_path / "a.rec", "r", str).read_idx("cat") == b"1"


def test_pickled(files):
    reader = mx.recordio.MXIndexedRecordIO(*files, "r")
    reader.read()
    again = pickle.loads(pickle.dumps(reader))
    assert again.read_idx(20) == RECORDS[2] and not reader.is_open and reader.fidx is not None
    with pytest.raises(mx.MXNetError, match=r"closed; open\(\)"):
        reader.read()
    reader.open()
    assert reader.read() == RECORDS[0]


def test_forked(files):
    """Reading on from where the other process is would give each of them some of the records."""
    plain, indexed = mx.recordio.MXRecordIO(files[1], "r"), mx.recordio.MXIndexedRecordIO(*files, "r")
    writer = mx.recordio.MXRecordIO(str(files[1]) + "2", "w")
    writer.write(b"once")

    def child():
        with pytest.raises(RuntimeError, match="forked from"):
            plain.read()
        plain.reset()
        assert plain.read() == RECORDS[0] and indexed.read_idx(60) == RECORDS[6]
        with pytest.raises(RuntimeError, match="forked from"):
            writer.write(b"x")
        writer.close()

    in_child(child)
    writer.close()
    again = mx.recordio.MXRecordIO(str(files[1]) + "2", "r")
    assert [again.read(), again.read()] == [b"once", None]


@pytest.mark.parametrize("damage, sentence", [
    (lambda raw: raw[:-9], "ends inside of the record at byte"), (lambda raw: raw[:-2], "ends at byte"),
    (lambda raw: raw + b"\x01\x02", "ends at byte"), (lambda raw: b"no" + raw, "where a record begins"),
    (lambda raw: MAGIC + struct.pack("<I", 5 << 29), "out of order"),
    (lambda raw: MAGIC + struct.pack("<I", 3 << 29), "out of order"),
    (lambda raw: (MAGIC + struct.pack("<I", 1 << 29)) * 2, "out of order"),
    (lambda raw: MAGIC + struct.pack("<I", 1 << 29), "ends at byte 8"),
])  # fmt: skip
def test_damaged_files_are_refused(files, damage, sentence):
    files[1].write_bytes(damage(files[1].read_bytes()))
    reader = mx.recordio.MXRecordIO(files[1], "r")
    with pytest.raises(mx.MXNetError, match=sentence):
        while reader.read() is not None:
            pass


@pytest.mark.parametrize("text", ["", "1\t2\n\n", "1 2\n", "a\t2\n", "1\tx\n"])
def test_an_index_that_is_none(files, text):
    files[0].write_text(text)
    if not text:
        assert mx.recordio.MXIndexedRecordIO(*files, "r").keys == []
        return
    with pytest.raises(mx.MXNetError, match="is no index: line"):
        mx.recordio.MXIndexedRecordIO(*files, "r")


def test_what_is_asked_wrongly(files, tmp_path):
    reader = mx.recordio.MXRecordIO(files[1], "r")
    for wrong in (lambda: reader.write(b"x"), lambda: mx.recordio.MXIndexedRecordIO(*files, "r").tell()):
        with pytest.raises(AssertionError, match="open for reading"):
            wrong()
    writer = mx.recordio.MXRecordIO(tmp_path / "new", "w")
    with pytest.raises(AssertionError, match="open for writing"):
        writer.read()
    with pytest.raises(TypeError, match="bytes"):
        writer.write("text")
    with pytest.raises(ValueError, match="reads records"):
        mx.recordio.MXRecordIO(tmp_path / "new", "a")
    for missing in (lambda: mx.recordio.MXRecordIO(tmp_path / "none", "r"),
                    lambda: mx.recordio.MXIndexedRecordIO(tmp_path / "none", files[1], "r")):  # fmt: skip
        with pytest.raises(mx.MXNetError, match="cannot open .*none"):
            missing()
    for short in (b"abc", struct.pack("<IfQQ", 5, 0, 0, 0) + b"ab"):
        with pytest.raises(mx.MXNetError, match="packed record"):
            mx.recordio.unpack(short)
    assert repr(mx.recordio.IRHeader(0, 1.0, 2, 3)) == "HEADER(flag=0, label=1.0, id=2, id2=3)"


def test_pictures_in_records():
    pytest.importorskip("PIL")
    colors = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype("uint8")
    for quality in (0, 3, 95):
        header, found = mx.recordio.unpack_img(mx.recordio.pack_img((0, 1.0, 2, 3), colors, quality, ".png"))
        assert header == (0, 1.0, 2, 3) and np.array_equal(found, colors)
    gray = mx.recordio.pack_img((0, [1.0, 2.0], 2, 3), colors[:, :, 0], 9, ".png")
    assert np.array_equal(mx.recordio.unpack_img(gray)[1], colors[:, :, 0])
    assert np.array_equal(mx.recordio.unpack_img(gray, 1)[1], np.repeat(colors[:, :, :1], 3, 2))
    flat = np.full((8, 8, 3), (200, 100, 50), "uint8")
    jpeg = mx.recordio.unpack_img(mx.recordio.pack_img((0, 1, 2, 3), flat))[1]
    assert np.abs(jpeg.astype(int) - flat).max() <= 3
    assert mx.recordio.unpack_img(mx.recordio.pack_img((0, 1, 2, 3), flat), 0)[1].shape == (8, 8)
    for wrong, suffix in ((flat, ".gif"), (flat.astype("f"), ".png"), (flat[0, 0], ".jpg"), (flat[:0], ".png")):
        with pytest.raises(ValueError, match="picture"):
            mx.recordio.pack_img((0, 1, 2, 3), wrong, 95, suffix)
    with pytest.raises(mx.MXNetError, match="no picture that Pillow can read: 3 bytes"):
        mx.recordio.unpack_img(mx.recordio.pack((0, 1, 2, 3), b"abc"))

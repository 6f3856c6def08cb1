"""Reading `.sir`: tokens, names, types, literals and origins, for the parsers of all levels.

The text is split into tokens at once; where a token stands is found again only when an error needs it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NoReturn

import numpy as np

from symc.ir.errors import MissingData, ParseError
from symc.ir.origins import DerivedOrigin, Origin, SymOrigin
from symc.ir.syntax.printing import data_hash
from symc.ir.types import BOOL, DTYPES, Array, DType, TensorType, TupleType, Type

END = "\0"
#: what is said of a second program
ONE_PROGRAM = "a text holds one; several in a file, with // ----- between them, are for opt --split-input-file"
#: digits of a 64-bit number; longer ones are damage, and would cost as much as they are long
_DIGITS = 20
#: axes an array can have
_RANK = 64
_TOKEN = re.compile(
    r"""(?:\s+|//[^\n]*)*(
      %(?:[\w.]+|"(?:[^"\\\n]|\\.)*")(?:\#\d+)?
    | (?:DTYPES)\[[\d,\ ]*\]
    | dense<sha256:[0-9a-f]*>
    | [A-Za-z_][\w.]*
    | 0x[0-9a-fA-F]+
    | \d+(?:\.\d+)?(?:[eE][+-]?\d+)?
    | "(?:[^"\\\n]|\\.)*"
    | !\d+
    | @(?:[\w.]+)?(?:"(?:[^"\\\n]|\\.)*")?
    | ->|\.\.|<=|---
    | .
    )""".replace("DTYPES", "|".join(DTYPES)),
    re.VERBOSE | re.ASCII,
)


class Reader:
    """A text being read: the tokens, a position in them, and what the text refers to."""

    def __init__(self, text: str, data: Mapping[str, Array] | None = None) -> None:
        # A last token of its own lets the pattern match at every position, so it never has to look back.
        self.text = text + "\n" + END
        self.tokens: list[str] = _TOKEN.findall(self.text)
        self.at = 0
        self.data = data or {}
        self.origins: dict[str, Origin] = {}

    # -- errors

    def error(self, message: str, at: int | None = None) -> ParseError:
        """The error at a token (by default the current one)."""
        wanted = min(self.at if at is None else at, len(self.tokens) - 1)
        for number, match in enumerate(_TOKEN.finditer(self.text)):
            if number == wanted:
                start = match.start(1) if match.group(1) != END else len(self.text[:-1].rstrip())
                break
        line = self.text.count("\n", 0, start) + 1
        begin = self.text.rfind("\n", 0, start) + 1
        source = self.text[begin : self.text.find("\n", begin)].rstrip(END)
        return ParseError(message, line, start - begin + 1, source)

    def unexpected(self, wanted: str) -> NoReturn:
        """Raise for the current token."""
        found = self.tokens[self.at]
        raise self.error(f"expected {wanted}, found {'the end of the text' if found == END else repr(found)}")

    def suggest(self, what: str, name: str, known: Iterable[str], at: int | None = None) -> NoReturn:
        """Raise for a name that is not among the known ones."""
        close = difflib.get_close_matches(name, list(known), 1)
        raise self.error(f"unknown {what} {name!r}{f'; did you mean {close[0]!r}?' if close else ''}", at)

    # -- tokens

    @property
    def peek(self) -> str:
        return self.tokens[self.at]

    def ahead(self, count: int) -> str:
        """A later token."""
        at = self.at + count
        return self.tokens[at] if at < len(self.tokens) else END

    def next(self) -> str:
        token = self.tokens[self.at]
        self.at += token != END
        return token

    def accept(self, token: str) -> bool:
        """Go past the token if it is next."""
        if self.tokens[self.at] == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        """Go past the token, which must be next."""
        if self.tokens[self.at] != token:
            self.unexpected(repr(token))
        self.at += 1

    def list_of(self, close: str, item: Callable[[], None]) -> None:
        """Items between commas up to the closing token."""
        if self.accept(close):
            return
        while True:
            item()
            if self.accept(close):
                return
            if not self.accept(","):
                self.unexpected(f"',' or {close!r}")

    # -- words

    def name(self) -> str:
        """A value's name, `%x`."""
        token = self.tokens[self.at]
        if token[0] != "%" or len(token) == 1:
            self.unexpected("a value like %x")
        self.at += 1
        return self._quoted(token[1:]) if token[1] == '"' else token[1:]

    def global_name(self) -> str:
        """`@name`."""
        token = self.tokens[self.at]
        if token[0] != "@" or len(token) == 1:
            self.unexpected("a name like @f")
        self.at += 1
        return self._quoted(token[1:]) if token[1] == '"' else token[1:]

    def word(self) -> str:
        """A bare word or one in quotes."""
        token = self.tokens[self.at]
        if token[0] == '"' and len(token) > 1:
            return self.string()
        if not (token[0].isalpha() or token[0] == "_"):
            self.unexpected("a word")
        self.at += 1
        return token

    def string(self) -> str:
        """A text in quotes."""
        token = self.tokens[self.at]
        if token[0] != '"' or len(token) < 2:
            self.unexpected("a text in quotes")
        self.at += 1
        return self._quoted(token)

    def _quoted(self, token: str) -> str:
        """The text of the token just read."""
        try:
            text = str(json.loads(token))
            text.encode()
        except ValueError as problem:
            raise self.error(f"{token} is not a text: {problem}", self.at - 1) from None
        return text

    def whole(self, digits: str) -> int:
        """The number that the digits of the token just read are."""
        if len(digits) > _DIGITS:
            raise self.error(f"a number of {len(digits)} digits is too large", self.at - 1)
        return int(digits)

    def integer(self) -> int:
        """A whole number with or without a sign."""
        negative = self.accept("-")
        token = self.tokens[self.at]
        if not token.isdigit():
            self.unexpected("a whole number")
        self.at += 1
        return -self.whole(token) if negative else self.whole(token)

    # -- types

    def dtype(self) -> DType:
        """An element type."""
        token = self.tokens[self.at]
        found = DTYPES.get(token)
        if found is None:
            self.unexpected(f"an element type ({', '.join(DTYPES)})")
        self.at += 1
        return found

    def tensor(self) -> TensorType:
        """`f32[2,3]`."""
        token = self.tokens[self.at]
        if token[-1] != "]" or len(token) == 1:
            self.unexpected("a type like f32[2,3]")
        self.at += 1
        if max(map(len, token.split(","))) > _DIGITS + len(token.partition("[")[0]) + 2 or token.count(",") >= _RANK:
            raise self.error("the type has more axes, or larger ones, than an array can have", self.at - 1)
        try:
            return tensor_of(token)
        except ValueError:
            raise self.error(f"{token} is no type: extents stand between commas", self.at - 1) from None

    def type(self) -> Type:
        """A tensor type, or several in parentheses."""
        if self.tokens[self.at] != "(":
            return self.tensor()
        self.at += 1
        items: list[TensorType] = []
        self.list_of(")", lambda: items.append(self.tensor()))
        return TupleType(tuple(items))

    # -- literals

    def literal(self, dtype: DType) -> Array:
        """A scalar of an element type (rank 0)."""
        negative = self.accept("-")
        token = self.next()
        try:
            if dtype == BOOL and not negative and token in ("true", "false"):
                return np.array(token == "true")
            if dtype.is_int and token.isdigit():
                return np.array(-self.whole(token) if negative else self.whole(token), dtype.numpy)
            if dtype.is_float and token == "nan" and self.accept("("):
                bits = int(self.next(), 16).to_bytes(dtype.itemsize, "little")
                self.expect(")")
                return np.frombuffer(bits, dtype.numpy).reshape(())
            if dtype.is_float and (token[0].isdigit() or token in ("inf", "nan")):
                return np.array(-float(token) if negative else float(token), dtype.numpy)
        except (ValueError, OverflowError) as problem:
            raise self.error(f"{token} is not a value of {dtype}: {problem}", self.at - 1) from None
        raise self.error(f"{'-' if negative else ''}{token} is not a value of {dtype}", self.at - 1)

    def skip_literal(self) -> DType | None:
        """Go past a literal; the element type written behind it, if there is one."""
        self.accept("-")
        token = self.next()
        if token == "nan" and self.accept("("):
            self.next()
            self.expect(")")
        elif not (token[0].isdigit() or token in ("inf", "nan", "true", "false")):
            self.at -= 1
            self.unexpected("a value like %x or a number")
        return self.dtype() if self.accept(":") else None

    def array(self, tensor: TensorType) -> Array:
        """Nested lists of literals, or the hash of data kept elsewhere."""
        start = self.at
        token = self.peek
        if token.startswith("dense<"):
            self.at += 1
            key = token[len("dense<sha256:") : -1]
            if key not in self.data:
                where = self.error("", start)
                told = "the data of this constant is not in the text: symc dump -o FILE.sir writes it into FILE.npz"
                raise MissingData(told, where.line, where.column, where.source)
            found = np.ascontiguousarray(np.asarray(self.data[key])).reshape(-1)
            if found.size != tensor.size or found.dtype != tensor.dtype.numpy or data_hash(found.tobytes()) != key:
                raise self.error(f"the data given for this constant is not the {tensor} that was saved", start)
            return found.reshape(tensor.shape)
        values: list[Array] = []
        self._nested(tensor, 0, values)
        flat = np.array(values, tensor.dtype.numpy) if values else np.empty(0, tensor.dtype.numpy)
        if any(v.dtype.kind == "f" and np.isnan(v) for v in values):
            flat = np.frombuffer(b"".join(v.tobytes() for v in values), tensor.dtype.numpy)
        return flat.reshape(tensor.shape)

    def _nested(self, tensor: TensorType, axis: int, values: list[Array]) -> None:
        if axis == tensor.rank:
            values.append(self.literal(tensor.dtype))
            return
        start, count = self.at, 0

        def item() -> None:
            nonlocal count
            count += 1
            self._nested(tensor, axis + 1, values)

        self.expect("[")
        self.list_of("]", item)
        if count != tensor.shape[axis]:
            raise self.error(f"{count} items where {tensor} has {tensor.shape[axis]}", start)

    # -- origins

    def loc(self) -> Origin | None:
        """An origin `!n`, if one follows (and not the table)."""
        token = self.tokens[self.at]
        if token[0] != "!" or self.tokens[self.at + 1] == "=":
            return None
        found = self.origins.get(token)
        if found is None:
            cut = "" if self.origins else "; the text ends without one: its end may be missing"
            raise self.error(f"origin {token} is not in the table of origins{cut}")
        self.at += 1
        return found

    def read_origins(self) -> None:
        """Read the table `!n = ...` at the end of the text, and cut it off the tokens."""
        tokens = self.tokens
        first = next((at - 1 for at, t in enumerate(tokens) if t == "=" and tokens[at - 1][0] == "!"), None)
        if first is None:
            return
        self.at = first
        while self.peek != END:
            key = self.next()
            if key == "symc":
                raise self.error(f"another program begins here, and {ONE_PROGRAM}", self.at - 1)
            if key[0] != "!" or key in self.origins:
                raise self.error("expected a new origin like !1 = ...", self.at - 1)
            self.expect("=")
            self.origins[key] = self._origin()
        # Only the end stays: errors are still placed by counting tokens from the start.
        del tokens[first:]
        tokens.append(END)
        self.at = 0

    def _origin(self) -> Origin:
        if self.peek == "sym" and self.ahead(1)[0] == '"':
            self.at += 1
            name, op = self.string(), self.word()
            file, line = "", 0
            if self.accept("at"):
                file = self.string()
                self.expect(":")
                line = self.integer()
            return SymOrigin(name, op, file, line, self.accept("strict"))
        pass_name = self.word()
        self.expect("#")
        action = self.integer()
        parents: list[Origin] = []

        def parent() -> None:
            found = self.origins.get(self.peek)
            if found is None:
                raise self.error(f"origin {self.peek} must stand before what was made from it")
            self.at += 1
            parents.append(found)

        self.expect("(")
        self.list_of(")", parent)
        return DerivedOrigin(pass_name, action, tuple(parents))


@lru_cache(maxsize=4096)
def tensor_of(token: str) -> TensorType:
    """The type a token spells."""
    dtype, _, dims = token[:-1].partition("[")
    return TensorType(DTYPES[dtype], tuple(int(d) for d in dims.split(",") if d.strip()))

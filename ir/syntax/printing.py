"""What the text forms of all levels share: names, numbers, attributes, and the table of origins."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from symc.ir.op import Primitive
from symc.ir.origins import Origin, SymOrigin
from symc.ir.prims.elementwise import Const
from symc.ir.tensor.graph import Graph
from symc.ir.types import BOOL, Array, DType, TensorType, TupleType, Type

_BARE = re.compile(r"[A-Za-z0-9_.]+\Z", re.ASCII)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z", re.ASCII)
#: a line no longer than this is not broken into several
WIDTH = 110
#: constants of more elements are printed as a hash
ELIDE = 32


def quoted(text: str) -> str:
    """A text in quotes, as JSON has it; letters of any alphabet stay what they are, as long as they can be seen."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def value_name(name: str) -> str:
    """`%name`, quoted where the name is not plain."""
    return f"%{name}" if _BARE.match(name) else f"%{quoted(name)}"


def global_name(name: str) -> str:
    """`@name`, quoted where the name is not plain."""
    return f"@{name}" if _BARE.match(name) else f"@{quoted(name)}"


def word(name: str) -> str:
    """A bare word, quoted where it is not one."""
    return name if _WORD.match(name) else quoted(name)


# --------------------------------------------------------------------------------------------- numbers


@lru_cache(maxsize=16)
def _quiet_nan(dtype: DType) -> bytes:
    return np.array(np.nan, dtype.numpy).tobytes()


def float_text(value: float) -> str:
    """The shortest decimal text of a double; `inf`, `-inf`, `nan`."""
    return repr(float(value))


def scalar_text(value: Any, dtype: DType) -> str:
    """A literal of an element type; floats in the shortest form that reads back as the same value of that type."""
    if dtype == BOOL:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    with np.errstate(over="ignore"):
        item = np.asarray(value, dtype.numpy)
    if np.isnan(item):
        raw = item.tobytes()
        return "nan" if raw == _quiet_nan(dtype) else f"nan(0x{int.from_bytes(raw, 'little'):0{2 * len(raw)}x})"
    text = str(item[()])
    # Reading goes by way of a double: where that would round twice, all digits are printed.
    if dtype.itemsize < 8 and np.asarray(float(text), dtype.numpy) != item:
        text = repr(float(item))
    return text


def array_text(array: Array, dtype: DType) -> str:
    """A tensor as nested lists."""
    if array.ndim == 0:
        return scalar_text(array[()], dtype)
    return f"[{', '.join(array_text(part, dtype) for part in array)}]"


def data_hash(data: bytes) -> str:
    """The name under which a constant's bytes are looked up."""
    return hashlib.sha256(data).hexdigest()


# --------------------------------------------------------------------------------------------- attributes


@dataclasses.dataclass(frozen=True)
class Field:
    """An attribute of a primitive: its name, annotation (as text), and default (MISSING if required)."""

    name: str
    annotation: str
    default: Any

    @property
    def is_region(self) -> bool:
        return self.annotation.startswith("Graph")


_FIELDS: dict[type[Primitive], tuple[Field, ...]] = {}


def fields_of(cls: type[Primitive]) -> tuple[Field, ...]:
    """The attributes of a primitive in the order of definition."""
    found = _FIELDS.get(cls)
    if found is None:
        made: Any = cls
        found = _FIELDS[cls] = tuple(Field(f.name, str(f.type), f.default) for f in dataclasses.fields(made))
    return found


def implied(name: str, result: Type) -> Any:
    """The value of an attribute that the printed result type already tells; None if it does not."""
    if name == "types":
        return result.items if isinstance(result, TupleType) else (result,)
    if isinstance(result, TensorType):
        if name == "tensor":
            return result
        if name == "shape":
            return result.shape
        if name == "to":
            return result.dtype
    return None


def attribute_text(value: Any, annotation: str = "") -> str:
    """The text of an attribute's value. The annotation decides where Python's equality does not (1 == 1.0 == True)."""
    if value is None:
        return "none"
    if annotation == "float":
        return float_text(float(value))
    if isinstance(value, (bool, np.bool_)) and annotation != "int":
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return float_text(float(value))
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return f"[{', '.join(attribute_text(item) for item in value)}]"
    if isinstance(value, (DType, TensorType)):
        return str(value)
    raise TypeError(f"an attribute cannot be a {type(value).__name__}")


# --------------------------------------------------------------------------------------------- origins


class Origins:
    """The table `!n = ...`: every origin once, parents before what was made from them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._numbers: dict[str, int] = {}
        # Keeps the origin alive, so that its id stays its own.
        self._by_id: dict[int, tuple[Origin, int]] = {}

    def number(self, origin: Origin) -> int:
        """The number of an origin; no recursion, chains may be deep."""
        known = self._by_id.get(id(origin))
        if known is not None:
            return known[1]
        stack: list[Origin] = [origin]
        while stack:
            here = stack[-1]
            if id(here) in self._by_id:
                stack.pop()
                continue
            if isinstance(here, SymOrigin):
                where = f" at {quoted(here.file)}:{here.line}" if here.file or here.line else ""
                text = f"sym {quoted(here.name)} {word(here.op)}{where}{' strict' if here.strict else ''}"
            else:
                missing = [p for p in here.parents if id(p) not in self._by_id]
                if missing:
                    stack.extend(reversed(missing))
                    continue
                parents = ", ".join(f"!{self._by_id[id(p)][1]}" for p in here.parents)
                text = f"{word(here.pass_name)}#{here.action}({parents})"
            stack.pop()
            # By text, not by identity: nodes shared with another module may hold equal origins of their own.
            number = self._numbers.get(text)
            if number is None:
                number = self._numbers[text] = len(self._numbers) + 1
                self.lines.append(f"!{number} = {text}")
            self._by_id[id(here)] = (here, number)
        return self._by_id[id(origin)][1]


class Printer:
    """What all levels print with: options and the origin table."""

    def __init__(self, elide: int = ELIDE, locs: bool = True) -> None:
        self.elide, self.locs = elide, locs
        self.origins = Origins()

    def loc(self, origin: Origin | None) -> str:
        """` !n`, or nothing."""
        return "" if origin is None or not self.locs else f" !{self.origins.number(origin)}"

    def const_text(self, op: Const) -> str:
        """The data of a constant, or its hash where it is big."""
        if op.tensor.size > self.elide:
            return f"dense<sha256:{data_hash(op.data)}>"
        return array_text(op.array(), op.tensor.dtype)

    def attributes(self, op: Primitive, result: Type) -> str:
        """` {name=value, ...}` of what neither the default nor the result type tells; nothing if there is none."""
        if isinstance(op, Const):
            return f" {{value={self.const_text(op)}}}"
        parts = []
        for f in fields_of(type(op)):
            if f.is_region:
                continue
            value = getattr(op, f.name)
            known = implied(f.name, result)
            if value != (f.default if known is None else known):
                parts.append(f"{f.name}={attribute_text(value, f.annotation)}")
        return f" {{{', '.join(parts)}}}" if parts else ""

    def finish(self, level: str, lines: Sequence[str]) -> str:
        """The whole text: version line, body, origin table."""
        return "\n".join([f"symc ir 1 level={level}", *lines, *self.origins.lines]) + "\n"


def regions_of(op: Primitive) -> list[tuple[str, Graph]]:
    """The graphs a primitive holds, by attribute name."""
    found = []
    for f in fields_of(type(op)):
        if f.is_region:
            value = getattr(op, f.name)
            if value is not None:
                found.append((f.name, value))
    return found


def graphs_of(graph: Graph) -> list[Graph]:
    """The graph and all that its loops and branches hold, and theirs."""
    found = [graph]
    for at in found:
        found += [region for node in at.nodes() if node.op.is_control for _, region in regions_of(node.op)]
    return found


def parameter_text(role: str, of: str, order: int) -> str:
    """` role`, and of what: ` grad of %x`, ` head of out order 2`. Heads belong to outputs, the others to inputs."""
    owner = f" of {word(of) if role == 'head' else value_name(of)}" if of else ""
    return f" {word(role)}{owner}{f' order {order}' if order > 1 else ''}"


def output_text(role: str, of: str, order: int, phase: str) -> str:
    """What an output is, behind its type: ` gradient of %x (backward)`; nothing for a result of the forward half."""
    return f"{'' if role == 'result' else parameter_text(role, of, order)}{phase_text(phase)}"


def phase_text(phase: str) -> str:
    """` (backward)`; nothing for the forward half."""
    return "" if phase == "forward" else f" ({word(phase)})"


def signature(head: str, params: Sequence[str], results: Sequence[str], tail: str, indent: str = "") -> list[str]:
    """`head(params) -> (results) tail`, in one line where it fits."""
    one = f"{indent}{head}({', '.join(params)}) -> ({', '.join(results)}){tail}"
    if len(one) <= WIDTH or not params:
        return [one]
    step = f"{indent}    "
    lines = [f"{indent}{head}("]
    lines += [f"{step}{p}{',' if at < len(params) - 1 else ')'}" for at, p in enumerate(params)]
    if len(results) < 2:
        return [*lines, f"{step}-> ({', '.join(results)}){tail}"]
    lines.append(f"{step}-> (")
    lines += [f"{step}    {r}{',' if at < len(results) - 1 else ')' + tail}" for at, r in enumerate(results)]
    return lines

"""Two accesses to every other element of one row, taken together: whole vectors of memory, and shuffles."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional, Union

from symc.codegen.emit.lanes import Lane, Val, coordinates
from symc.codegen.emit.text import type_name
from symc.ir.loop.nodes import Load, Store
from symc.ir.types import BOOL

if TYPE_CHECKING:
    from symc.codegen.emit.memory import Memory, Uniform


class _Pair(NamedTuple):
    """The offset of the lower of two neighbours, strides over lanes, the vector; whether the second is the lower."""

    offset: Uniform
    strides: dict[Lane, int]
    vector: Lane
    swapped: bool


def _pair(memory: Memory, first: Union[Load, Store], second: Union[Load, Store]) -> Optional[_Pair]:
    """Whether two accesses are neighbours in every lane of a vector with stride 2."""
    if first.buffer != second.buffer or first.guard or second.guard or memory.buffers[first.buffer].type.dtype == BOOL:
        return None
    a, strides, regular = memory.offset(first.buffer, first.index)
    b, others, alike = memory.offset(second.buffer, second.index)
    if not (regular and alike and strides == others) or memory.lanes_of.get(first.buffer):
        return None
    vector = next((d for d in memory.e.open if d.width > 1 and strides.get(d) == 2), None)
    same = [(str(t), f) for t, f in a.terms] == [(str(t), f) for t, f in b.terms]
    if vector is None or not same or abs(a.const - b.const) != 1:
        return None
    return _Pair(a if a.const < b.const else b, strides, vector, b.const < a.const)


def store_pair(memory: Memory, first: Store, second: Store) -> bool:
    """Store both, the lower one first. False: they are no pair, or one whose last vector is partly used."""
    found = None if first.add or second.add else _pair(memory, first, second)
    if found is None or found.swapped or found.vector.turns % found.vector.width:
        return False
    e, lines, vector, strides = memory.e, memory.lines, found.vector, found.strides
    values = [e.operand(first.value), e.operand(second.value)]
    dtype, width = values[0].dtype, vector.width
    varying = {d for d, s in strides.items() if s} | {d for v in values for d in v.dims}
    dims = tuple(d for d in e.open if d in varying)
    pointer = memory.uniform_pointer(first.buffer, found.offset, dtype.itemsize)
    even, odd = (e.spread(v, dims) for v in values)
    t, wide = type_name(dtype, width), type_name(dtype, 2 * width)
    order = ", ".join(f"i32 {k // 2 + (k % 2) * width}" for k in range(2 * width))
    for at in coordinates(dims):
        shift = sum(strides.get(d, 0) * k * max(d.width, 1) for d, k in zip(dims, at))
        here = memory.at(pointer, shift, dtype.itemsize)
        both = lines.value(f"shufflevector {t} {even.items[at]}, {t} {odd.items[at]}, <{2 * width} x i32> <{order}>")
        lines.do(f"store {wide} {both}, ptr {here}, align {dtype.itemsize}")
    return True


def load_pair(memory: Memory, first: Load, second: Load) -> bool:
    """Load both. False: they are no pair."""
    found = _pair(memory, first, second)
    if found is None:
        return False
    dtype, vector, strides = first.dtype, found.vector, found.strides
    width, lines = vector.width, memory.lines
    dims = tuple(d for d in memory.e.open if strides.get(d))
    pointer = memory.uniform_pointer(first.buffer, found.offset, dtype.itemsize)
    t = type_name(dtype, width)
    values = Val(dtype, dims, {}), Val(dtype, dims, {})
    for at in coordinates(dims):
        shift = sum(strides[d] * k * max(d.width, 1) for d, k in zip(dims, at))
        left = 2 * vector.mask(at[dims.index(vector)])
        halves = []
        for half in (0, width):
            here = memory.at(pointer, shift + half, dtype.itemsize)
            halves.append(memory.load_first(here, dtype, width, left - half))
        for parity, value in enumerate(values):
            order = ", ".join(f"i32 {2 * i + parity}" for i in range(width))
            value.items[at] = lines.value(f"shufflevector {t} {halves[0]}, {t} {halves[1]}, <{width} x i32> <{order}>")
    names = (second.name, first.name) if found.swapped else (first.name, second.name)
    memory.e.values.update(zip(names, values))
    return True

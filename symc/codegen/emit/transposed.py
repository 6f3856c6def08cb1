"""Register tiles that lie across memory: lanes far apart, but the turns of a jam loop side by side.

Such a tile is transposed by four (or two) turns in registers, in blocks of four lanes, so that memory is read and
written several elements at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from symc.codegen.emit.lanes import Coordinate, Lane, coordinates
from symc.codegen.emit.text import Lines, type_name
from symc.ir.types import DType

#: lanes of a block: 128 bits of 32-bit elements, which shuffles do not cross
BLOCK = 4
#: the lower (upper) two lanes of two registers, taken in turn
LOW, HIGH = (0, 4, 1, 5), (2, 6, 3, 7)


@dataclass(frozen=True)
class Group:
    """Registers of a tile that lie side by side: their coordinates, the address of each lane's elements, and how many
    lanes are in use."""

    registers: list[Coordinate]
    row: Callable[[int], str]
    used: int


def groups(
    dims: tuple[Lane, ...], strides: Mapping[Lane, int], dtype: DType, at: Callable[[int], str]
) -> Iterator[Group]:
    """The parts of an access that can be transposed. `at` gives the address of an element by its offset."""
    vector = next((d for d in dims if d.width), None)
    turns = next((d for d in dims if not d.width and strides.get(d) == 1 and d.count > 1), None)
    if vector is None or turns is None or strides.get(vector, 0) in (0, 1):
        return
    if dtype.itemsize != BLOCK or vector.width % BLOCK:
        return
    others = tuple(d for d in dims if d is not turns)
    for rest in coordinates(others):
        where = dict(zip(others, rest))
        shift = sum(strides.get(d, 0) * k * max(d.width, 1) for d, k in where.items())
        first = 0
        while turns.count - first > 1:
            size = 4 if turns.count - first >= 4 else 2
            found = [tuple(first + k if d is turns else where[d] for d in dims) for k in range(size)]

            def row(lane: int, start: int = shift + first, step: int = strides[vector]) -> str:
                return at(start + lane * step)

            yield Group(found, row, vector.mask(where[vector]))
            first += size


def store_group(lines: Lines, registers: Sequence[str], dtype: DType, width: int, group: Group) -> None:
    """Store lane i of all registers side by side at its address."""
    size = len(registers)
    if size == 4:
        columns = _four(lines, registers, dtype, width)
    else:
        columns = [_shuffle(lines, registers[0], registers[1], dtype, width, half) for half in (LOW, HIGH)]
    wide, narrow = type_name(dtype, width), type_name(dtype, size)
    for lane in range(group.used):
        block, i = lane - lane % BLOCK, lane % BLOCK
        column, first = (i, block) if size == 4 else (i // 2, block + 2 * (i % 2))
        order = ", ".join(f"i32 {first + k}" for k in range(size))
        part = lines.value(f"shufflevector {wide} {columns[column]}, {wide} poison, <{size} x i32> <{order}>")
        lines.do(f"store {narrow} {part}, ptr {group.row(lane)}, align {dtype.itemsize}")


def load_group(lines: Lines, dtype: DType, width: int, group: Group) -> list[str]:
    """Registers whose lane i lies side by side at its address."""
    size = len(group.registers)
    t = type_name(dtype, size)
    rows = [lines.value(f"load {t}, ptr {group.row(lane)}, align {dtype.itemsize}") for lane in range(group.used)]
    rows += ["zeroinitializer"] * (width - group.used)
    if size == 4:
        return _four(lines, [_concat(lines, rows[i::BLOCK], dtype, size) for i in range(BLOCK)], dtype, width)
    pairs = [
        _concat(lines, [x for first in range(i, width, BLOCK) for x in rows[first : first + 2]], dtype, size)
        for i in (0, 2)
    ]
    return [_shuffle(lines, pairs[0], pairs[1], dtype, width, half) for half in ((0, 2, 4, 6), (1, 3, 5, 7))]


def _four(lines: Lines, registers: Sequence[str], dtype: DType, width: int) -> list[str]:
    """Transpose four registers block by block."""
    a, b, c, d = registers
    made = []
    for half in (LOW, HIGH):
        left, right = _shuffle(lines, a, b, dtype, width, half), _shuffle(lines, c, d, dtype, width, half)
        made += [_shuffle(lines, left, right, dtype, width, pair) for pair in ((0, 1, 4, 5), (2, 3, 6, 7))]
    return made


def _shuffle(lines: Lines, a: str, b: str, dtype: DType, width: int, block: tuple[int, ...]) -> str:
    """The same choice in every block: 0 to 3 are the lanes of `a`, 4 to 7 those of `b`."""
    t = type_name(dtype, width)
    order = (first + k % BLOCK + (width if k >= BLOCK else 0) for first in range(0, width, BLOCK) for k in block)
    return lines.value(f"shufflevector {t} {a}, {t} {b}, <{width} x i32> <{', '.join(f'i32 {k}' for k in order)}>")


def _concat(lines: Lines, parts: Sequence[str], dtype: DType, size: int) -> str:
    """Registers of `size` lanes as one."""
    found = list(parts)
    while len(found) > 1:
        t = type_name(dtype, size)
        order = ", ".join(f"i32 {k}" for k in range(2 * size))
        found = [
            lines.value(f"shufflevector {t} {x}, {t} {y}, <{2 * size} x i32> <{order}>")
            for x, y in zip(found[::2], found[1::2])
        ]
        size *= 2
    return found[0]

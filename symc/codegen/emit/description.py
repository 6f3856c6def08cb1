"""What running a kernel needs to know of it, without emitting it: the identity of its code, its turns, its scratch."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from symc.codegen.emit.pieces import contracts, read_in_turns
from symc.codegen.target import Target
from symc.ir.index import Affine, linear
from symc.ir.loop.nodes import Alloc, For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store, walk
from symc.ir.op import Ref
from symc.ir.types import strides_of


@dataclass(frozen=True)
class NativeKernel:
    """What running a kernel needs to know: the identity of its code, the turns of its outermost loop that threads may
    share, the scratch bytes of a thread, and the elements touched by a turn."""

    key: str
    extent: int
    scratch: int
    work: int
    #: bytes by which the caller moves the address of each parameter (see shifts_of)
    shifts: tuple[int, ...]
    #: what stands behind the addresses among the arguments (see numbers_of)
    numbers: tuple[int, ...] = ()


def describe(kernel: LoopKernel, target: Target) -> NativeKernel:
    """The kernel's facts, without emitting it."""
    extent = _extent(kernel)
    offsets = _offsets(kernel)
    found = _shifts(kernel, offsets)
    shifts = tuple(found.get(b.name, 0) * b.type.dtype.itemsize for b in kernel.buffers)
    key = _fingerprint(kernel, target, offsets, found)
    numbers = tuple(numbers_of(kernel).values())
    return NativeKernel(key, extent, scratch_layout(kernel)[1], work_of(kernel, extent), shifts, numbers)


def outermost_loop(kernel: LoopKernel) -> For | None:
    """The loop whose turns threads share: the only statement, with independent turns."""
    body = kernel.body
    if len(body) == 1 and isinstance(body[0], For) and body[0].kind in ("parallel", "vector") and not body[0].carries:
        return body[0]
    return None


#: a number that is given: "turns" or "begin", with the turns and `lo` of its loop, or "factor", with its type and bits
Given = tuple[str, object, int]


def numbers_of(kernel: LoopKernel) -> dict[Given, int]:
    """Numbers that are arguments of the machine code, behind the addresses and in this order: of every given loop its
    turns and, where that is not 0, its `lo`; of a given operation its literal's bits. Equal ones are one. Of the
    outermost parallel loop threads are told the turns anyway."""
    found: dict[Given, int] = {}
    outermost = outermost_loop(kernel)
    for stmt in walk(kernel.body):
        if isinstance(stmt, For) and stmt.given:
            if stmt is not outermost or stmt.kind == "vector":
                found[given_turns(stmt)] = stmt.trips
            if stmt.lo:
                found[given_begin(stmt)] = stmt.lo
        elif isinstance(stmt, Let) and stmt.given:
            factor = given_factor(stmt)
            found[factor] = factor[2]
    return found


def given_turns(loop: For) -> Given:
    return "turns", loop.trips, loop.lo


def given_begin(loop: For) -> Given:
    return "begin", loop.trips, loop.lo


def given_factor(let: Let) -> Given:
    (literal,) = (a for a in let.args if a.is_literal)
    with np.errstate(over="ignore"):
        bits = np.asarray(literal.value, literal.dtype.numpy).tobytes()
    return "factor", literal.dtype, int.from_bytes(bits, sys.byteorder)


def _extent(kernel: LoopKernel) -> int:
    """Turns of the outermost loop; for a vector loop its chunks, the masked one included."""
    loop = outermost_loop(kernel)
    if loop is None:
        return 1
    return loop.trips if loop.kind == "parallel" else -(-loop.trips // (loop.width * loop.unroll))


def fingerprint(kernel: LoopKernel, target: Target) -> str:
    """The identity of a kernel's code: its loops without origins, accesses by offset behind the shifts, the target.
    What its buffers are called says nothing: they are numbered."""
    offsets = _offsets(kernel)
    return _fingerprint(kernel, target, offsets, _shifts(kernel, offsets))


def _offsets(kernel: LoopKernel) -> dict[int, Affine]:
    """Where every load and store (by its id) accesses its buffer, in elements."""
    strides = {b.name: strides_of(b.type.shape) for b in kernel.buffers}
    offsets: dict[int, Affine] = {}
    for stmt in walk(kernel.body):
        if isinstance(stmt, (Load, Store)):
            offsets[id(stmt)] = linear(stmt.index, strides[stmt.buffer])
        elif isinstance(stmt, Alloc):
            strides[stmt.buffer.name] = strides_of(stmt.buffer.type.shape)
    return offsets


def _fingerprint(kernel: LoopKernel, target: Target, offsets: Mapping[int, Affine], shifts: Mapping[str, int]) -> str:
    numbers: dict[str, str] = {}
    for buffer in (*kernel.buffers, *(s.buffer for s in walk(kernel.body) if isinstance(s, Alloc))):
        numbers.setdefault(buffer.name, f"b{len(numbers)}")
    parts = [target.name, *(f"{numbers[b.name]}:{b.type.dtype}:{b.mode}" for b in kernel.buffers)]
    buffers = {b.name: b for b in kernel.buffers}
    for stmt in walk(kernel.body):  # memory is asked for large operands only, and how large one is depends on turns
        if isinstance(stmt, For) and stmt.given and contracts(stmt):
            parts += [f"{stmt.var}:{numbers[name]}" for name in read_in_turns(stmt, buffers)]
    given = {given: at for at, given in enumerate(numbers_of(kernel))}
    _write(kernel.body, parts, offsets, shifts, numbers, scratch_layout(kernel)[0], given)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write(
    body: tuple[Stmt, ...], parts: list[str], offsets: Mapping[int, Affine], shifts: Mapping[str, int],
    numbers: Mapping[str, str], scratch: Mapping[str, int], given: Mapping[Given, int],
) -> None:  # fmt: skip
    def ref(r: Ref) -> str:
        return f"%{r.name}" if r.name else f"{r.value!r}:{r.dtype}"

    def place(s: Load | Store) -> str:
        return f"{numbers[s.buffer]}[{offsets[id(s)] + -shifts.get(s.buffer, 0)}]"

    def guards(found: tuple[tuple[Affine, int, int], ...]) -> str:
        return ";".join(f"{lo}<={g}<{hi}" for g, lo, hi in found)

    for s in body:
        if isinstance(s, Let):
            args = [f"given {given[given_factor(s)]}" if s.given and a.is_literal else ref(a) for a in s.args]
            parts.append(f"{s.name}={s.op!r}({','.join(args)}){s.dtype}")
        elif isinstance(s, Load):
            other = ref(s.other) if s.other is not None else ""
            parts.append(f"{s.name}={place(s)}{s.dtype}{guards(s.guard)}{other}")
        elif isinstance(s, Store):
            parts.append(f"{place(s)}{'+' if s.add else ''}={ref(s.value)}{guards(s.guard)}")
        elif isinstance(s, IndexValue):
            parts.append(f"{s.name}={s.index}:{s.dtype}")
        elif isinstance(s, For):
            carries = ",".join(f"{c.name}={ref(c.init)}>{ref(c.yields)}>{c.result}{c.combine or ''}" for c in s.carries)
            turns = f"{s.lo} {s.hi}"
            if s.given:  # the outermost loop's turns are no argument
                turns = f"given {given.get(given_turns(s), '')} from {given[given_begin(s)] if s.lo else ''}"
            parts.append(f"for {s.var} {turns} {s.step} {s.kind} {s.width} {s.unroll} {carries}{{")
            _write(s.body, parts, offsets, shifts, numbers, scratch, given)
            parts.append("}")
        elif isinstance(s, If):
            parts.append(f"if {ref(s.cond)}{{")
            _write(s.body, parts, offsets, shifts, numbers, scratch, given)
            parts.append("}")
        else:
            t = s.buffer.type
            parts.append(f"{numbers[s.buffer.name]}:{t.dtype}{strides_of(t.shape)} at {scratch[s.buffer.name]}")


def work_of(kernel: LoopKernel, extent: int) -> int:
    """Innermost turns of the kernel per turn of its outermost loop."""

    def turns(body: tuple[Stmt, ...]) -> int:
        total = 1
        for stmt in body:
            if isinstance(stmt, For):
                total += stmt.trips * turns(stmt.body)
            elif isinstance(stmt, If):
                total += turns(stmt.body)
            elif isinstance(stmt, Let):
                total += stmt.op.cost
        return total

    return turns(kernel.body) // max(extent, 1)


def shifts_of(kernel: LoopKernel) -> dict[str, int]:
    """Elements by which the caller moves the address of a parameter, so that kernels that read different slices of
    their operands are the same code: the least constant offset of its accesses, where none is guarded."""
    return _shifts(kernel, _offsets(kernel))


def _shifts(kernel: LoopKernel, offsets: Mapping[int, Affine]) -> dict[str, int]:
    parameters = {b.name for b in kernel.buffers}
    least: dict[str, int] = {}
    guarded: set[str] = set()
    for stmt in walk(kernel.body):
        if isinstance(stmt, (Load, Store)) and stmt.buffer in parameters:
            if stmt.guard:
                guarded.add(stmt.buffer)
            const = offsets[id(stmt)].const
            least[stmt.buffer] = min(const, least.get(stmt.buffer, const))
    return {name: shift for name, shift in least.items() if shift > 0 and name not in guarded}


#: bytes of the widest vector
BEHIND = 128


def scratch_layout(kernel: LoopKernel) -> tuple[dict[str, int], int]:
    """(offset of every scratch buffer, bytes of all): each has room for every lane that is open at its Alloc. Behind
    the last one there is memory that lanes which are not in use may read."""
    offsets: dict[str, int] = {}
    total = 0
    stack: list[tuple[tuple[Stmt, ...], int]] = [(kernel.body, 1)]
    while stack:
        body, lanes = stack.pop()
        for stmt in body:
            if isinstance(stmt, Alloc):
                offsets[stmt.buffer.name] = total
                total += -(-stmt.buffer.type.nbytes * lanes // 64) * 64
            elif isinstance(stmt, For):
                inside = lanes
                if stmt.kind == "jam":
                    inside *= stmt.trips
                elif stmt.kind == "vector":
                    inside *= stmt.width * min(stmt.unroll, -(-stmt.trips // stmt.width)) or 1
                stack.append((stmt.body, inside))
            elif isinstance(stmt, If):
                stack.append((stmt.body, lanes))
    return offsets, total + BEHIND if total else 0

"""Level 3, loops: a kernel as a nest over buffers.

    kernel = name, buffers, body
    stmt   = For(var, extent, body, carries) | Let(name, op, args) | Load(name, buffer, index)
           | Store(value, buffer, index) | If(lo <= index < hi ..., body) | Alloc(buffer)
    hints  of a For: kind serial | parallel | vector | jam | unroll, and a width

A scalar operand is a `Ref`: an SSA name with its type, or a literal. Values a loop carries are SSA too: `carries`
give the names inside and their initial values, `yields` the values for the next turn, `results` the names after.

A carry says what it combines: every turn yields `combine` of the carried value and something that does not depend on
it, and nothing else reads the carried value, so that turns may be regrouped (into blocks, lanes, register tiles), each
group starting from the operation's neutral value. Without `combine` a turn needs the one before it.

`parallel`, `vector` and `jam` promise that the turns are independent, apart from carries that combine: parallel turns
may run on other threads, the turns of a vector loop are taken `width` at a time in the lanes of a vector, and the turns
of a jam loop all at once, each statement of the body for every turn before the next statement (unroll and jam: with a
vector loop inside, values become register tiles).

The turns of a `given` loop are an argument of the kernel's machine code, and so is the literal of a `given` operation:
kernels that differ in them alone share it. What the loop level says and proves is about the numbers that stand in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import is_not
from typing import Union

from symc.ir.changed import replace
from symc.ir.index import Affine
from symc.ir.loop.schedule import Schedule
from symc.ir.op import Primitive, Ref
from symc.ir.origins import Origin
from symc.ir.types import DType, TensorType


@dataclass(frozen=True)
class Buffer:
    """Memory a kernel sees, row-major: mode in, out, inout (kernel parameters) or scratch (private to one turn of
    the loop that encloses its Alloc). `alias` names the `in` parameters whose memory an `out` may take over."""

    name: str
    type: TensorType
    mode: str = "in"
    alias: tuple[str, ...] = ()


@dataclass(frozen=True)
class Let:
    """name = op(args): an elementwise primitive on scalars (or `fma`)."""

    name: str
    dtype: DType
    op: Primitive
    args: tuple[Ref, ...]
    origin: Origin | None = None
    #: its literal, a float, is an argument of the machine code
    given: bool = False

    @property
    def ref(self) -> Ref:
        return Ref(self.name, self.dtype)


@dataclass(frozen=True)
class IndexValue:
    """name = the value of an index expression, as a scalar of `dtype`."""

    name: str
    dtype: DType
    index: Affine
    origin: Origin | None = None

    @property
    def ref(self) -> Ref:
        return Ref(self.name, self.dtype)


@dataclass(frozen=True)
class Load:
    """name = buffer[index], or `other` where not all of `guard` (lo <= index < hi) hold: no memory is touched there."""

    name: str
    buffer: str
    dtype: DType
    index: tuple[Affine, ...]
    guard: tuple[tuple[Affine, int, int], ...] = ()
    other: Ref | None = None
    origin: Origin | None = None

    @property
    def ref(self) -> Ref:
        return Ref(self.name, self.dtype)


@dataclass(frozen=True)
class Store:
    """buffer[index] = value (with `add`: buffer[index] += value, in the order of the loops), where `guard` holds."""

    value: Ref
    buffer: str
    index: tuple[Affine, ...]
    guard: tuple[tuple[Affine, int, int], ...] = ()
    add: bool = False
    origin: Origin | None = None


@dataclass(frozen=True)
class Carry:
    """A value carried through a loop: its name inside, its initial value, what the turn yields, its name after, and the
    elementwise primitive that it combines (None: turn after turn in order)."""

    name: str
    init: Ref
    yields: Ref
    result: str
    combine: Primitive | None = None


@dataclass(frozen=True)
class For:
    """for var in lo..hi step step. `width` is the number of lanes of a vector loop."""

    var: str
    lo: int
    hi: int
    body: tuple[Stmt, ...]
    carries: tuple[Carry, ...] = ()
    kind: str = "serial"
    width: int = 0
    step: int = 1
    #: a vector loop taken this many vectors at a time (independent accumulators for reductions)
    unroll: int = 1
    origin: Origin | None = None
    #: how often it turns (and `lo`, where that is not 0) is an argument of the machine code
    given: bool = False

    @property
    def trips(self) -> int:
        return max(0, -(-(self.hi - self.lo) // self.step))


@dataclass(frozen=True)
class If:
    """Run the body where the scalar `cond` (i1) holds; no values leave it."""

    cond: Ref
    body: tuple[Stmt, ...]
    origin: Origin | None = None


@dataclass(frozen=True)
class Alloc:
    """Private scratch memory, undefined at first, for the rest of the enclosing body."""

    buffer: Buffer
    origin: Origin | None = None


Stmt = Union[Let, IndexValue, Load, Store, For, If, Alloc]
#: kinds of loops whose turns promise to be independent
LOCKSTEP = ("parallel", "vector", "jam")


@dataclass(frozen=True)
class LoopKernel:
    """One native function."""

    name: str
    buffers: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    origin: Origin | None = None
    #: textual names of the values' origins are kept per statement; `key` identifies equal kernels
    key: str = field(default="", compare=False)
    #: its loops are scheduled: nothing is left to choose (see is_scheduled)
    scheduled: bool = False
    #: how its loops are to run or, where they are scheduled, how they came about (None: it is open)
    schedule: Schedule | None = None

    def __repr__(self) -> str:
        """`<LoopKernel k0.dot: (x: in f32[4,8], w: in f32[8], y: out f32[4])>`; print_kernel gives its text."""
        buffers = [f"{b.name}: {b.mode} {b.type}" for b in self.buffers]
        return f"<LoopKernel {self.name}: ({', '.join(buffers)})>"

    @property
    def is_scheduled(self) -> bool:
        """Whether a pass has decided how the loops run: the kernel says so, or has loops that only a schedule makes."""
        return self.scheduled or any(
            isinstance(s, For) and s.kind in ("vector", "jam", "unroll") for s in walk(self.body)
        )


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, outer before inner."""
    stack: list[Stmt] = list(reversed(body))
    while stack:
        stmt = stack.pop()
        yield stmt
        if isinstance(stmt, (For, If)):
            stack.extend(reversed(stmt.body))


def map_body(body: tuple[Stmt, ...], change: Callable[[Stmt], Stmt]) -> tuple[Stmt, ...]:
    """A copy of the body with every statement (inner ones first) changed."""
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, (For, If)):
            inner = map_body(stmt.body, change)
            if any(map(is_not, inner, stmt.body)):
                stmt = replace(stmt, body=inner)
        made.append(change(stmt))
    return tuple(made)

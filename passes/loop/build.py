"""The loop builder: what lowering writes kernels with.

Scalars are SSA and shared: the same operation on the same operands in an open scope is emitted once. Half
precision is computed in single precision and rounded after every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Alloc, Buffer, Carry, For, If, IndexValue, Let, Load, Stmt, Store
from symc.ir.loop.ranges import Ranges
from symc.ir.op import Index, Primitive, Ref
from symc.ir.origins import Origin
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, F16, F32, I64, DType, TensorType

Guard = tuple[tuple[Affine, int, int], ...]


class Builder:
    """Collects statements; implements symc.ir.op.Scalars for the primitives' element rules."""

    def __init__(self) -> None:
        self._bodies: list[list[Stmt]] = [[]]
        self._shared: list[dict[Hashable, Ref]] = [{}]
        self._names: dict[str, int] = {}
        self._guard: Guard = ()
        #: what is known of the scalars: where it does not say that an index is inside, to_index makes it so
        self.ranges = Ranges()
        self.origin: Origin | None = None
        self.stem = "v"

    # -- names and scopes

    def fresh(self, stem: str) -> str:
        count = self._names.get(stem, 0)
        self._names[stem] = count + 1
        return stem if count == 0 else f"{stem}.{count}"

    @property
    def is_guarded(self) -> bool:
        """Whether what is computed now holds only where a condition does."""
        return bool(self._guard)

    def _emit(self, stmt: Stmt) -> None:
        self._bodies[-1].append(stmt)
        self.ranges.enter(stmt)

    def body(self) -> tuple[Stmt, ...]:
        """The statements of the outermost scope."""
        assert len(self._bodies) == 1
        return tuple(self._bodies[0])

    def remembered(self, key: Hashable) -> Ref | None:
        for scope in reversed(self._shared):
            if key in scope:
                return scope[key]
        return None

    def remember(self, key: Hashable, ref: Ref) -> None:
        self._shared[-1][key] = ref

    @contextmanager
    def at(self, origin: Origin | None, stem: str = "") -> Iterator[None]:
        """Statements made inside carry this origin; their values are named after `stem`."""
        before = self.origin, self.stem
        self.origin, self.stem = origin or self.origin, stem or self.stem
        try:
            yield
        finally:
            self.origin, self.stem = before

    # -- scalars

    def const(self, value: float | int | bool, dtype: DType) -> Ref:
        return Ref("", dtype, value)

    def apply(self, op: Primitive, args: Sequence[Ref]) -> Ref:
        if any(a.dtype == F16 for a in args) and not isinstance(op, (ew.Cast, ew.Bitcast)):
            wide = [self.cast(a, F32) if a.dtype == F16 else a for a in args]
            result = self.apply(op, wide)
            return self.cast(result, F16) if result.dtype == F32 else result
        key: Hashable = (op, tuple(args))
        known = self.remembered(key)
        if known is not None:
            return known
        made = op.type([TensorType(a.dtype, ()) for a in args])
        assert isinstance(made, TensorType), f"{op.name} is no scalar operation"
        dtype = made.dtype
        if args and all(a.is_literal for a in args):
            values = [np.asarray(a.value, a.dtype.numpy) for a in args]
            folded = op.value(values, [TensorType(dtype, ())])
            return Ref("", dtype, np.asarray(folded).item())
        let = Let(self.fresh(self.stem), dtype, op, tuple(args), self.origin)
        self._emit(let)
        self.remember(key, let.ref)
        return let.ref

    def cast(self, ref: Ref, dtype: DType) -> Ref:
        return ref if ref.dtype == dtype else self.apply(ew.Cast(dtype), [ref])

    def from_index(self, index: Affine, dtype: DType) -> Ref:
        if not index.terms:
            return self.const(index.const, dtype)
        key = ("index", index, dtype)
        known = self.remembered(key)
        if known is None:
            stmt = IndexValue(self.fresh(self.stem), dtype, index, self.origin)
            self._emit(stmt)
            known = stmt.ref
            self.remember(key, known)
        return known

    def to_index(self, scalar: Ref, extent: int) -> Affine:
        if scalar.is_literal:
            assert scalar.value is not None
            return Affine.of(min(max(int(scalar.value), 0), extent - 1))
        found = self.ranges.of(scalar)
        if found.lo < 0:
            scalar = self.apply(ew.maximum, [scalar, self.const(0, scalar.dtype)])
        if found.hi >= extent:
            scalar = self.apply(ew.minimum, [scalar, self.const(extent - 1, scalar.dtype)])
        wide = self.cast(scalar, I64)
        return Affine.of(Var(wide.name, dynamic=True))

    def guard(self, inside: Sequence[tuple[Affine, int, int]], then: Callable[[], Ref], other: Ref) -> Ref:
        needed = []
        for index, lo, hi in inside:
            low, high = index.bounds()
            if high < lo or low >= hi:
                return other
            if low < lo or high >= hi:
                needed.append((index, lo, hi))
        if not needed:
            return then()
        outer, self._guard = self._guard, self._guard + tuple(needed)
        try:
            value = then()
        finally:
            self._guard = outer
        last = self._bodies[-1][-1] if self._bodies[-1] else None
        if isinstance(last, Load) and last.name == value.name and last.guard == outer + tuple(needed) and not outer:
            # the value is just that load: let the load itself give `other` outside
            made = Load(last.name, last.buffer, last.dtype, last.index, last.guard, other, last.origin)
            self._bodies[-1][-1] = made
            self._forget(value)
            return made.ref
        return self.apply(ew.Select(), [self.condition(needed), value, other])

    def _forget(self, ref: Ref) -> None:
        for scope in self._shared:
            for key in [k for k, v in scope.items() if v == ref]:
                del scope[key]

    def condition(self, inside: Sequence[tuple[Affine, int, int]]) -> Ref:
        """The truth value of lo <= index < hi for all."""
        result: Ref | None = None
        for index, lo, hi in inside:
            low, high = index.bounds()
            value = self.from_index(index, I64)
            tests = []
            if low < lo:
                tests.append(self.apply(ew.ge, [value, self.const(lo, I64)]))
            if high >= hi:
                tests.append(self.apply(ew.lt, [value, self.const(hi, I64)]))
            for test in tests:
                result = test if result is None else self.apply(ew.and_, [result, test])
        return result if result is not None else self.const(True, BOOL)

    # -- memory

    def load(self, buffer: Buffer, index: Index) -> Ref:
        key = ("load", buffer.name, index, self._guard)
        known = self.remembered(key)
        if known is not None:
            return known
        other = self.const(0, buffer.type.dtype) if self._guard else None
        stmt = Load(self.fresh(self.stem), buffer.name, buffer.type.dtype, index, self._guard, other, self.origin)
        self._emit(stmt)
        self.remember(key, stmt.ref)
        return stmt.ref

    def load_fresh(self, buffer: Buffer, index: Index) -> Ref:
        """A load of memory that this kernel also writes: never shared with an earlier one."""
        stmt = Load(self.fresh(self.stem), buffer.name, buffer.type.dtype, index, self._guard, origin=self.origin)
        self._emit(stmt)
        return stmt.ref

    def store(self, value: Ref, buffer: Buffer, index: Index, add: bool = False, guard: Guard = ()) -> None:
        self._emit(Store(value, buffer.name, index, guard, add, self.origin))

    def alloc(self, stem: str, type: TensorType) -> Buffer:
        buffer = Buffer(self.fresh(stem), type, "scratch")
        self._emit(Alloc(buffer, self.origin))
        return buffer

    # -- control

    @contextmanager
    def _scope(self) -> Iterator[list[Stmt]]:
        statements: list[Stmt] = []
        self._bodies.append(statements)
        self._shared.append({})
        try:
            yield statements
        finally:
            self._bodies.pop()
            self._shared.pop()

    @contextmanager
    def loop(self, extent: int, kind: str = "parallel", stem: str = "i") -> Iterator[Affine]:
        """for v in 0..extent; `parallel` says the turns are independent."""
        if extent == 1:
            # Still a scope: nothing computed inside may be assumed outside by order alone.
            yield Affine()
            return
        name = self.fresh(stem)
        with self._scope() as statements:
            yield Affine.of(Var(name, 0, extent))
        self._emit(For(name, 0, extent, tuple(statements), (), kind, origin=self.origin))

    def nest(self, extents: Sequence[int], body: Callable[[Index], None], kind: str = "parallel") -> None:
        """Nested loops over an index space."""

        def level(at: int, index: Index) -> None:
            if at == len(extents):
                body(index)
                return
            with self.loop(extents[at], kind, "ijkl"[at] if at < 4 else "m") as v:
                level(at + 1, (*index, v))

        level(0, ())

    def reduce(
        self,
        extents: Sequence[int],
        inits: Sequence[Ref],
        body: Callable[[Index, list[Ref]], list[Ref]],
        combine: Sequence[Primitive | None],
        stem: str = "r",
    ) -> list[Ref]:
        """Serial nested loops carrying values: body(index, carried) gives the next ones; returns the last ones.
        `combine` says of each value which operation a turn combines it by, None where the order of turns counts."""

        def level(at: int, index: Index, carried: list[Ref]) -> list[Ref]:
            if at == len(extents):
                return body(index, carried)
            if extents[at] == 1:
                return level(at + 1, (*index, Affine()), carried)
            name = self.fresh(stem)
            inside = [Ref(self.fresh("acc"), c.dtype) for c in carried]
            with self._scope() as statements:
                yields = level(at + 1, (*index, Affine.of(Var(name, 0, extents[at]))), inside)
            results = [Ref(self.fresh("sum"), c.dtype) for c in carried]
            carries = tuple(
                Carry(i.name, c, y, r.name, op) for i, c, y, r, op in zip(inside, carried, yields, results, combine)
            )
            self._emit(For(name, 0, extents[at], tuple(statements), carries, "serial", origin=self.origin))
            return results

        if 0 in extents:
            return list(inits)
        return level(0, (), list(inits))

    @contextmanager
    def when(self, condition: Ref) -> Iterator[None]:
        """if condition { ... }"""
        with self._scope() as statements:
            yield
        self._emit(If(condition, tuple(statements), self.origin))

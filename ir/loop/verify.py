"""Rules L of symc.ir.verify: loop kernels, and the program that calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symc.ir.errors import IRError, VerifyError
from symc.ir.index import Affine, Quotient, Remainder, Var
from symc.ir.loop.nodes import Alloc, Buffer, For, If, IndexValue, Let, Load, LoopKernel, Ref, Stmt, Store
from symc.ir.loop.parse import KINDS, MODES
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.graph import Origin
from symc.ir.types import BOOL, DType, TensorType
from symc.ir.verify import OriginCheck

Guard = Sequence[tuple[Affine, int, int]]
LOCKSTEP = ("parallel", "vector", "jam")


def verify_loops(module: Any, origins: bool = True) -> None:
    """Check a loop module: every kernel, the program, and the calls."""
    from symc.ir.program.verify import verify_program

    check = OriginCheck()
    for kernel in module.kernels:
        verify_kernel(kernel, origins, check)
    steps = module.program.steps
    if len(module.calls) != len(steps):
        raise VerifyError("L9", f"{len(module.calls)} calls for {len(steps)} steps")
    verify_program(module.program, origins, module.calls)
    types = module.program.value_types()
    for at, (step, number) in enumerate(zip(steps, module.calls)):
        if number is None:
            continue
        if not isinstance(step, KernelStep) or not 0 <= number < len(module.kernels):
            raise VerifyError("L9", f"step {at} calls kernel {number}: it is a view, or there is no such kernel")
        kernel = module.kernels[number]
        given = [("in", types[o]) for o in step.operands] + [("out", r.type) for r in step.results]
        if len(given) != len(kernel.buffers):
            count = len(kernel.buffers)
            raise VerifyError("L9", f"step {at} passes {len(given)} buffers to @{kernel.name}, it takes {count}")
        for (mode, tensor), buffer in zip(given, kernel.buffers):
            # a kernel may see its buffer under another shape of the same size
            same = tensor.dtype == buffer.type.dtype and tensor.size == buffer.type.size
            if not same or (mode == "in") != (buffer.mode == "in"):
                taken = f"%{buffer.name}: {buffer.mode} {buffer.type}"
                raise VerifyError("L9", f"step {at} passes {mode} {tensor} for {taken} of @{kernel.name}")


def verify_kernel(kernel: LoopKernel, origins: bool = True, check: OriginCheck | None = None) -> None:
    """Check one kernel (rules L1 to L8)."""
    _Kernel(kernel, (check or OriginCheck()) if origins else None).check()


class _Kernel:
    """Walks a kernel with the scalars, buffers and loops that are visible."""

    def __init__(self, kernel: LoopKernel, origins: OriginCheck | None) -> None:
        self.kernel, self.origins = kernel, origins
        self.scalars: dict[str, DType] = {}
        self.buffers: dict[str, Buffer] = {}
        self.loops: dict[str, For] = {}
        #: names of the buffers that stood before a loop was entered, by its variable
        self.outside: dict[str, set[str]] = {}
        self.branches = 0

    def fail(self, rule: str, message: str) -> VerifyError:
        return VerifyError(rule, f"kernel @{self.kernel.name}: {message}")

    def check(self) -> None:
        """Everything."""
        for b in self.kernel.buffers:
            self._buffer(b)
            if b.mode == "scratch":
                raise self.fail("L8", f"%{b.name} is scratch, but stands among the parameters")
        for b in self.kernel.buffers:
            if b.alias:
                other = self.buffers.get(b.alias)
                if other is None or other.mode != "in" or other.type.nbytes != b.type.nbytes:
                    raise self.fail("L8", f"%{b.name} takes over %{b.alias}, which is no `in` parameter of its size")
        self._body(self.kernel.body)

    def _buffer(self, b: Buffer) -> None:
        if b.mode not in MODES:
            raise self.fail("L8", f"%{b.name} has mode {b.mode!r}")
        if b.name in self.buffers:
            raise self.fail("L8", f"two buffers are named %{b.name}")
        self.buffers[b.name] = b

    def _body(self, body: Sequence[Stmt]) -> None:
        """A body: its buffers are not visible after it (and `_scoped` lets go of its scalars)."""
        allocated: list[str] = []
        for stmt in body:
            for name, dtype in self._statement(stmt):
                if name in self.scalars:
                    raise self.fail("L1", f"%{name} is defined twice in a body and the bodies around it")
                self.scalars[name] = dtype
            if isinstance(stmt, Alloc):
                self._buffer(stmt.buffer)
                allocated.append(stmt.buffer.name)
        for name in allocated:
            del self.buffers[name]

    def _scoped(self, body: Sequence[Stmt], inside: dict[str, DType], yields: Sequence[Ref] = ()) -> None:
        before = dict(self.scalars)
        self.scalars.update(inside)
        self._body(body)
        for y in yields:
            self._ref(y, "a yield")
        self.scalars = before

    # -- statements

    def _statement(self, stmt: Stmt) -> list[tuple[str, DType]]:
        """Check one statement; the scalars it defines."""
        if isinstance(stmt, Let):
            self._let(stmt)
            self._origin(stmt.origin, f"%{stmt.name}")
            return [(stmt.name, stmt.dtype)]
        if isinstance(stmt, IndexValue):
            self._index(stmt.index, f"%{stmt.name}")
            self._origin(stmt.origin, f"%{stmt.name}")
            return [(stmt.name, stmt.dtype)]
        if isinstance(stmt, Load):
            buffer = self._access(stmt, f"load %{stmt.name}")
            if stmt.dtype != buffer.type.dtype or stmt.other is not None and stmt.other.dtype != stmt.dtype:
                raise self.fail("L3", f"load %{stmt.name}: {stmt.dtype} from %{buffer.name}: {buffer.type}")
            if stmt.other is not None:
                self._ref(stmt.other, f"load %{stmt.name}")
            return [(stmt.name, stmt.dtype)]
        if isinstance(stmt, Store):
            self._ref(stmt.value, f"store to %{stmt.buffer}")
            buffer = self._access(stmt, f"store to %{stmt.buffer}")
            if stmt.value.dtype != buffer.type.dtype or buffer.mode == "in":
                raise self.fail("L3", f"store of {stmt.value.dtype} to %{buffer.name}: {buffer.mode} {buffer.type}")
            self._apart(stmt)
            return []
        if isinstance(stmt, For):
            return self._loop(stmt)
        if isinstance(stmt, If):
            self._ref(stmt.cond, "if")
            if stmt.cond.dtype != BOOL:
                raise self.fail("L2", f"if %{stmt.cond.name}: the condition is {stmt.cond.dtype}")
            self.branches += 1
            self._scoped(stmt.body, {})
            self.branches -= 1
        return []

    def _ref(self, ref: Ref, where: str) -> None:
        if ref.is_literal:
            if ref.value is None:
                raise self.fail("L1", f"{where} uses a scalar without name and value")
            return
        known = self.scalars.get(ref.name)
        if known is None:
            raise self.fail("L1", f"{where} uses %{ref.name}, which is not defined before it")
        if known != ref.dtype:
            raise self.fail("L1", f"{where} uses %{ref.name} as {ref.dtype}, it is {known}")

    def _let(self, let: Let) -> None:
        for a in let.args:
            self._ref(a, f"%{let.name}")
        try:
            right = let.op.type([TensorType(a.dtype, ()) for a in let.args])
        except IRError as problem:
            raise self.fail("L2", f"%{let.name}: {problem}") from None
        if right != TensorType(let.dtype, ()) or not let.op.elementwise:
            raise self.fail("L2", f"%{let.name} = {let.op.name} is {let.dtype}, its operands give {right}")

    def _origin(self, origin: Origin | None, where: str) -> None:
        if self.origins is not None and not self.origins.reaches(origin):
            raise self.fail("L7", f"{where} has no origin that reaches a Symbol")

    def _loop(self, loop: For) -> list[tuple[str, DType]]:
        where = f"for %{loop.var}"
        width = 1 if loop.kind == "vector" else 0
        if loop.kind not in KINDS or loop.step < 1 or loop.unroll < 1 or loop.width < width:
            hints = f"kind={loop.kind} width={loop.width} step={loop.step} unroll={loop.unroll}"
            raise self.fail("L8", f"{where}: {hints}")
        if loop.var in self.loops:
            raise self.fail("L8", f"{where}: a loop around it has that variable")
        inside: dict[str, DType] = {}
        for c in loop.carries:
            self._ref(c.init, where)
            if c.init.dtype != c.yields.dtype:
                raise self.fail("L5", f"{where} carries %{c.name}: {c.init.dtype}, but yields {c.yields.dtype}")
            if c.name in inside or c.name in self.scalars:
                raise self.fail("L1", f"{where}: %{c.name} is defined twice")
            inside[c.name] = c.init.dtype
        self.loops[loop.var] = loop
        self.outside[loop.var] = set(self.buffers)
        self._scoped(loop.body, inside, [c.yields for c in loop.carries])
        del self.loops[loop.var], self.outside[loop.var]
        return [(c.result, c.init.dtype) for c in loop.carries]

    # -- indices

    def _index(self, index: Affine, where: str) -> None:
        for v in index.variables():
            if v.dynamic:
                dtype = self.scalars.get(v.name)
                if dtype is None or not dtype.is_int:
                    what = dtype or "not defined before it"
                    raise self.fail("L1", f"{where} uses %{v.name} in an index, which is {what}")
                continue
            loop = self.loops.get(v.name)
            if loop is None:
                raise self.fail("L1", f"{where} uses the loop variable %{v.name} outside of its loop")
            # under a condition a variable may be known to run over a part of its loop only
            part = self.branches > 0 and loop.lo <= v.lo <= v.hi <= loop.hi
            if (v.lo, v.hi) != (loop.lo, loop.hi) and not part:
                ranges = f"{v.lo}..{v.hi}, but its loop runs {loop.lo}..{loop.hi}"
                raise self.fail("L8", f"{where}: %{v.name} in {ranges}")

    def _access(self, stmt: Load | Store, where: str) -> Buffer:
        self._origin(stmt.origin, where)
        buffer = self.buffers.get(stmt.buffer)
        if buffer is None:
            raise self.fail("L3", f"{where}: there is no buffer %{stmt.buffer} here")
        if len(stmt.index) != buffer.type.rank:
            raise self.fail("L3", f"{where}: {len(stmt.index)} indices for %{buffer.name}: {buffer.type}")
        for index in (*stmt.index, *(e for e, _, _ in stmt.guard)):
            self._index(index, where)
        if any(loop.trips == 0 for loop in self.loops.values()) or _never(stmt.guard):
            return buffer
        for axis, (index, extent) in enumerate(zip(stmt.index, buffer.type.shape)):
            low, high = guarded_bounds(index, stmt.guard)
            certain = self.branches == 0 and not _entangled(index, stmt.guard) and is_tight(index, self.loops)
            # Where a turn outside may be one that does not happen, only an index that always misses is wrong.
            outside = (low < 0 or high >= extent) if certain else (high < 0 or low >= extent) and not self.branches
            if outside:
                runs = f"%{buffer.name}: {buffer.type} runs {low}..{high} ({index})"
                raise self.fail("L4", f"{where}: index {axis} of {runs}")
        return buffer

    def _apart(self, store: Store) -> None:
        """The loops whose turns all store to the same element."""
        if self.branches:
            return
        expressions = [*store.index, *(e for e, _, _ in store.guard)]
        names = {v.name for e in expressions for v in e.variables()}
        if any(v.dynamic for e in expressions for v in e.variables()):
            return
        for var, loop in self.loops.items():
            private = store.buffer not in self.outside[var]
            if loop.kind in LOCKSTEP and loop.trips > 1 and not loop.carries and var not in names and not private:
                which = f"all turns of the {loop.kind} loop over %{var}"
                raise self.fail("L6", f"store to %{store.buffer}: {which} write the same element")


def _never(guard: Guard) -> bool:
    """Whether the guard holds nowhere."""
    for e, lo, hi in guard:
        low, high = e.bounds()
        if high < lo or low >= hi:
            return True
    return False


def guarded_bounds(index: Affine, guard: Guard) -> tuple[int, int]:
    """Bounds of an index where the guard holds: a test of the same terms, moved by a constant, narrows them."""
    low, high = index.bounds()
    for e, lo, hi in guard:
        if e.terms and dict(e.terms) == dict(index.terms):
            shift = index.const - e.const
            low, high = max(low, lo + shift), min(high, hi - 1 + shift)
    if len(index.terms) == 1:
        atom, factor = index.terms[0]
        if isinstance(atom, Quotient):
            inner = guarded_bounds(atom.expr, guard)
            ends = sorted((end // atom.divisor) * factor + index.const for end in inner)
            low, high = max(low, ends[0]), min(high, ends[1])
    return low, high


def is_tight(index: Affine, loops: Mapping[str, For]) -> bool:
    """Whether the bounds are reached: loop variables only, each of them once, and no remainders; the last turn of
    every loop is the last number of its range."""
    seen: set[str] = set()
    stack = [index]
    while stack:
        for atom, _ in stack.pop().terms:
            if isinstance(atom, Remainder) or isinstance(atom, Var) and (atom.dynamic or atom.name in seen):
                return False
            if isinstance(atom, Var):
                loop = loops[atom.name]
                if (loop.hi - 1 - loop.lo) % loop.step:
                    return False
                seen.add(atom.name)
            else:
                stack.append(atom.expr)
    return True


def _entangled(index: Affine, guard: Guard) -> bool:
    """Whether the guard narrows the index in a way that is not worked out."""
    names = {v.name for v in index.variables()}
    inner = [dict(index.terms)] + [dict(a.expr.terms) for a, _ in index.terms if isinstance(a, Quotient)]
    return any(dict(e.terms) not in inner and any(v.name in names for v in e.variables()) for e, _, _ in guard)

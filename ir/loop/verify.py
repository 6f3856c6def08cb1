"""Rules L of symc.ir.verify: loop kernels, and the program that calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc.ir.errors import IRError, VerifyError
from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Alloc, Buffer, For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store
from symc.ir.loop.parse import KINDS, MODES
from symc.ir.loop.ranges import Known, Range, Ranges, whole
from symc.ir.loop.verify_accesses import FAR, Access, Fact, Scalar, bounds_of, meeting, outside, overwritten
from symc.ir.loop.verify_carries import Reads, broken_carry
from symc.ir.loop.verify_schedule import misfit
from symc.ir.modules import Calls, LoopModule
from symc.ir.op import Ref
from symc.ir.origins import Origin
from symc.ir.program.nodes import KernelStep, regions_of_step
from symc.ir.program.text import is_planned
from symc.ir.tensor.verify import Checked
from symc.ir.types import BOOL, F32, F64, DType, TensorType


def verify_loops(module: Any, origins: bool = True, checked: Checked | None = None) -> None:
    """Check a loop module: every kernel, the program, and the calls."""
    from symc.ir.program.verify import verify_program

    check = checked or Checked()
    for kernel in module.kernels:
        if not check.knows(kernel):
            verify_kernel(kernel, origins, check)
            check.add(kernel)
    _numbers(module)
    if module.program.steps and not is_planned(module.program):
        raise VerifyError("L9", f"program @{module.program.name} calls kernels, but its values have no places")
    verify_program(module.program, origins, Calls(module.calls, module.shifts, module.regions), check)
    _calls(module)


def _numbers(module: LoopModule) -> None:
    """As many calls as there are steps, and regions with calls as there are regions."""
    steps = module.program.steps
    if len(module.calls) != len(steps):
        raise VerifyError("L9", f"{len(module.calls)} calls for {len(steps)} steps")
    for at, step in enumerate(steps):
        held = module.regions[at] if at < len(module.regions) else ()
        if len(held) != len(regions_of_step(step)):
            raise VerifyError("L9", f"calls of {len(held)} regions for the {len(regions_of_step(step))} of step {at}")
        for inside in module.inside(at):
            _numbers(inside)


def _calls(module: LoopModule) -> None:
    """Steps and the kernels they call agree, in a program and in those inside of its steps."""
    types = module.program.value_types()
    for at, (step, number) in enumerate(zip(module.program.steps, module.calls)):
        for inside in module.inside(at):
            _calls(inside)
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
        for result, buffer in zip(step.results, kernel.buffers[len(step.operands) :]):
            if result.inplace and kernel.buffers[step.operands.index(result.inplace)].name not in buffer.alias:
                over = f"@{kernel.name} does not say that %{buffer.name} may take over that memory"
                raise VerifyError("L9", f"step {at}: %{result.name} inplace(%{result.inplace}), but {over}")


def verify_kernel(kernel: LoopKernel, origins: bool = True, check: Checked | None = None) -> None:
    """Check one kernel (rules L1 to L8 and L10 to L13)."""
    _Kernel(kernel, (check or Checked()) if origins else None).check()


class _Kernel:
    """Walks a kernel with the scalars, buffers and loops that are visible."""

    def __init__(self, kernel: LoopKernel, origins: Checked | None) -> None:
        self.kernel, self.origins = kernel, origins
        self.scalars: dict[str, DType] = {}
        self.buffers: dict[str, Buffer] = {}
        self.loops: dict[str, For] = {}
        #: how many loops are open where a scalar is made, and where a buffer is
        self.depths: dict[str, int] = {}
        #: what holds by the conditions around, of index expressions and of scalars
        self.facts: tuple[Fact, ...] = ()
        self.known: Known | None = None
        self.ranges = Ranges()
        self.reads: Reads = {}
        #: every access that may happen, by buffer
        self.accesses: dict[str, list[Access]] = {}
        self.count = 0

    def fail(self, rule: str, message: str) -> VerifyError:
        return VerifyError(rule, f"kernel @{self.kernel.name}: {message}")

    def check(self) -> None:
        """Everything."""
        for b in self.kernel.buffers:
            self._buffer(b)
            if b.mode == "scratch":
                raise self.fail("L8", f"%{b.name} is scratch, but stands among the parameters")
        for b in self.kernel.buffers:
            for name in b.alias:
                other = self.buffers.get(name)
                if b.mode != "out" or other is None or other.mode != "in" or other.type.nbytes != b.type.nbytes:
                    what = "which is no `in` parameter of its size" if b.mode == "out" else "but is no `out`"
                    raise self.fail("L8", f"%{b.name} takes over %{name}, {what}")
        self._body(self.kernel.body)
        for name, found in self.accesses.items():
            alias = self.buffers[name].alias
            self._apart(found if not alias else self._memory(name, alias))
        if self.kernel.schedule is not None and not self.kernel.is_scheduled:
            problem = misfit(self.kernel, self.kernel.schedule)
            if problem:
                raise self.fail("L13", f"its schedule does not fit: {problem}")

    def _buffer(self, b: Buffer) -> None:
        if b.mode not in MODES:
            raise self.fail("L8", f"%{b.name} has mode {b.mode!r}")
        if b.name in self.buffers:
            raise self.fail("L8", f"two buffers are named %{b.name}")
        self.buffers[b.name] = b
        self.depths[f"%{b.name}"] = len(self.loops)

    def _body(self, body: Sequence[Stmt]) -> None:
        """A body: its buffers are not visible after it (and `_scoped` lets go of its scalars)."""
        allocated: list[str] = []
        for stmt in body:
            for name, dtype in self._statement(stmt):
                if name in self.scalars:
                    raise self.fail("L1", f"%{name} is defined twice in a body and the bodies around it")
                self.scalars[name] = dtype
                self.depths[name] = len(self.loops)
            self.ranges.enter(stmt)
            if isinstance(stmt, Alloc):
                self._buffer(stmt.buffer)
                allocated.append(stmt.buffer.name)
        for name in allocated:
            del self.buffers[name]
            self._apart(self.accesses.pop(name, []))

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
            return []
        if isinstance(stmt, For):
            return self._loop(stmt)
        if isinstance(stmt, If):
            self._ref(stmt.cond, "if")
            if stmt.cond.dtype != BOOL:
                raise self.fail("L2", f"if %{stmt.cond.name}: the condition is {stmt.cond.dtype}")
            outer = self.facts, self.known
            self.facts = (*self.facts, *self._facts(stmt.cond))
            self.known = self.ranges.refined(stmt.cond, True, self.known)
            self._scoped(stmt.body, {})
            self.facts, self.known = outer
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
        if let.given and [a.dtype in (F32, F64) for a in let.args if a.is_literal] != [True]:
            raise self.fail("L8", f"%{let.name} is given its literal, and has not one that is f32 or f64")
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
        if loop.given and not self._may_be_given(loop):
            raise self.fail("L8", f"{where}: the turns of such a {loop.kind} loop cannot be given")
        inside: dict[str, DType] = {}
        for c in loop.carries:
            self._ref(c.init, where)
            if c.init.dtype != c.yields.dtype:
                raise self.fail("L5", f"{where} carries %{c.name}: {c.init.dtype}, but yields {c.yields.dtype}")
            if c.name in inside or c.name in self.scalars:
                raise self.fail("L1", f"{where}: %{c.name} is defined twice")
            inside[c.name] = c.init.dtype
        self.loops[loop.var] = loop
        self.ranges.open(loop)
        self.depths.update(dict.fromkeys(inside, len(self.loops)))
        self._scoped(loop.body, inside, [c.yields for c in loop.carries])
        del self.loops[loop.var]
        broken = broken_carry(loop, self.reads)
        if broken:
            raise self.fail(*broken)
        return [(c.result, c.init.dtype) for c in loop.carries]

    def _may_be_given(self, loop: For) -> bool:
        """Whether machine code can be told the turns of a loop: one that is counted, with a turn at least if it begins
        at 0, or a vector loop that is all of the kernel."""
        if loop.kind == "vector":
            return self.kernel.body == (loop,) and not loop.carries and not loop.lo
        return loop.kind in ("serial", "parallel") and (loop.trips > 0 or loop.lo > 0)

    def _facts(self, condition: Ref) -> list[Fact]:
        """What a condition that holds says of index expressions."""
        made = self.ranges.definition(condition.name)
        if made is None or not isinstance(made[0], Let):
            return []
        let = made[0]
        if let.op.name == "and":
            return [fact for arg in let.args for fact in self._facts(arg)]
        if let.op.name not in ("lt", "le", "gt", "ge", "eq") or not let.args[1].is_literal:
            return []
        value, limit = self.ranges.definition(let.args[0].name), int(let.args[1].value or 0)
        if value is None or not isinstance(value[0], IndexValue) or not value[0].dtype.is_int:
            return []
        least, most = value[0].index.bounds()
        if not Range(least, most).within(whole(value[0].dtype)):
            return []
        low = {"gt": limit + 1, "ge": limit, "eq": limit}.get(let.op.name, -FAR)
        high = {"lt": limit, "le": limit + 1, "eq": limit + 1}.get(let.op.name, FAR)
        return [(value[0].index, low, high)]

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
            if (v.lo, v.hi) != (loop.lo, loop.hi) and not self._runs(loop, v.lo, v.hi):
                ranges = f"{v.lo}..{v.hi}, but its loop runs {loop.lo}..{loop.hi}"
                raise self.fail("L8", f"{where}: %{v.name} in {ranges}")
        self._decided([atom.expr for atom, _ in index.terms if not isinstance(atom, Var)], where)

    def _decided(self, expressions: Sequence[Affine], where: str) -> None:
        """Machine code for what is divided and for a guard depends on the ranges of variables, so none may be given."""
        for v in (v for e in expressions for v in e.variables()):
            if not v.dynamic and self.loops[v.name].given:
                raise self.fail("L8", f"{where} divides or tests %{v.name}, whose turns are given")

    def _runs(self, loop: For, lo: int, hi: int) -> bool:
        """Whether a loop's variable lies in lo..hi by its loop and the conditions around."""
        low, high = loop.lo, loop.hi
        for index, least, limit in self.facts:
            (atom, factor), *others = index.terms or ((None, 0),)
            if not others and isinstance(atom, Var) and atom.name == loop.var and factor == 1:
                low, high = max(low, least - index.const), min(high, limit - index.const)
        return lo <= low and high <= hi

    def _access(self, stmt: Load | Store, where: str) -> Buffer:
        self._origin(stmt.origin, where)
        buffer = self.buffers.get(stmt.buffer)
        if buffer is None:
            raise self.fail("L3", f"{where}: there is no buffer %{stmt.buffer} here")
        if len(stmt.index) != buffer.type.rank:
            raise self.fail("L3", f"{where}: {len(stmt.index)} indices for %{buffer.name}: {buffer.type}")
        for index in (*stmt.index, *(e for e, _, _ in stmt.guard)):
            self._index(index, where)
        self._decided([e for e, _, _ in stmt.guard], where)
        loops = tuple(self.loops.values())
        if any(loop.trips == 0 for loop in loops):
            return buffer
        expressions = (*stmt.index, *(e for e, _, _ in (*stmt.guard, *self.facts)))
        known = self._in_turns(stmt)
        scalars = {v.name: self._scalar(v, known) for e in expressions for v in e.variables() if v.dynamic}
        bounds = tuple(bounds_of(index, scalars) for index in stmt.index)
        self.count += 1
        access = Access(stmt, buffer, self.depths[f"%{buffer.name}"], loops, self.facts, scalars, bounds, self.count)
        found = outside(access)
        if found is not None:
            axis, low, high = found
            runs = f"%{buffer.name}: {buffer.type} may be {low}..{high} ({stmt.index[axis]})"
            raise self.fail("L4", f"{where}: index {axis} of {runs}")
        self.accesses.setdefault(buffer.name, []).append(access)
        return buffer

    def _in_turns(self, stmt: Load | Store) -> Known | None:
        """What is known where the access happens: its guard, and conditions around, may leave out turns."""
        turns: dict[str, Range] = {}
        for index, least, limit in (*stmt.guard, *self.facts):
            (atom, factor), *others = index.terms or ((None, 0),)
            if not others and isinstance(atom, Var) and not atom.dynamic and factor == 1:
                before = turns.get(atom.name, Range(atom.lo, atom.hi - 1))
                low, high = max(before.lo, least - index.const), min(before.hi, limit - 1 - index.const)
                if low <= high:
                    turns[atom.name] = Range(low, high)
        if not turns:
            return self.known
        known = self.known or Known()
        return Known(known.ranges, known.nested, turns)

    def _scalar(self, var: Var, known: Known | None) -> Scalar:
        """What an index can rely on of an integer."""
        made = self.ranges.definition(var.name)
        low, high = self.ranges.bounds(Affine.of(var), known)
        value = self.ranges.expression(Ref(var.name, self.scalars[var.name]), known)
        return Scalar(low, high, self.depths.get(var.name, 0), id(made[0]) if made else 0, value)

    def _memory(self, name: str, alias: Sequence[str]) -> list[Access]:
        """The accesses to a buffer and to those whose memory it may take over, which nobody may need any more where it
        is stored."""
        found = [access for buffer in (name, *alias) for access in self.accesses.get(buffer, ())]
        late = overwritten(found)
        if late is not None:
            store, load = late
            raise self.fail("L12", f"{load.what} may come after {store.what}, which takes over its memory")
        return found

    def _apart(self, accesses: Sequence[Access]) -> None:
        found = meeting(accesses)
        if found is not None:
            one, other, loop = found
            turns = f"different turns of the {loop.kind} loop over %{loop.var}"
            raise self.fail("L6", f"{one.what} and {other.what}: {turns} may touch the same element")

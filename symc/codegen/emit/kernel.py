"""Loops to LLVM IR: the lockstep emitter.

Every statement of the loop level is emitted for all lanes that are open at that point (see symc.codegen.emit.lanes):
a jam loop opens a lane dimension of registers, a vector loop one of vector lanes. One template serves all vector
widths, and register-tile contractions, row nests, windows and packing alike.

Signature of a kernel: i32 (ptr args, i64 lo, i64 hi, ptr scratch), where [lo, hi) are the turns of the outermost
parallel loop to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from symc.codegen.emit.ahead import Ahead
from symc.codegen.emit.carries import across, combination, folded, masked_out, settle
from symc.codegen.emit.description import Given, given_begin, given_factor, given_turns, numbers_of, outermost_loop
from symc.codegen.emit.lanes import Lane, Val, coordinates, project, scalar
from symc.codegen.emit.memory import Memory
from symc.codegen.emit.operations import Operations
from symc.codegen.emit.outermost import emit_outermost
from symc.codegen.emit.pairs import load_pair, store_pair
from symc.codegen.emit.text import Lines, literal, splat, type_name
from symc.codegen.target import Target
from symc.ir.index import Affine, Quotient, Remainder, Var
from symc.ir.loop.nodes import Alloc, Carry, For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store, walk
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import I64, DType


def emit_kernel(kernel: LoopKernel, target: Target, name: str = "kernel") -> str:
    """The LLVM IR of one kernel as a module of its own."""
    emitter = _Emitter(kernel, target)
    emitter.run()
    body = "\n".join(emitter.lines.lines)
    externals = "\n".join(emitter.lines.externals.values())
    return (
        f"{externals}\n"
        f"define i32 @{name}(ptr %args, i64 %lo, i64 %hi, ptr %scratch) nounwind {{\nentry:\n{body}\n  ret i32 0\n}}\n"
    )


class _Emitter:
    def __init__(self, kernel: LoopKernel, target: Target) -> None:
        self.kernel, self.target = kernel, target
        self.lines = Lines()
        self.ops = Operations(self.lines, target)
        self.values: dict[str, Val] = {}
        #: loop variables: an SSA i64, a constant, or a lane dimension
        self.vars: dict[str, str | Lane] = {}
        self.depth: dict[str, int] = {}
        self.open: tuple[Lane, ...] = ()
        self.memory = Memory(self)
        self.ahead = Ahead(self)
        #: what is given
        self.numbers: dict[Given, str] = {}
        self.at_block = "entry"

    def run(self) -> None:
        self.memory.parameters(self.kernel.buffers)
        for at, given in enumerate(numbers_of(self.kernel), len(self.kernel.buffers)):
            of = type_name(given[1]) if isinstance(given[1], DType) else "i64"
            self.numbers[given] = self.memory.argument(at, of)
        loop = outermost_loop(self.kernel)
        if loop is None:
            self.statements(self.kernel.body)
        else:
            emit_outermost(self, loop)

    # -- control

    def block(self, label: str) -> None:
        self.lines.block(label)
        self.at_block = label

    def statements(self, body: tuple[Stmt, ...]) -> None:
        paired = False
        for stmt, after in zip(body, (*body[1:], None)):
            if paired:
                paired = False
            elif isinstance(stmt, Let):
                self.values[stmt.name] = self.apply(stmt.op, self._operands(stmt), stmt.dtype)
            elif isinstance(stmt, IndexValue):
                self.values[stmt.name] = self._index_value(stmt.index, stmt.dtype)
            elif isinstance(stmt, Load):
                paired = isinstance(after, Load) and load_pair(self.memory, stmt, after)
                if not paired:
                    self.values[stmt.name] = self.memory.load(stmt)
            elif isinstance(stmt, Store):
                paired = isinstance(after, Store) and store_pair(self.memory, stmt, after)
                if not paired:
                    self.memory.store(stmt)
            elif isinstance(stmt, For):
                self._for(stmt)
            elif isinstance(stmt, If):
                self._if(stmt)
            elif isinstance(stmt, Alloc):
                self.memory.alloc(stmt.buffer)

    def where(self, comparison: str, one: str, other: str, body: Callable[[], None]) -> None:
        """The statements of `body` where two numbers compare so."""
        lines = self.lines
        yes, after = lines.label("some"), lines.label("none")
        lines.do(f"br i1 {lines.value(f'icmp {comparison} i64 {one}, {other}')}, label %{yes}, label %{after}")
        self.block(yes)
        body()
        lines.do(f"br label %{after}")
        self.block(after)

    def _for(self, loop: For) -> None:
        if loop.given:
            self._given(loop)
        elif loop.trips == 0:
            for carry in loop.carries:
                self.values[carry.result] = self.operand(carry.init)
        elif loop.kind == "jam":
            lane = Lane(loop.var, loop.trips, 0, str(loop.lo), loop.trips, loop.step)
            self._lockstep(loop, lane, lambda: self.statements(loop.body))
        elif loop.kind == "vector":
            self._vector(loop)
        elif loop.kind == "unroll" or loop.trips == 1:
            self._unrolled(loop)
        else:
            self.counted(loop, "0", str(loop.trips), str(loop.lo), loop.step)

    def _given(self, loop: For) -> None:
        """A counted loop whose turns are an argument: at least one, unless it begins where another one ended."""
        turns = self.numbers[given_turns(loop)]
        if not loop.lo:
            self.counted(loop, "0", turns, "0", loop.step)
            return
        begin = self.numbers[given_begin(loop)]
        dims = self._carry_dims(loop)
        starts = [self.spread(self.operand(c.init), d) for c, d in zip(loop.carries, dims)]
        before, last = self.at_block, ""

        def some() -> None:
            nonlocal last
            self.counted(loop, "0", turns, begin, loop.step)
            last = self.at_block

        self.where("slt", "0", turns, some)
        for carry, start in zip(loop.carries, starts):
            made = self.values[carry.result]
            t = type_name(made.dtype, made.lanes)
            phis = {
                at: self.lines.value(f"phi {t} [ {start.items[at]}, %{before} ], [ {item}, %{last} ]")
                for at, item in made.items.items()
            }
            self.values[carry.result] = Val(made.dtype, made.dims, phis)

    def _unrolled(self, loop: For) -> None:
        carried = {c.name: self.operand(c.init) for c in loop.carries}
        for turn in range(loop.trips):
            self.vars[loop.var] = str(loop.lo + turn * loop.step)
            self.depth[loop.var] = 0
            self.values.update(carried)
            self.statements(loop.body)
            carried = {c.name: self.operand(c.yields) for c in loop.carries}
            settle(self.lines, self.target, list(carried.values()))
        for c in loop.carries:
            self.values[c.result] = carried[c.name]

    def counted(
        self, loop: For, first: str, last: str, lo: str, step: int, body: Callable[[], None] | None = None
    ) -> None:
        """A loop over the turns [first, last), at least one, with carried registers as phis."""
        lines = self.lines
        head, latch, done = lines.label("loop"), lines.label("next"), lines.label("done")
        dims = self._carry_dims(loop)
        starts = [self.spread(self.operand(c.init), d) for c, d in zip(loop.carries, dims)]
        before = self.at_block
        lines.do(f"br label %{head}")
        self.block(head)
        mark = len(lines.lines)
        turn = lines.name("t")
        inside: list[Val] = []
        for carry, start in zip(loop.carries, starts):
            inside.append(Val(start.dtype, start.dims, {at: lines.name("c") for at in start.items}))
            self.values[carry.name] = inside[-1]
        self.vars[loop.var] = self._variable(turn, lo, step)
        self.depth[loop.var] = 1 + max(self.depth.values(), default=0)
        self.ahead.enter(loop, turn)
        if body is None:
            self.statements(loop.body)
        else:
            body()
        self.ahead.leave()
        yields = [self.spread(self.operand(c.yields), d) for c, d in zip(loop.carries, dims)]
        lines.do(f"br label %{latch}")
        self.block(latch)
        after = lines.value(f"add nuw nsw i64 {turn}, 1")
        again = lines.value(f"icmp slt i64 {after}, {last}")
        lines.do(f"br i1 {again}, label %{head}, label %{done}")
        phis = [f"  {turn} = phi i64 [ {first}, %{before} ], [ {after}, %{latch} ]"]
        for start, held, made in zip(starts, inside, yields):
            t = type_name(start.dtype, start.lanes)
            for at, name in held.items.items():
                phis.append(f"  {name} = phi {t} [ {start.items[at]}, %{before} ], [ {made.items[at]}, %{latch} ]")
        lines.lines[mark:mark] = phis
        self.block(done)
        for carry, made in zip(loop.carries, yields):
            self.values[carry.result] = made
        self.depth.pop(loop.var, None)

    def _variable(self, turn: str, lo: str, step: int) -> str:
        if step != 1:
            turn = self.lines.value(f"mul nuw nsw i64 {turn}, {step}")
        return self.lines.value(f"add nsw i64 {turn}, {lo}") if lo != "0" else turn

    def _lockstep(self, loop: For, lane: Lane, body: Callable[[], None]) -> None:
        """The body for all turns of `lane` at once; carries become partial results, combined afterwards."""
        outer, self.open = self.open, (*self.open, lane)
        self.vars[loop.var] = lane
        for carry in loop.carries:
            self.values[carry.name] = self._partial_start(carry)
        body()
        totals = {c.result: self._combine(c, self.operand(c.yields), lane) for c in loop.carries}
        self.open = outer
        self.values.update(totals)

    def _vector(self, loop: For) -> None:
        """Chunks of width * unroll turns in a counted loop, then the rest in one masked chunk."""
        lines, width = self.lines, loop.width
        chunk = width * loop.unroll
        whole, rest = divmod(loop.trips, chunk)
        if whole == 1 and rest == 0 or whole == 0:
            turns = loop.trips
            lane = Lane(loop.var, -(-turns // width), width, str(loop.lo), turns, loop.step)
            self._lockstep(loop, lane, lambda: self.statements(loop.body))
            return
        outer = self.open
        held: dict[str, Val] = {}
        head, latch, done = lines.label("loop"), lines.label("next"), lines.label("done")
        before = self.at_block
        turn = lines.name("t")
        base = lines.name("b")
        lane = Lane(loop.var, loop.unroll, width, base, chunk, loop.step)
        self.open, self.vars[loop.var] = (*outer, lane), lane
        starts = {c.name: self.spread(self._partial_start(c), self._lockstep_dims(loop, c)) for c in loop.carries}
        lines.do(f"br label %{head}")
        self.block(head)
        mark = len(lines.lines)
        scaled = turn if chunk * loop.step == 1 else lines.value(f"mul nuw nsw i64 {turn}, {chunk * loop.step}")
        lines.do(f"{base} = add nsw i64 {scaled}, {loop.lo}")
        self.depth[loop.var] = 1 + max(self.depth.values(), default=0)
        for carry in loop.carries:
            start = starts[carry.name]
            held[carry.name] = Val(start.dtype, start.dims, {at: lines.name("c") for at in start.items})
            self.values[carry.name] = held[carry.name]
        self.statements(loop.body)
        yields = {c.name: self.spread(self.operand(c.yields), held[c.name].dims) for c in loop.carries}
        lines.do(f"br label %{latch}")
        self.block(latch)
        after = lines.value(f"add nuw nsw i64 {turn}, 1")
        again = lines.value(f"icmp slt i64 {after}, {whole}")
        lines.do(f"br i1 {again}, label %{head}, label %{done}")
        phis = [f"  {turn} = phi i64 [ 0, %{before} ], [ {after}, %{latch} ]"]
        for name, value in held.items():
            t = type_name(value.dtype, value.lanes)
            for at, register in value.items.items():
                first, last = starts[name].items[at], yields[name].items[at]
                phis.append(f"  {register} = phi {t} [ {first}, %{before} ], [ {last}, %{latch} ]")
        lines.lines[mark:mark] = phis
        self.block(done)
        self.depth.pop(loop.var, None)
        results = {c.result: self._combine(c, yields[c.name], lane) for c in loop.carries}
        self.open = outer
        self.values.update(results)
        if rest:
            self.rest(loop, whole * chunk, rest)

    def rest(self, loop: For, done: int, rest: int) -> None:
        """The turns after the whole chunks, continuing from the combined carries."""
        lo = loop.lo + done * loop.step
        lane = Lane(loop.var, -(-rest // loop.width), loop.width, str(lo), rest, loop.step)
        carries = tuple(replace(c, init=Ref(c.result, c.init.dtype)) for c in loop.carries)
        tail = For(loop.var, lo, loop.hi, loop.body, carries, "vector", loop.width, loop.step, 1, loop.origin)
        self._lockstep(tail, lane, lambda: self.statements(loop.body))

    def _if(self, stmt: If) -> None:
        condition = self.operand(stmt.cond)
        if condition.dims:
            raise NotImplementedError("a condition that differs between lanes cannot branch")
        lines = self.lines
        yes, after = lines.label("then"), lines.label("after")
        lines.do(f"br i1 {condition.items[()]}, label %{yes}, label %{after}")
        self.block(yes)
        self.statements(stmt.body)
        lines.do(f"br label %{after}")
        self.block(after)

    # -- carries

    def _partial_start(self, carry: Carry) -> Val:
        """Each lane starts from the operation's identity."""
        dtype = carry.init.dtype
        return scalar(dtype, literal(combination(carry)[1], dtype))

    def _lockstep_dims(self, loop: For, carry: Carry) -> tuple[Lane, ...]:
        return self._carry_dims(loop)[loop.carries.index(carry)]

    def _combine(self, carry: Carry, value: Val, lane: Lane) -> Val:
        """The partial results of all lanes of `lane`, and the initial value, as one."""
        op, neutral = combination(carry)
        dtype = value.dtype
        value = self.spread(value, tuple(d for d in self.open if d in value.dims or d is lane))
        rest = tuple(d for d in value.dims if d is not lane)
        start = self.operand(carry.init)
        items: dict[tuple[int, ...], str] = {}
        for at in coordinates(rest):
            where = dict(zip(rest, at))
            parts = []
            for k in range(lane.count):
                part = value.items[tuple(k if d is lane else where[d] for d in value.dims)]
                if lane.width and lane.mask(k) < lane.width:
                    part = masked_out(self.lines, part, lane, k, dtype, neutral)
                parts.append(part)
            total = folded(self.ops, op, parts, dtype, value.lanes)
            if lane.width:
                total = across(self.ops, op, total, dtype, lane.width)
            items[at] = total
        combined = Val(dtype, rest, items)
        return self.apply(op, [start, combined], dtype)

    # -- which lanes a carried value varies over

    def _carry_dims(self, loop: For) -> list[tuple[Lane, ...]]:
        """Everything that a turn reads may flow into every carry: a cheap bound, exact for single reductions."""
        found: set[Lane] = set()
        for stmt in walk(loop.body):
            if isinstance(stmt, Load):
                for index in (*stmt.index, *(g for g, _, _ in stmt.guard)):
                    found |= self._index_dims(index)
                found.update(self.memory.lanes_of.get(stmt.buffer, ()))
            elif isinstance(stmt, IndexValue):
                found |= self._index_dims(stmt.index)
            elif isinstance(stmt, Let):
                for arg in stmt.args:
                    found |= self._dims_of(arg)
        dims = [found | self._dims_of(c.init) for c in loop.carries]
        return [tuple(d for d in self.open if d in names) for names in dims]

    def _dims_of(self, ref: Ref) -> frozenset[Lane]:
        """The lanes a value varies over that is computed already (none for one that is still to come)."""
        value = self.values.get(ref.name) if ref.name else None
        return frozenset(value.dims) if value is not None else frozenset()

    def _index_dims(self, index: Affine) -> frozenset[Lane]:
        dims: frozenset[Lane] = frozenset()
        for var in index.variables():
            if var.dynamic:
                dims |= self._dims_of(Ref(var.name, I64))
            else:
                place = self.vars.get(var.name)
                if isinstance(place, Lane):
                    dims |= {place}
        return dims

    # -- values

    def operand(self, ref: Ref) -> Val:
        if ref.is_literal:
            return scalar(ref.dtype, literal(ref.value, ref.dtype))
        return self.values[ref.name]

    def _operands(self, let: Let) -> list[Val]:
        """What an operation is applied to; a literal may be given."""
        if not let.given:
            return [self.operand(a) for a in let.args]
        number = self.numbers[given_factor(let)]
        return [scalar(a.dtype, number) if a.is_literal else self.operand(a) for a in let.args]

    def union(self, values: list[Val]) -> tuple[Lane, ...]:
        found = {d for v in values for d in v.dims}
        return tuple(d for d in self.open if d in found)

    def spread(self, value: Val, dims: tuple[Lane, ...]) -> Val:
        """The value with one register for every coordinate of `dims`."""
        if value.dims == dims:
            return value
        lanes = next((d.width for d in dims if d.width), 0)
        wide: dict[str, str] = {}
        items = {}
        for at in coordinates(dims):
            item = project(value, dims, at)
            if lanes and not value.lanes:
                if item not in wide:
                    wide[item] = splat(self.lines, item, value.dtype, lanes)
                item = wide[item]
            items[at] = item
        return Val(value.dtype, dims, items)

    def apply(self, op: object, args: list[Val], dtype: DType) -> Val:
        dims = self.union(args)
        lanes = next((d.width for d in dims if d.width), 0)
        wide: dict[tuple[str, DType], str] = {}
        made: dict[tuple[str, ...], str] = {}
        items = {}
        for at in coordinates(dims):
            operands = []
            for arg in args:
                item = project(arg, dims, at)
                if lanes and not arg.lanes:
                    key = (item, arg.dtype)
                    if key not in wide:
                        wide[key] = splat(self.lines, item, arg.dtype, lanes)
                    item = wide[key]
                operands.append(item)
            known = tuple(operands)
            if known not in made:
                made[known] = self.ops.apply(op, [a.dtype for a in args], operands, dtype, lanes)  # type: ignore[arg-type]
            items[at] = made[known]
        return Val(dtype, dims, items)

    def map(self, function: Callable[[str, int], str], value: Val, dtype: DType) -> Val:
        return Val(dtype, value.dims, {at: function(item, value.lanes) for at, item in value.items.items()})

    # -- index expressions

    def _index_value(self, index: Affine, dtype: DType) -> Val:
        """An index expression as a number of `dtype`."""
        return self.map(lambda item, lanes: self.ops.cast(item, I64, dtype, lanes), self.index(index), dtype)

    def index(self, index: Affine) -> Val:
        """Any index expression as an i64 value in every lane."""
        total = scalar(I64, str(index.const))
        for atom, factor in self._ordered(index):
            total = self._add(total, self._times(self._atom(atom), factor))
        return total

    def _ordered(self, index: Affine) -> list[tuple[Var | Quotient | Remainder, int]]:
        """Terms from the outermost variable to the innermost, so that what is invariant can be hoisted."""

        def depth(atom: Var | Quotient | Remainder) -> int:
            if isinstance(atom, Var):
                return self.depth.get(atom.name, 0) if not atom.dynamic else 1 << 20
            return max((depth(v) for v in atom.expr.variables()), default=0)

        return sorted(index.terms, key=lambda term: depth(term[0]))

    def _atom(self, atom: Var | Quotient | Remainder) -> Val:
        if isinstance(atom, Var):
            if atom.dynamic:
                return self.values[atom.name]
            place = self.vars[atom.name]
            return scalar(I64, place) if isinstance(place, str) else self._lane_value(place)
        inner = self.index(atom.expr)
        low, _ = atom.expr.bounds()
        divisor = scalar(I64, str(atom.divisor))
        if low >= 0:
            word = "udiv" if isinstance(atom, Quotient) else "urem"

            def divide(x: str, lanes: int) -> str:
                t = type_name(I64, lanes)
                by = f"splat (i64 {atom.divisor})" if lanes else str(atom.divisor)
                return self.lines.value(f"{word} {t} {x}, {by}")

            return self.map(divide, inner, I64)
        remainder = self.apply(ew.mod, [inner, divisor], I64)
        if isinstance(atom, Remainder):
            return remainder
        return self.apply(ew.div, [self.apply(ew.sub, [inner, remainder], I64), divisor], I64)

    def _lane_value(self, lane: Lane) -> Val:
        """The loop variable of a lane dimension in its lanes."""
        items = {}
        for k in range(lane.count):
            if not lane.width:
                items[(k,)] = str(int(lane.base) + k * lane.step)
                continue
            ramp = "<" + ", ".join(f"i64 {(k * lane.width + i) * lane.step}" for i in range(lane.width)) + ">"
            base = splat(self.lines, lane.base, I64, lane.width)
            items[(k,)] = self.lines.value(f"add <{lane.width} x i64> {base}, {ramp}")
        return Val(I64, (lane,), items)

    def _add(self, a: Val, b: Val) -> Val:
        if not a.dims and a.items[()] == "0":
            return b
        return self.apply(ew.add, [a, b], I64)

    def _times(self, a: Val, factor: int) -> Val:
        return a if factor == 1 else self.apply(ew.mul, [a, scalar(I64, str(factor))], I64)

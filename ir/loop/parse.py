"""Reading loop kernels; see symc.ir.loop.text."""

from __future__ import annotations

from symc.ir.index import Affine, Atom, Quotient, Remainder, Var
from symc.ir.loop.nodes import Alloc, Buffer, Carry, For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store
from symc.ir.loop.schedule import Schedule
from symc.ir.loop.schedule_text import read_schedule
from symc.ir.modules import LoopModule
from symc.ir.op import Primitive, Ref
from symc.ir.program.parse import ProgramParser
from symc.ir.syntax.tokens import Reader
from symc.ir.tensor.parse import make_op, operands, operation
from symc.ir.types import Array, DType, TensorType

Guard = tuple[tuple[Affine, int, int], ...]
MODES = ("in", "out", "inout", "scratch")
KINDS = ("serial", "parallel", "vector", "jam", "unroll")


def parse_loops(p: Reader) -> LoopModule:
    """A file of level loop."""
    kernels: list[LoopKernel] = []
    numbers: dict[str, int] = {}
    while p.accept("kernel"):
        at = p.at
        kernel = KernelParser(p).kernel()
        if kernel.name in numbers:
            raise p.error(f"kernel @{kernel.name} is defined twice", at)
        numbers[kernel.name] = len(kernels)
        kernels.append(kernel)
    reader = ProgramParser(p, numbers)
    program = reader.program()
    calls = reader.called()
    return LoopModule(program, tuple(kernels), calls.calls, calls.shifts, calls.regions)


def _literal(array: Array, dtype: DType) -> Ref:
    return Ref("", dtype, array.item())


class KernelParser:
    """Reads one kernel: its scalars and buffers by name, and the ranges of the open loops."""

    def __init__(self, p: Reader) -> None:
        self.p = p
        self.scalars: dict[str, Ref] = {}
        self.buffers: dict[str, Buffer] = {}
        self.ranges: dict[str, tuple[int, int]] = {}

    def kernel(self) -> LoopKernel:
        """`@name(%x: in f32[3], ...) { ... } !1`."""
        p = self.p
        name = p.global_name()
        p.expect("(")
        p.list_of(")", self._buffer)
        params = tuple(self.buffers.values())
        key = ""
        if p.accept("key"):
            p.expect("=")
            key = p.string()
        schedule: Schedule | None = None
        if p.accept("schedule"):
            p.expect("(")
            schedule = read_schedule(p)
            p.expect(")")
        scheduled = p.accept("scheduled")
        p.expect("{")
        body = self._body()
        return LoopKernel(name, params, body, p.loc(), key, scheduled, schedule)

    def _buffer(self) -> None:
        p = self.p
        at = p.at
        name = p.name()
        p.expect(":")
        mode = p.word()
        if mode not in MODES:
            p.suggest("mode", mode, MODES, p.at - 1)
        tensor = p.tensor()
        alias: list[str] = []
        if p.accept("alias"):
            p.expect("(")
            p.list_of(")", lambda: alias.append(p.name()))
        if name in self.buffers:
            raise p.error(f"%{name} is defined twice", at)
        self.buffers[name] = Buffer(name, tensor, mode, tuple(alias))

    def _define(self, token: str, name: str, dtype: DType) -> None:
        # The last definition counts: loops side by side may use a name each.
        self.scalars[token] = Ref(name, dtype)

    def _ref(self, dtype: DType | None) -> Ref:
        """A scalar, or a literal of `dtype` unless it tells its own."""
        p = self.p
        token = p.peek
        found = self.scalars.get(token)
        if found is not None:
            p.at += 1
            return found
        if token[0] == "%":
            p.name()
            p.suggest("value", token, self.scalars, p.at - 1)
        start = p.at
        own = p.skip_literal() or dtype
        if own is None:
            raise p.error("write the element type behind this literal, like 1.0:f32", start)
        end, p.at = p.at, start
        array = p.literal(own)
        p.at = end
        return _literal(array, own)

    # -- indices

    def affine(self) -> Affine:
        """`4*%i + %j - 1`, as it stands: nothing is simplified."""
        p = self.p
        terms: list[tuple[Atom, int]] = []
        const = 0
        sign = -1 if p.accept("-") else 1
        while True:
            factor = sign
            if p.peek.isdigit():
                factor *= p.integer()
                if not p.accept("*"):
                    const += factor
                    factor = 0
            if factor:
                terms.append((self._atom(), factor))
            if p.accept("+"):
                sign = 1
            elif p.accept("-"):
                sign = -1
            else:
                return Affine(tuple(terms), const)

    def _atom(self) -> Atom:
        p = self.p
        token = p.peek
        if token in ("floordiv", "mod"):
            p.at += 1
            p.expect("(")
            expr = self.affine()
            p.expect(",")
            divisor = p.integer()
            p.expect(")")
            return Quotient(expr, divisor) if token == "floordiv" else Remainder(expr, divisor)
        name = p.name()
        is_loop = name in self.ranges
        if not is_loop and token not in self.scalars:
            p.suggest("index", token, [*self.scalars, *(f"%{n}" for n in self.ranges)], p.at - 1)
        if p.accept(":"):
            lo = p.integer()
            p.expect("..")
            return Var(name, lo, p.integer(), not is_loop)
        return Var(name, *self.ranges[name]) if is_loop else Var(name, dynamic=True)

    def _access(self) -> tuple[Buffer, tuple[Affine, ...], Guard]:
        p = self.p
        at = p.at
        name = p.name()
        if name not in self.buffers:
            p.suggest("buffer", name, self.buffers, at)
        index: list[Affine] = []
        p.expect("[")
        p.list_of("]", lambda: index.append(self.affine()))
        guard: list[tuple[Affine, int, int]] = []
        if p.accept("if"):
            while True:
                lo = p.integer()
                p.expect("<=")
                expr = self.affine()
                p.expect("<")
                guard.append((expr, lo, p.integer()))
                if not p.accept("and"):
                    break
        return self.buffers[name], tuple(index), tuple(guard)

    # -- statements

    def _body(self) -> tuple[Stmt, ...]:
        """Statements up to the closing brace."""
        made = self._statements()
        self.p.expect("}")
        return made

    def _statements(self) -> tuple[Stmt, ...]:
        made: list[Stmt] = []
        while self.p.peek not in ("}", "yield"):
            made.append(self._statement())
        return tuple(made)

    def _statement(self) -> Stmt:
        p = self.p
        token = p.peek
        if token[0] == "%" or token == "(":
            return self._definition()
        if p.accept("for"):
            return self._loop([])
        if p.accept("store"):
            add = p.accept("add")
            start = p.at
            # The literal's type is that of the buffer, which comes behind it.
            if token != "" and p.peek[0] != "%":
                p.skip_literal()
                p.expect(",")
                known: DType | None = self._access()[0].type.dtype
                p.at = start
            else:
                known = None
            value = self._ref(known)
            p.expect(",")
            buffer, index, guard = self._access()
            return Store(value, buffer.name, index, guard, add, p.loc())
        if p.accept("if"):
            cond = self._ref(None)
            origin = p.loc()
            p.expect("{")
            return If(cond, self._body(), origin)
        if p.accept("alloc"):
            name = p.name()
            p.expect(":")
            buffer = Buffer(name, p.tensor(), "scratch")
            self.buffers[name] = buffer
            return Alloc(buffer, p.loc())
        p.unexpected("a statement")

    def _definition(self) -> Stmt:
        """`%x: f32 = ...`, or the results of a loop."""
        p = self.p
        if p.accept("("):
            left: list[tuple[str, str, DType]] = []
            p.list_of(")", lambda: left.append(self._declared()))
            p.expect("=")
            p.expect("for")
            return self._loop(left)
        token, name, dtype = self._declared()
        p.expect("=")
        if p.accept("for"):
            return self._loop([(token, name, dtype)])
        made: Stmt
        if p.accept("load"):
            buffer, index, guard = self._access()
            other = self._ref(dtype) if p.accept("else") else None
            made = Load(name, buffer.name, dtype, index, guard, other, p.loc())
        elif p.peek == "index":
            p.at += 1
            p.expect("(")
            expr = self.affine()
            p.expect(")")
            made = IndexValue(name, dtype, expr, p.loc())
        else:
            at = p.at
            cls = operation(p)
            args = operands(p, self.scalars, lambda r: r.dtype, _literal)
            op = make_op(p, cls, TensorType(dtype, ()), at)
            given = p.accept("given")
            made = Let(name, dtype, op, tuple(args), p.loc(), given)
        self._define(token, name, dtype)
        return made

    def _declared(self) -> tuple[str, str, DType]:
        p = self.p
        token = p.peek
        name = p.name()
        p.expect(":")
        return token, name, p.dtype()

    def _loop(self, results: list[tuple[str, str, DType]]) -> For:
        p = self.p
        start = p.at
        var = p.name()
        p.expect("in")
        lo = p.integer()
        p.expect("..")
        hi = p.integer()
        step = p.integer() if p.accept("step") else 1
        carried: list[tuple[str, str, DType, Ref, Primitive | None]] = []

        def carry() -> None:
            token, name, dtype = self._declared()
            p.expect("=")
            carried.append((token, name, dtype, self._ref(dtype), self._combine(dtype)))

        if p.accept("carry"):
            p.expect("(")
            p.list_of(")", carry)
        if len(carried) != len(results):
            raise p.error(f"the loop carries {len(carried)} values, but has {len(results)} results", start)
        kind, width, unroll, given = self._hints()
        origin = p.loc()
        p.expect("{")
        outer = self.ranges.get(var)
        self.ranges[var] = (lo, hi)
        for token, name, dtype, _, _ in carried:
            self._define(token, name, dtype)
        body = self._statements()
        yields: list[Ref] = []
        if carried:
            p.expect("yield")
            for at, (_, _, dtype, _, _) in enumerate(carried):
                if at:
                    p.expect(",")
                yields.append(self._ref(dtype))
        p.expect("}")
        if outer is None:
            del self.ranges[var]
        else:
            self.ranges[var] = outer
        for token, name, dtype in results:
            self._define(token, name, dtype)
        carries = tuple(
            Carry(name, init, value, result, combine)
            for (_, name, _, init, combine), value, (_, result, _) in zip(carried, yields, results)
        )
        return For(var, lo, hi, body, carries, kind, width, step, unroll, origin, given)

    def _combine(self, dtype: DType) -> Primitive | None:
        """`combine=add`, if it is there."""
        p = self.p
        if not p.accept("combine"):
            return None
        p.expect("=")
        cls = operation(p)
        op = cls() if cls.elementwise else None
        if op is None or op.neutral(dtype) is None:
            raise p.error(f"{cls.name} does not combine partial results of {dtype}", p.at - 1)
        return op

    def _hints(self) -> tuple[str, int, int, bool]:
        """`{kind=width, unroll=n, given}`, if it is there."""
        p = self.p
        if p.peek != "{" or p.ahead(1) not in KINDS or p.ahead(2) not in ("=", ",", "}"):
            return "serial", 0, 1, False
        p.at += 1
        kind, width, unroll, given = p.word(), 0, 1, False
        if p.accept("="):
            width = p.integer()
        while p.accept(","):
            given = p.accept("given")
            if given:
                break
            for token in ("unroll", "="):
                p.expect(token)
            unroll = p.integer()
        p.expect("}")
        return kind, width, unroll, given

"""Reading programs; see symc.ir.program.text."""

from __future__ import annotations

from collections.abc import Mapping

from symc.ir.changed import replace
from symc.ir.modules import Calls
from symc.ir.op import Node, input_node
from symc.ir.origins import Origin
from symc.ir.prims.elementwise import Const
from symc.ir.program.form import KINDS, Access, Form, unstated
from symc.ir.program.nodes import (
    BranchStep,
    KernelStep,
    LoopStep,
    Place,
    Program,
    ProgramOutput,
    ProgramParam,
    ProgramUpdate,
    Result,
    Step,
    ViewStep,
    operand_node,
    results_of,
)  # fmt: skip
from symc.ir.syntax.tokens import Reader
from symc.ir.tensor.graph import Graph, Output
from symc.ir.tensor.parse import (
    Declared,
    GraphBody,
    make_op,
    operation,
    outputs_of,
    parse_function,
    phase,
    results,
    role_of,
)
from symc.ir.types import Shape, TensorType

#: role of the results of a called kernel, in the body that stands for what the text does not hold
CALLED = "called"


def parse_program(p: Reader) -> Program:
    """A file of level fused or planned."""
    return ProgramParser(p, {}).program()


class ProgramParser:
    """Reads a program; `kernels` are the loop kernels it may call, by name, and `calls` those it called."""

    def __init__(self, p: Reader, kernels: Mapping[str, int]) -> None:
        self.p, self.kernels = p, kernels
        self.calls: list[int | None] = []
        self.shifts: list[tuple[int, ...]] = []
        self.regions: list[tuple[Calls, ...]] = []
        self.types: dict[str, TensorType] = {}

    def called(self) -> Calls:
        """What the steps called."""
        shifts = tuple(self.shifts) if any(self.shifts) else ()
        return Calls(tuple(self.calls), shifts, tuple(self.regions) if any(self.regions) else ())

    def program(self, head: str = "func") -> Program:
        """`[arena ...] func @name(...) -> (...) { ... }`; a region begins with its own name."""
        p = self.p
        arena = bound = kept = prologue = 0
        if p.accept("arena"):
            p.global_name()
            for token in ("size", "="):
                p.expect(token)
            arena = p.integer()
            if p.accept("lower_bound"):
                p.expect("=")
                bound = p.integer()
            if p.accept("kept"):
                p.expect("=")
                kept = p.integer()
        p.expect(head)
        name = p.global_name() if head == "func" or p.peek[0] == "@" else head
        params: list[ProgramParam] = []
        p.expect("(")
        p.list_of(")", lambda: params.append(self._param()))
        declared = results(p)
        p.expect("{")
        constants: list[tuple[str, Node]] = []
        steps: list[Step] = []
        cut: int | None = None
        while p.peek != "return":
            if p.peek == "---":
                at = p.at
                p.expect("---")
                if p.accept("forward"):
                    if prologue or cut is not None or not steps:
                        raise p.error("the forward half follows a prologue, once", at)
                    prologue = len(steps)
                else:
                    p.expect("backward")
                    if cut is not None:
                        raise p.error("the backward half begins a second time", at)
                    cut = len(steps)
                p.expect("---")
                continue
            step = self._step(constants)
            if step is not None:
                steps.append(step)
        outputs = self._outputs(declared)
        updates = []
        while p.accept("update"):
            target = self.value()
            p.expect("=")
            updates.append(ProgramUpdate(target, self.value(), phase(p)))
        p.expect("}")
        return Program(
            name, tuple(params), tuple(steps), tuple(outputs), tuple(updates), tuple(constants),
            len(steps) if cut is None else cut, arena, bound, prologue, kept,
        )  # fmt: skip

    def _param(self) -> ProgramParam:
        p = self.p
        at = p.at
        name = p.name()
        p.expect(":")
        tensor = p.tensor()
        self.define(name, tensor, at)
        return ProgramParam(name, tensor, *role_of(p))

    def _outputs(self, declared: list[Declared]) -> list[ProgramOutput]:
        p = self.p
        at = p.at
        p.expect("return")
        values = []
        if p.peek[0] == "%":
            values.append(self.value())
            while p.accept(","):
                values.append(self.value())
        if len(values) != len(declared):
            raise p.error(f"{len(values)} values for {len(declared)} results", at)
        for d, value in zip(declared, values):
            if self.types[value] != d.tensor:
                raise p.error(f"result {d.name} is {self.types[value]}, not {d.tensor}", d.at)
        return [ProgramOutput(d.name, value, d.role, d.of, d.order, d.phase) for d, value in zip(declared, values)]

    def define(self, name: str, tensor: TensorType, at: int) -> None:
        """A value of the program."""
        if name in self.types:
            raise self.p.error(f"%{name} is defined twice", at)
        self.types[name] = tensor

    def value(self) -> str:
        """The name of a value that is defined."""
        name = self.p.name()
        if name not in self.types:
            self.p.suggest("value", name, self.types, self.p.at - 1)
        return name

    def _step(self, constants: list[tuple[str, Node]]) -> Step | None:
        """One step, or a constant (then nothing is returned)."""
        p = self.p
        start = p.at
        found: list[tuple[Result, int]] = []
        if p.accept("("):
            p.list_of(")", lambda: found.append(self._result()))
        else:
            found.append(self._result())
        p.expect("=")
        made = tuple(result for result, _ in found)
        at = p.at
        kind = p.word()
        step: Step | None = None
        call: int | None = None
        shifts: tuple[int, ...] = ()
        regions: tuple[Calls, ...] = ()
        if kind == "fuse":
            step = self._fused(made)
        elif kind == "call":
            step, call, shifts = self._call(made)
        elif kind == "view" and len(made) == 1:
            step = self._view(made[0])
        elif kind in ("loop", "branch"):
            step, regions = self._control(kind, made)
        elif kind == "const" and len(made) == 1:
            p.at = at
            cls = operation(p)
            p.expect("(")
            p.expect(")")
            op = make_op(p, cls, made[0].type, at)
            assert isinstance(op, Const)
            constants.append((made[0].name, Node.make(op)))
        else:
            p.suggest("step", kind, ("fuse", "call", "view", "loop", "branch", "const"), at)
        if step is not None:
            if results_of(step) != made:
                raise p.error("the step does not give these results", start)
            self.calls.append(call)
            self.shifts.append(shifts)
            self.regions.append(regions)
        for result, where in found:
            self.define(result.name, result.type, where)
        return step

    def _result(self) -> tuple[Result, int]:
        """`%x: f32[3] @A+0 inplace(%y)`."""
        p = self.p
        at = p.at
        name = p.name()
        p.expect(":")
        tensor = p.tensor()
        place, inplace = self._place(), ""
        if p.accept("inplace"):
            p.expect("(")
            inplace = self.value()
            p.expect(")")
        return Result(name, tensor, place, inplace), at

    def _place(self) -> Place:
        p = self.p
        token = p.peek
        if token in ("@A", "@K"):
            p.at += 1
            p.expect("+")
            return Place("arena" if token == "@A" else "kept", p.integer())
        if token.startswith("@out."):
            p.at += 1
            if not token[5:].isdigit():
                raise p.error("expected the number of an output, like @out.0", p.at - 1)
            return Place("out", p.whole(token[5:]))
        if token.startswith("@arg."):
            p.at += 1
            name = token[5:]
            return Place("arg", 0, Reader(f"%{name}").name() if name.startswith('"') else name)
        if token[0] == "@":
            p.unexpected("a place: @A+offset, @K+offset, @out.number or @arg.name")
        return Place()

    def _origin(self) -> Origin:
        found = self.p.loc()
        if found is None:
            raise self.p.error("a step needs an origin, like !1")
        return found

    def _view(self, result: Result) -> ViewStep:
        p = self.p
        p.expect("(")
        operand = self.value()
        p.expect(")")
        offset = 0
        if p.accept("{"):
            for token in ("offset", "="):
                p.expect(token)
            offset = p.integer()
            p.expect("}")
        return ViewStep(operand, result, self._origin(), offset)

    def _control(self, kind: str, made: tuple[Result, ...]) -> tuple[Step, tuple[Calls, ...]]:
        """`loop(%h: carry, %x: row, %w: whole) {trips=5} frame @A+64 { body(...) ... }`, or the same of a branch."""
        p = self.p
        operands: list[str] = []
        accesses: list[str] = []
        order = ("carry", "row", "whole") if kind == "loop" else ("test", "whole")

        def operand() -> None:
            operands.append(self.value())
            p.expect(":")
            at = p.at
            access = p.word()
            if access not in order:
                p.suggest("access", access, order, at)
            if accesses and order.index(access) < order.index(accesses[-1]):
                raise p.error(f"operands of a {kind} come in the order {', '.join(order)}", at)
            accesses.append(access)

        p.expect("(")
        p.list_of(")", operand)
        trips, backwards = 0, False
        if kind == "loop":
            for token in ("{", "trips", "="):
                p.expect(token)
            trips = p.integer()
            if p.accept(","):
                for token in ("backwards", "=", "true"):
                    p.expect(token)
                backwards = True
            p.expect("}")
        frame = self._place() if p.accept("frame") else Place()
        p.expect("{")
        names = ("body", "cond") if kind == "loop" else ("then", "other")
        programs: list[Program] = []
        calls: list[Calls] = []
        while p.peek != "}" and len(programs) < 2:
            inside = ProgramParser(p, self.kernels)
            programs.append(inside.program(names[len(programs)]))
            calls.append(inside.called())
        at = p.at
        p.expect("}")
        if not programs or kind == "branch" and len(programs) < 2:
            raise p.error(f"the {kind} has no region {names[len(programs)]}", at)
        origin = self._origin()
        step: Step
        if kind == "loop":
            carries, rows = accesses.count("carry"), accesses.count("row")
            cond = programs[1] if len(programs) == 2 else None
            step = LoopStep(tuple(operands), made, carries, rows, trips, programs[0], cond, origin, frame, backwards)
        else:
            step = BranchStep(tuple(operands), made, programs[0], programs[1], origin, frame)
        return step, tuple(calls)

    def _call(self, made: tuple[Result, ...]) -> tuple[KernelStep, int, tuple[int, ...]]:
        """A called kernel. What its body was is not in the text: a stand-in with the right types takes its place."""
        p = self.p
        form = self._form()
        at = p.at
        kernel = p.global_name()
        if kernel not in self.kernels:
            p.suggest("kernel", kernel, self.kernels, at)
        label = p.string() if p.peek[0] == '"' else kernel.partition(".")[2]
        operands: list[str] = []
        accesses: list[Access] = []
        shifts: list[int] = []

        def operand() -> None:
            operands.append(self.value())
            shifts.append(p.integer() if p.accept("+") else 0)
            accesses.append(self._read_by(form))

        p.expect("(")
        p.list_of(")", operand)
        form = self._stored(form, accesses, made)
        inputs = tuple(operand_node(i, self.types[o]) for i, o in enumerate(operands))
        outputs = tuple(Output(r.name, input_node(r.name, r.type, CALLED)) for r in made)
        step = KernelStep(label, tuple(operands), made, Graph(CALLED, inputs, outputs), form, self._origin())
        return step, self.kernels[kernel], tuple(shifts) if any(shifts) else ()

    def _fused(self, made: tuple[Result, ...]) -> KernelStep:
        p = self.p
        form = self._form()
        label = p.string()
        operands: list[str] = []
        accesses: list[Access] = []
        body = GraphBody(p)
        inputs: list[Node] = []

        def operand() -> None:
            at = p.at
            name = self.value()
            operands.append(name)
            accesses.append(self._read_by(form))
            origin = p.loc()
            if name not in operands[:-1]:
                inputs.append(body.bound(name, operand_node(len(inputs), self.types[name]), origin, at))

        p.expect("(")
        p.list_of(")", operand)
        form = self._stored(form, accesses, made)
        p.expect("{")
        if p.peek == "body":
            p.at += 1
            graph = parse_function(p, "body")
        else:
            body.statements()
            at = p.at
            returned = body.returned("yield")
            declared = [Declared(r.name, r.type, at, "result", "", 1, "forward") for r in made]
            outputs = outputs_of(p, declared, returned, at)
            names = {node: name for node, name in body.names.items() if node not in inputs}
            graph = Graph("body", tuple(inputs), tuple(outputs), (), names, body.origins)
        p.expect("}")
        return KernelStep(label, tuple(operands), made, graph, form, self._origin())

    # -- forms

    def _form(self) -> Form:
        """`row[32,10 | 1]`: a form whose accesses are read later; that of kind "" where the text says none."""
        p = self.p
        kind = p.peek
        if kind[0] in '"@':
            return unstated(0, 0)
        if kind not in KINDS:
            p.unexpected("the kernel's form: map[extents], row[extents | reduced axes], nest[extents] or host")
        p.at += 1
        space: Shape = ()
        axes: Shape = ()
        if kind != "host":
            p.expect("[")
            space = self._numbers("|" if kind == "row" else "]")
            axes = self._numbers("]") if kind == "row" else ()
        stores = p.word() if p.accept("stores") else "once"
        return Form(kind, space, axes, (), (), stores)

    def _numbers(self, close: str) -> tuple[int, ...]:
        found: list[int] = []
        self.p.list_of(close, lambda: found.append(self.p.integer()))
        return tuple(found)

    def _read_by(self, form: Form) -> Access:
        """`: element` behind an operand."""
        if not form.kind:
            return None
        self.p.expect(":")
        return self._access(form)

    def _access(self, form: Form) -> Access:
        p = self.p
        at = p.at
        word = p.word()
        if word == "along":
            p.expect("[")
            return self._numbers("]")
        known = {"element": form.element, "row": form.row, "whole": None}
        if word not in known:
            p.suggest("access", word, (*known, "along"), at)
        return known[word]

    def _stored(self, form: Form, operands: list[Access], made: tuple[Result, ...]) -> Form:
        """The form with its accesses: `-> row, element` where it is a row's."""
        p = self.p
        stored: Access = form.element if form.kind not in ("host", "") else None
        results = [stored] * len(made)
        if form.kind == "row":
            p.expect("->")
            results = [self._access(form)]
            while p.accept(","):
                results.append(self._access(form))
        return replace(form, operands=tuple(operands), results=tuple(results))

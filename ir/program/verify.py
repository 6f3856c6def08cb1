"""Rules P of symc.ir.verify: programs, before and after memory is planned."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

from symc.ir.errors import VerifyError
from symc.ir.modules import Calls
from symc.ir.program.form import overwrite_refusal
from symc.ir.program.nodes import (
    Bound,
    BranchStep,
    ControlStep,
    KernelStep,
    LoopStep,
    Place,
    Program,
    Result,
    Step,
    ViewStep,
    bases_of,
    operands_of,
    results_of,
)
from symc.ir.program.text import is_planned, place_text
from symc.ir.program.verify_form import form_fault
from symc.ir.program.verify_prologue import verify_prologue
from symc.ir.tensor.verify import PHASES, Checked, verify_graph, verify_roles
from symc.ir.types import BOOL, I64, TensorType


def verify_program(
    program: Program, origins: bool = True, called: Calls | None = None, check: Checked | None = None,
    inside: bool = False,
) -> None:  # fmt: skip
    """Check a program. `called`: the loop kernels of the steps, whose bodies are not looked at; `inside`: it is that of
    a region."""
    check = check or Checked()
    if check.knows(program):
        return
    types = _names(program)
    calls = set() if called is None else {at for at, number in enumerate(called.calls) if number is not None}
    for at, step in enumerate(program.steps):
        where = _where(at, step)
        if origins and not check.reaches(step.origin):
            raise VerifyError("P11", f"{where} has no origin that reaches a Symbol")
        if isinstance(step, ViewStep):
            _view(step, types, where)
        elif isinstance(step, (LoopStep, BranchStep)):
            _control(step, types, where)
            held = called.regions[at] if called is not None and at < len(called.regions) else ()
            own: list[Calls | None] = [*held, *[None] * len(step.regions)]
            for region, calls_inside in zip(step.regions, own):
                try:
                    verify_program(region.program, origins, calls_inside, check, inside=True)
                except VerifyError as problem:
                    raise VerifyError(
                        problem.rule, f"{region.name} of {where}: {str(problem)[len(problem.rule) + 2 :]}"
                    ) from None
        elif at not in calls:
            _body(step, types, where)
            if not check.knows(step.body):
                verify_graph(step.body, origins, check, f"body of {where}", body=True)
                check.add(step.body)
    _ends(program, types)
    if not 0 <= program.cut <= len(program.steps):
        raise VerifyError("P11", f"cut={program.cut}, but there are {len(program.steps)} steps")
    if is_planned(program):
        _Memory(program, types).check()
    _phases(program)
    verify_prologue(program, inside)
    for at, step in enumerate(program.steps):
        if isinstance(step, KernelStep) and at not in calls:
            fault = form_fault(step)
            if fault is not None:
                raise VerifyError("P12", f"{_where(at, step)}: {fault.about(step)}")
    if called is None:
        check.add(program)


def _where(at: int, step: Step) -> str:
    return f"step {at} ({', '.join('%' + r.name for r in results_of(step))})"


def _names(program: Program) -> dict[str, TensorType]:
    types: dict[str, TensorType] = {}

    def define(name: str, tensor: TensorType) -> None:
        if name in types:
            raise VerifyError("P1", f"%{name} is defined twice")
        types[name] = tensor

    for p in program.params:
        define(p.name, p.type)
    for name, node in program.constants:
        define(name, node.tensor)
    for at, step in enumerate(program.steps):
        for operand in operands_of(step):
            if operand not in types:
                raise VerifyError("P2", f"step {at} reads %{operand}, which is not defined before it")
        for result in results_of(step):
            define(result.name, result.type)
    return types


def _body(step: KernelStep, types: Mapping[str, TensorType], where: str) -> None:
    given, taken = [types[o] for o in step.operands], [i.type for i in step.body.inputs]
    if list(given) != list(taken):
        raise VerifyError("P3", f"{where}: the operands are {given}, the body takes {taken}")
    made, wanted = [n.type for n in step.body.output_nodes], [r.type for r in step.results]
    if list(made) != list(wanted):
        raise VerifyError("P3", f"{where}: the body gives {made}, the results are {wanted}")
    if (len(step.form.operands), len(step.form.results)) != (len(given), len(made)):
        raise VerifyError("P3", f"{where}: the form is that of another number of operands or results")
    if step.body.updates:
        raise VerifyError("P3", f"{where}: the body has updates; they belong to the program")


def _view(step: ViewStep, types: Mapping[str, TensorType], where: str) -> None:
    source, view = types[step.operand], step.result.type
    if source.dtype != view.dtype or step.offset < 0 or step.offset + view.size > source.size:
        part = f"{view} from element {step.offset} on"
        raise VerifyError("P5", f"{where}: {part} is not inside %{step.operand}: {source}")


def _control(step: ControlStep, types: Mapping[str, TensorType], where: str) -> None:
    """Operands, results and regions agree."""

    def fail(message: str) -> VerifyError:
        return VerifyError("P13", f"{where}: {message}")

    def buffer(bound: Bound) -> TensorType:
        if bound.of == "truth":
            return TensorType(BOOL, ())
        names = step.operands if bound.of == "operand" else [r.name for r in step.results]
        if bound.number >= len(names):
            raise fail(f"there is no {bound.of} {bound.number} for its regions")
        whole = types[names[bound.number]] if bound.of == "operand" else step.results[bound.number].type
        if not bound.moves:
            return whole
        assert isinstance(step, LoopStep)
        if not whole.rank or whole.shape[0] != step.trips:
            raise fail(f"{bound.of} {bound.number} is {whole}: its rows are not those of {step.trips} turns")
        return whole.with_shape(whole.shape[1:])

    if isinstance(step, LoopStep):
        if step.trips < 0 or min(step.carries, step.xs) < 0 or step.carries + step.xs > len(step.operands):
            counts = f"{step.trips} turns, {step.carries} carries, {step.xs} rows, {len(step.operands)} operands"
            raise fail(f"these numbers do not fit: {counts}")
        if step.cond is not None and step.backwards:
            raise fail("a loop with a condition does not run backwards")
        if step.cond is not None and (not step.results or step.results[0].type != TensorType(I64, ())):
            raise fail("the first result of a loop with a condition is the number of turns, an i64")
        changed = {p.name for p in step.body.params[: step.carries]}
    elif not step.operands or types[step.operands[0]] != TensorType(BOOL, ()):
        raise fail("a branch tests an i1 first")
    for region in step.regions:
        program = region.program
        given, taken = [buffer(b) for b in region.params], [p.type for p in program.params]
        if given != taken:
            raise fail(f"{region.name} gets {_types(given)}, it takes {_types(taken)}")
        known = program.value_types()
        made, wanted = [known.get(o.value) for o in program.outputs], [buffer(b) for b in region.outputs]
        if made != wanted:
            raise fail(f"{region.name} gives {_types(made)}, wanted are {_types(wanted)}")
        for update in program.updates:
            if region.name != "body" or update.input not in changed:
                raise fail(f"{region.name} updates %{update.input}, which is no carry of its own")
        if program.cut != len(program.steps):
            raise fail(f"{region.name} has a backward half")


def _types(types: Sequence[TensorType | None]) -> str:
    return f"({', '.join(map(str, types))})"


def _ends(program: Program, types: Mapping[str, TensorType]) -> None:
    params = {p.name: p.type for p in program.params}
    names: set[str] = set()
    for output in program.outputs:
        if output.value not in types:
            raise VerifyError("P4", f"output {output.name} is %{output.value}, which is not defined")
        if output.name in names:
            raise VerifyError("P4", f"two outputs are named {output.name}")
        names.add(output.name)
        if output.phase not in PHASES:
            raise VerifyError("P4", f"output {output.name} in phase {output.phase!r}")
    inputs = [(p.name, p.type, p) for p in program.params]
    verify_roles("P4", f"program {program.name}", inputs, [(o.name, types[o.value], o) for o in program.outputs])
    targets: set[tuple[str, str]] = set()
    for update in program.updates:
        target, value = update.input, update.value
        if target not in params or (target, update.phase) in targets:
            what = f"updated twice in the {update.phase} half" if target in params else "no parameter"
            raise VerifyError("P4", f"update of %{target}, which is {what}")
        targets.add((target, update.phase))
        if value not in types or types[value] != params[target]:
            given = types.get(value, "not defined")
            raise VerifyError("P4", f"the update of %{target}: {params[target]} is %{value}: {given}")
        if update.phase not in PHASES:
            raise VerifyError("P4", f"update of %{target} in phase {update.phase!r}")


def _phases(program: Program) -> None:
    """P14, before and after memory is planned."""
    base = bases_of(program)
    planned = is_planned(program)
    made = {r.name: at for at, step in enumerate(program.steps) for r in results_of(step)}
    ends = [(f"output {o.name}", o.value, o.phase) for o in program.outputs]
    ends += [(f"the update of %{u.input}", u.value, u.phase) for u in program.updates]
    for what, value, phase in ends:
        at = made.get(base[value], -1)
        if phase == "forward" and max(at, made.get(value, -1)) >= program.cut:
            raise VerifyError("P14", f"{what} of the forward half, %{value}, is computed in the backward half")
        if planned and phase == "backward" and at < program.cut:
            raise VerifyError("P14", f"{what} of the backward half, %{value}, is written in the forward half")


class _Memory:
    """The rules about places: walks the steps with the set of live arena pieces, sorted by offset."""

    def __init__(self, program: Program, types: Mapping[str, TensorType]) -> None:
        self.program, self.types = program, types
        self.places: dict[str, Place] = {p.name: Place("arg", 0, p.name) for p in program.params}
        self.places.update((name, Place("arg", 0, name)) for name, _ in program.constants)
        #: for every value the one that wrote its memory: itself, or what it is a view of
        self.base: dict[str, str] = {name: name for name in types}
        self.last: dict[str, int] = {}
        for step in program.steps:
            if isinstance(step, ViewStep):
                self.base[step.result.name] = self.base[step.operand]
        self.updates = {self.base[update.value]: update.input for update in program.updates}
        #: what the buffers of parameters hold by now, where that is no longer the parameter
        self.holds: dict[str, str] = {}
        for at, step in enumerate(program.steps):
            for operand in operands_of(step):
                self.last[self.base[operand]] = at
        end = len(program.steps)
        for value in [o.value for o in program.outputs] + [u.value for u in program.updates]:
            self.last[self.base[value]] = end

    def check(self) -> None:
        """All places, then overlap."""
        live: list[tuple[int, int, str]] = []
        dying: dict[int, list[tuple[int, int, str]]] = {}
        for at, step in enumerate(self.program.steps):
            for piece in dying.pop(at - 1, ()):
                if (i := bisect_left(live, piece)) < len(live) and live[i] == piece:
                    del live[i]
            where = f"step {at}"
            if at == self.program.cut:
                self._held("forward")
            for operand in operands_of(step):
                self._read(operand, where)
            for result in results_of(step):
                self._place(result, where)
            if isinstance(step, ViewStep):
                self._view(step, where)
                continue
            for result in step.results:
                if result.inplace:
                    self._inplace(at, step, result, live)
                if result.place.kind == "arg":
                    self._parameter(at, step, result)
            for result in step.results:
                if result.place.kind == "arena" and result.type.nbytes:
                    piece = (result.place.offset, result.place.offset + result.type.nbytes, result.name)
                    self._alone(piece, live, where)
                    insort(live, piece)
                    dying.setdefault(self.last.get(result.name, at), []).append(piece)
            if isinstance(step, (LoopStep, BranchStep)):
                self._frame(at, step, live)
        self._outputs()
        if self.program.cut == len(self.program.steps):
            self._held("forward")
        self._held("backward")

    def _read(self, operand: str, where: str) -> None:
        """An operand in a parameter's buffer is still there."""
        base = self.base[operand]
        place = self.places[base]
        holds = self.holds.get(place.name, place.name)
        if place.kind == "arg" and holds != base:
            raise VerifyError(
                "P10", f"{where} reads %{operand}, but the buffer of %{place.name} holds %{holds} by then"
            )

    def _held(self, phase: str) -> None:
        """When a half has run, the parameters it updates hold their new values."""
        for update in self.program.updates:
            if update.phase == phase and self.holds.get(update.input) != self.base[update.value]:
                holds = self.holds.get(update.input, update.input)
                raise VerifyError(
                    "P14", f"after the {phase} half %{update.input} holds %{holds}, not its update %{update.value}"
                )

    def _place(self, result: Result, where: str) -> None:
        place, tensor = result.place, result.type
        if place.kind == "":
            raise VerifyError("P6", f"{where}: %{result.name} has no place, others have")
        if place.kind == "arena":
            end = place.offset + tensor.nbytes
            if place.offset < 0 or end > self.program.arena:
                size = self.program.arena
                raise VerifyError(
                    "P6", f"{where}: %{result.name} lies at [{place.offset}, {end}), the arena has {size} bytes"
                )
            if place.offset % tensor.dtype.itemsize:
                raise VerifyError("P6", f"{where}: %{result.name}: {tensor} at {place.offset} is not aligned")
        elif place.kind == "out":
            outputs = self.program.outputs
            if not 0 <= place.offset < len(outputs):
                count = len(outputs)
                raise VerifyError("P9", f"{where}: %{result.name} lies in output {place.offset}, there are {count}")
            output = outputs[place.offset]
            if self.base[output.value] != self.base[result.name]:
                which = f"output {output.name}, which is %{output.value}"
                raise VerifyError("P9", f"{where}: %{result.name} lies in {which}")
        elif place.kind == "kept":
            pass  # P15
        elif place.kind != "arg" or place.name not in self.places:
            raise VerifyError("P6", f"{where}: %{result.name} lies in %{place.name}, which is no parameter")
        self.places[result.name] = place

    def _frame(self, at: int, step: ControlStep, live: list[tuple[int, int, str]]) -> None:
        """The memory of a step's regions: inside the arena, and apart from all that is alive beside it."""
        where, place, size = f"step {at}", step.frame, step.frame_size
        if not size and not place.kind:
            return
        if place.kind != "arena" or place.offset < 0 or place.offset + size > self.program.arena:
            raise VerifyError("P6", f"{where}: its frame of {size} bytes lies at{_text(place)}, not inside the arena")
        wide = [r.type.dtype.itemsize for region in step.regions for s in region.program.steps for r in results_of(s)]
        if place.offset % max(wide, default=1):
            raise VerifyError("P6", f"{where}: its frame at {place.offset} is not aligned")
        if size:
            self._alone((place.offset, place.offset + size, f"frame.{at}"), live, where)

    def _view(self, step: ViewStep, where: str) -> None:
        source, place = self.places[step.operand], step.result.place
        right = source
        if source.kind in ("arena", "kept"):
            right = Place(source.kind, source.offset + step.offset * step.result.type.dtype.itemsize)
        if place != right:
            places = f"lies at{_text(place)}, its operand's memory is{_text(right)}"
            raise VerifyError("P5", f"{where}: the view %{step.result.name} {places}")

    def _inplace(
        self, at: int, step: KernelStep | ControlStep, result: Result, live: list[tuple[int, int, str]]
    ) -> None:
        where = f"step {at}: %{result.name} inplace(%{result.inplace})"
        if result.inplace not in step.operands:
            raise VerifyError("P8", f"{where}: that is no operand of the step")
        base = self.base[result.inplace]
        if self.places[result.inplace] != result.place or self.types[base].nbytes != result.type.nbytes:
            places = f"lies at{_text(result.place)}, the operand at{_text(self.places[result.inplace])}"
            raise VerifyError("P8", f"{where}: it {places}, of {self.types[base].nbytes} bytes")
        if isinstance(step, (LoopStep, BranchStep)):
            over = [step.operands[i] for i in step.overwritable(step.results.index(result))]
            if result.inplace not in over:
                raise VerifyError(
                    "P8", f"{where}: a {step.label} has no carry that begins with it and reads it only so"
                )
        else:
            number, operand = step.results.index(result), step.operands.index(result.inplace)
            refusal = overwrite_refusal(step.form, number, result.type, operand, self.types[result.inplace])
            if refusal:
                raise VerifyError("P8", f"{where}: {refusal}")
        others = [o for o in step.operands if o != result.inplace and self.base[o] == base]
        if others:
            raise VerifyError("P8", f"{where}: the step also reads that memory as %{others[0]}")
        if [r.inplace for r in step.results].count(result.inplace) > 1:
            raise VerifyError("P8", f"{where}: two results take over that memory")
        # A parameter's update is what the parameter is from then on: whether it is read later is P10's question.
        if result.place.kind != "arg" and self.last[base] > at:
            raise VerifyError("P8", f"{where}: that value is read again by {self._reader(base, at)}")
        place = result.place
        old = (place.offset, place.offset + result.type.nbytes, base)
        if place.kind == "arena" and (i := bisect_left(live, old)) < len(live) and live[i] == old:
            del live[i]

    def _parameter(self, at: int, step: KernelStep | ControlStep, result: Result) -> None:
        name = result.place.name
        where = f"step {at}: %{result.name} in the buffer of %{name}"
        if self.updates.get(result.name) != name:
            raise VerifyError("P10", f"{where}: it is not that parameter's update")
        before = self.holds.get(name, name)
        if any(self.base[o] == before for o in step.operands) and not result.inplace:
            raise VerifyError("P10", f"{where}: the step reads the old value, so the result must be inplace")
        self.holds[name] = result.name

    def _reader(self, base: str, after: int) -> str:
        for at, step in enumerate(self.program.steps):
            if at > after and any(self.base[o] == base for o in operands_of(step)):
                return f"step {at}"
        return "the end of the program"

    def _alone(self, piece: tuple[int, int, str], live: list[tuple[int, int, str]], where: str) -> None:
        """Live pieces never overlap each other, so only the neighbours can overlap a new one."""
        at = bisect_left(live, piece)
        for other in live[max(at - 1, 0) : at + 1]:
            if other[0] < piece[1] and piece[0] < other[1]:
                mine, others = f"[{piece[0]}, {piece[1]})", f"[{other[0]}, {other[1]})"
                raise VerifyError(
                    "P7", f"{where}: %{piece[2]} at {mine} overlaps %{other[2]} at {others}, which is still needed"
                )

    def _outputs(self) -> None:
        steps: set[str] = {r.name for step in self.program.steps for r in results_of(step)}
        for number, output in enumerate(self.program.outputs):
            place = self.places[output.value]
            if output.value not in steps or place.kind != "out" or place.offset != number:
                what = f"output {output.name}, %{output.value}"
                raise VerifyError("P9", f"{what}, lies at{_text(place)}, not at @out.{number}")


def _text(place: Place) -> str:
    return place_text(place) or " no place"

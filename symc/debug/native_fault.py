"""Faults that only machine code shows: the interpreter finds every program right, and what is made of it is wrong. The
pass of loops after which that begins, and its action, or else code generation; and the first value that is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from symc.debug.apart import apart
from symc.debug.compare import reference_of_kernels
from symc.debug.running import check_native
from symc.debug.shrink_programs import only, program_of, values_in
from symc.debug.trial import Failure, Trial, Wrong
from symc.ir.modules import LoopModule
from symc.ir.program.nodes import results_of
from symc.passes.manager.manager import Instrument, Manager, Pass

#: seconds that machine code may take to be made and run
LIMIT = 60.0
#: makes an instrument that lets only the first so many actions happen
Limit = Callable[[int], Instrument]


@dataclasses.dataclass(frozen=True)
class Fault:
    """The position of the pass at fault (that of the end: code generation), the number of its action (None: not
    known), the value and how it differs, and the loops that are wrong."""

    at: int
    action: int | None
    value: str
    detail: str
    loops: LoopModule


def fault_of(trial: Trial, limited: Limit) -> Fault | None:
    """The fault of a trial whose machine code is wrong; None where it is not wrong again."""
    stages = [(at, module) for at, module in enumerate(_stages(trial)) if isinstance(module, LoopModule)]
    # the first loops are those of `lower`: whoever makes wrong code of them is no pass
    wrong = next(((at, loops) for at, loops in stages if _wrong(trial, loops)), None)
    if wrong is None:
        return None
    at, loops = wrong
    before = next((module for number, module in stages if number == at - 1), None)
    if before is None:
        return Fault(len(trial.passes), None, *_value(trial, loops), loops)
    pass_ = trial.passes[at - 1]

    def with_first(count: int) -> LoopModule:
        made = Manager([limited(count)], verify=False).step(pass_, before)
        assert isinstance(made, LoopModule)
        return made

    action = _first(_count(pass_, before), lambda count: _wrong(trial, with_first(count)) is not None)
    if action is not None:
        loops = with_first(action + 1)
    return Fault(at - 1, action, *_value(trial, loops), loops)


def _stages(trial: Trial) -> list[object]:
    """What came in, and what every pass gave."""
    manager, module = Manager(verify=False), trial.module
    made: list[object] = [module]
    for pass_ in trial.passes:
        module = manager.step(pass_, module)
        made.append(module)
    return made


class _Counting(Instrument):
    count = 0

    def acted(self, pass_name: str, number: int, rule: str) -> None:
        self.count += 1


def _count(pass_: Pass, module: LoopModule) -> int:
    counting = _Counting()
    Manager([counting], verify=False).step(pass_, module)
    return counting.count


def _first(count: int, fails: Callable[[int], bool]) -> int | None:
    """The number of the action with which it fails and without which it does not; None if it fails without any."""
    if not count or fails(0):
        return None
    right, wrong = 0, count
    while wrong - right > 1:
        middle = (right + wrong) // 2
        right, wrong = (right, middle) if fails(middle) else (middle, wrong)
    return right


def _wrong(trial: Trial, loops: LoopModule) -> Failure | None:
    """How the machine code of some loops differs from what their interpreter gives, in a process that may die of it."""
    of_loops = dataclasses.replace(trial, module=loops, passes=())
    arrays = {p.name: trial.value(p.name, p.role, p.type) for p in loops.program.params}

    def run(say: object) -> Failure | None:
        try:
            check_native(of_loops, loops, reference_of_kernels(of_loops, loops, arrays))
        except Wrong as wrong:
            return wrong.failure
        return None

    found = apart(run, LIMIT)
    return found if isinstance(found, Failure) else None


def _value(trial: Trial, loops: LoopModule) -> tuple[str, str]:
    """The first value whose kernel alone is wrong, of right operands, and how it differs."""
    whole = dataclasses.replace(trial, module=loops, passes=())
    values = values_in(whole)
    program = program_of(loops)
    for at, step in enumerate(program.steps):
        alone = only(whole, [at], values)
        assert isinstance(alone.module, LoopModule)
        failure = _wrong(alone, alone.module)
        if failure is not None:
            name = failure.value if failure.value in values else results_of(step)[0].name
            return name, failure.message.removeprefix(f"output {name}: ")
    return "", ""

"""Smaller programs and loops for the reducer: fewer steps, with what they read given as the values it has there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Union

from symc.debug.trial import Trial
from symc.ir.errors import IRError
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import (
    Place,
    Program,
    ProgramOutput,
    ProgramParam,
    ProgramUpdate,
    Result,
    Step,
    ViewStep,
    operands_of,
    results_of,
)
from symc.ir.types import Array

Kernels = Union[Program, LoopModule]
#: what a program is run for
End = Union[ProgramOutput, ProgramUpdate]
#: what values are aligned to in an arena
ALIGN = 64


def program_of(module: Kernels) -> Program:
    """The program of a module of kernels or loops."""
    return module.program if isinstance(module, LoopModule) else module


def values_in(trial: Trial) -> dict[str, Array]:
    """Every value of a program of kernels or loops, and its parameters, in the interpreter."""
    module = trial.module
    assert isinstance(module, (Program, LoopModule))
    arrays = {p.name: trial.value(p.name, p.role, p.type) for p in program_of(module).params}
    found = {name: array.copy() for name, array in arrays.items()}
    if isinstance(module, LoopModule):
        run_loop_module(module, arrays, seen=found.__setitem__)
    else:
        run_program(module, arrays, seen=found.__setitem__)
    return found


def shrunk_programs(trial: Trial) -> Iterator[Trial]:
    """Trials of kernels or loops with less in them, the largest steps first."""
    module = trial.module
    assert isinstance(module, (Program, LoopModule))
    program = program_of(module)
    every = range(len(program.steps))
    try:
        values = values_in(trial)
    except (IRError, ArithmeticError, ValueError, IndexError, KeyError):
        values = {}  # a broken program need not run; what is cut off has other values then
    if len(program.steps) > 1:
        for at in reversed(every):
            yield only(trial, [at], values)
        for at in range(len(program.steps) - 1):
            yield only(trial, [at, at + 1], values)
    ends: list[End] = [*program.outputs, *program.updates]
    if len(ends) > 1:
        for end in ends:
            yield _with(trial, every, [end], values)
        for end in ends:
            yield _with(trial, every, [other for other in ends if other is not end], values)
    if len(program.steps) > 1:
        for at in reversed(every):
            yield _with(trial, [other for other in every if other != at], ends, values)


def only(trial: Trial, steps: Sequence[int], values: Mapping[str, Array]) -> Trial:
    """Some steps alone. What they write and no other of them reads is the output."""
    program = program_of(trial.module)  # type: ignore[arg-type]
    read = {name for at in steps for name in operands_of(program.steps[at])}
    written = [r.name for at in steps for r in results_of(program.steps[at])]
    every: list[End] = [*program.outputs, *program.updates]
    ends = [end for end in every if end.value in written]
    known = {end.value for end in ends}
    inner = [name for name in written if name not in read and name not in known]
    return _with(trial, steps, [*ends, *(ProgramOutput(name, name) for name in inner)], values)


def _with(trial: Trial, steps: Sequence[int], ends: Sequence[End], values: Mapping[str, Array]) -> Trial:
    """With these steps and ends: steps that nobody needs go, and what is read and not written is a parameter."""
    module = trial.module
    assert isinstance(module, (Program, LoopModule))
    program = program_of(module)
    kept = _needed(program, steps, ends)
    written = {r.name for at in kept for r in results_of(program.steps[at])}
    outputs = [end for end in ends if isinstance(end, ProgramOutput) and end.value in written]
    updates = [end for end in ends if isinstance(end, ProgramUpdate) and end.value in written]
    read = dict.fromkeys(name for at in kept for name in operands_of(program.steps[at]))
    constants = tuple((name, node) for name, node in program.constants if name in read)
    old = {p.name: p for p in program.params}
    wanted = dict.fromkeys(
        [*(n for n in read if n not in written and n not in dict(constants)), *(u.input for u in updates)]
    )
    types = program.value_types()
    params = [p for p in program.params if p.name in wanted]
    params += [ProgramParam(name, types[name], "arg") for name in wanted if name not in old]
    plain = _plain(params, outputs)
    given = {name: values[name] for name in wanted if name in values and (name not in old or name in trial.given)}
    made = _Places(program, kept, outputs, updates)
    small = dataclasses.replace(
        program,
        params=tuple(plain[0]),
        steps=tuple(made.step(program.steps[at]) for at in kept),
        outputs=tuple(plain[1]),
        updates=tuple(updates),
        constants=constants,
        cut=sum(at < program.cut for at in kept),
        arena=made.arena,
        lower_bound=min(program.lower_bound, made.arena),
        prologue=0,
        kept=0,
    )
    return dataclasses.replace(trial, module=_module(module, small, kept), given={**_kept(trial, plain[0]), **given})


def _needed(program: Program, steps: Sequence[int], ends: Sequence[End]) -> list[int]:
    """Those of the steps that something depends on."""
    alive = {end.value for end in ends}
    kept = []
    for at in sorted(steps, reverse=True):
        if any(r.name in alive for r in results_of(program.steps[at])):
            kept.append(at)
            alive.update(operands_of(program.steps[at]))
    return kept[::-1]


def _plain(
    params: Sequence[ProgramParam], outputs: Sequence[ProgramOutput]
) -> tuple[list[ProgramParam], list[ProgramOutput]]:
    """Parameters and outputs that are there for one that is not become arguments and results."""
    names, ends = {p.name for p in params}, {o.name for o in outputs}
    return (
        [p if not p.of or p.of in names | ends else dataclasses.replace(p, role="arg", of="", order=1) for p in params],
        [o if not o.of or o.of in names else dataclasses.replace(o, role="result", of="", order=1) for o in outputs],
    )


def _kept(trial: Trial, params: Sequence[ProgramParam]) -> dict[str, Array]:
    """The values that a trial has of parameters; those drawn for another role stay what they are."""
    program = program_of(trial.module)  # type: ignore[arg-type]
    roles = {p.name: p.role for p in program.params}
    changed = [p for p in params if p.name in roles and roles[p.name] != p.role]
    kept = {name: array for name, array in trial.given.items() if name in {p.name for p in params}}
    return kept | {p.name: trial.value(p.name, roles[p.name], p.type) for p in changed}


class _Places:
    """Where results are, with other outputs and updates: what has lost its buffer goes behind the arena."""

    def __init__(
        self,
        program: Program,
        kept: Sequence[int],
        outputs: Sequence[ProgramOutput],
        updates: Sequence[ProgramUpdate],
    ) -> None:
        #: where what is kept of a prologue, which becomes part of the run, begins
        self.kept = -(-program.arena // ALIGN) * ALIGN
        self.arena = self.kept + program.kept if program.kept else program.arena
        self.written = {r.name for at in kept for r in results_of(program.steps[at])}
        self.outputs = {o.value: at for at, o in reversed(list(enumerate(outputs)))}
        self.updated = {u.input for u in updates}

    def step(self, step: Step) -> Step:
        """The step with its results in their places."""
        if isinstance(step, ViewStep):
            return dataclasses.replace(step, result=self._placed(step.result))
        return dataclasses.replace(step, results=tuple(self._placed(r) for r in step.results))

    def _placed(self, result: Result) -> Result:
        place = result.place
        if place.kind and result.name in self.outputs:
            place = Place("out", self.outputs[result.name])
        elif place.kind == "kept":
            place = Place("arena", self.kept + place.offset)
        elif place.kind == "out" or (place.kind == "arg" and place.name not in self.updated):
            place = Place("arena", -(-self.arena // ALIGN) * ALIGN)
            self.arena = place.offset + result.type.nbytes
        over = result.inplace if result.inplace in self.written else ""
        return dataclasses.replace(result, place=place, inplace=over)


def _module(module: Kernels, program: Program, kept: Sequence[int]) -> Kernels:
    if not isinstance(module, LoopModule):
        return program
    calls = [module.calls[at] for at in kept]
    regions = tuple(module.regions[at] for at in kept) if module.regions else ()
    shifts = tuple(module.shift_of(at) for at in kept)
    kernels = module.kernels
    if not any(regions):  # the calls in regions have numbers, too
        used = sorted({number for number in calls if number is not None})
        kernels = tuple(module.kernels[number] for number in used)
        calls = [None if number is None else used.index(number) for number in calls]
    return LoopModule(program, kernels, tuple(calls), shifts, regions)

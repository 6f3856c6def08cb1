"""A model as unit tests of its numbers: every kernel alone, with the passes that make machine code of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from symc.debug.files import write
from symc.debug.shrink_programs import Kernels, only, program_of, values_in
from symc.debug.trial import Trial
from symc.extensions import files_of
from symc.ir.modules import LoopModule
from symc.ir.op import Node, input_node, parameter
from symc.ir.program.nodes import KernelStep, Program, ViewStep
from symc.ir.tensor.graph import Graph, finish
from symc.passes.manager.manager import Manager, Module, Pass, PipelineError

#: elements of an operand that are written into a test as the values which the model has there; those of a larger one
#: are drawn
WRITTEN = 512


@dataclasses.dataclass(frozen=True)
class Unit:
    """A kernel of a model alone, and the names of the values that kernels alike write in it."""

    stem: str
    trial: Trial
    names: tuple[str, ...]


def units(trial: Trial) -> list[Unit]:
    """The kernels of a trial's program, each kind once: as graphs of their operators, for the passes of tensors, or as
    programs where it came as kernels. Operands are what they are in the model, or drawn where they are large."""
    module, made_by, rest = _kernels(trial)
    program = program_of(module)
    whole = dataclasses.replace(trial, module=module, passes=tuple(rest), native=True, rules=False)
    values = values_in(whole)
    tensor = [p for p in made_by if p.takes == "tensor" and p.numerics != "extends"]
    found: dict[object, Unit] = {}
    for at, step in enumerate(program.steps):
        if isinstance(step, ViewStep):
            continue
        key: object = (step.key(), step.form, step.label) if isinstance(step, KernelStep) else at
        names = (*found[key].names, step.results[0].name) if key in found else (step.results[0].name,)
        if key in found:
            found[key] = dataclasses.replace(found[key], names=names)
            continue
        if made_by and isinstance(step, KernelStep) and step.body.output_nodes:
            graph = _graph(program, step)
            read = [parameter(n).input_name for n in graph.inputs]
            small = dataclasses.replace(
                whole, module=graph, passes=(*tensor, *rest), given={n: values[n] for n in read}
            )
        else:
            small = only(whole, [at], values)
        given = {name: array for name, array in small.given.items() if array.size <= WRITTEN}
        found[key] = Unit(f"{at:03d}-{step.label}", dataclasses.replace(small, given=given), names)
    return list(found.values())


def write_units(trial: Trial, folder: Path, source: str, loads: Sequence[str]) -> list[Path]:
    """A test of every kind of kernel in a folder, which says where the model has such kernels."""
    paths = []
    for unit in units(trial):
        others = len(unit.names) - 1
        more = f", and {others} more like it" if others else ""
        paths.append(
            write(unit.trial, None, folder, unit.stem, f"the kernel of %{unit.names[0]} in {source}{more}", loads)
        )
    return paths


def _kernels(trial: Trial) -> tuple[Kernels, list[Pass], list[Pass]]:
    """The program as kernels, the passes that make them, and the rest. Passes from outside, which tests are to judge,
    have no part in it."""
    module: Module = trial.module
    manager, passes = Manager(verify=False), list(trial.passes)
    for at, pass_ in enumerate(passes):
        if isinstance(module, (Program, LoopModule)):
            return module, passes[:at], passes[at:]
        if pass_.takes != pass_.gives or not files_of([pass_]):
            module = manager.step(pass_, module)
    if not isinstance(module, (Program, LoopModule)):
        raise PipelineError("the passes end before there are kernels; --split-tests needs fuse")
    return module, passes, []


def _graph(program: Program, step: KernelStep) -> Graph:
    """What a kernel computes, of operands that are called as in the program."""
    roles = {p.name: p.role for p in program.params if not p.of}  # what is there for another one is an argument
    constants, new = dict(program.constants), {}
    made: dict[str, Node] = {}
    for node, name in zip(step.body.inputs, step.operands):
        made.setdefault(name, constants.get(name) or input_node(name, node.tensor, roles.get(name, "arg")))
        new[node] = made[name]
    for node in step.body.nodes():
        if node not in new and any(i in new for i in node.inputs):
            new[node] = node.on([new.get(i, i) for i in node.inputs])
    body = step.body
    return finish(
        step.label,
        [n for name, n in made.items() if name not in constants],
        [(result.name, new.get(n, n)) for result, n in zip(step.results, body.output_nodes)],
        (),
        {new.get(n, n): name for n, name in body.names.items() if new.get(n, n).inputs},
        {new.get(n, n): body.origins.get(n, step.origin) for n in body.nodes()},
    )

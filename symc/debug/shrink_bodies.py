"""Smaller kernels for the reducer: bodies with fewer operators, and loops with fewer statements and turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from symc.debug.shrink_programs import only, values_in
from symc.debug.trial import Trial
from symc.ir.errors import IRError
from symc.ir.loop.nodes import For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store, walk
from symc.ir.modules import LoopModule
from symc.ir.op import Input, Node, Ref, input_node, parameter
from symc.ir.program.form import Access, Form
from symc.ir.program.nodes import KernelStep, Program, ProgramParam, operand_node
from symc.ir.tensor.graph import finish
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import Array, DType, TensorType

#: steps of a program whose bodies are made smaller
FEW = 3


def shrunk_bodies(trial: Trial) -> Iterator[Trial]:
    """Trials of a few kernels or loops with less in them, the largest steps first."""
    module = trial.module
    if isinstance(module, LoopModule):
        for at, kernel in enumerate(module.kernels):
            for body in _shorter(kernel.body):
                made = dataclasses.replace(kernel, body=body, key="")
                yield dataclasses.replace(trial, module=_with_kernel(module, at, made))
    elif isinstance(module, Program) and len(module.steps) <= FEW:
        yield from _smaller_steps(trial, module)


# --------------------------------------------------------------------------------------------- loops


def _with_kernel(module: LoopModule, at: int, kernel: LoopKernel) -> LoopModule:
    kernels = (*module.kernels[:at], kernel, *module.kernels[at + 1 :])
    return dataclasses.replace(module, kernels=kernels)


def _shorter(body: tuple[Stmt, ...]) -> Iterator[tuple[Stmt, ...]]:
    """The body without one of its statements, or with one turn of a loop. A value that is gone is one of the operands
    that it was made of, or 1; that of a loop is what it began with."""
    for stmt in walk(body):
        if isinstance(stmt, For):
            yield _edited(body, stmt, None, {c.result: c.init for c in stmt.carries})
            if stmt.trips > 1:
                yield _edited(body, stmt, dataclasses.replace(stmt, hi=stmt.lo + stmt.step), {})
            for carry in stmt.carries:
                rest = tuple(c for c in stmt.carries if c is not carry)
                gone = {carry.name: carry.init, carry.result: carry.init}
                yield _edited(body, stmt, dataclasses.replace(stmt, carries=rest), gone)
        elif isinstance(stmt, Let):
            for arg in [*(a for a in stmt.args if a.dtype == stmt.dtype), _one(stmt.dtype)]:
                yield _edited(body, stmt, None, {stmt.name: arg})
        elif isinstance(stmt, (Load, IndexValue)):
            yield _edited(body, stmt, None, {stmt.name: _one(stmt.dtype)})
        else:
            yield _edited(body, stmt, None, {})


def _one(dtype: DType) -> Ref:
    return Ref("", dtype, {"f": 1.0, "b": True}.get(dtype.kind, 1))


def _edited(body: Sequence[Stmt], target: Stmt, instead: Stmt | None, gone: Mapping[str, Ref]) -> tuple[Stmt, ...]:
    """The body with another statement, or none, in the place of `target`, and others for operands that are gone."""

    def ref(given: Ref) -> Ref:
        return gone.get(given.name, given) if given.name else given

    made: list[Stmt] = []
    for old in body:
        stmt = instead if old is target else old
        if stmt is None:
            continue
        if isinstance(stmt, For):
            carries = tuple(dataclasses.replace(c, init=ref(c.init), yields=ref(c.yields)) for c in stmt.carries)
            stmt = dataclasses.replace(stmt, body=_edited(stmt.body, target, instead, gone), carries=carries)
        elif isinstance(stmt, If):
            stmt = dataclasses.replace(stmt, cond=ref(stmt.cond), body=_edited(stmt.body, target, instead, gone))
        elif isinstance(stmt, Let):
            stmt = dataclasses.replace(stmt, args=tuple(map(ref, stmt.args)))
        elif isinstance(stmt, Store):
            stmt = dataclasses.replace(stmt, value=ref(stmt.value))
        elif isinstance(stmt, Load) and stmt.other is not None:
            stmt = dataclasses.replace(stmt, other=ref(stmt.other))
        made.append(stmt)
    return tuple(made)


# --------------------------------------------------------------------------------------------- bodies of steps


def _smaller_steps(trial: Trial, program: Program) -> Iterator[Trial]:
    """With an operand in the place of an operator, or its value given."""
    try:
        values = values_in(trial)
    except (IRError, ArithmeticError, ValueError, IndexError, KeyError):
        return
    for at, step in enumerate(program.steps):
        if not isinstance(step, KernelStep):
            continue
        inner = [n for n in step.body.nodes() if n.inputs and isinstance(n.type, TensorType)]
        given = {i: values[name] for i, name in zip(step.body.inputs, step.operands)}
        found = evaluate_nodes(inner, given)
        for node in reversed(inner):
            for operand in node.inputs:
                if operand.type == node.type:
                    yield _replaced(trial, program, at, step, {node: operand}, {}, values)
            if node not in step.body.output_nodes:
                name = f"cut.{step.body.names.get(node, node.op.name)}"
                made = input_node(name, node.tensor)
                yield _replaced(trial, program, at, step, {node: made}, {name: found[node]}, values)


def _replaced(
    trial: Trial,
    program: Program,
    at: int,
    step: KernelStep,
    first: Mapping[Node, Node],
    given: Mapping[str, Array],
    values: Mapping[str, Array],
) -> Trial:
    """With other nodes in the place of some of a step's body; those that are inputs are parameters, with values."""
    new = dict(first)
    for node in step.body.nodes():
        if node not in new and any(i in new for i in node.inputs):
            new[node] = node.on([new.get(i, i) for i in node.inputs])
    roots = [new.get(n, n) for n in step.body.output_nodes]
    read = finish("body", [], [(f"out{k}", n) for k, n in enumerate(roots)]).nodes()
    known = dict(zip(step.body.inputs, zip(step.operands, step.form.operands)))
    added = [n for n in first.values() if isinstance(n.op, Input) and n not in known]
    cut = {n: (parameter(n).input_name, _access(step.form, n.tensor)) for n in added}
    kept = [(n, *found) for n, found in {**known, **cut}.items() if n in read and not n.inputs]
    numbered = {n: operand_node(k, n.tensor) for k, (n, _, _) in enumerate(kept)}
    again = dict(numbered)
    for node in read:
        if node not in again and any(i in again for i in node.inputs):
            again[node] = node.on([again.get(i, i) for i in node.inputs])
    last = {n: again.get(new.get(n, n), new.get(n, n)) for n in step.body.nodes()}
    body = finish(
        step.body.name,
        list(numbered.values()),
        [dataclasses.replace(o, node=last[o.node]) for o in step.body.outputs],
        (),
        {last[n]: name for n, name in step.body.names.items() if last[n].inputs},
        {last[n]: origin for n, origin in step.body.origins.items()},
    )
    form = dataclasses.replace(step.form, operands=tuple(access for _, _, access in kept))
    small = dataclasses.replace(step, operands=tuple(name for _, name, _ in kept), body=body, form=form)
    params = [ProgramParam(name, n.tensor, "arg") for n, name, _ in kept if name in given]
    made = dataclasses.replace(
        program,
        params=(*program.params, *params),
        steps=(*program.steps[:at], small, *program.steps[at + 1 :]),
    )
    held = dataclasses.replace(trial, module=made, given={**trial.given, **given})
    return only(held, range(len(made.steps)), {**values, **given})


def _access(form: Form, tensor: TensorType) -> Access:
    """How a value of a type may be read in a kernel of a form, most likely."""
    if tensor.shape == form.space:
        return form.element
    return form.row if tensor.shape == tuple(form.space[a] for a in form.row) else None

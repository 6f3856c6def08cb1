"""Passes that approximate values in kernels or loops: what every kernel that they changed gives of the operands that it
has in the program before, not what becomes of that in the end, where errors may vanish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from symc.debug.bounds import approximation_bounds
from symc.debug.compare import UNITS, difference, near
from symc.debug.shrink_programs import Kernels, only, program_of, values_in
from symc.debug.trial import Trial
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule
from symc.ir.op import parameter
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import KernelStep, results_of
from symc.ir.tensor.interp import values_of
from symc.ir.types import Array


def kernels_too_far(trial: Trial, before: Kernels, after: Kernels, far: float) -> tuple[str, str]:
    """How the result of a kernel that a pass changed is off by more than errors of `far` times every value in it, in
    double precision, and its name; empty if none is."""
    old, new = program_of(before), program_of(after)
    if type(before) is not type(after) or [results_of(s) for s in old.steps] != [results_of(s) for s in new.steps]:
        return "", ""  # kernels that do not correspond: the results are all there is to compare
    values = values_in(replace(trial, module=before, passes=()))
    for at, step in enumerate(old.steps):
        if not isinstance(step, KernelStep) or _kernel(before, at) == _kernel(after, at):
            continue
        had, has = (_results(replace(trial, module=module, passes=()), at, values) for module in (before, after))
        bounds = _allowed(step, values, far)
        for result in step.results:
            name = result.name
            value = np.abs(np.where(np.isfinite(had[name]), had[name], 0))
            eps = float(np.finfo(result.type.dtype.numpy).eps) if result.type.dtype.is_float else 0.0
            if not near(has[name], had[name], bounds.get(name, 1.01 * far * value) + UNITS * eps * value):
                return f"%{name}: {difference(has[name], had[name])} (allowed: {far:g} times every value)", name
    return "", ""


def _kernel(module: Kernels, at: int) -> object:
    """What the step at a position runs."""
    if isinstance(module, LoopModule):
        number = module.calls[at]
        return None if number is None else module.kernels[number]
    return module.steps[at]


def _results(trial: Trial, at: int, values: dict[str, Array]) -> dict[str, Array]:
    """What a step alone gives of right operands, in double precision."""
    module = only(trial, [at], values).module
    assert isinstance(module, Kernels)
    program = program_of(module)
    arrays = {p.name: values[p.name] for p in program.params}
    run = run_loop_module if isinstance(module, LoopModule) else run_program
    found = run(module, arrays, precision="f64")  # type: ignore[operator]
    made = {o.value: found.outputs[o.name] for o in program.outputs}
    return made | {u.value: found.updates[u.input] for u in program.updates}


def _allowed(step: KernelStep, values: dict[str, Array], far: float) -> dict[str, Array]:
    """How far every element of the results may be off; nothing for a kernel that is loops only."""
    body = step.body
    roots = list(dict.fromkeys(body.output_nodes))
    if not roots:
        return {}
    arrays = {parameter(i).input_name: values[name] for i, name in zip(body.inputs, step.operands)}
    truth = values_of(body, arrays, roots, "f64")
    most = approximation_bounds(body, arrays, truth, far, [n for n in body.nodes() if n.inputs])
    return {r.name: most[node] for r, node in zip(step.results, body.output_nodes)}

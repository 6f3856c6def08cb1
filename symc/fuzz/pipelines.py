"""Random pipelines: the compiler's own, without some of the optional passes, with those of the tensor level anywhere
among the others, with options anywhere in their ranges, and now and then with values that are computed again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from symc.codegen.target import host_target
from symc.compile import loop_passes, pipeline, tensor_passes
from symc.fuzz.varied import flip, one_of
from symc.passes.manager.manager import Pass
from symc.passes.program.recompute import Recompute

#: options that say what the program is, or what the machine can do
FIXED = {
    ("simplify", "rounds"), ("choose", "vector_bytes"), ("choose", "schedules"), ("choose", "tuned"),
    ("decompose", "train"),
}  # fmt: skip


def other_value(rng: np.random.Generator, field: dataclasses.Field[Any]) -> Any:
    """A value of an option within what it declares, mostly near the least."""
    default = field.default
    least, most, choices = (field.metadata[word] for word in ("min", "max", "choices"))
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return tuple(name for name in choices or () if flip(rng, 0.1))
    if choices is not None:
        return one_of(rng, *choices)
    made = int(least) + int(rng.geometric(0.3)) - 1
    return made if most is None else min(made, int(most))


def varied(rng: np.random.Generator, pass_: Pass) -> Pass:
    """The pass with other options."""
    changed = {}
    for field in dataclasses.fields(pass_):
        free = pass_.numerics != "extends" and (pass_.name, field.name) not in FIXED
        if free and flip(rng, 0.3):
            changed[field.name] = other_value(rng, field)
    return dataclasses.replace(pass_, **changed)


def mixed(rng: np.random.Generator, passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """Passes of one pipeline with other options, without some that are optional; those of the tensor level may stand
    anywhere among the passes of their level, and twice."""
    kept = [varied(rng, p) for p in passes if not p.optional or flip(rng, 0.8)]
    moving = [p for p in kept if p.optional and p.takes == p.gives == "tensor"]
    if flip(rng, 0.4):
        moving += [varied(rng, p) for p in moving if flip(rng, 0.3)]
        fixed = [p for p in kept if p not in moving]
        start = next(at for at, p in enumerate(fixed) if p.takes == "tensor")
        for pass_ in moving:
            makers = [at + 1 for at, p in enumerate(fixed) if set(p.establishes) & set(pass_.requires)]
            first = max([start, *makers])
            last = next(at for at, p in enumerate(fixed) if p.takes == "tensor" and p.gives != "tensor")
            fixed.insert(int(rng.integers(first, last + 1)), pass_)
        kept = fixed
    at = next((at for at, p in enumerate(kept) if p.name == "own_results"), None)
    if at is not None and flip(rng, 0.2):
        kept.insert(at, Recompute(budget=one_of(rng, 0, 1 << 10, 1 << 14)))
    return tuple(kept)


def symbol_pipeline(rng: np.random.Generator, train: bool, wrt: Sequence[str], add: Sequence[str]) -> tuple[Pass, ...]:
    """From a Symbol to loops."""
    return mixed(rng, pipeline(train, wrt, add, host_target()))


def graph_pipeline(rng: np.random.Generator) -> tuple[Pass, ...]:
    """From a tensor graph to loops."""
    block = int(one_of(rng, 24, 256))
    return mixed(rng, [*tensor_passes(), *loop_passes(host_target(), block)])

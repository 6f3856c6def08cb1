"""Importing this module registers every pass, so that pipelines can be named in text."""

from symc.passes import (
    autodiff,
    batch,
    decompose,
    fuse,
    inline,
    layout,
    lower,
    own_results,
    partition,
    plan_memory,
    schedule,
    simplify,
    tile,
)  # fmt: skip
from symc.passes.pipeline import PASSES

__all__ = [
    "PASSES", "autodiff", "batch", "decompose", "fuse", "inline", "layout", "lower", "own_results", "partition",
    "plan_memory", "schedule", "simplify", "tile",
]  # fmt: skip

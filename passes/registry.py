"""Importing this module registers every pass, so that pipelines can be named in text."""

from symc.passes.loop import lower
from symc.passes.loop.tiling import choose, tile
from symc.passes.manager.manager import PASSES
from symc.passes.program import fuse, hoist, own_results, plan_memory, recompute, schedule
from symc.passes.tensor import (
    autodiff,
    batch,
    decompose,
    inline,
    layout,
    merge_loops,
    norms,
    pack,
    pack_steps,
    prune,
    simplify,
    stack,
    winograd,
    winograd_dw,
)

__all__ = [
    "PASSES", "autodiff", "batch", "choose", "decompose", "fuse", "hoist", "inline", "layout", "lower", "merge_loops",
    "norms", "own_results", "pack", "pack_steps", "plan_memory", "prune", "recompute", "schedule", "simplify", "stack",
    "tile", "winograd", "winograd_dw",
]  # fmt: skip

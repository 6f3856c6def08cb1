"""Importing this module registers every pass, so that pipelines can be named in text."""

from symc.passes import autodiff, batch, decompose, fuse, inline, layout, lower, partition, plan_memory, simplify, tile
from symc.passes.pipeline import PASSES

__all__ = [
    "PASSES", "autodiff", "batch", "decompose", "fuse", "inline", "layout", "lower", "partition", "plan_memory",
    "simplify", "tile",
]  # fmt: skip

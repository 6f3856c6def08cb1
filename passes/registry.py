"""Every pass, registered: importing this module fills symc.passes.pipeline.PASSES."""

from symc.passes import (
    autodiff, decompose, fuse, inline, layout, lower, partition, plan_memory, simplify, tile,
)  # fmt: skip

__all__ = ["autodiff", "decompose", "fuse", "inline", "layout", "lower", "partition", "plan_memory", "simplify", "tile"]

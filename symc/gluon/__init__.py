"""mx.gluon: nets as Python objects. Layers are thin: what they compute are Symbols or calls of `mx.nd`, and gradients
are those of `mx.autograd`."""

from __future__ import annotations

from typing import Any

from symc.ghosts import ghost as _ghost
from symc.gluon import loss, nn, rnn, utils
from symc.gluon.block import Block
from symc.gluon.hybrid import HybridBlock, SymbolBlock
from symc.gluon.parameter import Constant, DeferredInitializationError, Parameter, ParameterDict
from symc.gluon.trainer import Trainer

__all__ = [
    "Block", "Constant", "DeferredInitializationError", "HybridBlock", "Parameter", "ParameterDict", "SymbolBlock",
    "Trainer", "loss", "nn", "rnn", "utils",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    found = _ghost("symc", f"gluon.{name}")
    if found is None:
        raise AttributeError(f"module 'symc.gluon' has no attribute {name!r}")
    return found

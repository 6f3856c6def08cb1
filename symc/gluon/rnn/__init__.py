"""mx.gluon.rnn: recurrent cells, which compute one step, and unroll it over sequences."""

from __future__ import annotations

from typing import Any

from symc.aliases import inner_names as _inner_names
from symc.ghosts import ghost as _ghost
from symc.gluon.rnn.cells import GRUCell, HybridRecurrentCell, LSTMCell, RecurrentCell, RNNCell
from symc.gluon.rnn.combined import (
    BidirectionalCell,
    DropoutCell,
    HybridSequentialRNNCell,
    ModifierCell,
    ResidualCell,
    SequentialRNNCell,
    ZoneoutCell,
)

__all__ = [
    "BidirectionalCell", "DropoutCell", "GRUCell", "HybridRecurrentCell", "HybridSequentialRNNCell", "LSTMCell",
    "ModifierCell", "RNNCell", "RecurrentCell", "ResidualCell", "SequentialRNNCell", "ZoneoutCell",
]  # fmt: skip

globals().update(_inner_names(__name__))


def __getattr__(name: str) -> Any:
    found = _ghost("symc", f"gluon.rnn.{name}")
    if found is None:
        raise AttributeError(f"module 'symc.gluon.rnn' has no attribute {name!r}")
    return found

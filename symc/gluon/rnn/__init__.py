"""mx.gluon.rnn: recurrent cells, which compute one step, and layers of whole sequences."""

from symc.aliases import inner_names as _inner_names
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
from symc.gluon.rnn.layers import GRU, LSTM, RNN

__all__ = [
    "GRU", "LSTM", "RNN", "BidirectionalCell", "DropoutCell", "GRUCell", "HybridRecurrentCell",
    "HybridSequentialRNNCell", "LSTMCell", "ModifierCell", "RNNCell", "RecurrentCell", "ResidualCell",
    "SequentialRNNCell", "ZoneoutCell",
]  # fmt: skip

globals().update(_inner_names(__name__))

"""mx.rnn: recurrent cells over Symbols, their checkpoints, and batches of sentences."""

import sys as _sys

from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.rnn.base import BaseRNNCell, RNNParams
from symc.rnn.cells import BaseConvRNNCell, ConvGRUCell, ConvLSTMCell, ConvRNNCell, GRUCell, LSTMCell, RNNCell
from symc.rnn.checkpoint import do_rnn_checkpoint, load_rnn_checkpoint, rnn_unroll, save_rnn_checkpoint
from symc.rnn.combined import (
    BidirectionalCell,
    DropoutCell,
    ModifierCell,
    ResidualCell,
    SequentialRNNCell,
    ZoneoutCell,
)
from symc.rnn.fused import FusedRNNCell
from symc.rnn.sentences import BucketSentenceIter, encode_sentences

# the files that MXNet has below mx.rnn, where programs reach through them
io = rnn = rnn_cell = _sys.modules[__name__]

__all__ = [
    "BaseConvRNNCell", "BaseRNNCell", "BidirectionalCell", "BucketSentenceIter", "ConvGRUCell", "ConvLSTMCell",
    "ConvRNNCell", "DropoutCell", "FusedRNNCell", "GRUCell", "LSTMCell", "ModifierCell", "RNNCell", "RNNParams",
    "ResidualCell", "SequentialRNNCell", "ZoneoutCell", "do_rnn_checkpoint", "encode_sentences",
    "load_rnn_checkpoint", "rnn_unroll", "save_rnn_checkpoint",
]  # fmt: skip

__getattr__ = _standing_elsewhere(__name__)

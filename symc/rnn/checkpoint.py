"""Checkpoints of nets with cells: in files the weights of every gate stand apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from symc.checkpoint import load_checkpoint, save_checkpoint
from symc.rnn.base import BaseRNNCell

Cells = Any


def _listed(cells: Cells) -> Sequence[BaseRNNCell]:
    return [cells] if isinstance(cells, BaseRNNCell) else list(cells)


def save_rnn_checkpoint(cells: Cells, prefix: str, epoch: int, symbol: Any, arg_params: Any, aux_params: Any) -> None:
    """As `mx.model.save_checkpoint`, with the cells' weights unpacked."""
    for cell in _listed(cells):
        arg_params = cell.unpack_weights(arg_params)
    save_checkpoint(prefix, epoch, symbol, arg_params, aux_params)


def load_rnn_checkpoint(cells: Cells, prefix: str, epoch: int) -> tuple[Any, Any, Any]:
    """As `mx.model.load_checkpoint`, with the cells' weights packed."""
    symbol, args, states = load_checkpoint(prefix, epoch)
    for cell in _listed(cells):
        args = cell.pack_weights(args)
    return symbol, args, states


def do_rnn_checkpoint(cells: Cells, prefix: str, period: int = 1) -> Callable[..., None]:
    """A callback that saves such a checkpoint after every `period` epochs."""
    period = max(1, int(period))

    def callback(epoch: int, symbol: Any = None, args: Any = None, states: Any = None) -> None:
        if (epoch + 1) % period == 0:
            save_rnn_checkpoint(cells, prefix, epoch + 1, symbol, args, states)

    return callback


def rnn_unroll(
    cell: BaseRNNCell, length: int, inputs: Any = None, begin_state: Any = None, input_prefix: str = "",
    layout: str = "NTC",
) -> Any:  # fmt: skip
    """Deprecated: `cell.unroll`."""
    warnings.warn("rnn_unroll is deprecated. Please call cell.unroll directly.", stacklevel=2)
    return cell.unroll(length, inputs, begin_state, layout)

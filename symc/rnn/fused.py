"""FusedRNNCell: layers of cells in one operator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from symc import initializer, ndarray, symbol
from symc.initializer import RNN_GATES, packed_rnn_parts
from symc.ndarray import NDArray
from symc.rnn.base import BaseRNNCell, RNNParams, Sequences, Weights, _normalize_sequence
from symc.rnn.cells import GRUCell, LSTMCell, RNNCell
from symc.rnn.combined import BidirectionalCell, DropoutCell, SequentialRNNCell
from symc.symbol import Symbol


class FusedRNNCell(BaseRNNCell):
    """Layers of vanilla, LSTM or GRU cells as one RNN operator, with all weights in one vector. It cannot be stepped:
    `unroll` it, or `unfuse` it into cells of the same weights."""

    def __init__(
        self, num_hidden: int, num_layers: int = 1, mode: str = "lstm", bidirectional: bool = False,
        dropout: float = 0.0,
        get_next_state: bool = False, forget_bias: float = 1.0, prefix: str | None = None,
        params: RNNParams | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{mode}_" if prefix is None else prefix, params)
        if mode not in RNN_GATES:
            raise ValueError(f"there is no mode {mode!r}; there are {', '.join(RNN_GATES)}")
        self._num_hidden, self._num_layers, self._mode = num_hidden, num_layers, mode
        self._bidirectional, self._dropout, self._get_next_state = bidirectional, dropout, get_next_state
        self._directions = ["l", "r"] if bidirectional else ["l"]
        first = initializer.FusedRNN(None, num_hidden, num_layers, mode, bidirectional, forget_bias)
        self._parameter = self.params.get("parameters", init=first)

    @property
    def _gate_names(self) -> Sequence[str]:
        return RNN_GATES[self._mode]

    @property
    def _num_gates(self) -> int:
        return len(self._gate_names)

    @property
    def state_info(self) -> list[dict[str, Any]]:
        shape = (len(self._directions) * self._num_layers, 0, self._num_hidden)
        return [{"shape": shape, "__layout__": "LNC"} for _ in range(2 if self._mode == "lstm" else 1)]

    # -- weights

    def _places(self, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of every gate's weights, in the order of the vector."""
        parts = packed_rnn_parts(self._mode, self._num_hidden, self._num_layers, len(self._directions), inputs)
        return ((f"{self._prefix}{name}", shape) for name, shape in parts)

    def _slices(self, vector: NDArray, inputs: int) -> dict[str, NDArray]:
        """Views of the vector by the names of the gates' weights."""
        found, at = {}, 0
        for name, shape in self._places(inputs):
            size = shape[0] * (shape[1] if len(shape) > 1 else 1)
            found[name] = vector[at : at + size].reshape(shape)
            at += size
        if at != vector.size:
            raise AssertionError(f"Invalid parameters size for FusedRNNCell: {vector.size}, not {at}")
        return found

    def unpack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        found = dict(args)
        vector = found.pop(self._parameter.name)
        d, gates, h = len(self._directions), self._num_gates, self._num_hidden
        inputs = vector.size // d // h // gates - (self._num_layers - 1) * (h + d * h + 2) - h - 2
        return {**found, **{name: part.copy() for name, part in self._slices(vector, inputs).items()}}

    def pack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        found = dict(args)
        first = found[f"{self._prefix}l0_i2h{self._gate_names[0]}_weight"]
        inputs = first.shape[1]
        parts = [found.pop(name).reshape((-1,)) for name, _ in self._places(inputs)]
        return {**found, self._parameter.name: ndarray.concatenate(parts)}

    # -- unrolling

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> tuple[Symbol, list[Symbol]]:
        raise NotImplementedError("FusedRNNCell cannot be stepped. Please use unroll")

    def unroll(
        self, length: int, inputs: Sequences, begin_state: Sequence[Symbol] | None = None, layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Sequences, list[Symbol]]:  # fmt: skip
        self.reset()
        inputs, axis = _normalize_sequence(length, inputs, layout, True)
        if axis == 1:
            warnings.warn("NTC layout detected. Consider using TNC for FusedRNNCell for faster speed", stacklevel=2)
            inputs = symbol.swapaxes(inputs, dim1=0, dim2=1)
        elif axis != 0:
            raise AssertionError(f"Unsupported layout {layout}")
        begin = list(begin_state) if begin_state is not None else self.begin_state()
        made = symbol.RNN(
            data=inputs, parameters=self._parameter, state_size=self._num_hidden, num_layers=self._num_layers,
            bidirectional=self._bidirectional, p=self._dropout, state_outputs=self._get_next_state, mode=self._mode,
            name=f"{self._prefix}rnn", **dict(zip(("state", "state_cell"), begin)),
        )  # fmt: skip
        outputs, states = made, []
        if self._get_next_state:
            outputs, *states = made
            for state in states:
                state._set_attr(__layout__="LNC")
        if axis == 1:
            outputs = symbol.swapaxes(outputs, dim1=0, dim2=1)
        return _normalize_sequence(length, outputs, layout, merge_outputs)[0], states

    def unfuse(self) -> SequentialRNNCell:
        """The same layers as cells that can be stepped; their weights are what `unpack_weights` gives, packed by
        theirs."""
        stack = SequentialRNNCell()
        for layer in range(self._num_layers):
            cells = [self._cell(f"{self._prefix}{way}{layer}_") for way in self._directions]
            if self._bidirectional:
                stack.add(BidirectionalCell(*cells, output_prefix=f"{self._prefix}bi_l{layer}_"))
            else:
                stack.add(cells[0])
            if self._dropout > 0 and layer != self._num_layers - 1:
                stack.add(DropoutCell(self._dropout, prefix=f"{self._prefix}_dropout{layer}_"))
        return stack

    def _cell(self, prefix: str) -> BaseRNNCell:
        if self._mode in ("lstm", "gru"):
            return (LSTMCell if self._mode == "lstm" else GRUCell)(self._num_hidden, prefix=prefix)
        return RNNCell(self._num_hidden, activation=self._mode.removeprefix("rnn_"), prefix=prefix)

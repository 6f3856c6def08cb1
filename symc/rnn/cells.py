"""RNNCell, LSTMCell and GRUCell, and the same with convolutions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from symc import initializer, symbol
from symc.rnn.base import BaseRNNCell, RNNParams
from symc.symbol import Symbol

Step = tuple[Symbol, list[Symbol]]


class _Cell(BaseRNNCell):
    """Base of cells with weights from input and from hidden state, a share of both for every gate."""

    #: the number of states
    states = 1
    #: what the names of the two products begin with
    product = ""

    def __init__(self, num_hidden: int, prefix: str, params: RNNParams | None, activation: Any = "tanh") -> None:
        super().__init__(prefix, params)
        self._num_hidden, self._activation = num_hidden, activation
        self._make_params()

    def _make_params(self) -> None:
        self._iW, self._iB = self.params.get("i2h_weight"), self.params.get("i2h_bias")
        self._hW, self._hB = self.params.get("h2h_weight"), self.params.get("h2h_bias")

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return [{"shape": (0, self._num_hidden), "__layout__": "NC"} for _ in range(self.states)]

    @property
    def _num_gates(self) -> int:
        return len(self.gates)

    def _products(self, inputs: Symbol, hidden: Symbol, name: str) -> tuple[Symbol, Symbol]:
        """What all gates get from the input and from the hidden state."""
        size = self._num_hidden * len(self.gates)
        name += self.product
        i2h = symbol.FullyConnected(inputs, self._iW, self._iB, num_hidden=size, name=f"{name}i2h")
        return i2h, symbol.FullyConnected(hidden, self._hW, self._hB, num_hidden=size, name=f"{name}h2h")

    def _split(self, gates: Symbol, name: str) -> Symbol:
        return symbol.SliceChannel(gates, num_outputs=len(self.gates), name=name)


class RNNCell(_Cell):
    """h = activation(W x + R h + b): the plain recurrent cell."""

    gates = initializer.RNN_GATES["rnn_tanh"]

    def __init__(
        self, num_hidden: int, activation: Any = "tanh", prefix: str = "rnn_", params: RNNParams | None = None
    ) -> None:
        super().__init__(num_hidden, prefix, params, activation)

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        name = self._step_name()
        i2h, h2h = self._products(inputs, states[0], name)
        output = self._get_activation(i2h + h2h, self._activation, name=f"{name}out")
        return output, [output]


class LSTMCell(_Cell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); `forget_bias` is what the forget gate's bias starts
    with."""

    gates = initializer.RNN_GATES["lstm"]
    states = 2

    def __init__(
        self, num_hidden: int, prefix: str = "lstm_", params: RNNParams | None = None, forget_bias: float = 1.0
    ) -> None:
        self._forget_bias = forget_bias
        super().__init__(num_hidden, prefix, params)

    def _make_params(self) -> None:
        self._iW, self._hW = self.params.get("i2h_weight"), self.params.get("h2h_weight")
        self._iB = self.params.get("i2h_bias", init=initializer.LSTMBias(forget_bias=self._forget_bias))
        self._hB = self.params.get("h2h_bias")

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        name = self._step_name()
        i2h, h2h = self._products(inputs, states[0], name)
        parts = self._split(i2h + h2h, f"{name}slice")
        enter = symbol.Activation(parts[0], act_type="sigmoid", name=f"{name}i")
        keep = symbol.Activation(parts[1], act_type="sigmoid", name=f"{name}f")
        fresh = self._get_activation(parts[2], self._activation, name=f"{name}c")
        leave = symbol.Activation(parts[3], act_type="sigmoid", name=f"{name}o")
        cell = symbol._internal._plus(keep * states[1], enter * fresh, name=f"{name}state")
        hidden = symbol._internal._mul(leave, self._get_activation(cell, self._activation), name=f"{name}out")
        return hidden, [hidden, cell]


class GRUCell(_Cell):
    """The gated recurrent unit (Cho et al., 2014), in cuDNN's form: the reset gate acts on R h."""

    gates = initializer.RNN_GATES["gru"]
    product = "_"

    def __init__(self, num_hidden: int, prefix: str = "gru_", params: RNNParams | None = None) -> None:
        super().__init__(num_hidden, prefix, params)

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        name = self._step_name()
        i2h, h2h = self._products(inputs, states[0], name)
        # not by _split: MXNet cuts the convolutional cell's gates along axis 1 whatever its layout
        x, h = (
            symbol.SliceChannel(both, num_outputs=3, name=f"{name}_{of}_slice")
            for both, of in ((i2h, "i2h"), (h2h, "h2h"))
        )
        reset = symbol.Activation(x[0] + h[0], act_type="sigmoid", name=f"{name}_r_act")
        update = symbol.Activation(x[1] + h[1], act_type="sigmoid", name=f"{name}_z_act")
        fresh = self._get_activation(x[2] + reset * h[2], self._activation, name=f"{name}_h_act")
        hidden = symbol._internal._plus((1.0 - update) * fresh, update * states[0], name=f"{name}out")
        return hidden, [hidden]


# --------------------------------------------------------------------------------------------- convolutions

_LEAKY = functools.partial(symbol.LeakyReLU, act_type="leaky", slope=0.2)


class BaseConvRNNCell(_Cell):
    """Base of cells whose products are convolutions of images; the states' extents follow from `input_shape`."""

    #: what the names of a cell begin with
    called = ""
    product = ""

    def __init__(
        self, input_shape: tuple[int, ...], num_hidden: int, h2h_kernel: tuple[int, int] = (3, 3),
        h2h_dilate: tuple[int, int] = (1, 1), i2h_kernel: tuple[int, int] = (3, 3),
        i2h_stride: tuple[int, int] = (1, 1), i2h_pad: tuple[int, int] = (1, 1), i2h_dilate: tuple[int, int] = (1, 1),
        i2h_weight_initializer: Any = None, h2h_weight_initializer: Any = None, i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros", activation: Any = _LEAKY, prefix: str | None = None,
        params: RNNParams | None = None, conv_layout: str = "NCHW",
    ) -> None:  # fmt: skip
        if any(k % 2 == 0 for k in h2h_kernel):
            raise AssertionError(f"Only support odd number, get h2h_kernel= {h2h_kernel}")
        self._layout = conv_layout
        self._inits = i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer
        self._i2h = {"kernel": i2h_kernel, "stride": i2h_stride, "pad": i2h_pad, "dilate": i2h_dilate}
        same = tuple(d * (k - 1) // 2 for k, d in zip(h2h_kernel, h2h_dilate))
        self._h2h = {"kernel": h2h_kernel, "dilate": h2h_dilate, "pad": same, "stride": (1, 1)}
        sample = symbol.Convolution(symbol.Variable("data"), num_filter=num_hidden, layout=conv_layout, **self._i2h)
        self._extents = (0, *sample.infer_shape(data=input_shape)[1][0][1:])
        _Cell.__init__(self, num_hidden, self.called if prefix is None else prefix, params, activation)

    def _make_params(self) -> None:
        names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        self._iW, self._hW, self._iB, self._hB = (self.params.get(n, init=i) for n, i in zip(names, self._inits))

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return [{"shape": self._extents, "__layout__": self._layout} for _ in range(self.states)]

    def _products(self, inputs: Symbol, hidden: Symbol, name: str) -> tuple[Symbol, Symbol]:
        size = self._num_hidden * len(self.gates)
        shared: dict[str, Any] = {"num_filter": size, "layout": self._layout}
        i2h = symbol.Convolution(inputs, self._iW, self._iB, name=f"{name}i2h", **shared, **self._i2h)
        return i2h, symbol.Convolution(hidden, self._hW, self._hB, name=f"{name}h2h", **shared, **self._h2h)

    def _split(self, gates: Symbol, name: str) -> Symbol:
        return symbol.SliceChannel(gates, num_outputs=len(self.gates), axis=self._layout.find("C"), name=name)


class ConvRNNCell(BaseConvRNNCell, RNNCell):
    """RNNCell with convolutions."""

    called = "ConvRNN_"


class ConvLSTMCell(BaseConvRNNCell, LSTMCell):
    """LSTMCell with convolutions (Shi et al., 2015)."""

    called = "ConvLSTM_"

    def _make_params(self) -> None:
        BaseConvRNNCell._make_params(self)


class ConvGRUCell(BaseConvRNNCell, GRUCell):
    """GRUCell with convolutions."""

    called = "ConvGRU_"

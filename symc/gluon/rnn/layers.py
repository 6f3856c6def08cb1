"""Recurrent layers over whole sequences, by the operator RNN: several layers, one or both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symc import ndarray, symbol
from symc.gluon.hybrid import HybridBlock
from symc.gluon.parameter import Parameter
from symc.gluon.rnn.cells import GRUCell, LSTMCell, RNNCell
from symc.gluon.rnn.combined import BidirectionalCell, DropoutCell, HybridSequentialRNNCell
from symc.ndarray import NDArray
from symc.symbol import Symbol


class _Layers(HybridBlock):
    """Base. `layer(inputs)` gives the outputs; `layer(inputs, states)` the outputs and the last states. Inputs are of
    the `layout` TNC or NTC, states (layers * directions, batch, units)."""

    _mode: str
    _gates: int
    #: whether there is a cell beside the output among the states
    _cell = False

    def __init__(
        self, hidden_size: int, num_layers: int, layout: str, dropout: float, bidirectional: bool, input_size: int,
        i2h_weight_initializer: Any, h2h_weight_initializer: Any, i2h_bias_initializer: Any, h2h_bias_initializer: Any,
        dtype: Any, use_sequence_length: bool = False, projection_size: int | None = None,
        h2r_weight_initializer: Any = None, clipped: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if layout not in ("TNC", "NTC"):
            raise AssertionError(f"layout {layout!r} is none of TNC, NTC")
        self._hidden_size, self._num_layers, self._layout = hidden_size, num_layers, layout
        self._dropout, self._dir, self._input_size = dropout, 2 if bidirectional else 1, input_size
        self._projection_size, self._dtype, self._use_sequence_length = (
            projection_size or None,
            dtype,
            use_sequence_length,
        )
        self._clipped = dict(clipped or {})
        self._initializers = {
            "i2h_weight_initializer": i2h_weight_initializer, "h2h_weight_initializer": h2h_weight_initializer,
            "i2h_bias_initializer": i2h_bias_initializer, "h2h_bias_initializer": h2h_bias_initializer,
        }  # fmt: skip
        rows, out = self._gates * hidden_size, self._projection_size or hidden_size
        for layer in range(num_layers):
            fan_in = input_size if layer == 0 else out * self._dir
            for side in "lr"[: self._dir]:
                for name, shape, init in (
                    ("i2h_weight", (rows, fan_in), i2h_weight_initializer),
                    ("h2h_weight", (rows, out), h2h_weight_initializer),
                    ("i2h_bias", (rows,), i2h_bias_initializer),
                    ("h2h_bias", (rows,), h2h_bias_initializer),
                    ("h2r_weight", (out, hidden_size), h2r_weight_initializer),
                ):
                    if name != "h2r_weight" or self._projection_size:
                        full = f"{side}{layer}_{name}"
                        made = self.params.get(full, shape=shape, init=init, allow_deferred_init=True, dtype=dtype)
                        setattr(self, full, made)

    def __repr__(self) -> str:
        inputs = (self._reg_params["l0_i2h_weight"].shape or (0, 0))[1]
        parts = [f"{inputs or None} -> {self._hidden_size}", self._layout]
        parts += [f"num_layers={self._num_layers}"] if self._num_layers != 1 else []
        parts += [f"dropout={self._dropout}"] if self._dropout else []
        parts += ["bidirectional"] if self._dir == 2 else []
        return f"{type(self).__name__}({', '.join(parts)})"

    def _structure(self, prefix: str = "") -> dict[str, Parameter]:
        """Names of files that MXNet writes: those of the stack of cells that does the same."""
        dotted = f"{prefix}." if prefix else ""
        found = {}
        for name, parameter in self._reg_params.items():
            place, _, rest = name.partition("_")
            cell = f".{place[0]}_cell." if self._dir == 2 else "."
            found[f"{dotted}_unfused.{place[1:]}{cell}{rest}"] = parameter
        return found

    _collect_params_with_prefix = _structure

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Shape and layout of every state."""
        widths = [self._projection_size or self._hidden_size, *([self._hidden_size] if self._cell else [])]
        count = self._num_layers * self._dir
        return [{"shape": (count, batch_size, width), "__layout__": "LNC", "dtype": self._dtype} for width in widths]

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """The states before the first step, made by `func` (`mx.nd.zeros`, `mx.sym.zeros`, ...)."""
        made = []
        for at, info in enumerate(self.state_info(batch_size)):
            facts = {**info, **kwargs}
            if func in (ndarray.zeros, ndarray.ones):
                facts.pop("__layout__")
            else:
                facts["name"] = f"{self.prefix}h0_{at}"
            made.append(func(**facts))
        return made

    def cast(self, dtype: Any) -> None:
        """Change the element type."""
        super().cast(dtype)
        self._dtype = dtype

    def __call__(self, inputs: Any, states: Any = None, sequence_length: Any = None) -> Any:  # type: ignore[override]
        """The outputs; with `states`, the last states too. `sequence_length` are the lengths of the examples."""
        wanted = states is not None
        if states is None and isinstance(inputs, NDArray):
            states = self.begin_state(inputs.shape[self._layout.find("N")], ctx=inputs.context, dtype=inputs.dtype)
        elif states is None:
            states = self.begin_state(func=symbol.zeros)
        states = [states] if isinstance(states, (NDArray, Symbol)) else list(states)
        if isinstance(inputs, NDArray):
            batch = inputs.shape[self._layout.find("N")]
            for state, info in zip(states, self.state_info(batch)):
                if state.shape != info["shape"]:
                    raise ValueError(f"{self.name}: a state has the shape {state.shape}, but {info['shape']} is needed")
        more = (sequence_length,) if self._use_sequence_length else ()
        outputs, last = super().__call__(inputs, states, *more)
        return (outputs, last) if wanted else outputs

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, inputs: Any, states: Any, sequence_length: Any = None, **weights: Any
    ) -> Any:
        data = F.swapaxes(inputs, 0, 1) if self._layout == "NTC" else inputs
        places = [f"{side}{layer}" for layer in range(self._num_layers) for side in "lr"[: self._dir]]
        order = ["i2h_weight", "h2h_weight", *(["h2r_weight"] if self._projection_size else [])]
        packed = [weights[f"{place}_{name}"] for place in places for name in order]
        packed += [weights[f"{place}_{name}"] for place in places for name in ("i2h_bias", "h2h_bias")]
        vector = F._internal._rnn_param_concat(*(weight.reshape((-1,)) for weight in packed), dim=0)
        more = (sequence_length,) if self._use_sequence_length else ()
        made = F.RNN(
            data, vector, *states, *more, state_size=self._hidden_size, num_layers=self._num_layers, mode=self._mode,
            bidirectional=self._dir == 2, p=self._dropout, state_outputs=True, projection_size=self._projection_size,
            use_sequence_length=self._use_sequence_length, **self._clipped,
        )  # fmt: skip
        outputs, last = made[0], [made[at] for at in range(1, 3 if self._cell else 2)]
        return F.swapaxes(outputs, 0, 1) if self._layout == "NTC" else outputs, last

    def _make_cell(self, **facts: Any) -> Any:
        raise NotImplementedError

    def _unfuse(self) -> HybridSequentialRNNCell:
        """A stack of cells that does the same with the same parameters."""
        if self._projection_size or any(v for v in self._clipped.values()):
            raise AssertionError(f"{self.name}: there are no cells that project or clip states")
        stack = HybridSequentialRNNCell(prefix=self.prefix, params=self.params)
        with stack.name_scope():
            for layer in range(self._num_layers):
                inputs = self._input_size if layer == 0 else self._hidden_size * self._dir
                sides = [
                    self._make_cell(prefix=f"{side}{layer}_", input_size=inputs, **self._initializers)
                    for side in "lr"[: self._dir]
                ]
                stack.add(BidirectionalCell(*sides) if len(sides) == 2 else sides[0])
                if self._dropout and layer < self._num_layers - 1:
                    stack.add(DropoutCell(self._dropout))
        return stack


class RNN(_Layers):
    """Elman's recurrent layers, with relu or tanh."""

    _gates = 1

    def __init__(
        self, hidden_size: int, num_layers: int = 1, activation: str = "relu", layout: str = "TNC",
        dropout: float = 0, bidirectional: bool = False, i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None, i2h_bias_initializer: Any = "zeros", h2h_bias_initializer: Any = "zeros",
        input_size: int = 0, dtype: Any = "float32", **kwargs: Any,
    ) -> None:  # fmt: skip
        self._mode, self._activation = f"rnn_{activation}", activation
        super().__init__(
            hidden_size, num_layers, layout, dropout, bidirectional, input_size, i2h_weight_initializer,
            h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer, dtype, **kwargs,
        )  # fmt: skip

    def _make_cell(self, **facts: Any) -> Any:
        return RNNCell(self._hidden_size, activation=self._activation, **facts)


class LSTM(_Layers):
    """Long short-term memory; with `projection_size`, outputs are projected to that width."""

    _mode, _gates, _cell = "lstm", 4, True

    def __init__(
        self, hidden_size: int, num_layers: int = 1, layout: str = "TNC", dropout: float = 0,
        bidirectional: bool = False, input_size: int = 0, i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None, i2h_bias_initializer: Any = "zeros", h2h_bias_initializer: Any = "zeros",
        projection_size: int | None = None, h2r_weight_initializer: Any = None,
        state_clip_min: float | None = None, state_clip_max: float | None = None, state_clip_nan: bool = False,
        dtype: Any = "float32", **kwargs: Any,
    ) -> None:  # fmt: skip
        clipped = {
            "lstm_state_clip_min": state_clip_min, "lstm_state_clip_max": state_clip_max,
            "lstm_state_clip_nan": state_clip_nan,
        }  # fmt: skip
        super().__init__(
            hidden_size, num_layers, layout, dropout, bidirectional, input_size, i2h_weight_initializer,
            h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer, dtype,
            projection_size=projection_size, h2r_weight_initializer=h2r_weight_initializer, clipped=clipped, **kwargs,
        )  # fmt: skip

    def _make_cell(self, **facts: Any) -> Any:
        return LSTMCell(self._hidden_size, **facts)


class GRU(_Layers):
    """Gated recurrent units."""

    _mode, _gates = "gru", 3

    def __init__(
        self, hidden_size: int, num_layers: int = 1, layout: str = "TNC", dropout: float = 0,
        bidirectional: bool = False, input_size: int = 0, i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None, i2h_bias_initializer: Any = "zeros", h2h_bias_initializer: Any = "zeros",
        dtype: Any = "float32", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            hidden_size, num_layers, layout, dropout, bidirectional, input_size, i2h_weight_initializer,
            h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer, dtype, **kwargs,
        )  # fmt: skip

    def _make_cell(self, **facts: Any) -> Any:
        return GRUCell(self._hidden_size, **facts)

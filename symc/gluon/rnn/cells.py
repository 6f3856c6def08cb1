"""The bases of recurrent cells, and the cells with gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symc import ndarray, symbol
from symc.gluon.block import Block
from symc.gluon.hybrid import HybridBlock
from symc.gluon.rnn.sequences import activated, as_wanted, functions_of, masked, steps_of


class RecurrentCell(Block):
    """Base: `output, states = cell(inputs, states)` is a step; inputs and outputs are (batch, units)."""

    def __init__(self, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._modified = False
        self.reset()

    def reset(self) -> None:
        """Begin to count the steps anew."""
        self._init_counter = self._counter = -1
        for cell in self._children.values():
            if isinstance(cell, RecurrentCell):
                cell.reset()

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Shape and layout of every state."""
        raise NotImplementedError(f"{type(self).__name__} does not say its states")

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """The states before the first step, made by `func` (`mx.nd.zeros`, `mx.sym.zeros`, ...)."""
        self._refuse_modified()
        made = []
        for info in self.state_info(batch_size):
            self._init_counter += 1
            facts = {**info, **kwargs}
            if func in (ndarray.zeros, ndarray.ones):
                facts.pop("__layout__", None)
            else:
                facts["name"] = f"{self._prefix}begin_state_{self._init_counter}"
            made.append(func(**facts))
        return made

    def _refuse_modified(self) -> None:
        if self._modified:
            raise AssertionError(f"{self.name} belongs to a modifier cell, which is called in its place")

    def _begin(self, begin_state: Any, steps: Sequence[Any], F: Any) -> list[Any]:
        if begin_state is not None:
            return list(begin_state)
        if F is symbol:
            return self.begin_state(func=symbol.zeros)
        first = steps[0]
        return self.begin_state(first.shape[0], ndarray.zeros, ctx=first.context)

    def unroll(
        self, length: int, inputs: Any, begin_state: Any = None, layout: str = "NTC", merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:  # fmt: skip
        """`length` steps over a sequence (an array or Symbol of this layout, or a list of steps): the outputs, as one
        (`merge_outputs`) or a list, and the last states. `valid_length` are the lengths of the examples."""
        self.reset()
        axis = layout.find("T")
        steps = steps_of(inputs, length, axis)
        F = functions_of(steps)
        states = self._begin(begin_state, steps, F)
        outputs, history = [], []
        for at in range(length):
            output, states = self(steps[at], states)
            outputs.append(output)
            history.append(states)
        if valid_length is None:
            return as_wanted(outputs, axis, length, merge_outputs), states
        states = [
            F.SequenceLast(F.stack(*each, axis=0), sequence_length=valid_length, use_sequence_length=True, axis=0)
            for each in zip(*history)
        ]
        return as_wanted(masked(outputs, valid_length, axis), axis, length, merge_outputs), states

    def forward(self, inputs: Any, states: Any) -> Any:  # type: ignore[override]
        """One step."""
        self._counter += 1
        return super().forward(inputs, states)


class HybridRecurrentCell(RecurrentCell, HybridBlock):
    """Base of cells that are HybridBlocks."""


class _Gates(HybridRecurrentCell):
    """A cell whose gates are affine functions of the inputs and of the first state."""

    _gates: int
    _states = 1

    def __init__(
        self, hidden_size: int, i2h_weight_initializer: Any = None, h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros", h2h_bias_initializer: Any = "zeros", input_size: int = 0,
        prefix: str | None = None, params: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(prefix=prefix, params=params)
        self._hidden_size, self._input_size = hidden_size, input_size
        rows = self._gates * hidden_size
        for name, shape, init in (
            ("i2h_weight", (rows, input_size), i2h_weight_initializer),
            ("h2h_weight", (rows, hidden_size), h2h_weight_initializer),
            ("i2h_bias", (rows,), i2h_bias_initializer),
            ("h2h_bias", (rows,), h2h_bias_initializer),
        ):
            setattr(self, name, self.params.get(name, shape=shape, init=init, allow_deferred_init=True))

    def __repr__(self) -> str:
        rows, inputs = self._reg_params["i2h_weight"].shape or (0, 0)
        return f"{type(self).__name__}({inputs or None} -> {rows})"

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Shape and layout of every state."""
        return [{"shape": (batch_size, self._hidden_size), "__layout__": "NC"} for _ in range(self._states)]

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, inputs: Any, states: Any, i2h_weight: Any, h2h_weight: Any, i2h_bias: Any, h2h_bias: Any
    ) -> Any:
        """One step."""
        name, units = f"t{self._counter}_", self._gates * self._hidden_size
        i2h = F.FullyConnected(data=inputs, weight=i2h_weight, bias=i2h_bias, num_hidden=units, name=f"{name}i2h")
        h2h = F.FullyConnected(data=states[0], weight=h2h_weight, bias=h2h_bias, num_hidden=units, name=f"{name}h2h")
        return self._next(F, i2h, h2h, states, name)

    def _next(self, F: Any, i2h: Any, h2h: Any, states: Any, name: str) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not say its step")


class RNNCell(_Gates):
    """activation(i2h + h2h)."""

    _gates = 1

    def __init__(self, hidden_size: int, activation: Any = "tanh", *args: Any, **kwargs: Any) -> None:
        self._activation = activation
        super().__init__(hidden_size, *args, **kwargs)

    def _alias(self) -> str:
        return "rnn"

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self._activation})"

    def _next(self, F: Any, i2h: Any, h2h: Any, states: Any, name: str) -> Any:
        output = activated(F, F.elemwise_add(i2h, h2h, name=f"{name}plus0"), self._activation, f"{name}out")
        return output, [output]


class LSTMCell(_Gates):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); the states are the output and the cell."""

    _gates, _states = 4, 2

    def __init__(
        self, hidden_size: int, *args: Any, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        self._activation, self._recurrent_activation = activation, recurrent_activation
        super().__init__(hidden_size, *args, **kwargs)

    def _alias(self) -> str:
        return "lstm"

    def _next(self, F: Any, i2h: Any, h2h: Any, states: Any, name: str) -> Any:
        gates = F.elemwise_add(i2h, h2h, name=f"{name}plus0")
        parts = F.SliceChannel(gates, num_outputs=4, name=f"{name}slice")
        inner, outer = self._activation, self._recurrent_activation
        enter = activated(F, parts[0], outer, f"{name}i")
        keep = activated(F, parts[1], outer, f"{name}f")
        new = activated(F, parts[2], inner, f"{name}c")
        show = activated(F, parts[3], outer, f"{name}o")
        kept = F.elemwise_mul(keep, states[1], name=f"{name}mul0")
        cell = F.elemwise_add(kept, F.elemwise_mul(enter, new, name=f"{name}mul1"), name=f"{name}state")
        output = F.elemwise_mul(show, activated(F, cell, inner, f"{name}activation0"), name=f"{name}out")
        return output, [output, cell]


class GRUCell(_Gates):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate behind the product, as cuDNN has it."""

    _gates = 3

    def _alias(self) -> str:
        return "gru"

    def _next(self, F: Any, i2h: Any, h2h: Any, states: Any, name: str) -> Any:
        (before,) = states
        into = F.SliceChannel(i2h, num_outputs=3, name=f"{name}i2h_slice")
        over = F.SliceChannel(h2h, num_outputs=3, name=f"{name}h2h_slice")

        def gate(at: int, added: str, called: str) -> Any:
            total = F.elemwise_add(into[at], over[at], name=f"{name}{added}")
            return F.Activation(total, act_type="sigmoid", name=f"{name}{called}")

        reset, update = gate(0, "plus0", "r_act"), gate(1, "plus1", "z_act")
        held = F.elemwise_mul(reset, over[2], name=f"{name}mul0")
        new = F.Activation(F.elemwise_add(into[2], held, name=f"{name}plus2"), act_type="tanh", name=f"{name}h_act")
        ones = F.ones_like(update, name=f"{name}ones_like0")
        output = F.elemwise_add(
            F.elemwise_mul(F.elemwise_sub(ones, update, name=f"{name}minus0"), new, name=f"{name}mul1"),
            F.elemwise_mul(update, before, name=f"{name}mul20"),
            name=f"{name}out",
        )
        return output, [output]

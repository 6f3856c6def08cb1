"""What recurrent cells share: parameters, states, unrolling, and weights packed or gate by gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symc import ndarray, symbol
from symc.ndarray import NDArray
from symc.symbol import Symbol

Weights = dict[str, NDArray]
#: one Symbol over all steps, or one a step
Sequences = Any


def _normalize_sequence(
    length: int | None, inputs: Sequences, layout: str, merge: bool | None, given: str | None = None
) -> tuple[Sequences, int]:
    """(steps as one Symbol if `merge`, as a list if not, as they are for None; the axis of time in `layout`).

    `given` is the layout of what comes, where it is another.
    """
    if inputs is None:
        raise AssertionError("unroll(inputs=None) has been deprecated. Please create input variables outside unroll.")
    axis = layout.find("T")
    here = axis if given is None else given.find("T")
    if isinstance(inputs, Symbol):
        if merge is False:
            if len(inputs) != 1:
                raise AssertionError("unroll takes one Symbol or a list: turn a group into list(inputs) first")
            return list(symbol.split(inputs, axis=here, num_outputs=length, squeeze_axis=1)), axis
    else:
        if length is not None and len(inputs) != length:
            raise AssertionError(f"unroll over {length} steps takes as many inputs, got {len(inputs)}")
        if merge:
            inputs = symbol.Concat(*(symbol.expand_dims(i, axis=axis) for i in inputs), dim=axis)
            here = axis
    if isinstance(inputs, Symbol) and axis != here:
        inputs = symbol.swapaxes(inputs, dim1=axis, dim2=here)
    return inputs, axis


class RNNParams:
    """The variables of cells by name; cells that share one share their weights."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._params: dict[str, Symbol] = {}

    def get(self, name: str, **kwargs: Any) -> Symbol:
        """The variable `prefix + name`, made at first use."""
        name = self._prefix + name
        if name not in self._params:
            self._params[name] = symbol.Variable(name, **kwargs)
        return self._params[name]


class BaseRNNCell:
    """Base of all cells. `cell(inputs, states)` is one step: (output, new states)."""

    #: endings of the names of the gates' weights, in the order they are packed in
    gates: Sequence[str] = ()

    def __init__(self, prefix: str = "", params: RNNParams | None = None) -> None:
        self._own_params = params is None
        self._prefix = prefix
        self._params = RNNParams(prefix) if params is None else params
        self._modified = False
        self._cells: list[BaseRNNCell] = []
        self._num_hidden = 0
        self.reset()

    def reset(self) -> None:
        """Start counting steps anew, before another graph is made."""
        self._init_counter = self._counter = -1
        for cell in self._cells:
            cell.reset()

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> tuple[Symbol, list[Symbol]]:
        raise NotImplementedError

    @property
    def params(self) -> RNNParams:
        """The cell's variables; from now on they may be shared."""
        self._own_params = False
        return self._params

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """Shape (0 for the batch) and layout of every state."""
        raise NotImplementedError

    @property
    def state_shape(self) -> list[tuple[int, ...]]:
        """Shapes of the states."""
        return [info["shape"] for info in self.state_info]

    @property
    def _gate_names(self) -> Sequence[str]:
        return self.gates

    def _may_be_called(self) -> None:
        if self._modified:
            raise AssertionError(
                "After applying modifier cells (e.g. DropoutCell) the base cell cannot be called directly. "
                "Call the modifier cell instead."
            )

    def begin_state(self, func: Callable[..., Symbol] = symbol.zeros, **kwargs: Any) -> list[Symbol]:
        """Symbols of the first states, each made by `func(name=, shape=, **kwargs)`."""
        self._may_be_called()
        states = []
        for info in self.state_info:
            self._init_counter += 1
            kwargs.update(info)
            states.append(func(name=f"{self._prefix}begin_state_{self._init_counter}", **kwargs))
        return states

    def _step_name(self) -> str:
        self._counter += 1
        return f"{self._prefix}t{self._counter}_"

    # -- weights

    def unpack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        """The weights of every gate apart."""
        found = dict(args)
        h = self._num_hidden
        for group in ("i2h", "h2h") if self.gates else ():
            packed = {kind: found.pop(f"{self._prefix}{group}_{kind}") for kind in ("weight", "bias")}
            for at, gate in enumerate(self.gates):
                for kind, array in packed.items():
                    found[f"{self._prefix}{group}{gate}_{kind}"] = array[at * h : (at + 1) * h].copy()
        return found

    def pack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        """The reverse of `unpack_weights`."""
        found = dict(args)
        for group in ("i2h", "h2h") if self.gates else ():
            for kind in ("weight", "bias"):
                parts = [found.pop(f"{self._prefix}{group}{gate}_{kind}") for gate in self.gates]
                found[f"{self._prefix}{group}_{kind}"] = ndarray.concatenate(parts)
        return found

    # -- unrolling

    def unroll(
        self, length: int, inputs: Sequences, begin_state: Sequence[Symbol] | None = None, layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Sequences, list[Symbol]]:  # fmt: skip
        """(outputs, last states) of so many steps. Inputs are a Symbol in `layout`, or a Symbol a step; so are the
        outputs, by `merge_outputs` (None: whatever is cheaper)."""
        self.reset()
        inputs, _ = _normalize_sequence(length, inputs, layout, False)
        states = list(begin_state) if begin_state is not None else self.begin_state()
        outputs = []
        for at in range(length):
            output, states = self(inputs[at], states)
            outputs.append(output)
        return _normalize_sequence(length, outputs, layout, merge_outputs)[0], states

    def _get_activation(self, inputs: Symbol, activation: Any, **kwargs: Any) -> Symbol:
        made: Symbol = (
            symbol.Activation(inputs, act_type=activation, **kwargs)
            if isinstance(activation, str)
            else activation(inputs, **kwargs)
        )
        return made

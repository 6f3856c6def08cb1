"""Cells made of cells: stacks, both directions, dropout, zoneout, residual connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symc import symbol
from symc.ndarray import NDArray
from symc.rnn.base import BaseRNNCell, RNNParams, Sequences, Weights, _normalize_sequence
from symc.symbol import Symbol

Step = tuple[Symbol, list[Symbol]]
Unrolled = tuple[Sequences, list[Any]]


class _Several(BaseRNNCell):
    """Base of cells that hold others and their parameters."""

    def __init__(self, params: RNNParams | None) -> None:
        super().__init__("", params)
        self._override_cell_params = params is not None

    def _take(self, cell: BaseRNNCell) -> None:
        if self._override_cell_params:
            if not cell._own_params:
                raise AssertionError(f"Either specify params for {type(self).__name__} or child cells, not both.")
            cell.params._params.update(self.params._params)
        self.params._params.update(cell.params._params)
        self._cells.append(cell)

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return [info for cell in self._cells for info in cell.state_info]

    def begin_state(self, func: Callable[..., Symbol] | None = None, **kwargs: Any) -> list[Symbol]:
        self._may_be_called()
        made = {} if func is None else {"func": func}
        return [state for cell in self._cells for state in cell.begin_state(**made, **kwargs)]

    def unpack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        for cell in self._cells:
            args = cell.unpack_weights(args)
        return dict(args)

    def pack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        for cell in self._cells:
            args = cell.pack_weights(args)
        return dict(args)

    def _shares(self, states: Sequence[Any]) -> list[tuple[BaseRNNCell, list[Any]]]:
        """Every cell with its part of the states."""
        found, at = [], 0
        for cell in self._cells:
            count = len(cell.state_info)
            found.append((cell, list(states[at : at + count])))
            at += count
        return found


class SequentialRNNCell(_Several):
    """Cells on top of each other: `add` them in order."""

    def __init__(self, params: RNNParams | None = None) -> None:
        super().__init__(params)

    def add(self, cell: BaseRNNCell) -> None:
        """One more cell on top."""
        self._take(cell)

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        self._counter += 1
        following: list[Symbol] = []
        for cell, own in self._shares(states):
            if isinstance(cell, BidirectionalCell):
                raise AssertionError("a stack with a BidirectionalCell cannot be stepped. Please use unroll")
            inputs, made = cell(inputs, own)
            following += made
        return inputs, following

    def unroll(
        self, length: int, inputs: Sequences, begin_state: Sequence[Symbol] | None = None, layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> Unrolled:  # fmt: skip
        self.reset()
        states = begin_state if begin_state is not None else self.begin_state()
        following: list[Any] = []
        for cell, own in self._shares(states):
            merge = merge_outputs if cell is self._cells[-1] else None
            inputs, made = cell.unroll(length, inputs, own, layout, merge)
            following += made
        return inputs, following


class BidirectionalCell(_Several):
    """One cell forward and one backward in time; the outputs of both are concatenated."""

    def __init__(
        self, l_cell: BaseRNNCell, r_cell: BaseRNNCell, params: RNNParams | None = None, output_prefix: str = "bi_"
    ) -> None:
        super().__init__(params)
        self._output_prefix = output_prefix
        self._take(l_cell)
        self._take(r_cell)

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        raise NotImplementedError("Bidirectional cannot be stepped. Please use unroll")

    def unroll(
        self, length: int, inputs: Sequences, begin_state: Sequence[Symbol] | None = None, layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> Unrolled:  # fmt: skip
        """As for other cells; the states are one list for each direction."""
        self.reset()
        steps, axis = _normalize_sequence(length, inputs, layout, False)
        (left, own), (right, theirs) = self._shares(begin_state if begin_state is not None else self.begin_state())
        there, left_states = left.unroll(length, steps, own, layout, merge_outputs)
        back, right_states = right.unroll(length, list(reversed(steps)), theirs, layout, merge_outputs)
        if merge_outputs is None:
            merge_outputs = isinstance(there, Symbol) and isinstance(back, Symbol)
            if not merge_outputs:
                there, back = (self._steps(s, length, axis) for s in (there, back))
        states = [left_states, right_states]
        if merge_outputs:
            turned = symbol.reverse(back, axis=axis)
            return symbol.Concat(there, turned, dim=2, name=f"{self._output_prefix}out"), states
        pairs = enumerate(zip(there, reversed(back)))
        return [symbol.Concat(a, b, dim=1, name=f"{self._output_prefix}t{i}") for i, (a, b) in pairs], states

    @staticmethod
    def _steps(outputs: Sequences, length: int, axis: int) -> list[Symbol]:
        if not isinstance(outputs, Symbol):
            return list(outputs)
        return list(symbol.SliceChannel(outputs, axis=axis, num_outputs=length, squeeze_axis=1))


class DropoutCell(BaseRNNCell):
    """Dropout between the cells of a stack."""

    def __init__(self, dropout: float, prefix: str = "dropout_", params: RNNParams | None = None) -> None:
        super().__init__(prefix, params)
        if not isinstance(dropout, (int, float)):
            raise AssertionError("dropout probability must be a number")
        self.dropout = dropout

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return []

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        return symbol.Dropout(data=inputs, p=self.dropout) if self.dropout > 0 else inputs, list(states)

    def unroll(
        self, length: int, inputs: Sequences, begin_state: Sequence[Symbol] | None = None, layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> Unrolled:  # fmt: skip
        self.reset()
        inputs, _ = _normalize_sequence(length, inputs, layout, merge_outputs)
        if isinstance(inputs, Symbol):
            return self(inputs, [])
        return super().unroll(length, inputs, begin_state, layout, merge_outputs)


class ModifierCell(BaseRNNCell):
    """Base of cells that change what another one does; that one is called through this one only."""

    def __init__(self, base_cell: BaseRNNCell) -> None:
        super().__init__()
        base_cell._modified = True
        self.base_cell = base_cell

    @property
    def params(self) -> RNNParams:
        self._own_params = False
        return self.base_cell.params

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return self.base_cell.state_info

    def begin_state(
        self, init_sym: Callable[..., Symbol] = symbol.zeros, func: Callable[..., Symbol] | None = None, **kwargs: Any
    ) -> list[Symbol]:
        """As of other cells. `init_sym` is what modifiers call `func`, by which cells around them hand it on."""
        self._may_be_called()
        self.base_cell._modified = False
        begin = self.base_cell.begin_state(func=init_sym if func is None else func, **kwargs)
        self.base_cell._modified = True
        return begin

    def unpack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        return self.base_cell.unpack_weights(args)

    def pack_weights(self, args: Mapping[str, NDArray]) -> Weights:
        return self.base_cell.pack_weights(args)


class ZoneoutCell(ModifierCell):
    """Outputs and states that keep their last value with the given probabilities (Krueger et al., 2016)."""

    def __init__(self, base_cell: BaseRNNCell, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0) -> None:
        from symc.rnn.fused import FusedRNNCell

        if isinstance(base_cell, FusedRNNCell):
            raise AssertionError("FusedRNNCell doesn't support zoneout. Please unfuse first.")
        if isinstance(base_cell, BidirectionalCell):
            raise AssertionError(
                "BidirectionalCell doesn't support zoneout since it doesn't support step. "
                "Please add ZoneoutCell to the cells underneath instead."
            )
        super().__init__(base_cell)
        self.zoneout_outputs, self.zoneout_states = zoneout_outputs, zoneout_states

    def reset(self) -> None:
        super().reset()
        self.prev_output: Symbol | None = None

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        output, following = self.base_cell(inputs, states)
        before = self.prev_output if self.prev_output is not None else symbol.zeros((0, 0))
        output = self._zoned(self.zoneout_outputs, output, before)
        following = [self._zoned(self.zoneout_states, new, old) for new, old in zip(following, states)]
        self.prev_output = output
        return output, following

    @staticmethod
    def _zoned(share: float, new: Symbol, old: Symbol) -> Symbol:
        if share == 0.0:
            return new
        return symbol.where(symbol.Dropout(symbol.ones_like(new), p=share), new, old)


class ResidualCell(ModifierCell):
    """The output plus the input (Wu et al., 2016)."""

    def __call__(self, inputs: Symbol, states: Sequence[Symbol]) -> Step:
        output, following = self.base_cell(inputs, states)
        return self._sum(output, inputs), following

    @staticmethod
    def _sum(output: Symbol, inputs: Symbol) -> Symbol:
        return symbol.elemwise_add(output, inputs, name=f"{output.name}_plus_residual")

    def unroll(
        self, length: int, inputs: Sequences, begin_state: Sequence[Symbol] | None = None, layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> Unrolled:  # fmt: skip
        self.reset()
        self.base_cell._modified = False
        outputs, states = self.base_cell.unroll(length, inputs, begin_state, layout, merge_outputs)
        self.base_cell._modified = True
        merge = isinstance(outputs, Symbol) if merge_outputs is None else merge_outputs
        inputs, _ = _normalize_sequence(length, inputs, layout, merge)
        if merge:
            return self._sum(outputs, inputs), states
        return [self._sum(o, i) for o, i in zip(outputs, inputs)], states

"""Cells that are made of other cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from symc import ndarray, symbol
from symc.gluon.hybrid import HybridBlock
from symc.gluon.rnn.cells import HybridRecurrentCell, RecurrentCell
from symc.gluon.rnn.sequences import as_wanted, functions_of, masked, merged, reversed_steps, steps_of
from symc.gluon.utils import indented
from symc.ndarray import NDArray
from symc.symbol import Symbol


class _Several(RecurrentCell):
    """Cells whose states are one list."""

    def _cells(self) -> Iterable[Any]:
        return self._children.values()

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Shape and layout of every state."""
        return [info for cell in self._cells() for info in cell.state_info(batch_size)]

    def begin_state(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The states before the first step."""
        self._refuse_modified()
        return [state for cell in self._cells() for state in cell.begin_state(*args, **kwargs)]

    def _divided(self, states: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
        """Every cell with its part of the states."""
        found, start = [], 0
        for cell in self._cells():
            count = len(cell.state_info())
            found.append((cell, list(states[start : start + count])))
            start += count
        return found


class _Stack(_Several):
    """Cells one above the other."""

    def add(self, cell: Any) -> None:
        """Put a cell on top."""
        self.register_child(cell)

    def __repr__(self) -> str:
        lines = "\n".join(f"({at}): {indented(repr(cell))}" for at, cell in self._children.items())
        return f"{type(self).__name__}(\n{lines}\n)"

    def __getitem__(self, at: int) -> Any:
        return self._children[str(at)]

    def __len__(self) -> int:
        return len(self._children)

    def _step(self, inputs: Any, states: Any) -> Any:
        after: list[Any] = []
        for cell, own in self._divided(states):
            if isinstance(cell, BidirectionalCell):
                raise AssertionError("a BidirectionalCell cannot be stepped; unroll the stack")
            inputs, own = cell(inputs, own)
            after += own
        return inputs, after

    def unroll(
        self, length: int, inputs: Any, begin_state: Any = None, layout: str = "NTC", merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:  # fmt: skip
        """Every cell over the whole sequence, one after the other."""
        self.reset()
        F = functions_of(inputs)
        steps = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        if begin_state is None and F is ndarray:
            rows = steps[0].shape[0 if isinstance(inputs, (list, tuple)) else layout.find("N")]
            begin_state = self.begin_state(batch_size=rows, func=ndarray.zeros, ctx=steps[0].context)
        elif begin_state is None:
            begin_state = self.begin_state(func=symbol.zeros)
        divided, after = self._divided(begin_state), []
        for at, (cell, own) in enumerate(divided):
            merge = merge_outputs if at == len(divided) - 1 else None
            inputs, own = cell.unroll(length, inputs, own, layout, merge, valid_length)
            after += own
        return inputs, after


class SequentialRNNCell(_Stack):
    """Cells one above the other."""

    def __call__(self, inputs: Any, states: Any) -> Any:
        self._counter += 1
        return self._step(inputs, states)


class HybridSequentialRNNCell(_Stack, HybridRecurrentCell):
    """HybridRecurrentCells one above the other."""

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:  # type: ignore[override]
        """One step of every cell."""
        return self._step(inputs, states)


class BidirectionalCell(_Several, HybridBlock):
    """One cell from the first step on, another from the last on; outputs are joined."""

    def __init__(self, l_cell: Any, r_cell: Any, output_prefix: str = "bi_") -> None:
        super().__init__(prefix="", params=None)
        self.register_child(l_cell, "l_cell")
        self.register_child(r_cell, "r_cell")
        self._output_prefix = output_prefix

    def __repr__(self) -> str:
        left, right = self._cells()
        return f"{type(self).__name__}(forward={left}, backward={right})"

    def __call__(self, inputs: Any, states: Any) -> Any:
        raise NotImplementedError("a BidirectionalCell takes no steps: unroll it")

    def unroll(
        self, length: int, inputs: Any, begin_state: Any = None, layout: str = "NTC", merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:  # fmt: skip
        """Both cells over the sequence."""
        self.reset()
        axis = layout.find("T")
        steps = steps_of(inputs, length, axis)
        F = functions_of(steps)
        (left, before), (right, behind) = self._divided(self._begin(begin_state, steps, F))
        forth, after = left.unroll(length, steps, before, layout, merge_outputs, valid_length)
        back, last = right.unroll(length, reversed_steps(steps, valid_length), behind, layout, False, valid_length)
        back = reversed_steps(back, valid_length)
        if merge_outputs is None:
            merge_outputs = not isinstance(forth, (list, tuple))
        name = self._output_prefix
        if merge_outputs:
            forth = as_wanted(forth, axis, length, True)
            outputs = F.concat(forth, merged(back, axis), dim=2, name=f"{name}out")
        else:
            pairs = enumerate(zip(as_wanted(forth, axis, length, False), back))
            outputs = [F.concat(a, b, dim=1, name=f"{name}t{at}") for at, (a, b) in pairs]
        if valid_length is not None:
            outputs = as_wanted(masked(outputs, valid_length, axis), axis, length, merge_outputs)
        return outputs, [*after, *last]


class DropoutCell(HybridRecurrentCell):
    """Drops inputs, and has no state."""

    def __init__(self, rate: float, axes: Sequence[int] = (), prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        self._rate, self._axes = rate, axes

    def _alias(self) -> str:
        return "dropout"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rate={self._rate}, axes={self._axes})"

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """There are none."""
        return []

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:  # type: ignore[override]
        """One step."""
        if self._rate > 0:
            inputs = F.Dropout(data=inputs, p=self._rate, axes=self._axes, name=f"t{self._counter}_fwd")
        return inputs, states

    def unroll(
        self, length: int, inputs: Any, begin_state: Any = None, layout: str = "NTC", merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:  # fmt: skip
        """A whole sequence at once, where it is one."""
        self.reset()
        whole = as_wanted(inputs, layout.find("T"), length, merge_outputs)
        if isinstance(whole, (NDArray, Symbol)):
            return self.hybrid_forward(functions_of(whole), whole, begin_state or [])
        return super().unroll(length, whole, begin_state, layout, merge_outputs)


class ModifierCell(HybridRecurrentCell):
    """Base of cells that change what another cell does, which is not called by itself any more."""

    def __init__(self, base_cell: Any) -> None:
        if base_cell._modified:
            raise AssertionError(f"{base_cell.name} belongs to a modifier cell already")
        base_cell._modified = True
        super().__init__(prefix=base_cell.prefix + self._alias(), params=None)
        self.base_cell = base_cell

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell})"

    @property
    def params(self) -> Any:
        """Those of the cell that is changed."""
        return self.base_cell.params

    def state_info(self, batch_size: int = 0) -> Any:
        """Shape and layout of every state."""
        return self.base_cell.state_info(batch_size)

    def begin_state(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The states before the first step."""
        self._refuse_modified()
        self.base_cell._modified = False
        try:
            found: list[Any] = self.base_cell.begin_state(*args, **kwargs)
        finally:
            self.base_cell._modified = True
        return found


class ZoneoutCell(ModifierCell):
    """Outputs and states stay what they were before, with these probabilities (Krueger et al. 2016)."""

    def __init__(self, base_cell: Any, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0) -> None:
        if isinstance(base_cell, BidirectionalCell):
            raise AssertionError(
                "a BidirectionalCell takes no steps, so nothing of it can stay: put the cells in it into ZoneoutCells"
            )
        self._prev_output = None
        super().__init__(base_cell)
        self.zoneout_outputs, self.zoneout_states = zoneout_outputs, zoneout_states

    def _alias(self) -> str:
        return "zoneout"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p_out={self.zoneout_outputs}, p_state={self.zoneout_states}, {self.base_cell})"

    def reset(self) -> None:
        """Begin anew, without an output before."""
        super().reset()
        self._prev_output = None

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:  # type: ignore[override]
        """One step."""
        output, after = self.base_cell(inputs, states)

        def mixed(rate: float, new: Any, old: Any) -> Any:
            return new if rate == 0 else F.where(F.Dropout(F.ones_like(new), p=rate), new, old)

        before = F.zeros_like(output) if self._prev_output is None else self._prev_output
        self._prev_output = output = mixed(self.zoneout_outputs, output, before)
        return output, [mixed(self.zoneout_states, new, old) for new, old in zip(after, states)]


class ResidualCell(ModifierCell):
    """The inputs are added to the outputs (Wu et al. 2016)."""

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:  # type: ignore[override]
        """One step."""
        output, states = self.base_cell(inputs, states)
        return F.elemwise_add(output, inputs, name=f"t{self._counter}_fwd"), states

    def unroll(
        self, length: int, inputs: Any, begin_state: Any = None, layout: str = "NTC", merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:  # fmt: skip
        """The other cell's outputs over the sequence, and the inputs added."""
        self.reset()
        self.base_cell._modified = False
        try:
            outputs, states = self.base_cell.unroll(length, inputs, begin_state, layout, merge_outputs, valid_length)
        finally:
            self.base_cell._modified = True
        axis = layout.find("T")
        merged = not isinstance(outputs, (list, tuple))
        inputs = as_wanted(inputs, axis, length, merged)
        if valid_length is not None:
            inputs = as_wanted(masked(inputs, valid_length, axis), axis, length, merged)
        F = functions_of(outputs)
        if merged:
            return F.elemwise_add(outputs, inputs), states
        return [F.elemwise_add(a, b) for a, b in zip(outputs, inputs)], states

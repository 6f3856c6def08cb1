"""Sequences of unequal length, time on axis 0 (or 1): masking, last step, reversal."""

from __future__ import annotations

from dataclasses import dataclass

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import gather_along
from symc.ir.prims.movement import broadcast, reverse, slice_, squeeze
from symc.ir.types import I32
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, operator
from symc.ops.shared.layers import indices, refuse


@dataclass(frozen=True, kw_only=True)
class _Sequence(Operator):
    """Base: which axis is time, which the batch; lengths of shape (N,)."""

    use_sequence_length: bool = False

    #: the time axis
    axis: int = 0

    def check(self) -> None:
        if self.axis not in (0, 1):
            raise refuse(self, f"axis={self.axis} must be 0 or 1")

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "sequence_length") if self.use_sequence_length else ("data",)

    def _checked(self, s: Shapes) -> tuple[int, ...] | None:
        data = s.ins[0]
        if data is not None:
            if len(data) < 2:
                raise ShapeError(f"data must have at least 2 axes (time, batch, ...), not {data}")
            if self.use_sequence_length:
                s.set_in(1, (data[1 - self.axis],))
        return data

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; sequence_length is (N,)."""
        data = self._checked(s)
        if data is not None:
            s.set_out(0, data)

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,), (0,))
        if self.use_sequence_length and t.ins[1] is None and t.ins[0] is not None:
            t.set_in(1, t.ins[0])

    def lengths(self, inputs: tuple[Node, ...], shape: tuple[int, ...]) -> Node:
        """Every place's sequence length."""
        return broadcast(ew.cast(inputs[1], I32), shape, (1 - self.axis,))


@operator("SequenceMask", inputs="data sequence_length")
class SequenceMask(_Sequence):
    """Puts `value` at all steps from the sequence's length on."""

    use_sequence_length: bool = False
    value: float = 0.0
    axis: int = 0

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        if not self.use_sequence_length:
            return data
        inside = ew.lt(indices(data.shape, self.axis), self.lengths(inputs, data.shape))
        return ew.select(inside, data, self.value)


@operator("SequenceLast", inputs="data sequence_length")
class SequenceLast(_Sequence):
    """The last step of every sequence.

    Differs from MXNet: a length beyond the data's is the data's, and one below 1 is 1; MXNet reads beyond its arrays.
    """

    def complete(self, s: Shapes) -> None:
        """(T, N, *S), or (N, T, *S) for axis 1, gives (N, *S); sequence_length is (N,)."""
        data = self._checked(s)
        if data is not None:
            s.set_out(0, (data[1 - self.axis], *data[2:]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        steps = data.shape[self.axis]
        one = tuple(1 if a == self.axis else d for a, d in enumerate(data.shape))
        if not self.use_sequence_length:
            begin = tuple(steps - 1 if a == self.axis else 0 for a in range(data.rank))
            return squeeze(slice_(data, begin, data.shape, (1,) * data.rank), (self.axis,))
        last = ew.minimum(ew.maximum(self.lengths(inputs, one) - 1, 0), steps - 1)
        return squeeze(gather_along(data, last, self.axis), (self.axis,))


@operator("SequenceReverse", inputs="data sequence_length")
class SequenceReverse(_Sequence):
    """Turns every sequence round within its length; steps behind it stay.

    Differs from MXNet: a length beyond the data's is the data's, and one below 0 is 0; MXNet reads and writes beyond
    its arrays.
    """

    def check(self) -> None:
        if self.axis != 0:
            raise refuse(self, f"axis={self.axis} must be 0")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        if not self.use_sequence_length:
            return reverse(data, (0,))
        at = indices(data.shape, 0)
        length = ew.minimum(self.lengths(inputs, data.shape), data.shape[0])
        return gather_along(data, ew.select(ew.lt(at, length), length - 1 - at, at), 0)

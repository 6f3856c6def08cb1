"""Rows chosen by a mask, a test of closeness, and the likelihood of marked events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.op import Input, Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import HostCall
from symc.ir.prims.flow import loop
from symc.ir.prims.indexing import gather, sort
from symc.ir.prims.movement import broadcast, slice_axis, transpose
from symc.ir.prims.reduce import reduce_min, reduce_sum
from symc.ir.prims.tuples import get
from symc.ir.tensor.graph import topological
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import I32, U8, Array, TensorType
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.families import no_gradient
from symc.ops.shared.layers import along, as_number, indices, one_hot, refuse


@operator("_contrib_boolean_mask", inputs="data index", hint="boolean_mask")
class BooleanMask(Operator):
    """The rows of data whose entry of `index` is not 0.

    How many there are only running tells: shape inference says nothing of the output, and a program can be built only
    where the context knows the number, or where `index` is a constant of the program.
    """

    dynamic: ClassVar[bool] = True
    row_chooser: ClassVar[int | None] = 1

    axis: int = 0

    def check(self) -> None:
        if self.axis != 0:
            raise refuse(self, f"axis={self.axis}: only axis 0 is offered")

    def complete(self, s: Shapes) -> None:
        """(n, *S) with index (n,) gives (rows chosen, *S), which only running tells."""
        data, index = s.ins
        if index is not None and len(index) != 1:
            raise ShapeError(f"index must have one axis, not {index}")
        if data and index and data[0] and index[0] and data[0] != index[0]:
            raise ShapeError(f"index has {index[0]} entries for the {data[0]} rows of data")
        if data is not None:
            s.set_out(0, (0, *data[1:]))

    def count_rows(self, chooser: Array) -> int:
        return int(np.count_nonzero(chooser))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,), (0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, index = inputs
        # a stable order of "left out" brings the chosen rows to the front, in their order
        order = get(sort(ew.cast(ew.eq(index, 0), I32), 0), 1)
        return gather(data, slice_axis(order, 0, 0, self._count(ctx, index)), 0)

    def _count(self, ctx: BuildContext, index: Node) -> int:
        if ctx.output_shapes:
            return ctx.output_shapes[0][0]
        if any(isinstance(node.op, (Input, HostCall)) for node in topological([index])):
            raise MXNetError(
                f"_contrib_boolean_mask {ctx.name!r}: the number of chosen rows must be known before the program runs, "
                "but index is computed from its inputs; multiply data by the mask instead, or choose the rows before"
            )
        return self.count_rows(evaluate_nodes([index], {})[index])


@operator("_contrib_allclose", inputs="a b", hint="allclose", gradient="none")
class AllClose(Operator):
    """1 if |a - b| <= atol + rtol |b| for all elements, else 0, of shape (). All but nan is close to an infinite b."""

    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = True

    def complete(self, s: Shapes) -> None:
        """Two tensors of one shape give a scalar."""
        a, b = s.ins
        if is_known(a) and is_known(b) and a != b:
            raise ShapeError(f"a and b must have the same shape, not {a} and {b}")
        s.set_out(0, ())

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.uint8)
        if None not in t.ins:
            t.all_alike((0, 1), ())

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a, b = inputs
        near = ew.le(ew.abs_(a - b), ew.abs_(b) * self.rtol + self.atol)
        close = ew.or_(ew.eq(a, b), near)
        if self.equal_nan:
            close = ew.or_(close, ew.and_(ew.isnan(a), ew.isnan(b)))
        return reduce_min(as_number(close, U8), tuple(range(a.rank)))


@operator(
    "_contrib_hawkesll",
    inputs="lda alpha beta state lags marks valid_length max_time",
    outputs="output out_state",
    hint="hawkesll",
)
class HawkesLL(Operator):
    """Log likelihood (N,) of marked events under self-exciting processes with exponential kernels, and the states
    (N, K) at max_time. Hawkes 1971.

    lda (N, K) background rates; alpha, beta (K,) branching and decay; state (N, K) excitation at time 0; lags (N, T)
    times between events, marks (N, T) their kinds, the first valid_length of each row count. As in MXNet, lda, alpha
    and beta have gradients, of the likelihood only.
    """

    def complete(self, s: Shapes) -> None:
        """lda, state (N, K), alpha, beta (K,), lags, marks (N, T), valid_length, max_time (N,) give (N,) and (N, K)."""
        rates, lags = s.ins[0], s.ins[4]
        if rates is None or len(rates) != 2 or lags is None or len(lags) != 2:
            raise ShapeError(f"lda (batch, kinds) and lags (batch, events) must be known, not {rates} and {lags}")
        s.set_in(0, (lags[0], 0))
        batch, kinds = s.ins[0] or rates
        for at, shape in enumerate([(batch, kinds), (kinds,), (kinds,), (batch, kinds)]):
            s.set_in(at, shape)
        for at, shape in enumerate([(batch, lags[1]), (batch, lags[1]), (batch,), (batch,)], 4):
            s.set_in(at, shape)
        s.set_out(0, (batch,))
        s.set_out(1, (batch, kinds))

    def complete_types(self, t: Types) -> None:
        dtype = t.ins[0]
        if dtype is None:
            return
        for at in range(len(t.ins)):
            t.set_in(at, np.int32 if at == 5 else dtype)
        t.set_out(0, dtype)
        t.set_out(1, dtype)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        still = no_gradient(lambda x: x)
        rates, alpha, beta = inputs[:3]
        state, lags, length, end = (still(x) for x in (inputs[3], inputs[4], inputs[6], inputs[7]))
        shape, dtype = rates.shape, rates.dtype
        grown, decay = along(alpha, shape, 1), along(beta, shape, 1)
        zero = ew.full(0, TensorType(dtype, shape[:1]))

        def event(carries: list[Node], rows: list[Node], consts: list[Node]) -> tuple[list[Node], list[Node]]:
            likelihood, time, state, last = carries
            lag, mark, counts = rows
            rates, grown, decay = consts
            time = time + ew.select(counts, lag, 0.0)
            hit = ew.and_(one_hot(mark, shape, 1), broadcast(counts, shape, (0,)))
            gap = broadcast(time, shape, (0,)) - last
            fade = ew.exp(-decay * gap)
            intensity = rates + grown * decay * state * fade
            used = rates * gap + grown * state * (1.0 - fade)
            # the logarithm of 1 where nothing happens: its gradient is finite
            gain = ew.select(hit, ew.log(ew.select(hit, intensity, 1.0)) - used, 0.0)
            new_state = ew.select(hit, state * fade + 1.0, state)
            new_last = ew.select(hit, broadcast(time, shape, (0,)), last)
            return [likelihood + reduce_sum(gain, (1,)), time, new_state, new_last], []

        turned = (lags.shape[1], lags.shape[0])
        counts = ew.lt(indices(turned, 0, dtype), along(length, turned, 1))
        rows = [transpose(lags, (1, 0)), transpose(inputs[5], (1, 0)), counts]
        start = [zero, zero, state, ew.full(0, rates.tensor)]
        made, _, _ = loop(event, start, rows, [rates, grown, decay])
        likelihood, _, state, last = made
        gap = broadcast(end, shape, (0,)) - last
        fade = ew.exp(-decay * gap)
        rest = reduce_sum(rates * gap + grown * state * (1.0 - fade), (1,))
        return [likelihood - rest, still(fade * state)]

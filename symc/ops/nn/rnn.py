"""Recurrent layers: packed parameters, any number of layers, one or both directions.

The input projection of a layer is one matrix product over all steps; the steps themselves are a loop. Their gradient
is back-propagation through time written out, so that the weight gradients are one product over all steps too instead
of one per step. (Unrolled steps run no faster, however few they are, and take longer to compile.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal, Optional

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.flow import loop
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import broadcast, concat, iota, reshape, slice_, stack
from symc.ir.prims.random import uniform
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import I32, TensorType
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, operator
from symc.ops.shared.layers import along, narrow, refuse, types_from_data, wide

Step = tuple[Node, Node, list[Node]]
StepGradient = tuple[Node, Node, Optional[Node], Node]


def _cut(x: Node, axis: int, begin: int, end: int) -> Node:
    low = [begin if a == axis else 0 for a in range(x.rank)]
    high = [end if a == axis else d for a, d in enumerate(x.shape)]
    return slice_(x, low, high, (1,) * x.rank)


def _at(x: Node, t: int) -> Node:
    """Row t of axis 0."""
    return reshape(_cut(x, 0, t, t + 1), x.shape[1:])


def _shifted(rows: Node, first: Node, backward: bool) -> Node:
    """The row before each: `first`, then all rows but the last (backward: all but the first, then `first`)."""
    steps, edge = rows.shape[0], reshape(first, (1, *first.shape))
    if backward:
        return concat([_cut(rows, 0, 1, steps), edge], 0)
    return concat([edge, _cut(rows, 0, 0, steps - 1)], 0)


def _gates(x: Node, count: int) -> list[Node]:
    size = x.shape[1] // count
    return [_cut(x, 1, k * size, (k + 1) * size) for k in range(count)]


def _sigmoid_slope(y: Node) -> Node:
    return y * (1.0 - y)


def _tanh_slope(y: Node) -> Node:
    return 1.0 - y * y


class _Cell:
    """One time step. `gates` blocks of rows; forward gives (h, c, what backward needs: `saved` values).

    backward gives the gradients of the two pre-activations (from the input, from the state), what goes to the
    previous h beside the product with the weights, and that of the previous c.
    """

    gates = 1
    saved = 1
    #: what goes from step to step: h, or h and c
    states = 1

    def forward(self, x: Node, a: Node, h: Node, c: Node) -> Step:
        raise NotImplementedError

    def backward(self, dh: Node, dc: Node, h: Node, c: Node, saved: Sequence[Node]) -> StepGradient:
        raise NotImplementedError


class _Plain(_Cell):
    """h' = act(x + a)."""

    def __init__(self, rectified: bool) -> None:
        self.rectified = rectified

    def forward(self, x: Node, a: Node, h: Node, c: Node) -> Step:
        y = ew.relu(x + a) if self.rectified else ew.tanh(x + a)
        return y, c, [y]

    def backward(self, dh: Node, dc: Node, h: Node, c: Node, saved: Sequence[Node]) -> StepGradient:
        y = saved[0]
        d = ew.select(ew.gt(y, 0), dh, 0.0) if self.rectified else dh * _tanh_slope(y)
        return d, d, None, dc


class _LSTM(_Cell):
    """Gates i, f, g, o: c' = f c + i g, h' = o tanh(c')."""

    gates = 4
    saved = 5
    states = 2

    def forward(self, x: Node, a: Node, h: Node, c: Node) -> Step:
        i, f, g, o = _gates(x + a, 4)
        i, f, g, o = ew.sigmoid(i), ew.sigmoid(f), ew.tanh(g), ew.sigmoid(o)
        c = f * c + i * g
        t = ew.tanh(c)
        return o * t, c, [i, f, g, o, t]

    def backward(self, dh: Node, dc: Node, h: Node, c: Node, saved: Sequence[Node]) -> StepGradient:
        i, f, g, o, t = saved
        dc = dc + dh * o * _tanh_slope(t)
        parts = [
            dc * g * _sigmoid_slope(i),
            dc * c * _sigmoid_slope(f),
            dc * i * _tanh_slope(g),
            dh * t * _sigmoid_slope(o),
        ]
        d = concat(parts, 1)
        return d, d, None, dc * f


class _GRU(_Cell):
    """Gates r, z, n: n = tanh(x_n + r a_n), h' = (1 - z) n + z h."""

    gates = 3
    saved = 4

    def forward(self, x: Node, a: Node, h: Node, c: Node) -> Step:
        (xr, xz, xn), (ar, az, an) = _gates(x, 3), _gates(a, 3)
        r, z = ew.sigmoid(xr + ar), ew.sigmoid(xz + az)
        n = ew.tanh(xn + r * an)
        return (1.0 - z) * n + z * h, c, [r, z, n, an]

    def backward(self, dh: Node, dc: Node, h: Node, c: Node, saved: Sequence[Node]) -> StepGradient:
        r, z, n, an = saved
        dn = dh * (1.0 - z) * _tanh_slope(n)
        dz = dh * (h - n) * _sigmoid_slope(z)
        dr = dn * an * _sigmoid_slope(r)
        return concat([dr, dz, dn], 1), concat([dr, dz, dn * r], 1), dh * z, dc


_CELLS: dict[str, _Cell] = {"rnn_relu": _Plain(True), "rnn_tanh": _Plain(False), "lstm": _LSTM(), "gru": _GRU()}


def run_steps(cell: _Cell, x: Node, states: Sequence[Node], weight: Node, bias: Node, backward: bool) -> list[Node]:
    """All steps over x (T, N, gates*H), the projected input, from the states h (and c), each (N, H): the states after
    every step, each (T, N, H).

    weight (gates*H, H) and bias (gates*H) act on h; `backward` goes from the last step to the first.
    """
    count = len(states)

    def body(x: Node, *rest: Node) -> list[Node]:
        def turn(state: list[Node], row: list[Node], fixed: list[Node]) -> tuple[list[Node], list[Node]]:
            a = dot(state[0], fixed[0], tb=True)
            h, c, saved = cell.forward(row[0], a + along(fixed[1], a.shape, 1), state[0], state[-1])
            return [h, c][:count], [*[h, c][:count], *saved]

        return loop(turn, rest[:count], [x], rest[count:], backwards=backward)[1]

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        previous = [_shifted(rows, first, backward) for rows, first in zip(outs, ins[1 : 1 + count])]

        def turn(state: list[Node], row: list[Node], fixed: list[Node]) -> tuple[list[Node], list[Node]]:
            arrived = [there + here for there, here in zip(row, state)]
            before, saved = row[count : 2 * count], row[2 * count :]
            dx, da, direct, dc = cell.backward(arrived[0], arrived[-1], before[0], before[-1], saved)
            dh = dot(da, fixed[0])
            dh = dh if direct is None else dh + direct
            return [dh, dc][:count], [dx] if dx is da else [dx, da]

        start = [ew.zeros_like(state) for state in ins[1 : 1 + count]]
        rows = [*cts[:count], *previous, *outs[count:]]
        ended, made, _ = loop(turn, start, rows, ins[-2:-1], backwards=not backward)
        da, h = (reshape(stacked, (x.shape[0] * x.shape[1], stacked.shape[2])) for stacked in (made[-1], previous[0]))
        return [made[0], *ended, dot(da, h, ta=True), reduce_sum(da, (0,))]

    made = custom_grad([x, *states, weight, bias], body, rule, saved=cell.saved)
    assert isinstance(made, list)
    return made[:count]


@operator("RNN", inputs="data parameters state state_cell sequence_length", random=True)
class RNN(Operator):
    """Vanilla, LSTM or GRU layers over data (T, N, C), states (layers * directions, N, H).

    `parameters` packs, for each layer and direction, the weights of input and state, then in the same order their
    biases. Dropout p between layers in training. Hochreiter & Schmidhuber 1997; Cho et al. 2014.
    """

    floats_only: ClassVar[bool] = True
    counts: ClassVar[tuple[str, ...]] = ("num_layers",)

    state_size: int
    num_layers: int
    bidirectional: bool = False
    mode: Literal["gru", "lstm", "rnn_relu", "rnn_tanh"]
    p: float = 0.0
    state_outputs: bool = False
    projection_size: int | None = None
    lstm_state_clip_min: float | None = None
    lstm_state_clip_max: float | None = None
    lstm_state_clip_nan: bool = False
    use_sequence_length: bool = False

    def check(self) -> None:
        if self.state_size < 1 or self.num_layers < 1:
            raise refuse(self, "state_size and num_layers must be at least 1")
        if not 0 <= self.p < 1:
            raise refuse(self, f"p={self.p} must lie in [0, 1)")
        if self.projection_size is not None and self.mode != "lstm":
            raise refuse(self, "projection_size needs mode='lstm'")

    def list_inputs(self) -> tuple[str, ...]:
        names = ["data", "parameters", "state"]
        if self.mode == "lstm":
            names.append("state_cell")
        if self.use_sequence_length:
            names.append("sequence_length")
        return tuple(names)

    def list_outputs(self) -> tuple[str, ...]:
        return ("output", "state_output", "statecell_output") if self.mode == "lstm" else ("output", "state_output")

    def num_visible_outputs(self) -> int:
        return len(self.list_outputs()) if self.state_outputs else 1

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _out_size(self) -> int:
        """Width of h: the projection's, if there is one."""
        return self.projection_size or self.state_size

    def blocks(self, width: int) -> list[list[tuple[int, ...]]]:
        """Shapes of the packed pieces, per layer and direction: input weight, state weight[, projection], biases."""
        rows = _CELLS[self.mode].gates * self.state_size
        made = []
        for layer in range(self.num_layers):
            fan_in = width if layer == 0 else self.directions * self._out_size
            for _ in range(self.directions):
                block: list[tuple[int, ...]] = [(rows, fan_in), (rows, self._out_size)]
                if self.projection_size:
                    block.append((self.projection_size, self.state_size))
                made.append([*block, (rows,), (rows,)])
        return made

    def complete(self, s: Shapes) -> None:
        """Data (T, N, C), parameters (their number,), states (layers * directions, N, H) give (T, N, directions * H)
        and the states' shapes; H is projection_size where there is one.
        """
        data = s.ins[0]
        if data is None:
            return
        if len(data) != 3:
            raise ShapeError(f"data must have 3 axes (time, batch, width), not {data}")
        steps, batch, width = data
        count = self.num_layers * self.directions
        # an unknown width counts as -1, as in MXNet
        size = sum(prod(shape) for block in self.blocks(width or -1) for shape in block)
        s.set_in(1, (max(size, 0),))
        s.set_in(2, (count, batch, self._out_size))
        s.set_out(0, (steps, batch, self.directions * self._out_size))
        s.set_out(1, (count, batch, self._out_size))
        if self.mode == "lstm":
            s.set_in(3, (count, batch, self.state_size))
            s.set_out(2, (count, batch, self.state_size))
        if self.use_sequence_length:
            s.set_in(len(s.ins) - 1, (batch,))

    def complete_types(self, t: Types) -> None:
        if not self.use_sequence_length:
            types_from_data(t)
            return
        last = t.ins.pop()
        types_from_data(t)
        t.ins.append(last if last is not None else t.ins[0])

    def _unpack(self, parameters: Node, width: int) -> list[list[Node]]:
        blocks = self.blocks(width)
        weights = [shape for block in blocks for shape in block if len(shape) == 2]
        biases = [shape for block in blocks for shape in block if len(shape) == 1]
        pieces, at = [], 0
        for shape in [*weights, *biases]:
            pieces.append(reshape(_cut(parameters, 0, at, at + prod(shape)), shape))
            at += prod(shape)
        per = len(blocks[0]) - 2
        return [
            pieces[k * per : (k + 1) * per] + pieces[len(weights) + 2 * k : len(weights) + 2 * k + 2]
            for k in range(len(blocks))
        ]

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        data, parameters, state = (wide(i) for i in inputs[:3])
        lstm = self.mode == "lstm"
        cell_state = wide(inputs[3]) if lstm else None
        lengths = ew.cast(inputs[-1], I32) if self.use_sequence_length else None
        weights = self._unpack(parameters, data.shape[2])
        x, last_h, last_c = data, [], []
        for layer in range(self.num_layers):
            if layer and self.p and ctx.train:
                kept = ew.lt(uniform(ctx.random_key(), x.shape, x.dtype), 1 - self.p)
                x = ew.select(kept, x * (1 / (1 - self.p)), 0.0)
            outs = []
            for direction in range(self.directions):
                k = layer * self.directions + direction
                h0 = _at(state, k)
                c0 = _at(cell_state, k) if cell_state is not None else ew.zeros_like(h0)
                y, h, c = self._layer(x, h0, c0, weights[k], direction == 1, lengths)
                outs.append(y)
                last_h.append(h)
                last_c.append(c)
            x = concat(outs, 2)
        made = [x, stack(last_h, 0)] + ([stack(last_c, 0)] if lstm else [])
        return [narrow(m, inputs[0]) for m in made]

    def _layer(
        self, x: Node, h0: Node, c0: Node, weights: list[Node], backward: bool, lengths: Node | None
    ) -> tuple[Node, Node, Node]:
        """One layer in one direction: outputs of all steps, last h, last c."""
        steps, batch, width = x.shape
        w_in, w_state, *projection, b_in, b_state = weights
        cell = _CELLS[self.mode]
        flat = dot(reshape(x, (steps * batch, width)), w_in, tb=True)
        flat = flat + along(b_in, flat.shape, 1)
        projected = reshape(flat, (steps, batch, flat.shape[1]))
        states = [h0, c0][: cell.states]
        if not projection and lengths is None:
            made = run_steps(cell, projected, states, w_state, b_state, backward)
            ends = [_at(rows, 0 if backward else steps - 1) for rows in made]
            return made[0], ends[0], ends[-1]

        def turn(state: list[Node], row: list[Node], fixed: list[Node]) -> tuple[list[Node], list[Node]]:
            a = dot(state[0], fixed[0], tb=True)
            h, c, _ = cell.forward(row[0], a + along(fixed[1], a.shape, 1), state[0], state[-1])
            if projection:
                h = dot(h, fixed[2], tb=True)
            if lengths is None:
                return [h, c][: cell.states], [h]
            # a sequence that has ended keeps its state and gives zeros; backward it starts at its own end
            running = ew.gt(fixed[-1], row[1])
            kept = [ew.select(broadcast(running, new.shape, (0,)), new, old) for new, old in zip([h, c], state)]
            return kept, [ew.select(broadcast(running, h.shape, (0,)), h, 0.0)]

        rows, fixed = [projected], [w_state, b_state, *projection]
        if lengths is not None:
            rows.append(iota(TensorType(I32, (steps,)), 0))
            fixed.append(lengths)
        ended, (outs,), _ = loop(turn, states, rows, fixed, backwards=backward)
        return outs, ended[0], ended[-1]

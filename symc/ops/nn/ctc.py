"""Connectionist temporal classification. Graves et al. 2006."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad, host_call, register_host
from symc.ir.prims.movement import broadcast
from symc.ir.prims.reduce import reduce_min
from symc.ir.types import I32, Array
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Types, operator
from symc.ops.shared.layers import indices, narrow, wide


def _ctc(data: Array, labels: Array, counts: Array, lengths: Array, blank: Array) -> tuple[Array, Array]:
    """Loss (N,) and its gradient in the activations (T, N, C): labels (N, L) with `counts` in use, `lengths` steps."""
    logs = data - data.max(-1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
    loss, grad = np.zeros(data.shape[1]), np.zeros(data.shape)
    with np.errstate(all="ignore"):
        for n in range(data.shape[1]):
            steps, word = int(lengths[n]), labels[n, : counts[n]]
            wrong = word[(word < 0) | (word >= data.shape[2])]
            if wrong.size:
                classes = f"the {data.shape[2]} classes of data are 0 to {data.shape[2] - 1}"
                raise MXNetError(f"sequence {n} has the label {wrong[0]}, but {classes}")
            # a word that cannot be spelled in so few steps costs nothing, as in MXNet
            if len(word) + np.count_nonzero(word[1:] == word[:-1]) > steps or not steps:
                continue
            loss[n], grad[:steps, n] = _ctc_one(logs[:steps, n], word, int(blank))
    return loss.astype(data.dtype), grad.astype(data.dtype)


def _ctc_one(logs: Array, word: Array, blank: int) -> tuple[float, Array]:
    """The forward-backward recursion in logarithms over the word with blanks around its letters."""
    path = np.full(2 * len(word) + 1, blank)
    path[1::2] = word
    skips = np.zeros(len(path), bool)
    skips[2:] = (path[2:] != blank) & (path[2:] != path[:-2])
    emitted = logs[:, path]

    def sweep(emitted: Array, skips: Array) -> Array:
        table = np.full(emitted.shape, -np.inf)
        table[0, :2] = emitted[0, :2]
        for t in range(1, len(emitted)):
            before = table[t - 1]
            one = np.concatenate([[-np.inf], before[:-1]])
            two = np.where(skips, np.concatenate([[-np.inf, -np.inf], before[:-2]])[: len(before)], -np.inf)
            table[t] = np.logaddexp(np.logaddexp(before, one), two) + emitted[t]
        return table

    back_skips = np.zeros(len(path), bool)
    back_skips[:-2] = skips[2:]
    forward = sweep(emitted, skips)
    backward = sweep(emitted[::-1, ::-1], back_skips[::-1])[::-1, ::-1]
    total = np.logaddexp.reduce(forward[-1, -2:])
    if not np.isfinite(total):
        return np.inf, np.zeros(logs.shape)
    occupied = np.exp(forward + backward - emitted - total)
    share = np.zeros(logs.shape)
    for at, letter in enumerate(path):
        share[:, letter] += occupied[:, at]
    return -float(total), np.exp(logs) - share


register_host("ctc", _ctc)


@operator(
    "CTCLoss",
    inputs="data label data_lengths label_lengths",
    outputs="output0 output1",
    aliases="ctc_loss _contrib_CTCLoss _contrib_ctc_loss",
)
class CTCLoss(Operator):
    """-log of the probability that data (T, N, C), not normalised, spells label (N, L).

    The blank is class 0 (labels from 1, padded with 0) or the last one (padded with -1). A word that cannot be spelled
    in the steps there are costs 0.

    Differs from MXNet: a label that is no class is an error when it is met, and lengths outside of 0 to T, and of 0 to
    L, are the nearest ones; MXNet reads beyond its arrays.
    """

    floats_only: ClassVar[bool] = True

    use_data_lengths: bool = False
    use_label_lengths: bool = False
    blank_label: Literal["first", "last"] = "first"

    def list_inputs(self) -> tuple[str, ...]:
        names = ["data", "label"]
        if self.use_data_lengths:
            names.append("data_lengths")
        if self.use_label_lengths:
            names.append("label_lengths")
        return tuple(names)

    def num_visible_outputs(self) -> int:
        return 1

    def complete(self, s: Shapes) -> None:
        """Data (T, N, C) with label (N, L), lengths (N,), gives (N,)."""
        data, label = s.ins[:2]
        if data is None or label is None:
            return
        if len(data) != 3 or len(label) != 2:
            raise ShapeError(f"data must have 3 axes (time, batch, class) and label 2, not {data} and {label}")
        if data[0] and label[1] and data[0] < label[1]:
            raise ShapeError(f"{label[1]} labels cannot be spelled in {data[0]} steps")
        s.set_in(1, (data[1], 0))
        for at in range(2, len(s.ins)):
            s.set_in(at, (data[1],))
        s.set_out(0, (data[1],))
        s.set_out(1, data)

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,), (0, 1))

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        data, label = inputs[:2]
        steps, batch, classes = data.shape
        blank = 0 if self.blank_label == "first" else classes - 1
        padding = 0 if self.blank_label == "first" else -1
        rest = list(inputs[2:])
        lengths = ew.cast(rest.pop(0), I32) if self.use_data_lengths else ew.const(np.full(batch, steps, np.int32))
        lengths = ew.minimum(ew.maximum(lengths, 0), steps)
        word = ew.cast(label, I32)
        if self.use_label_lengths:
            counts = ew.minimum(ew.maximum(ew.cast(rest.pop(0), I32), 0), label.shape[1])
        else:
            counts = _used(word, padding)

        def body(x: Node, word: Node, counts: Node, lengths: Node) -> Sequence[Node]:
            f = wide(x)
            types = [f.tensor.with_shape((batch,)), f.tensor]
            made = host_call("ctc", [f, word, counts, lengths, ew.const(blank, I32)], types)
            assert isinstance(made, list)
            return [narrow(m, x) for m in made]

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            return [outs[1] * broadcast(cts[0], outs[1].shape, (1,)), None, None, None]

        made = custom_grad([data, word, counts, lengths], body, rule, saved=1)
        assert isinstance(made, list)
        return made


def _used(word: Node, padding: int) -> Node:
    """How many labels come before the first padding."""
    length = word.shape[1]
    ends = ew.select(ew.eq(word, padding), indices(word.shape, 1), length)
    return ew.minimum(reduce_min(ends, (1,)), length)

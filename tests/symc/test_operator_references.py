"""Protects what numdiff compares of operators from outside with their `reference`: outputs and new states, as they are
in prediction and in training."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import symc as mx
from symc.compile import remaining
from symc.debug.checks import check
from symc.debug.trial import Failure, Trial
from symc.ir.prims.movement import broadcast
from symc.ir.prims.reduce import reduce_sum
from symc.ops.base import OPERATORS, Operator, operator
from symc.typed import complete, module_of

_serial = itertools.count()


def failure_of(build: Any, reference: Any, train: bool = True) -> Failure | None:
    """What is found of a net with an operator of one state."""
    name = f"Referenced{next(_serial)}"

    def shapes(self: Any, s: Any) -> None:
        s.set_in(1, s.ins[0] and s.ins[0][1:])
        s.set_out(0, s.ins[0])

    body = {"complete": shapes, "build": build, "reference": reference}
    operator(name, inputs="data", aux="mean")(type(name, (Operator,), body))
    try:
        fc = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
        net = mx.sym.tanh(getattr(mx.sym, name)(fc, mx.sym.Variable("mean"), name="act"), name="end")
        module = module_of(net, complete(net, {"data": (3, 2)})[0])
        passes = remaining(module, train, ["fc_weight"] if train else [])
        first = tuple(p for p in passes if p.gives == "tensor")[:4]
        return check(Trial(module, first, 0, train=train, refusable=False, rules=True)).failure
    finally:
        del OPERATORS[name]


def centred(
    keep: float = 0.9, phase: str | None = "backward", always: bool = False, more: float = 0.0
) -> Any:  # fmt: skip
    """Takes the mean away, and follows it; `always`: of the batch in prediction, too."""

    def build(self: Any, ctx: Any, data: Any, mean: Any) -> Any:
        here = reduce_sum(data, (0,)) * (1.0 / data.shape[0])
        if not ctx.train:
            return data - broadcast(here if always else mean, data.shape, (1,)) + more
        if phase is not None:
            ctx.update(1, mean * keep + here * (1 - keep), phase)
        return data - broadcast(here, data.shape, (1,))

    return build


def whole(self: Any, data: Any, mean: Any, train: bool) -> Any:
    here = data.mean(0)
    return (data - here, 0.9 * mean + 0.1 * here) if train else (data - mean, mean)


def outputs(self: Any, data: Any, mean: Any, train: bool) -> Any:
    return data - (data.mean(0) if train else mean)


@pytest.mark.parametrize("reference", [whole, outputs])
@pytest.mark.parametrize("phase", ["forward", "backward"])
@pytest.mark.parametrize("train", [True, False])
def test_what_is_right_is_left_alone(reference: Any, phase: str, train: bool) -> None:
    """A reference need not speak of states."""
    assert failure_of(centred(phase=phase), reference, train) is None


def three(self: Any, data: Any, mean: Any) -> Any:
    return data, mean, mean


@pytest.mark.parametrize(
    "build, reference, says",
    [
        (centred(0.99), whole, "the new value of mean is not its reference's in training"),
        (centred(0.99, "forward"), whole, "the new value of mean is not its reference's in training"),
        (centred(phase=None), whole, "the new value of mean is not its reference's in training"),
        (centred(always=True), whole, "output is not its reference's in prediction"),
        (centred(more=1e-3), outputs, "output is not its reference's in prediction"),
        (centred(), three, "its reference gives 3 values; there are 1 outputs, and of 1 states if it likes"),
    ],
    ids=["factor", "forward", "lost", "batch", "near", "many"],
)
def test_what_is_wrong_is_named(build: Any, reference: Any, says: str) -> None:
    """With --train, the prediction form is looked at as well."""
    failure = failure_of(build, reference)
    assert failure is not None and failure.check == "values" and failure.value == "act"
    assert failure.rule.startswith("operator Referenced") and says in failure.message

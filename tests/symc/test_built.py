"""Protects rule M6: an operator whose program is not what it lists and infers is told so itself, by its Symbol's name
and the user's line, wherever it is used; never the operator that reads its result."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import symc as mx
import symc.ndarray
import symc.symbol
from symc.base import MXNetError
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import reshape
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import F16
from symc.ops.base import OPERATORS, Operator, operator


class Liar(Operator):
    """Says of its output that it is like the input."""

    def complete(self, s: Any) -> None:
        s.all_alike()


KINDS: dict[str, tuple[Any, str]] = {
    "shorter": (lambda x: reduce_sum(x, (0,)), r"gives its output as f32\[3\], but .* says f32\[2,3\]"),
    "flat": (lambda x: reshape(x, (6,)), r"gives its output as f32\[6\], but .* says f32\[2,3\]"),
    "half": (lambda x: ew.cast(x, F16), r"gives its output as f16\[2,3\], but .* says f32\[2,3\]"),
    "mask": (lambda x: ew.gt(x, 0.0), r"gives its output as i1\[2,3\], but .* says f32\[2,3\]"),
    "two": (lambda x: [x, x], r"gives 2 values, but it lists 1 outputs \(output\)"),
    "none": (lambda x: None, r"gives a NoneType, not a value of the program"),
    "empty": (lambda x: [], r"gives 0 values, but it lists 1 outputs"),
}


@pytest.fixture(params=list(KINDS))
def liar(request: pytest.FixtureRequest) -> Any:
    """(name of an operator that contradicts itself, what is said of it)."""
    build, message = KINDS[request.param]

    @operator("liar", inputs="data")
    class Made(Liar):
        """Contradicts itself."""

        def build(self, ctx: Any, data: Any) -> Any:
            return build(data)

    yield "liar", message
    del OPERATORS["liar"]


def where() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_the_operator_is_named_with_its_line(liar: tuple[str, str]) -> None:
    """With a reader that does not mind, one that does, and none; for prediction and for training."""
    _, message = liar
    x = mx.sym.Variable("x")
    lie, line = mx.sym.liar(x, name="lie"), where()
    for net in (lie, mx.sym.tanh(lie), mx.sym.dot(lie, mx.sym.Variable("w"))):
        for request in ("null", "write"):
            exe = net.simple_bind(
                mx.cpu(), x=(2, 3), **({"w": (3, 4)} if "w" in net.list_arguments() else {}), grad_req=request
            )
            with pytest.raises(
                MXNetError, match=rf"M6: the program \(build\) of operator liar 'lie' .*:{line}\) {message}"
            ):
                exe.forward(is_train=request == "write")


def test_arrays_and_bodies_of_loops_are_no_way_around(liar: tuple[str, str]) -> None:
    _, message = liar
    with pytest.raises(MXNetError, match=f"liar: M6: .*{message}"):
        mx.nd.liar(mx.nd.ones((2, 3)))
    data, state = mx.sym.Variable("data"), mx.sym.Variable("state")
    out, _ = mx.sym.contrib.foreach(lambda d, s: (mx.sym.liar(d + s, name="within"), s), data, state)
    with pytest.raises(MXNetError, match=f"operator liar 'within' .*{message}"):
        mx.sym.Group([out]).simple_bind(mx.cpu(), data=(4, 2, 3), state=(2, 3)).forward()


def test_several_outputs_are_told_apart() -> None:
    @operator("liar", inputs="data", outputs="mean var")
    class Made(Operator):
        """The second output has another shape than it says."""

        def complete(self, s: Any) -> None:
            s.all_alike()

        def build(self, ctx: Any, data: Any) -> Any:
            return [data, reduce_sum(data, (0,))]

    try:
        net = mx.sym.liar(mx.sym.Variable("x"), name="lie")
        with pytest.raises(MXNetError, match=r"operator liar 'lie' .* gives its var as f32\[3\], but .* f32\[2,3\]"):
            net.simple_bind(mx.cpu(), x=(2, 3)).forward()
    finally:
        del OPERATORS["liar"]


def test_what_inference_does_not_know_is_not_held_against_a_program() -> None:
    """An operator that completes nothing, or less than all."""

    @operator("vague", inputs="data")
    class Vague(Operator):
        """Says nothing of shapes that it does not know from elsewhere."""

        def complete(self, s: Any) -> None:
            return None

        def build(self, ctx: Any, data: Any) -> Any:
            return reduce_sum(data, (0,))

    try:
        assert mx.nd.vague(mx.nd.ones((2, 3))).asnumpy().tolist() == [2, 2, 2]
    finally:
        del OPERATORS["vague"]

"""Protects what numdiff finds of operators that users write in Python: wrong gradients, shapes that are not those of
the outputs, writes to what is only read, and errors, each with the user's line; and that right ones are left alone."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from commands import ran

import symc as mx
from symc.compile import remaining
from symc.debug.checks import check
from symc.debug.trial import Failure, Trial
from symc.typed import complete, module_of

_serial = itertools.count()


class Square(mx.operator.CustomOp):
    """data * data."""

    def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], in_data[0] * in_data[0])

    def backward(self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        self.assign(in_grad[0], req[0], 2 * in_data[0] * out_grad[0])


def failure_of(
    forward: Any = None, backward: Any = Square.backward, *, args: str = "data", aux: str = "", top: bool = True,
    shape: Any = None, train: bool = True, **says: Any,
) -> Failure | None:  # fmt: skip
    """What is found of a net with an operator whose functions are these."""
    own = {"forward": forward or Square.forward, **({"backward": backward} if backward else {})}
    op = type("Op", (mx.operator.CustomOp,), own)
    names, states = args.split(), aux.split()

    class Prop(mx.operator.CustomOpProp):
        def __init__(self) -> None:
            super().__init__(need_top_grad=top)

        def list_arguments(self) -> list[str]:
            return names

        def list_auxiliary_states(self) -> list[str]:
            return states

        def infer_shape(self, in_shape: list[Any]) -> Any:
            first = in_shape[0]
            return [first] * len(names), [shape(first) if shape else first], [first] * len(states)

        def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Any:
            return op()

    for name, value in says.items():
        setattr(Prop, name, value)
    kind = f"fault_{next(_serial)}"
    mx.operator.register(kind)(Prop)
    fc = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
    others = [mx.sym.Variable(n) for n in [*names[1:], *states]]
    net = mx.sym.tanh(mx.sym.Custom(fc, *others, op_type=kind, name="act"), name="end")
    types, missing = complete(net, {"data": (3, 2)})
    assert not missing
    module = module_of(net, types, {"data": "data", **{n: "data" for n in names[1:] if n == "label"}})
    wrt = [n for n in net.list_arguments() if n not in ("data", "label")] if train else []
    passes = [p for p in remaining(module, train, wrt) if p.gives == "tensor"][:4]
    return check(Trial(module, tuple(passes), 0, train=train, refusable=False, rules=True)).failure


def with_numpy(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    """In single precision, whatever it is given."""
    self.assign(out_data[0], req[0], mx.nd.array(np.exp(in_data[0].asnumpy())))


def of_exp(factor: float) -> Any:
    def backward(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        self.assign(in_grad[0], req[0], mx.nd.array(factor * out_grad[0].asnumpy() * out_data[0].asnumpy()))

    return backward


def drops(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    """Random numbers of its own, kept for the way back."""
    self.mask = mx.nd.array(np.random.rand(*in_data[0].shape) > 0.5, dtype=in_data[0].dtype)
    self.assign(out_data[0], req[0], in_data[0] * self.mask)


def by_mask(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    self.assign(in_grad[0], req[0], out_grad[0] * self.mask)


def minus(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    self.assign(in_grad[0], req[0], in_data[0] - 1)


def zeros(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    self.assign(in_grad[0], req[0], 0)


def relu(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    self.assign(out_data[0], req[0], mx.nd.maximum(in_data[0], 0))


def above(least: float) -> Any:
    def backward(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        self.assign(in_grad[0], req[0], out_grad[0] * (in_data[0] > least))

    return backward


def averages(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    aux[0][:] = aux[0] * 0.9 + in_data[0] * 0.1
    self.assign(out_data[0], req[0], in_data[0] * in_data[0])


def times(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    self.assign(out_data[0], req[0], in_data[0] * in_data[1])


def of_first(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    self.assign(in_grad[0], req[0], out_grad[0] * in_data[1])


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"train": False, "backward": None},
        {"backward": minus, "top": False},
        {"backward": minus, "is_derivative": False},
        {"backward": zeros},
        {"forward": with_numpy, "backward": of_exp(1.0)},
        {"forward": drops, "backward": by_mask},
        {"forward": relu, "backward": above(0.0)},
        {"forward": averages, "aux": "mean"},
        {"forward": times, "backward": of_first, "args": "data label"},
    ],
    ids=["right", "predicts", "loss", "meant", "stops", "single", "random", "kinks", "states", "labels"],
)
def test_right_ones_are_left_alone(made: dict[str, Any]) -> None:
    """Losses, gradients that are stopped, random numbers, states and labels are no faults."""
    assert failure_of(**made) is None


def ignores_head(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    self.assign(in_grad[0], req[0], 2 * in_data[0])


def writes_data(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    in_data[0][:] = in_data[0] * in_data[0]
    self.assign(out_data[0], req[0], in_data[0])


def writes_head(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    out_grad[0][:] = out_grad[0] * 2
    self.assign(in_grad[0], req[0], in_data[0] * out_grad[0])


def means(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    out_data[0][:] = in_data[0].mean(axis=1, keepdims=True)


def raises(self: Any, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
    self.assign(out_data[0], req[0], in_data[0] * in_data[3])


def divides(self: Any, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
    self.assign(in_grad[0], req[0], 1 / 0)


@pytest.mark.parametrize(
    "made, check_, says, line",
    [
        ({"backward": ignores_head}, "gradient", "its gradient of data is no derivative", ignores_head),
        ({"backward": minus}, "gradient", "is_derivative = False", minus),
        ({"forward": relu, "backward": above(0.5)}, "gradient", "no derivative", above(0.5)),
        ({"forward": with_numpy, "backward": of_exp(1.1)}, "gradient", "no derivative", of_exp(1.1)),
        ({"backward": None}, "gradient", "it has no backward, so none of data either, but its outputs", Square.forward),
        (
            {"forward": times, "backward": of_first, "args": "data other"}, "gradient",
            "backward leaves the gradient of other as it is", of_first,
        ),
        ({"shape": lambda s: (s[0], s[1] + 1)}, "values", "output is (3, 5), but forward puts (3, 4) there", None),
        ({"forward": means}, "values", "output is (3, 4), but forward puts (3, 1) there", None),
        ({"forward": writes_data}, "values", "forward writes to data, which is only there to be read", writes_data),
        ({"backward": writes_head}, "values", "backward writes to out_grad", writes_head),
        ({"forward": raises}, "crash", "Custom 'act' (op_type=fault_", None),
        ({"backward": divides}, "crash", "raises ZeroDivisionError: division by zero", None),
    ],
    ids=["head", "loss", "kink", "single", "none", "forgets", "larger", "smaller", "data", "grad", "raises", "back"],
)  # fmt: skip
def test_wrong_ones_are_named_with_the_user_s_line(made: dict[str, Any], check_: str, says: str, line: Any) -> None:
    """The check, the sentence, the Symbol, and the line of the function at fault."""
    failure = failure_of(**made)
    assert failure is not None
    assert (failure.check, failure.value) == (check_, "act") and failure.rule.startswith("operator Custom fault_")
    assert says in failure.message and "test_custom_faults.py:" in failure.message
    if line is not None:
        assert failure.message.endswith(f"test_custom_faults.py:{line.__code__.co_firstlineno}")


FILE = """
import symc as mx


class Cube(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0] ** 3)

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], 2 * in_data[0] ** 2 * out_grad[0])


@mx.operator.register("cube_of_file")
class CubeProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx, shapes, dtypes):
        return Cube()


@mx.operator.register("broken_of_file")
class BrokenProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx, shapes, dtypes):
        made = Cube()
        made.forward = lambda **_: [][1]
        return made


fc = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
net = mx.sym.tanh(mx.sym.Custom(fc, op_type="cube_of_file", name="cube"), name="end")
broken = mx.sym.Custom(fc, op_type="broken_of_file", name="broken")
"""


def test_numdiff_names_it_and_writes_what_shows_it_again(capsys: Any, tmp_path: Any) -> None:
    """The verdict says operator, value and line; the file that is written brings the user's own file."""
    (tmp_path / "net.py").write_text(FILE)
    out = ["--out", str(tmp_path / "found")]
    words = ["numdiff", f"{tmp_path}/net.py:net", "--shapes", "data=3x2", "--train", "--inputs", "seed=0", *out]
    said, _ = ran(capsys, *words, "--diagnostics=json", code=1)
    verdict = json.loads(said)
    assert verdict["pass"] == "operator Custom cube_of_file" and verdict["value"] == "cube"
    assert verdict["source"].endswith("net.py:28") and verdict["message"].endswith("net.py:9")
    said, _ = ran(capsys, "replay", verdict["reproducer"], code=1)
    assert "its gradient of data is no derivative" in said


def test_a_run_names_operator_and_line_of_what_user_code_raises(capsys: Any, tmp_path: Any) -> None:
    """An error of a command is a sentence, not a traceback."""
    (tmp_path / "net.py").write_text(FILE)
    given = [f"{tmp_path}/net.py:broken", "--shapes", "data=3x2", "--inputs=seed=0"]
    _, said = ran(capsys, "run", *given, code=5)
    assert "Custom 'broken' (op_type=broken_of_file) raises IndexError" in said
    assert "net.py:23 in <lambda>)" in said

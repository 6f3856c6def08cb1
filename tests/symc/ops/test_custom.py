"""Protects operators written in Python: composition, inference, values, gradients, states, losses, errors."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.compile import pipeline
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import Manager
from symc.typed import module_of


class Scaled(mx.operator.CustomOp):
    def __init__(self, factor):
        self.factor = factor

    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0] * self.factor)
        self.assign(out_data[1], req[1], in_data[0] * 0 + float(is_train))
        aux[0][:] = aux[0] + 1

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], out_grad[0] * self.factor)


@mx.operator.register("scaled")
class ScaledProp(mx.operator.CustomOpProp):
    def __init__(self, factor="1"):
        super().__init__(need_top_grad=True)
        self.factor = float(factor)

    def list_outputs(self):
        return ["scaled", "training"]

    def list_auxiliary_states(self):
        return ["calls"]

    def infer_shape(self, in_shape):
        return in_shape, [in_shape[0], in_shape[0]], [(1,)]

    def create_operator(self, ctx, shapes, dtypes):
        return Scaled(self.factor)


class Distance(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0])

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], out_data[0] - in_data[1])


@mx.operator.register("distance")
class DistanceProp(mx.operator.CustomOpProp):
    def __init__(self):
        super().__init__(need_top_grad=False)

    def list_arguments(self):
        return ["data", "label"]

    def infer_shape(self, in_shape):
        return [in_shape[0], in_shape[0]], [in_shape[0]], []

    def create_operator(self, ctx, shapes, dtypes):
        return Distance()


def test_between_compiled_operators():
    x = mx.sym.Variable("x")
    y = mx.sym.Custom(mx.sym.exp(x), factor=3, op_type="scaled", name="s")
    assert y.list_outputs() == ["s_scaled", "s_training"] and y.list_auxiliary_states() == ["s_calls"]
    net = mx.sym.square(y[0])
    exe = net.simple_bind(mx.cpu(), x=(2, 3))
    value = np.linspace(-1, 1, 6).reshape(2, 3).astype(np.float32)
    out = exe.forward(is_train=True, x=value)[0].asnumpy()
    np.testing.assert_allclose(out, 9 * np.exp(2 * value), rtol=1e-5)
    exe.backward([mx.nd.ones((2, 3))])
    np.testing.assert_allclose(exe.grad_dict["x"].asnumpy(), 18 * np.exp(2 * value), rtol=1e-5)
    assert exe.aux_dict["s_calls"].asnumpy().tolist() == [1]
    exe.forward(is_train=False)
    assert exe.aux_dict["s_calls"].asnumpy().tolist() == [2]


def test_training_flag():
    y = mx.sym.Custom(mx.sym.Variable("x"), op_type="scaled")
    exe = y.simple_bind(mx.cpu(), x=(1,), grad_req="null")
    assert exe.forward(is_train=True)[1].asnumpy().tolist() == [1]
    assert exe.forward(is_train=False)[1].asnumpy().tolist() == [0]


def test_losses_need_no_head():
    loss = mx.sym.Custom(data=mx.sym.Variable("data"), op_type="distance", name="d")
    assert loss.list_arguments() == ["data", "d_label"]
    assert loss.infer_shape(data=(4, 2))[0] == [(4, 2), (4, 2)]
    exe = loss.simple_bind(mx.cpu(), data=(2,))
    exe.forward(is_train=True, data=np.array([3.0, 4.0]), d_label=np.array([1.0, 1.0]))
    exe.backward()
    assert exe.grad_dict["data"].asnumpy().tolist() == [2, 3]


def test_errors_name_the_cause():
    with pytest.raises(mx.MXNetError, match="not registered"):
        mx.sym.Custom(mx.sym.Variable("x"), op_type="nothing")
    with pytest.raises(mx.MXNetError, match="does not take"):
        mx.sym.Custom(mx.sym.Variable("x"), op_type="scaled", speed=3)
    with pytest.raises(TypeError, match="CustomOpProp"):
        mx.operator.register("wrong")(Scaled)


def test_what_python_raises_reaches_the_caller():
    """As what it is, and as an MXNetError."""

    class Broken(mx.operator.CustomOp):
        def forward(self, is_train, req, in_data, out_data, aux):
            raise ZeroDivisionError("on purpose")

    @mx.operator.register("broken")
    class BrokenProp(mx.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return Broken()

    exe = mx.sym.Custom(mx.sym.Variable("x"), op_type="broken").simple_bind(mx.cpu(), x=(2,))
    with pytest.raises(ZeroDivisionError, match="on purpose") as found:
        exe.forward()
    assert isinstance(found.value, mx.MXNetError)
    with pytest.raises(mx.MXNetError, match="on purpose"):
        mx.nd.Custom(mx.nd.ones((2,)), op_type="broken")


class Counting(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0] * 2 + aux[0])
        aux[0][:] = aux[0] + 1

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], out_grad[0] * aux[0])
        aux[0][:] = aux[0] * 10


@mx.operator.register("counting")
class CountingProp(mx.operator.CustomOpProp):
    def list_auxiliary_states(self):
        return ["count"]

    def infer_shape(self, in_shape):
        return in_shape, in_shape, [(1,)]

    def create_operator(self, ctx, shapes, dtypes):
        assert [tuple(s) for s in shapes] == [(2,), (1,)]
        return Counting()


@pytest.mark.parametrize("req", ["write", "add"])
def test_both_halves_change_the_states(req):
    """MXNet: backward sees the state as forward left it, and what it makes of it stays."""
    y = mx.sym.Custom(mx.sym.Variable("x") * 1, op_type="counting", name="c")
    exe = y.simple_bind(mx.cpu(), x=(2,), grad_req=req)
    exe.aux_dict["c_count"][:] = 5
    total = 0
    for state in (5, 60, 610):
        assert exe.forward(is_train=True, x=mx.nd.array([1, 2]))[0].asnumpy().tolist() == [2 + state, 4 + state]
        exe.backward([mx.nd.array([1, 1])])
        total = (state + 1) + (total if req == "add" else 0)
        assert exe.grad_dict["x"].asnumpy().tolist() == [total, total]
        assert exe.aux_dict["c_count"].asnumpy().tolist() == [10 * (state + 1)]


def test_states_that_both_halves_change_pass_the_verifier():
    """The training program's forward update is there after forward(), the backward one after backward(), and both are
    updates of the program: nothing writes to its operands."""
    y = mx.sym.Custom(mx.sym.Variable("x") * 1, op_type="counting", name="c")
    types = {"x": TensorType(F32, (2,)), "c_count": TensorType(F32, (1,))}
    program = Manager().run(pipeline(True, ["x"]), module_of(y, types)).program
    assert [(u.input, u.phase) for u in program.updates] == [("c_count", "forward"), ("c_count", "backward")]
    exe = y.simple_bind(mx.cpu(), x=(2,))
    exe.aux_dict["c_count"][:] = 5
    exe.forward(is_train=True, x=mx.nd.array([1, 2]))
    assert exe.aux_dict["c_count"].asnumpy().tolist() == [6]
    exe.backward([mx.nd.array([1, 1])])
    assert exe.aux_dict["c_count"].asnumpy().tolist() == [60]


@mx.operator.register("wide")
class WideProp(mx.operator.CustomOpProp):
    """Asks for types of its own: a second input and an output of float64, a state of int32."""

    def list_arguments(self):
        return ["data", "weight"]

    def list_auxiliary_states(self):
        return ["count"]

    def infer_shape(self, in_shape):
        return [in_shape[0]] * 2, in_shape[:1], [(1,)]

    def infer_type(self, in_type):
        return [in_type[0], np.float64], [np.float64], [np.int32]

    def create_operator(self, ctx, shapes, dtypes):
        return Wide()


class Wide(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        assert aux[0].dtype == np.int32
        self.assign(out_data[0], req[0], in_data[0].astype("float64") + in_data[1])


def test_types_that_infer_type_asks_for_are_bound():
    y = mx.sym.Custom(mx.sym.Variable("data"), op_type="wide", name="c")
    assert y.infer_type(data=np.float32) == ([np.float32, np.float64], [np.float64], [np.int32])
    assert y.infer_type_partial() == ([None, np.float64], [np.float64], [np.int32])  # asked without knowing anything
    exe = y.simple_bind(mx.cpu(), data=(2,), type_dict={"data": np.float32})
    assert [a.dtype for a in (*exe.arg_arrays, *exe.aux_arrays)] == [np.float32, np.float64, np.int32]
    exe.arg_dict["c_weight"][:] = 1e-12
    assert exe.forward(data=mx.nd.array([1, 2]))[0].asnumpy().tolist() == [1 + 1e-12, 2 + 1e-12]


@pytest.mark.parametrize("weight", [mx.sym.Variable("w"), mx.sym.Variable("w") * 2])
def test_types_that_contradict_are_refused(weight):
    """Without type_dict every variable is float32 for MXNet, so that float64 is refused: not computed in float32."""
    y = mx.sym.Custom(mx.sym.Variable("data"), weight, op_type="wide", name="c")
    with pytest.raises(mx.MXNetError, match="weight has type float32, but float64 is needed"):
        y.simple_bind(mx.cpu(), data=(2,))


def test_infer_type_that_fails_says_so():
    class Broken(WideProp):
        def infer_type(self, in_type):
            return np.dtype(in_type[0].missing)

    mx.operator.register("broken_types")(Broken)
    y = mx.sym.Custom(mx.sym.Variable("data"), op_type="broken_types", name="c")
    assert y.infer_type_partial() == ([None, None], [None], [None])  # it reads what is not known
    with pytest.raises(mx.MXNetError, match="'broken_types': infer_type.* raised AttributeError"):
        y.infer_type(data=np.float32, c_weight=np.float64)


@mx.operator.register("sevens")
class SevensProp(mx.operator.CustomOpProp):
    """No inputs at all."""

    def __init__(self, count="3"):
        super().__init__(need_top_grad=False)
        self.count = int(count)

    def list_arguments(self):
        return []

    def infer_shape(self, in_shape):
        return [], [(self.count,)], []

    def infer_type(self, in_type):
        return [], [np.float32], []

    def create_operator(self, ctx, shapes, dtypes):
        class Sevens(mx.operator.CustomOp):
            def forward(self, is_train, req, in_data, out_data, aux):
                self.assign(out_data[0], req[0], mx.nd.ones(out_data[0].shape) * 7)

        return Sevens()


def test_without_inputs():
    y = mx.sym.Custom(op_type="sevens", count=2)
    assert (y.list_arguments(), y.infer_shape()[1], y.infer_type()[1]) == ([], [(2,)], [np.float32])
    exe = (y * mx.sym.Variable("x")).simple_bind(mx.cpu(), x=(2,))
    assert exe.forward(is_train=True, x=mx.nd.array([1, 2]))[0].asnumpy().tolist() == [7, 14]
    exe.backward(mx.nd.ones(2))
    assert exe.grad_dict["x"].asnumpy().tolist() == [7, 7]
    assert y.bind(mx.cpu(), {}).forward()[0].asnumpy().tolist() == [7, 7]
    assert mx.nd.Custom(op_type="sevens").asnumpy().tolist() == [7, 7, 7]


@mx.operator.register("told")
class ToldProp(mx.operator.CustomOpProp):
    given: dict[str, str] = {}

    def __init__(self, **given):
        super().__init__()
        ToldProp.given = given

    def create_operator(self, ctx, shapes, dtypes):
        return Distance()


@pytest.mark.parametrize(
    "value, text",
    [
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.float64(1e-7), "1e-07"),
        (np.float32(1e20), "1e+20"),
        (np.int64(3), "3"),
        (np.bool_(False), "False"),
        ((np.int64(1), np.float32(2.5)), "(1, 2.5)"),
        ([np.float16(0.1), (np.float32(0.3),)], "[0.1, (0.3,)]"),
        (np.dtype("float32"), "float32"),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_a_property_reads_what_it_was_given_as_text(value, text):
    """Whatever numpy's version prints, and with arrays as with Symbols."""
    net = mx.sym.Custom(mx.sym.Variable("x"), op_type="told", some=value)
    net.list_arguments()
    assert ToldProp.given == {"some": text} and net.attr("some") == text
    mx.nd.Custom(mx.nd.ones(2), op_type="told", some=value)
    assert ToldProp.given == {"some": text}

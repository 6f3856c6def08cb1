"""Protects what users do with Symbols first: the examples of MXNet's documentation, composition, help, pickling, and
graphs far deeper than Python's recursion limit."""

import copy
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import symc as mx
from symc.base import MXNetError, NotImplementedForSymbol


@pytest.fixture(autouse=True)
def fresh_names():
    with mx.name.NameManager():
        yield


def perceptron():
    net = mx.sym.Variable("data")
    net = mx.sym.FullyConnected(data=net, name="fc1", num_hidden=128)
    net = mx.sym.Activation(data=net, name="relu1", act_type="relu")
    net = mx.sym.FullyConnected(data=net, name="fc2", num_hidden=10)
    return mx.sym.SoftmaxOutput(data=net, name="out")


class TestDocumentedExamples:
    def test_two_layer_perceptron(self):
        expected = ["data", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias", "out_label"]
        assert perceptron().list_arguments() == expected

    def test_named_weight(self):
        net = mx.symbol.Variable("data")
        w = mx.symbol.Variable("myweight")
        net = mx.symbol.FullyConnected(data=net, weight=w, name="fc1", num_hidden=128)
        assert net.list_arguments() == ["data", "myweight", "fc1_bias"]

    def test_sum(self):
        lhs = mx.symbol.Variable("data1")
        rhs = mx.symbol.Variable("data2")
        net = mx.symbol.FullyConnected(data=lhs + rhs, name="fc1", num_hidden=128)
        assert net.list_arguments() == ["data1", "data2", "fc1_weight", "fc1_bias"]

    def test_composed_net(self):
        net = mx.symbol.Variable("data")
        net = mx.symbol.FullyConnected(data=net, name="fc1", num_hidden=128)
        net2 = mx.symbol.Variable("data2")
        net2 = mx.symbol.FullyConnected(data=net2, name="net2", num_hidden=128)
        composed_net = net(data=net2, name="compose")
        # the text prints compose_fc1_weight; 1.9.1 renames the last operator only
        assert composed_net.list_arguments() == ["data2", "net2_weight", "net2_bias", "fc1_weight", "fc1_bias"]
        assert composed_net.list_outputs() == ["compose_output"]
        assert net.list_arguments() == ["data", "fc1_weight", "fc1_bias"] and net.name == "fc1"

    def test_infer_shape(self):
        net = mx.symbol.Variable("data")
        net = mx.symbol.FullyConnected(data=net, name="fc1", num_hidden=10)
        arg_shape, out_shape, aux_shape = net.infer_shape(data=(100, 100))
        assert net.list_arguments() == ["data", "fc1_weight", "fc1_bias"]
        assert arg_shape == [(100, 100), (10, 100), (10,)]
        assert out_shape == [(100, 10)] and aux_shape == []

    def test_bind_and_run(self):
        A = mx.symbol.Variable("A")
        B = mx.symbol.Variable("B")
        C = A * B
        a = mx.nd.ones(3) * 4
        b = mx.nd.ones(3) * 2
        c_exec = C.bind(ctx=mx.cpu(), args={"A": a, "B": b})
        c_exec.forward()
        assert c_exec.outputs[0].asnumpy().tolist() == [8.0, 8.0, 8.0]

    def test_simple_bind_forward_backward(self):
        net = perceptron()
        executor = net.simple_bind(ctx=mx.cpu(), data=(4, 6))
        rng = np.random.RandomState(0)
        for name, array in executor.arg_dict.items():
            array[:] = rng.uniform(-0.1, 0.1, array.shape) if name != "out_label" else np.array([1, 2, 3, 4])
        executor.forward(is_train=True)
        executor.backward()
        shares = executor.outputs[0].asnumpy()
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
        expected = shares.copy()
        expected[range(4), [1, 2, 3, 4]] -= 1
        np.testing.assert_allclose(executor.grad_dict["fc2_bias"].asnumpy(), expected.sum(0), rtol=1e-4, atol=1e-6)

    def test_eval(self):
        a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
        (result,) = (a + b).eval(ctx=mx.cpu(), a=mx.nd.ones((2, 3)), b=mx.nd.ones((2, 3)))
        assert (result.asnumpy() == 2).all()


class TestBinding:
    def setup_method(self):
        self.net = mx.sym.Variable("a") + mx.sym.Variable("b")

    def test_arrays_are_checked(self):
        one = mx.nd.ones(3)
        with pytest.raises(ValueError, match="key `b` is missing in `args`"):
            self.net.bind(mx.cpu(), {"a": one})
        with pytest.raises(ValueError, match="Length of args does not match"):
            self.net.bind(mx.cpu(), [one])
        with pytest.raises(TypeError, match="Context"):
            self.net.bind("cpu", [one, one])
        with pytest.raises(TypeError, match="'a'"):
            self.net.bind(mx.cpu(), [np.ones(3), one])
        with pytest.raises(ValueError, match="grad_req"):
            self.net.bind(mx.cpu(), [one, one], grad_req="sometimes")
        with pytest.raises(MXNetError, match=r"_plus0"):
            self.net.bind(mx.cpu(), [one, mx.nd.ones(4)])
        with pytest.raises(MXNetError, match="type"):
            self.net.bind(mx.cpu(), [one, mx.nd.ones(3, dtype="float16")])

    def test_arrays_say_more_than_variables(self):
        """Types of the arrays, of states too, hold against a variable's own; they must agree among each other."""
        states = {f"moving_{k}": mx.sym.Variable(f"moving_{k}", dtype="float32") for k in ("mean", "var")}
        net = mx.sym.BatchNorm(mx.sym.Variable("data", dtype="float32"), name="bn", **states)
        args = {n: mx.nd.ones(s, dtype="float64") for n, s in (("data", (2, 4)), ("bn_gamma", 4), ("bn_beta", 4))}
        wide = {name: mx.nd.ones(4, dtype="float64") for name in states}
        assert net.bind(mx.cpu(), args, aux_states=wide).forward()[0].dtype == np.float64
        with pytest.raises(MXNetError, match="moving_mean has type float32"):
            net.bind(mx.cpu(), args, aux_states={name: mx.nd.ones(4) for name in states})

    def test_gradients_of_some(self):
        bound = self.net.bind(mx.cpu(), [mx.nd.ones(3)] * 2, args_grad={"a": mx.nd.zeros(3)})
        assert bound.grad_arrays[1] is None and bound.grad_arrays[0] is not None

    def test_simple_bind_needs_shapes(self):
        with pytest.raises(RuntimeError, match="a: "):
            self.net.simple_bind(mx.cpu())
        with pytest.raises(RuntimeError, match="sometimes"):
            self.net.simple_bind(mx.cpu(), a=(3,), grad_req="sometimes")
        with pytest.raises(RuntimeError, match="empty"):
            self.net.simple_bind(mx.cpu(), a=(3,), grad_req=[])

    def test_simple_bind_infers(self):
        half = {"a": "float16"}
        bound = self.net.simple_bind(mx.cpu(), a=(3,), unrelated=(4,), type_dict=half, grad_req={"a": "write"})
        assert [a.shape for a in bound.arg_arrays] == [(3,), (3,)]
        assert [np.dtype(a.dtype) for a in bound.arg_arrays] == [np.float16, np.float16]
        assert bound.grad_arrays[1] is None

    def test_shared_buffer_is_filled_and_used(self):
        buffer = {}
        first = self.net.simple_bind(mx.cpu(), a=(3,), shared_buffer=buffer)
        second = self.net.simple_bind(mx.cpu(), a=(3,), shared_buffer=buffer)
        assert sorted(buffer) == ["a", "b", "grad of a", "grad of b"]
        first.arg_dict["a"][:] = 5
        assert second.arg_dict["a"].asnumpy().tolist() == [5, 5, 5]


class TestErrorsName:
    """Errors name the Symbol, what was given, and what is there."""

    def test_inference(self):
        told = r"Error in operator fc1: FullyConnected\(data, fc1_weight, fc1_bias\).*test_symbol.py.*\(1, 100\)"
        with pytest.raises(MXNetError, match=told):
            perceptron().infer_shape(data=(100, 100), fc1_weight=(1, 100))

    def test_attributes(self):
        with pytest.raises(MXNetError, match="FullyConnected.*num_hidden.*fc9"):
            mx.sym.FullyConnected(mx.sym.Variable("x"), name="fc9")

    def test_values(self):
        with pytest.raises(NotImplementedForSymbol, match="asnumpy.*only available in NDArray"):
            mx.sym.Variable("x").asnumpy()

    def test_unknown_function(self):
        with pytest.raises(AttributeError, match="FullyConected.*did you mean FullyConnected"):
            mx.sym.FullyConected  # noqa: B018

    def test_sparse_variable(self):
        with pytest.raises(ValueError, match="there are .*row_sparse"):
            mx.sym.Variable("x", stype="rowsparse")


class TestHelp:
    def test_signature_and_text(self):
        names = list(inspect.signature(mx.sym.FullyConnected).parameters)
        assert names[:6] == ["data", "weight", "bias", "num_hidden", "no_bias", "flatten"]
        assert "num_hidden : int, required" in mx.sym.FullyConnected.__doc__
        assert mx.sym.FullyConnected.__name__ == "FullyConnected"

    def test_completion(self):
        assert {"FullyConnected", "Variable", "contrib", "random"} <= set(dir(mx.sym))
        assert {"sym", "nd", "cpu"} <= set(dir(mx))

    def test_methods_have_text(self):
        assert "Parameters" in mx.sym.Symbol.sum.__doc__


def test_origin_is_the_users_line():
    node = mx.sym.sin(mx.sym.Variable("x"))._outputs[0][0]
    assert node.where == (__file__, inspect.currentframe().f_lineno - 1)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s)), lambda s: s()])
def test_copies_are_independent(again):
    net = perceptron()
    made = again(net)
    made._set_attr(grad_scale="2.0")
    assert made.tojson() != net.tojson() and "out" not in net.attr_dict()


def test_save_and_load(tmp_path):
    net = perceptron()
    net.save(str(tmp_path / "net-symbol.json"))
    assert mx.sym.load(str(tmp_path / "net-symbol.json")).tojson() == net.tojson()


def test_a_deep_chain_needs_no_recursion():
    net = mx.sym.Variable("x")
    for _ in range(20_000):
        net = net + 1
    text = net.tojson()
    assert mx.sym.load_json(text).list_arguments() == ["x"]
    assert net.infer_shape(x=(2, 3))[1] == [(2, 3)]
    assert net.infer_type(x="float64")[1] == [np.float64]
    assert pickle.loads(pickle.dumps(net)).name == copy.deepcopy(net).name == net.name
    assert len(net.get_internals()) == 20_001
    assert len(net.debug_str().splitlines()) > 20_000


def test_importing_is_light():
    """`import symc` loads no code generator; `mx.sym` neither."""
    code = "import sys, symc; symc.sym; print([m for m in ('llvmlite', 'networkx') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


class TestScopes:
    def test_manager_in_force(self):
        inside = mx.name.Prefix("p_")
        with inside:
            assert mx.name.NameManager.current is inside
            with inside:  # a scope may be entered again
                assert mx.sym.sin(mx.sym.Variable("x")).name == "p_sin0"
        assert mx.name.NameManager.current is not inside

    def test_own_manager(self):
        class Shouting(mx.name.NameManager):
            def get(self, name, hint):
                return super().get(name, hint).upper()

        with Shouting():
            net = mx.sym.FullyConnected(mx.sym.Variable("x"), num_hidden=1)
        assert net.list_arguments() == ["x", "FULLYCONNECTED0_weight", "FULLYCONNECTED0_bias"]

    def test_attributes_nest_and_end(self):
        with mx.AttrScope(ctx_group="a", __k__="1"):
            with mx.AttrScope(ctx_group="b") as inner:
                v = mx.sym.Variable("v")
                assert mx.AttrScope.current is inner
            w = mx.sym.Variable("w")
        assert v.list_attr() == {"__ctx_group__": "b", "ctx_group": "b", "__k__": "1"}
        assert w.attr("ctx_group") == "a" and mx.sym.Variable("z").list_attr() == {}

    def test_programs_read_the_scopes_where_mxnet_has_them(self):
        with mx.AttrScope(ctx_group="a"), mx.name.Prefix("p_") as names, mx.cpu(2):
            assert mx.AttrScope._current.value._attr == {"ctx_group": "a"}
            assert mx.name.NameManager._current.value is names
            assert mx.context.Context._default_ctx.value == mx.cpu(2)
        before = mx.AttrScope._subgraph_names["choice_then"]
        x = mx.sym.Variable("x")
        mx.sym.contrib.cond(x > 0, lambda: x + 1, lambda: x - 1, name="choice")
        assert mx.AttrScope._subgraph_names["choice_then"] == before + 1

    def test_threads_do_not_share_scopes(self):
        import threading

        names = []
        with mx.name.Prefix("outer_"):
            thread = threading.Thread(target=lambda: names.append(mx.sym.sin(mx.sym.Variable("x")).name))
            thread.start()
            thread.join()
        assert names == ["sin0"]


def test_numpy_numbers_on_the_left():
    a = mx.sym.Variable("a")
    assert (np.float32(2) * a).attr("scalar") == "2.0"
    assert (np.int64(2) - a)._outputs[0][0].op == "_rminus_scalar"


def test_stubs_are_current():
    """`python -m symc.symbol.stubs` writes them."""
    from symc.symbol import stubs

    assert stubs.PATH.read_text(encoding="utf-8") == stubs.text()


class TestWrongNames:
    """A wrong name is answered with the right one, not with all names of a large net."""

    net = mx.sym.Variable("data")
    for at in range(30):
        net = mx.sym.FullyConnected(net, num_hidden=3, name=f"fc{at}")

    @pytest.mark.parametrize(
        ("act", "hint"),
        [
            (lambda n: n.infer_shape(dat=(1, 3)), "did you mean data"),
            (lambda n: n.simple_bind(mx.cpu(), dat=(1, 3)), "'dat' is no argument.*did you mean data"),
            (lambda n: n.get_internals()["fc7"], "did you mean fc7_output"),
            (lambda n: n(dat=mx.sym.Variable("y")), "did you mean data"),
            (lambda n: n.simple_bind(mx.cpu(), data=(1, 3)).forward(dta=1), "did you mean data"),
            (lambda n: n.simple_bind(mx.cpu(), data=(1, 3)).copy_params_from({"fc1_wight": 1}), "mean fc1_weight"),
            (lambda n: mx.sym.FullyConnected(n, num_hiden=3), "unknown parameter num_hiden.*did you mean num_hidden"),
            (lambda n: mx.sym.FullyConnected(n, wieght=n, num_hidden=3), "did you mean weight"),
        ],
        ids=range(8),
    )
    def test_the_right_one_is_said(self, act, hint):
        with pytest.raises((MXNetError, ValueError, TypeError), match=hint) as found:
            act(self.net)
        assert len(str(found.value)) < 700


def test_a_graph_that_was_looked_at_shows_what_is_composed_later() -> None:
    """What a graph's nodes and variables are is remembered, and follows from the nodes as they are now."""
    x, y = mx.sym.Variable("x"), mx.sym.Variable("y")
    inner = mx.sym.FullyConnected(x, num_hidden=3, name="fc")
    outer = mx.sym.Activation(inner, act_type="relu", name="act")
    held = outer.graph
    assert outer.list_arguments() == ["x", "fc_weight", "fc_bias"]
    inner._compose(x=y * 2)
    for graph in (held, outer.graph):
        assert [n.name for n in graph.variables()[0]] == ["y", "fc_weight", "fc_bias"]
        assert len(graph.nodes()) == 6
    held.nodes().clear()
    held.variables()[0].clear()
    assert len(held.nodes()) == 6 and outer.list_arguments() == ["y", "fc_weight", "fc_bias"]
    x._compose(x=y)
    assert x.list_arguments() == ["y"] and pickle.loads(pickle.dumps(outer)).list_arguments()[0] == "y"


def test_a_variable_that_becomes_a_state_is_one() -> None:
    """The node is the same, and what reads it is another."""
    x, mean = mx.sym.Variable("x"), mx.sym.Variable("mean")
    norm = mx.sym.BatchNorm(x, moving_mean=mean, name="bn")
    both = mx.sym.Group([norm, mx.sym.identity(mx.sym.Variable("other"), name="same")])
    assert both.list_auxiliary_states() == ["mean", "bn_moving_var"]
    both[1]._compose(other=mean)
    assert both.list_auxiliary_states() == ["mean", "bn_moving_var"] and "mean" not in both.list_arguments()

"""Protects foreach, while_loop and cond: what they compute and their gradients against the same loops in numpy, the
graphs that are cut out of Python functions, their JSON, inference through bodies, and the imperative forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compiling import graph_of, run_native, to_program

import symc as mx
from symc.base import MXNetError
from symc.ir.prims.flow import loop
from symc.ir.prims.movement import iota
from symc.ir.types import F32, TensorType

S = mx.sym
C = mx.sym.contrib
RNG = np.random.default_rng(5)


def variables(names):
    return [S.Variable(n) for n in names.split()]


def group(made):
    """Everything that a control flow function returns, as one Symbol."""
    flat = []

    def collect(value):
        if isinstance(value, S.Symbol):
            flat.append(value)
        else:
            for v in value:
                collect(v)

    collect(made)
    return S.Group(flat)


def values(symbol, train=False, **arrays):
    given = {n: mx.nd.array(a, dtype=np.float64) for n, a in arrays.items()}
    return [o.asnumpy() for o in symbol.bind(mx.cpu(), given).forward(is_train=train)]


def check_gradients(symbol, delta=1e-5, **arrays):
    """Gradients of all arguments against central differences."""
    heads = [RNG.uniform(-1, 1, o.shape) for o in values(symbol, **arrays)]
    given = {n: mx.nd.array(a, dtype=np.float64) for n, a in arrays.items()}
    grads = {n: mx.nd.zeros(a.shape, dtype=np.float64) for n, a in given.items()}
    bound = symbol.bind(mx.cpu(), given, grads)
    bound.forward(is_train=True)
    bound.backward([mx.nd.array(h, dtype=np.float64) for h in heads])
    plain = symbol.bind(mx.cpu(), given)

    def loss():
        return sum((h * o.asnumpy()).sum() for h, o in zip(heads, plain.forward()))

    for name, array in arrays.items():
        expected = np.zeros_like(array)
        for place in np.ndindex(*array.shape):
            sides = []
            for sign in (1, -1):
                moved = array.copy()
                moved[place] += sign * delta
                given[name][:] = moved
                sides.append(loss())
            given[name][:] = array
            expected[place] = (sides[0] - sides[1]) / (2 * delta)
        np.testing.assert_allclose(grads[name].asnumpy(), expected, rtol=1e-5, atol=1e-7, err_msg=name)


def nodes_of(symbol, op):
    return [n for n in json.loads(symbol.tojson())["nodes"] if n["op"] == op]


# --------------------------------------------------------------------------------------------- foreach


def test_foreach_is_its_loop():
    x, h, w = variables("x h w")
    out = group(C.foreach(lambda row, s: (row * s + w, S.tanh(s + row)), x, h))
    a = {"x": RNG.normal(size=(4, 3)), "h": RNG.normal(size=3), "w": RNG.normal(size=3)}
    state, rows = a["h"], []
    for row in a["x"]:
        rows.append(row * state + a["w"])
        state = np.tanh(state + row)
    got = values(out, **a)
    np.testing.assert_allclose(got[0], rows)
    np.testing.assert_allclose(got[1], state)
    check_gradients(out, **a)


def test_foreach_keeps_the_nesting_of_lists():
    a, b, s, t = variables("a b s t")

    def body(r, q):
        return [[r[0] + q[0]], r[1][0] * q[1][0]], [q[0] * 2, [q[1][0]]]

    out, states = C.foreach(body, [a, [b]], [s, [t]])
    assert isinstance(out[0], list) and isinstance(states[1], list)
    got = values(group([out, states]), a=[[1.0], [2.0]], b=[[3.0], [4.0]], s=[1.0], t=[5.0])
    assert [g.ravel().tolist() for g in got] == [[2, 4], [15, 20], [4], [5]]


def test_a_value_computed_outside_is_an_input_with_gradients():
    x, h, w = variables("x h w")
    outer = S.exp(w, name="outer")
    out = group(C.foreach(lambda row, s: (row + s, s * outer), x, h))
    (node,) = nodes_of(out, "_foreach")
    (body,) = node["subgraphs"]
    assert [n["name"] for n in body["nodes"] if n["op"] == "null"] == ["x-0", "h-0", "outer_output"]
    assert out.list_arguments() == ["x", "h", "w"]
    check_gradients(out, x=RNG.normal(size=(3, 2)), h=RNG.normal(size=2), w=RNG.normal(size=2))


def test_variables_made_in_the_body_are_arguments():
    x, h = variables("x h")
    out = group(C.foreach(lambda row, s: (S.FullyConnected(row, num_hidden=2, name="fc") + s, s * 1), x, h))
    assert out.list_arguments() == ["x", "h", "fc_weight", "fc_bias"]
    shapes = dict(zip(out.list_arguments(), out.infer_shape(x=(5, 3, 4))[0]))
    assert shapes == {"x": (5, 3, 4), "h": (3, 2), "fc_weight": (2, 4), "fc_bias": (2,)}
    assert set(out.infer_type(x="float64")[0]) == {np.float64}


def test_rows_of_a_vector_have_one_element():
    x, h = variables("x h")
    out = group(C.foreach(lambda row, s: (row * s, row + s), x, h))
    assert out.infer_shape(x=(4,), h=(1,))[1] == [(4, 1), (1,)]
    check_gradients(out, x=RNG.normal(size=4), h=RNG.normal(size=1))


def test_loops_in_loops():
    x, h, w = variables("x h w")

    def row_sum(row, s):
        return C.foreach(lambda e, t: (e * w + t + s, t + e), row, s)

    out = group(C.foreach(row_sum, x, h))
    a = {"x": RNG.normal(size=(2, 3, 2)), "h": RNG.normal(size=2), "w": RNG.normal(size=2)}
    state, rows = a["h"], []
    for row in a["x"]:
        inner, made = state, []
        for element in row:
            made.append(element * a["w"] + inner + state)
            inner = inner + element
        rows.append(made)
        state = inner
    got = values(out, **a)
    np.testing.assert_allclose(got[0], rows)
    np.testing.assert_allclose(got[1], state)
    check_gradients(out, **a)


def test_every_turn_draws_anew_and_the_gradient_sees_the_same_draws():
    x, h = variables("x h")
    out = group(C.foreach(lambda row, s: (S.Dropout(row, p=0.5), s * 1), x, h))
    given = {"x": mx.nd.ones((6, 16)), "h": mx.nd.zeros(1)}
    grads = {n: a.zeros_like() for n, a in given.items()}
    bound = out.bind(mx.cpu(), given, grads)
    first = bound.forward(is_train=True)[0].asnumpy().copy()
    bound.backward([mx.nd.ones((6, 16)), mx.nd.ones(1)])
    assert len({tuple(row) for row in first}) > 1
    np.testing.assert_array_equal(grads["x"].asnumpy(), first)
    assert (bound.forward(is_train=True)[0].asnumpy() != first).any()
    assert (bound.forward()[0].asnumpy() == 1).all()


def test_states_of_operators_in_the_body_change_every_turn():
    x, h = variables("x h")
    norm = {"name": "bn", "momentum": 0.5, "fix_gamma": False}
    out = group(C.foreach(lambda row, s: (S.BatchNorm(row, **norm), s * 1), x, h))
    data = RNG.normal(size=(2, 8, 1)).astype(np.float32)
    given = {
        "x": mx.nd.array(data), "h": mx.nd.zeros(1), "bn_gamma": mx.nd.ones(1), "bn_beta": mx.nd.zeros(1),
        "bn_moving_mean": mx.nd.zeros(1), "bn_moving_var": mx.nd.ones(1),
    }  # fmt: skip
    grads = {n: a.zeros_like() for n, a in given.items() if "moving" not in n}
    bound = out.bind(mx.cpu(), given, grads, {n: "write" if n in grads else "null" for n in given})
    bound.forward(is_train=True)
    bound.backward([mx.nd.ones((2, 8, 1)), mx.nd.ones(1)])
    expected = data[0].mean() / 4 + data[1].mean() / 2
    np.testing.assert_allclose(given["bn_moving_mean"].asnumpy(), [expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (lambda row, s: (s, s), AssertionError, "data arrays have to be used"),
        (lambda row, s: (row, row), AssertionError, "state arrays have to be used"),
        (lambda row, s: (row, [s]), AssertionError, "different format"),
        (lambda row, s: (3, s), AssertionError, "foreach output must be"),
    ],
)
def test_bodies_that_foreach_refuses(body, error, text):
    x, h = variables("x h")
    with pytest.raises(error, match=text):
        C.foreach(body, x, h)


def test_contradictions_in_a_body_name_the_operator_there():
    x, h = variables("x h")
    out = group(C.foreach(lambda row, s: (S.elemwise_add(row, s, name="inner"), s * 1), x, h))
    with pytest.raises(MXNetError, match="_foreach.*inner"):
        out.infer_shape(x=(4, 2), h=(3,))


# --------------------------------------------------------------------------------------------- while_loop


def test_while_loop_stops_when_its_condition_does():
    i, s, w = variables("i s w")
    out = group(C.while_loop(lambda i, s: S.sum(i) < 3, lambda i, s: (s * i, [i + 1, s * w]), [i, s], max_iterations=5))
    a = {"i": np.zeros(1), "s": np.ones(1) * 2, "w": np.ones(1) * 3}
    got = values(out, **a)
    assert got[0].ravel().tolist() == [0, 6, 36, 0, 0] and got[1] == [3] and got[2] == [54]
    a["i"] += 0.5
    check_gradients(out, **a)


def test_while_loop_takes_as_many_turns_as_it_may():
    (s,) = variables("s")
    got = values(group(C.while_loop(lambda s: s > 0, lambda s: ([], [s + 1]), [s], max_iterations=3)), s=[1.0])
    assert got[0] == [4]
    got = values(group(C.while_loop(lambda s: s < 0, lambda s: (s, s + 1), s, max_iterations=3)), s=[1.0])
    assert not got[0].any() and got[1] == [1]


def test_what_both_graphs_use_is_an_input_of_each():
    i, w = variables("i w")
    out = group(C.while_loop(lambda i: i < w, lambda i: ([], [i + w]), [i], max_iterations=9))
    (node,) = nodes_of(out, "_while_loop")
    assert node["attrs"]["cond_input_locs"] == "[0, 1]" and node["attrs"]["func_input_locs"] == "[0, 2]"
    assert out.list_arguments() == ["i", "w"]


def test_shapes_behind_a_while_loop_are_known_when_binding_only():
    i, s = variables("i s")
    outs, _ = C.while_loop(
        lambda i, s: i < 3, lambda i, s: (S.FullyConnected(s, num_hidden=2, name="fc"), [i + 1, s * 1]), [i, s], 4
    )
    with pytest.warns(UserWarning):
        assert outs.infer_shape(i=(1,), s=(3, 5)) == (None, None, None)
    bound = outs.simple_bind(mx.cpu(), i=(1,), s=(3, 5))
    assert bound.arg_dict["fc_weight"].shape == (2, 5) and bound.forward()[0].shape == (4, 3, 2)
    assert bound.reshape(i=(1,), s=(2, 5), partial_shaping=True).forward()[0].shape == (4, 2, 2)


@pytest.mark.parametrize(
    ("cond", "func", "most", "text"),
    [
        (lambda i, s: i < 3, lambda i, s: ([], [i, s]), None, "max_iterations should be specified"),
        (lambda i, s: i < 3, lambda i, s: ([], [i, s]), "many", "Cannot convert max_iteration"),
        (lambda i, s: i < 3, lambda i, s: ([], [i]), 3, "number of loop_vars"),
        (lambda i, s: i < 3, lambda i, s: ([], [i, i]), 3, "2-th loop_var"),
        (lambda i, s: True, lambda i, s: ([], [i, s]), 3, "must be a Symbol"),
    ],
)
def test_loops_that_while_loop_refuses(cond, func, most, text):
    with pytest.raises(ValueError, match=text):
        C.while_loop(cond, func, variables("i s"), max_iterations=most)


# --------------------------------------------------------------------------------------------- cond


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_cond_takes_one_side_and_its_gradient(shift):
    a, b, w = variables("a b w")
    u = S.exp(w)
    out = group(C.cond(S.sum(a) < S.sum(b), lambda: [a * u, a], lambda: [b - w, S.sin(a)]))
    x, y, z = np.array([0.3, 0.2]), np.array([0.1, -0.2]) + shift, np.array([0.5, 0.7])
    got = values_f32(out, a=x, b=y, w=z)
    expected = [x * np.exp(z), x] if shift > 0 else [y - z, np.sin(x)]
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-6)
    given = {n: mx.nd.array(v) for n, v in (("a", x), ("b", y), ("w", z))}
    grads = {n: v.zeros_like() for n, v in given.items()}
    bound = out.bind(mx.cpu(), given, grads)
    bound.forward(is_train=True)
    bound.backward([mx.nd.ones(2), mx.nd.ones(2)])
    wanted = (np.exp(z) + 1, 0 * y, x * np.exp(z)) if shift > 0 else (np.cos(x), 1 + 0 * y, -1 + 0 * z)
    for name, value in zip("abw", wanted):
        np.testing.assert_allclose(grads[name].asnumpy(), value, rtol=1e-5, err_msg=name)


def values_f32(symbol, **arrays):
    return [o.asnumpy() for o in symbol.bind(mx.cpu(), {n: mx.nd.array(a) for n, a in arrays.items()}).forward()]


def test_cond_inside_foreach_chooses_row_by_row():
    x, h = variables("x h")
    out = group(C.foreach(lambda row, s: (C.cond(S.sum(row) > 0, lambda: row * s, lambda: row - s), s + 1), x, h))
    data = np.array([[1.0, 2.0], [-1.0, -2.0], [3.0, 4.0]])
    got = values_f32(out, x=data, h=np.array([1.0, 1.0]))
    assert got[0].tolist() == [[1, 2], [-3, -4], [9, 12]]


def test_conds_that_are_refused():
    p, a, b = variables("p a b")
    with pytest.raises(ValueError, match="Number of outputs differs"):
        C.cond(p, lambda: [a, b], lambda: [a])
    one = C.cond(p, lambda: a * 2, lambda: b, name="choice")
    ones = {n: mx.nd.ones(2) for n in "pab"}
    with pytest.raises(MXNetError, match="must have one element"):
        one.bind(mx.cpu(), ones).forward()
    with pytest.raises(MXNetError, match="_cond"):
        one.bind(mx.cpu(), {**ones, "p": mx.nd.ones(1), "b": mx.nd.ones(3)})


# --------------------------------------------------------------------------------------------- graphs and text


def _everything():
    x, h, w, p = variables("x h w p")

    def body(row, s):
        outs, last = C.while_loop(lambda t: S.sum(t) < 2, lambda t: (t * w, [t + 1]), [s], max_iterations=2)
        return C.cond(p, lambda: S.broadcast_add(row, S.sum(outs)), lambda: row * w), last[0] * 1

    return group(C.foreach(body, x, h))


def test_json_brings_everything_back():
    made = _everything()
    again = S.load_json(made.tojson())
    assert again.tojson() == made.tojson() and again.list_outputs() == made.list_outputs()
    a = {"x": RNG.normal(size=(3, 2)), "h": np.zeros(2), "w": RNG.normal(size=2), "p": np.ones(1)}
    for one, two in zip(values_f32(made, **a), values_f32(again, **a)):
        np.testing.assert_array_equal(one, two)


def test_bodies_do_not_describe_variables_from_outside():
    x, h = variables("x h")
    w = S.Variable("w", lr_mult=2.0)
    (node,) = nodes_of(group(C.foreach(lambda row, s: (row * w, s * 1), x, h)), "_foreach")
    inner = {n["name"]: n.get("attrs") for n in node["subgraphs"][0]["nodes"]}
    assert inner["w"] is None and "foreach" in inner["x-0"]["__subgraph_name__"]
    assert node["attrs"]["num_args"] == "4" and node["attrs"]["remain_locs"] == "[1]"


def test_copies_share_nothing_that_changes():
    made = _everything()
    assert made.__copy__().tojson() == made.tojson()
    before = made.tojson()
    composed = made(x=S.Variable("other"))
    assert made.tojson() == before and "other" in composed.list_arguments()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"in_data_locs": "[0]"', '"in_data_locs": "[7]"', "_locs"),
        ('"subgraphs"', '"ignored"', "subgraph"),
        ('"num_out_data": "1"', '"num_out_data": "3"', "outputs"),
    ],
)
def test_broken_files_are_refused(old, new, text):
    x, h = variables("x h")
    document = group(C.foreach(lambda row, s: (row, s * 1), x, h)).tojson()
    assert old in document
    with pytest.raises(MXNetError, match=text):
        S.load_json(document.replace(old, new))


# --------------------------------------------------------------------------------------------- arrays


def test_imperative_loops():
    x = mx.nd.array([[1.0, 2.0], [3.0, 4.0]])
    out, last = mx.nd.contrib.foreach(lambda row, s: ([row * s[0]], [s[0] + 1]), x, [mx.nd.ones(2)])
    assert out[0].asnumpy().tolist() == [[1, 2], [6, 8]] and last[0].asnumpy().tolist() == [3, 3]
    loop_vars = [mx.nd.array([0], dtype="int64"), mx.nd.array([1], dtype="int64")]
    out, last = mx.nd.contrib.while_loop(lambda i, s: i <= 2, lambda i, s: (i + s, [i + 1, s + i]), loop_vars, 5)
    assert out.shape == (5, 1) and out.asnumpy()[:3].ravel().tolist() == [1, 2, 4] and out.dtype == np.int64
    assert [v.asscalar() for v in last] == [3, 4]
    assert mx.nd.contrib.while_loop(lambda i: i < 0, lambda i: (i, i), mx.nd.ones(1), 5)[0] == []


def test_imperative_cond_and_tests_of_numbers():
    a = mx.nd.array([2.0])
    assert mx.nd.contrib.cond(a < 3, lambda: a * 2, lambda: a).asscalar() == 4
    with pytest.raises(ValueError, match="pred"):
        mx.nd.contrib.cond(_NoTruth(), lambda: a, lambda: a)
    odd = mx.nd.array([1.0, np.inf, np.nan])
    assert mx.nd.contrib.isinf(odd).asnumpy().tolist() == [0, 1, 0]
    assert mx.nd.contrib.isnan(odd).asnumpy().tolist() == [0, 0, 1]
    assert mx.nd.contrib.isfinite(odd).asnumpy().tolist() == [1, 0, 0]


class _NoTruth:
    def __bool__(self):
        raise TypeError("neither true nor false")


def test_every_level_is_well_formed_and_keeps_its_text():
    from symc.compile import pipeline
    from symc.ir.parse import parse
    from symc.ir.text import print_module, print_symbols
    from symc.ir.types import F32, TensorType
    from symc.ops.base import OPERATORS
    from symc.ops.base import parse as definition_of
    from symc.passes.manager.manager import Manager
    from symc.passes.tensor.decompose import Decompose
    from symc.symbol.compose import split_attributes
    from symc.typed import module_of

    made = _everything()
    text = print_symbols(made.graph)
    again = parse(text, definitions=lambda op, a: definition_of(OPERATORS[op], split_attributes(OPERATORS[op], a)[0]))
    assert print_symbols(again.graph) == text
    shapes = {"x": (3, 2), "h": (2,), "w": (2,), "p": (1,)}
    module = module_of(made, {n: TensorType(F32, s) for n, s in shapes.items()})
    Manager(verify=True).run(pipeline(True, ("x", "h", "w")), module)
    text = print_module(Manager(verify=True).run([Decompose()], module))
    assert print_module(parse(text)) == text


def test_bodies_see_what_changed_between_runs():
    x, h, w = variables("x h w")
    given = {"x": mx.nd.ones((3, 2)), "h": mx.nd.zeros(2), "w": mx.nd.ones(2)}
    bound = group(C.foreach(lambda row, s: (row * w + s, s + w), x, h)).bind(mx.cpu(), given)
    assert bound.forward()[0].asnumpy()[:, 0].tolist() == [1, 2, 3]
    given["w"][:] = 2
    assert bound.forward()[0].asnumpy()[:, 0].tolist() == [2, 4, 6]
    given["h"][:] = 1
    assert bound.forward()[0].asnumpy()[:, 0].tolist() == [3, 5, 7]


def test_errors_of_python_code_in_a_body_reach_the_caller():
    @mx.operator.register("raises_in_a_loop")
    class Raises(mx.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return self

        def forward(self, **kwargs):
            raise KeyError("from the body")

    x, h = variables("x h")
    out = group(C.foreach(lambda row, s: (S.Custom(row, op_type="raises_in_a_loop"), s * 1), x, h))
    bound = out.bind(mx.cpu(), {"x": mx.nd.ones((3, 2)), "h": mx.nd.zeros(2)})
    for _ in range(2):
        with pytest.raises(KeyError, match="from the body"):
            bound.forward()


@pytest.mark.parametrize("most", [0, -1])
def test_loops_of_no_turns_are_refused(most):
    with pytest.raises(MXNetError, match="max_iterations"):
        C.while_loop(lambda s: s < 3, lambda s: (s, [s + 1]), variables("s"), max_iterations=most)


@pytest.mark.parametrize("subset", [(), ("simplify", "layout"), ("fuse", "noinplace")])
def test_rows_that_are_counted_are_in_memory_where_a_loop_reads_them(subset):
    def program(x):
        rows = iota(TensorType(F32, (4,)), 0)
        last, ys, _ = loop(lambda c, r, _: ([c[0] + r[0]], [c[0] * r[0]]), [x], [rows])
        return [*last, *ys]

    graph = graph_of(program, x=TensorType(F32, ()))
    made = run_native(to_program(graph, subset), {"x": np.float32(2)})
    assert made["out0"] == 8 and made["out1"].tolist() == [0, 2, 6, 15]


def test_loops_and_branches_run_without_python(monkeypatch):
    """Turns, conditions and sides are chosen natively, the gradient's too; so are loops in loops."""

    def refuse(_):
        raise AssertionError("a step runs in Python")

    monkeypatch.setattr("symc.runtime.link.host_callback", refuse)
    x, h, w = variables("x h w")

    def turn(row, s):
        made, _ = C.foreach(lambda e, t: (e * w + t, t + e), row, s)
        return made, s * w

    out, last = C.foreach(turn, x, h)
    _, counted = C.while_loop(lambda i, v: i < 2.5, lambda i, v: ([], [i + 1, v * w]), [S.sum(last) * 0, last], 9)
    arrays = {"x": RNG.normal(size=(3, 2, 2)), "h": RNG.normal(size=2), "w": RNG.uniform(1, 2, 2)}
    check_gradients(S.Group([out, counted[1]]), **arrays)
    np.testing.assert_allclose(values(S.Group([out, counted[1]]), **arrays)[1], arrays["h"] * arrays["w"] ** 6)
    chosen = C.cond(S.sum(h) < 0, lambda: h * w, lambda: h - w)
    assert values_f32(chosen, h=[1.0, 2.0], w=[3.0, 4.0])[0].tolist() == [-2, -2]
    assert values_f32(chosen, h=[-1.0, -2.0], w=[3.0, 4.0])[0].tolist() == [-3, -8]

"""Protects the gradients of all operators: each in the table is compared with central differences, so is the gradient
of its gradient, and an operator that is not in the table must say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from operating import Context, gradients, make, symbol_of

import symc as mx
from symc.fuzz.cases import TABLE, Array, Case, between, whole
from symc.ir.errors import TypeMismatch
from symc.ir.op import Node, input_node
from symc.ir.prims.elementwise import zeros_like
from symc.ir.prims.pullback import pullback
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import TensorType, dtype_of
from symc.ops.base import OPERATORS, MXNetError, ShapeError, Types

STEP = 1e-5
Env = dict[Node, Array]

#: why an operator is not in the table
EXCLUDED: dict[str, str] = {
    "its values are steps or do not depend on the data: the gradient is 0": """
        BlockGrad ceil fix floor rint round sign trunc logical_not ones_like zeros_like argmax argmin argsort one_hot
        shape_array size_array _contrib_arange_like _contrib_index_array _ravel_multi_index _unravel_index
        _contrib_MultiProposal _contrib_Proposal _contrib_quantize _contrib_quantize_v2 _contrib_requantize""",
    "MXNet has no gradient of it: refused when bound for one": """
        _grad_add _histogram batch_take fill_element_0index _contrib_allclose khatri_rao _contrib_RROIAlign all_finite
        argmax_channel multi_all_finite multi_sum_sq _image_resize _slice_assign _slice_assign_scalar
        _contrib_getnnz""",
    "MXNet's gradient of it is 0 though its values vary": """
        _contrib_box_iou _contrib_box_encode _contrib_box_decode _contrib_bipartite_matching _contrib_MultiBoxPrior
        _contrib_MultiBoxTarget _contrib_MultiBoxDetection _contrib_dequantize""",
    "there is nothing to differentiate": """
        _arange _eye _full _linspace _ones _zeros _zeros_without_dtype""",
    "it runs what users give; checked in tests/symc/ops/test_control.py and test_custom.py": """
        _foreach _while_loop _cond Custom""",
}
_COMPARISONS = "equal not_equal greater greater_equal lesser lesser_equal logical_and logical_or logical_xor".split()


def excluded() -> set[str]:
    """Names of the operators that are left out, and of families that are."""
    names = {name for names in EXCLUDED.values() for name in names.split()}
    names |= {form.format(word) for word in _COMPARISONS for form in ("_{}", "_{}_scalar", "broadcast_{}")}
    random = {name for name, cls in OPERATORS.items() if cls.random and name not in ("Dropout", "RNN")}
    updates = {name for name, cls in OPERATORS.items() if cls.__module__.startswith("symc.ops.updates.")}
    return names | random | updates


def test_every_operator_is_in_the_table_or_says_why() -> None:
    names = {cls.op_name for cls in OPERATORS.values() if cls.__module__.startswith("symc.")}
    checked = {case.op for case in TABLE} | {row[0] for row in FORMULAS}
    left = {OPERATORS[name].op_name for name in excluded()}
    assert checked | left == names
    assert not checked & left


# --------------------------------------------------------------------------------------------- derivatives


def differences(roots: Sequence[Node], weights: Sequence[Array], at: Node, along: Array, env: Env) -> float:
    """d/dt of sum(weights * roots) when `at` moves along a direction, by central differences."""
    ends = []
    for side in (STEP, -STEP):
        found = evaluate_nodes(list(dict.fromkeys(roots)), {**env, at: env[at] + side * along}, "f64")
        ends.append(sum(float((w * found[r]).sum()) for w, r in zip(weights, roots)))
    return (ends[0] - ends[1]) / (2 * STEP)


def check(roots: Sequence[Node], targets: Sequence[Node], env: Env, note: str, symmetric: bool) -> list[Node]:
    """The pullback of the roots, for random cotangents that join `env`, is their derivative along random directions.
    Gives the gradients that exist, then the cotangents."""
    rng = np.random.default_rng(7)
    heads = [input_node(f"head{len(env) + i}", r.tensor) for i, r in enumerate(roots)]
    weights = [rng.uniform(0.5, 1.5, r.shape) for r in roots]
    env.update(zip(heads, weights))
    found = pullback(list(roots), heads, list(targets))
    grads = [zeros_like(t) if g is None else g for t, g in zip(targets, found)]
    values = evaluate_nodes(list(dict.fromkeys(grads)), env, "f64")
    for target, grad in zip(targets, grads):
        assert grad.type == target.type, note
        for _ in range(2):
            along = rng.uniform(-1.0, 1.0, target.shape)
            if symmetric and target is targets[0]:
                along = along + np.swapaxes(along, -1, -2)
            want = differences(roots, weights, target, along, env)
            parts = values[grad] * along
            error = abs(float(parts.sum()) - want)
            assert error <= 1e-6 * max(1.0, float(np.abs(parts).sum())), f"{note}: {target.op.input_name}"
    return [g for g in found if g is not None] + heads


class Built:
    """A case as nodes: its inputs, the outputs that carry gradients, and values of the inputs."""

    def __init__(self, case: Case) -> None:
        op = make(case.op, len(case.arrays), **case.attrs)
        types = [TensorType(dtype_of(a.dtype), a.shape) for a in case.arrays]
        self.inputs = [input_node(f"x{i}", t) for i, t in enumerate(types)]
        context = Context(True)
        if op.row_chooser is not None:
            context.output_shapes = ((op.count_rows(case.arrays[op.row_chooser]), *types[0].shape[1:]),)
        made = op.build(context, *self.inputs)
        self.visible = [made] if isinstance(made, Node) else list(made)[: op.num_visible_outputs()]
        self.outs = self.visible if case.through is None else [self.visible[i] for i in case.through]
        self.targets = [self.inputs[i] for i in case.wrt()]
        self.env: Env = {**dict(zip(self.inputs, case.arrays)), context.key: np.array([1, 2], np.uint32)}


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_gradients_are_derivatives(case: Case) -> None:
    built = Built(case)
    made = check(built.outs, built.targets, built.env, "gradient", case.symmetric)
    first, heads = made[: -len(built.outs)], made[-len(built.outs) :]
    if case.second:
        check(first, built.targets + heads, built.env, "second gradient", case.symmetric)
    else:
        with pytest.raises(TypeMismatch, match="nobody knows the gradient"):
            pullback(first, [zeros_like(g) for g in first], built.targets + heads)


# --------------------------------------------------------------------------------------------- bound, compiled


def bind(op: str, arrays: Sequence[Array], wrt: Sequence[int], attrs: dict[str, Any]) -> Any:
    """An executor over the arrays x0, x1, ..."""
    names = [f"x{i}" for i in range(len(arrays))]
    symbol = symbol_of(op, list(map(mx.sym.Variable, names)), attrs)
    bound = {n: mx.nd.array(a, dtype=a.dtype) for n, a in zip(names, arrays)}
    aux = {n: bound.pop(n) for n in symbol.list_auxiliary_states()}
    grads = {names[i]: mx.nd.zeros(arrays[i].shape, dtype=arrays[i].dtype) for i in wrt}
    return symbol.bind(mx.cpu(), bound, grads, {n: "write" for n in grads}, aux)


def takes_doubles(case: Case) -> bool:
    op = make(case.op, len(case.arrays), **case.attrs)
    try:
        op.infer_types(Types([a.dtype for a in case.arrays], [None] * len(op.list_outputs())))
    except ShapeError:
        return False
    return True


#: the first case of every operator
FIRST = list({case.op: case for case in reversed(TABLE)}.values())


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.op)
def test_compiled_gradients_are_the_interpreted_ones(case: Case) -> None:
    arrays, tolerance = list(case.arrays), 1e-9
    if not takes_doubles(case):
        arrays, tolerance = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays], 1e-4
    exe = bind(case.op, arrays, case.wrt(), case.attrs)
    exe.forward(is_train=True)
    rng = np.random.default_rng(9)
    carrying = range(len(exe.outputs)) if case.through is None else case.through
    heads = [rng.uniform(0.5, 1.5, o.shape) * (i in carrying) for i, o in enumerate(exe.outputs)]
    exe.backward([mx.nd.array(h, dtype=o.dtype) for h, o in zip(heads, exe.outputs)])
    built = Built(case)
    cotangents = [input_node(f"head{i}", o.tensor) for i, o in enumerate(built.visible)]
    found = pullback(built.visible, cotangents, built.targets)
    values = evaluate_nodes([g for g in found if g is not None], {**built.env, **dict(zip(cotangents, heads))}, "f64")
    for target, grad in zip(built.targets, found):
        want = np.zeros(target.shape) if grad is None else values[grad]
        got = exe.grad_dict[target.op.input_name].asnumpy()
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=target.op.input_name)


def test_gradients_that_do_not_exist() -> None:
    """Operators with gradient 0 give zeros; those without one refuse."""
    for op in ("sign", "_greater", "argmax", "one_hot"):
        arrays = [between(-2, 2, 2, 3)] * len(OPERATORS[op].input_names)
        exe = bind(op, arrays, [0], {"depth": 3} if op == "one_hot" else {})
        exe.grad_dict["x0"][:] = 7
        exe.forward(is_train=True)
        exe.backward([mx.nd.ones(o.shape, dtype=o.dtype) for o in exe.outputs])
        assert not exe.grad_dict["x0"].asnumpy().any(), op
    with pytest.raises(MXNetError, match="has no gradient"):
        bind("batch_take", [between(-2, 2, 2, 3), whole(0, 1)], [0], {})


# --------------------------------------------------------------------------------------------- rules of their own

X, LABEL, HEAD = between(-2.0, 2.0, 3, 4), np.array([0.0, 3, 1]), between(0.5, 1.5, 3, 4, seed=1)
TARGET, HOT = between(-2.0, 2.0, 3, 4, seed=2), np.eye(4)[[0, 3, 1]]
SIGMOID, SIGNS = 1 / (1 + np.exp(-X)), 2 * HOT - 1


def softmax(x: Array, axis: int = 1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def selu(x: Array, head: Array) -> Array:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return np.where(x > 0, scale, scale * (alpha + scale * alpha * np.expm1(x))) * head


def sparse(x: Array) -> Array:
    """KL(0.1 | the moving mean), per column; the moving mean starts at 0.5."""
    mean = 0.9 * 0.5 + 0.1 * x.mean(0)
    return HEAD + 0.001 * (-0.1 / mean + 0.9 / (1 - mean))


#: operator, arrays, attributes, the gradient of the first array for HEAD as the documentation says it
FORMULAS: list[tuple[str, list[Array], dict[str, Any], Array]] = [
    ("SoftmaxOutput", [X, LABEL], dict(grad_scale=2.0), 2 * (softmax(X) - HOT)),
    ("SoftmaxOutput", [X, LABEL], dict(normalization="batch"), (softmax(X) - HOT) / 3),
    (
        "SoftmaxOutput", [X, LABEL], dict(use_ignore=True, ignore_label=3, normalization="valid"),
        (softmax(X) - HOT) * [[1], [0], [1]] / 2,
    ),
    ("LinearRegressionOutput", [X, TARGET], dict(grad_scale=2.0), (X - TARGET) * 2 / 4),
    ("LogisticRegressionOutput", [X, TARGET], {}, (SIGMOID - TARGET) / 4),
    ("MAERegressionOutput", [X, TARGET], {}, np.sign(X - TARGET) / 4),
    ("SVMOutput", [X, LABEL], dict(use_linear=True), np.where(SIGNS * X < 1, -SIGNS, 0)),
    ("SVMOutput", [X, LABEL], dict(margin=0.5), -2 * SIGNS * np.maximum(0.5 - SIGNS * X, 0)),
    ("MakeLoss", [X], dict(grad_scale=3.0), np.full((3, 4), 3.0)),
    ("MakeLoss", [X], dict(normalization="valid", valid_thresh=0.2), np.full((3, 4), 1 / (X > 0.2).sum())),
    ("make_loss", [X], {}, np.ones((3, 4))),
    ("IdentityAttachKLSparseReg", [SIGMOID, np.full(4, 0.5)], {}, sparse(SIGMOID)),
    ("_contrib_sign_ste", [X], {}, HEAD),
    ("_contrib_round_ste", [X], {}, HEAD),
    ("_contrib_gradientmultiplier", [X], dict(scalar=-0.5), -0.5 * HEAD),
    ("LeakyReLU", [X], dict(act_type="selu"), selu(X, HEAD)),
    ("_image_flip_left_right", [X[..., None]], {}, HEAD[..., None]),
    ("_image_flip_top_bottom", [X[..., None]], {}, HEAD[..., None]),
    ("_image_to_tensor", [X.reshape(2, 2, 3)], {}, HEAD.reshape(2, 2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "arrays", "attrs", "expected"), FORMULAS, ids=lambda v: v if isinstance(v, str) else "")
def test_operators_with_a_rule_of_their_own(
    op: str, arrays: list[Array], attrs: dict[str, Any], expected: Array
) -> None:
    shape = {"_image_to_tensor": (3, 2, 2)}.get(op, arrays[0].shape)
    made = gradients(op, *(a.astype(np.float32) for a in arrays), heads=[HEAD.reshape(shape)], **attrs)
    np.testing.assert_allclose(made[0], expected, rtol=1e-5, atol=1e-6)
    for other in made[1:]:
        assert not other.any()


# --------------------------------------------------------------------------------------------- whole numbers

_S = mx.sym.Variable
NUMBERS: list[tuple[Callable[[Any], Any], str, list[float], list[float]]] = [
    (lambda x: mx.sym.Cast(x, dtype="int32"), "float32", [-2.5, 1.5, 3.0], [1, 2, 3]),
    (
        lambda x: mx.sym.Cast(mx.sym.Cast(x * 1.5, dtype="int8"), dtype="float32"),
        "float32",
        [-2.5, 1, 3],
        [1.5, 3, 4.5],
    ),
    (lambda x: mx.sym.square(x), "int32", [-2, 3, 4], [-4, 12, 24]),
    (lambda x: mx.sym.exp(x), "int32", [0, 1, 4], [1, 4, 162]),
    (lambda x: mx.sym.tanh(x), "int32", [-2, 1, 3], [1, 2, 3]),
    (lambda x: mx.sym.sin(x), "int32", [-2, 0, 3], [0, 2, 0]),
    (lambda x: mx.sym.log(x), "int32", [2, 1, -1], [0, 2, -3]),
    (lambda x: mx.sym.sqrt(x), "int32", [4, 1, 9], [0, 0, 0]),
    (lambda x: x / 2, "int32", [-2, 1, 3], [0, 1, 1]),
    (lambda x: 12 / x, "int32", [2, -2, 3], [-3, -6, -3]),
    (lambda x: x % 3, "int32", [-2, 5, 3], [0, 0, 0]),
    (lambda x: x**3, "int32", [-2, 1, 3], [12, 6, 81]),
    (lambda x: 2**x, "int32", [0, 5, 3], [0, 44, 15]),
    (lambda x: mx.sym.cumsum(x), "int64", [-2, 5, 3], [6, 5, 3]),
    (lambda x: mx.sym.max(x), "int32", [-2, 5, 5], [0, 1, 1]),
    (lambda x: mx.sym.topk(x, k=2, ret_typ="value"), "int32", [3, 1, 5], [2, 0, 1]),
    (lambda x: mx.sym.elemwise_div(_S("y"), x), "int32", [2, 1, 2], [0, -10, -3]),
    (lambda x: mx.sym.elemwise_div(x, _S("y")), "int32", [2, 1, 2], [0, 0, 0]),
    (lambda x: mx.sym.broadcast_hypot(x, _S("y")), "int32", [2, 1, 2], [0, 0, 0]),
    (lambda x: mx.sym.clip(x, a_min=-1, a_max=2), "int8", [-2, 2, 1], [0, 2, 3]),
]


@pytest.mark.parametrize(("build", "dtype", "values", "expected"), NUMBERS)
def test_whole_numbers_carry_gradients(
    build: Callable[[Any], Any], dtype: str, values: list[float], expected: list[float]
) -> None:
    """Heads 1, 2, 3 of an integer output, or of an integer input, give what MXNet 1.9.1 gives: derivatives truncate."""
    symbol = build(_S("x"))
    args = {n: mx.nd.array(values if n == "x" else [3, 5, 7], dtype=dtype) for n in symbol.list_arguments()}
    exe = symbol.bind(mx.cpu(), args, {"x": mx.nd.zeros(3, dtype=dtype)})
    (out,) = exe.forward(is_train=True)
    exe.backward(mx.nd.array(np.arange(1, out.size + 1), dtype=out.dtype))
    assert exe.grad_dict["x"].asnumpy().tolist() == expected


def repeated(run: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """A loop over the rows of x that carries h."""
    return lambda: mx.sym.contrib.foreach(run, _S("x"), _S("h"))


def as_int(x: Any) -> Any:
    return mx.sym.Cast(x, dtype="int32")


def as_float(x: Any) -> Any:
    return mx.sym.Cast(x, dtype="float32")


@pytest.mark.parametrize(
    ("build", "types", "expected"),
    [
        (lambda: repeated(lambda d, s: (d * s, s + d))()[0], ("int32", "int32"), ([10, 20, 6, 16], [10, 20])),
        (lambda: repeated(lambda d, s: (d * s, s + d))()[1], ("int32", "int32"), ([1, 2, 1, 2], [1, 2])),
        (lambda: repeated(lambda d, s: (as_int(d * 2), s + d))()[0], ("float32", "float32"), ([2, 4, 6, 8], [0, 0])),
        (
            lambda: as_float(repeated(lambda d, s: (d * 2, as_int(as_float(s) + d)))()[1]),
            ("float32", "int32"),
            ([1, 2, 1, 2], [1, 2]),
        ),
        (
            lambda: mx.sym.contrib.cond(mx.sym.sum(_S("h")) > 0, lambda: _S("x") * 3, lambda: _S("x") * 2),
            ("int32", "float32"),
            ([3, 6, 9, 12], [0, 0]),
        ),
    ],
)
def test_whole_numbers_carry_gradients_through_loops(
    build: Callable[[], Any], types: tuple[str, str], expected: tuple[list[float], list[float]]
) -> None:
    """MXNet 1.9.1's answers for x = [[1, 2], [3, 4]], h = [1, 2] and heads 1, 2, ..."""
    values = {"x": [[1, 2], [3, 4]], "h": [1, 2]}
    dtypes = dict(zip(values, types))
    args = {n: mx.nd.array(v, dtype=dtypes[n]) for n, v in values.items()}
    grads = {n: mx.nd.zeros(a.shape, dtype=a.dtype) for n, a in args.items()}
    exe = build().bind(mx.cpu(), args, grads)
    (out,) = exe.forward(is_train=True)
    exe.backward(mx.nd.array(np.arange(1, out.size + 1).reshape(out.shape), dtype=out.dtype))
    assert [grads[n].asnumpy().ravel().tolist() for n in values] == list(expected)


def test_an_integer_output_needs_a_head_as_any_other() -> None:
    x = _S("x")
    symbol = mx.sym.Group([mx.sym.MakeLoss(x * 2), mx.sym.Cast(x, dtype="int32"), mx.sym.argmax(x)])
    exe = symbol.simple_bind(mx.cpu(), x=(2, 3))
    exe.forward(is_train=True)
    with pytest.raises(MXNetError, match="cast.*needs its head gradient"):
        exe.backward()
    exe.backward([mx.nd.ones((2, 3)), mx.nd.array([[1, 2, 3], [4, 5, 6]], dtype="int32"), mx.nd.ones(1)])
    assert exe.grad_dict["x"].asnumpy().tolist() == [[3, 4, 5], [6, 7, 8]]

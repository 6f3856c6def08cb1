"""Protects elementwise, scalar and broadcasting operators: values, element types, gradient conventions, inference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operating import check_numerically, forward, gradients, infer, infer_types, make

import symc as mx
from symc.ops.base import OPERATORS, MXNetError, ShapeError
from symc.ops.elementwise.elemwise import ARITHMETIC, TESTS

SMOOTH = {
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt, "rcbrt": lambda x: 1 / np.cbrt(x),
    "reciprocal": lambda x: 1 / x, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "arcsin": np.arcsin, "arccos": np.arccos,
    "arctan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "arcsinh": np.arcsinh,
    "arctanh": np.arctanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softsign": lambda x: x / (1 + np.abs(x)), "degrees": np.degrees,
    "radians": np.radians, "abs": np.abs, "square": np.square, "negative": np.negative,
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_unary_values_and_gradients(name):
    x = np.array([[0.11, 0.35, 0.5], [0.62, 0.8, 0.93]])
    np.testing.assert_allclose(forward(name, x), SMOOTH[name](x), rtol=1e-12)
    check_numerically(name, x)


@pytest.mark.parametrize("name", ["arccosh", "gamma", "gammaln", "erf", "erfinv"])
def test_other_gradients(name):
    check_numerically(name, np.array([1.3, 2.5]) if name in ("arccosh", "gamma", "gammaln") else np.array([-0.4, 0.7]))


@pytest.mark.parametrize(
    "name", ["floor", "ceil", "trunc", "fix", "round", "rint", "sign", "logical_not", "zeros_like"]
)
def test_steps_have_gradient_zero(name):
    assert OPERATORS[name].gradient == "zero"
    assert not gradients(name, np.array([0.3, -1.7, 2.0]))[0].any()


def test_rounding_of_ties():
    ties = np.array([-1.5, -0.5, 0.5, 1.5, 2.5])
    assert forward("round", ties).tolist() == [-2, -1, 1, 2, 3]
    assert forward("rint", ties).tolist() == [-2, -1, 0, 1, 2]


def test_functions_keep_integer_types():
    assert forward("exp", np.array([0, 1, 2], np.int32)).tolist() == [1, 2, 7]
    assert forward("sigmoid", np.array([0, 3], np.int32)).tolist() == [0, 0]
    assert forward("exp", np.array([0, 1], np.int32)).dtype == np.int32


@pytest.mark.parametrize(
    ("name", "attrs", "value", "wanted"),
    [
        # C's functions take integers as doubles, formulas as floats, and small types wrap
        ("exp", {}, 20, 139),
        ("cosh", {}, 7, 36),
        ("sigmoid", {}, 20, 0),
        ("_contrib_div_sqrt_dim", {}, 7, 3),
        ("smooth_l1", {"scalar": 0.67}, 7, 0),
    ],
)
def test_functions_of_small_integers(name, attrs, value, wanted):
    assert forward(name, np.full(5, value, np.uint8), **attrs).tolist() == [wanted] * 5


def test_gradients_at_nan():
    nan = np.array([np.nan])
    assert np.isnan(gradients("relu", nan)[0]).all()
    assert gradients("clip", nan, a_min=0, a_max=1)[0].tolist() == [1]
    assert np.isnan(forward("hard_sigmoid", nan)).all() and gradients("hard_sigmoid", nan)[0].tolist() == [0]


def test_gradients_that_are_not_derivatives():
    x = np.array([-2.0, 0.5, 3.0])
    assert not gradients("BlockGrad", x)[0].any()
    assert gradients("make_loss", x, heads=[[5.0, 5.0, 5.0]])[0].tolist() == [1, 1, 1]
    assert gradients("_contrib_sign_ste", x, heads=[[5.0, 6.0, 7.0]])[0].tolist() == [5, 6, 7]
    assert gradients("_contrib_gradientmultiplier", x, scalar=-2.0)[0].tolist() == [-2, -2, -2]
    assert forward("_contrib_gradientmultiplier", np.array([1, 2], np.uint8), scalar=-2.0).tolist() == [1, 2]
    assert gradients("clip", np.array([-1.0, -2.0, 1.0, 0.0]), a_min=-1.0, a_max=1.0)[0].tolist() == [1, 0, 1, 1]


def test_clip_and_relu_keep_nan():
    assert np.isnan(forward("clip", np.array([np.nan]), a_min=0, a_max=1)).all()
    assert np.isnan(forward("relu", np.array([np.nan]))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8"])
@pytest.mark.parametrize(
    "low, high", [(-1.0, 2.0), (0.0, 0.0), (3.0, 1.0), (-1.0, 250.0), (np.nan, 1.0), (-np.inf, 0.0)]
)
def test_clip_compares_with_the_upper_limit_first(dtype, low, high):
    """Whatever the order of the limits, as they are in the data's type."""
    if not np.isfinite([low, high]).all() and not dtype.startswith("float"):
        return
    x = np.array([-3, -1, -0.0, 0, 0.5, 1, 2, 3, 120]).astype(dtype)
    x = np.append(x, np.array([np.nan, np.inf, -np.inf], dtype)) if dtype.startswith("float") else x
    least, most = (np.array(v).astype("int64" if np.isfinite(v) else dtype).astype(dtype) for v in (low, high))
    want = np.where(x > most, most, np.where(x < least, least, x))
    found = forward("clip", x, a_min=low, a_max=high)
    assert found.tobytes() == want.astype(dtype).tobytes()


def test_smooth_l1_and_hard_sigmoid():
    x = np.array([-2.0, -0.1, 0.2, 3.0])
    assert forward("smooth_l1", x, scalar=2.0) == pytest.approx([1.875, 0.02, 0.08, 2.875])
    assert forward("hard_sigmoid", x, alpha=0.25) == pytest.approx([0, 0.475, 0.55, 1])
    check_numerically("smooth_l1", x, scalar=2.0)
    check_numerically("hard_sigmoid", x + 0.01, alpha=0.25)


def test_cast_wraps_and_truncates():
    x = np.array([-1.0, 256.0, 2.9])
    assert forward("Cast", x, dtype="uint8").tolist() == [255, 0, 2]
    assert infer_types("Cast", "float32", dtype="int32")[1] == [np.dtype(np.int32)]
    with pytest.raises(MXNetError, match="bfloat16"):
        infer_types("Cast", "float32", dtype="bfloat16")


def test_amp_casts_leave_other_types_alone():
    assert infer_types("amp_cast", "float64", dtype="float16")[1] == [np.dtype(np.float64)]
    assert infer_types("amp_cast", "float32", dtype="float16")[1] == [np.dtype(np.float16)]
    wide = forward("amp_multicast", np.ones(2, np.float16), np.ones(2, np.float32))
    assert [o.dtype for o in wide] == [np.float32, np.float32]


@pytest.mark.parametrize(
    ("ins", "narrow", "wanted"),
    [
        ("float16 float32", False, "float32 float32"),
        ("float32 float16", True, "float16 float16"),
        ("float64 float16", False, "float64 float64"),
        ("int8 float16", False, "int8 int8"),
        ("int32 float32", True, "int32 float32"),
        ("float16 int8", False, "float16 int8"),
    ],
)
def test_amp_multicast_types(ins, narrow, wanted):
    assert infer_types("amp_multicast", *ins.split(), cast_narrow=narrow)[1] == [np.dtype(d) for d in wanted.split()]


def test_inputs_that_are_not_counted():
    with pytest.raises(MXNetError, match="num_outputs"):
        mx.sym.amp_multicast(mx.sym.Variable("a"))
    assert mx.sym.amp_multicast(mx.sym.Variable("a"), num_outputs=1, name="x").list_outputs() == ["x_output"]


BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "mod": np.mod, "power": np.power,
          "maximum": np.maximum, "minimum": np.minimum, "hypot": np.hypot}  # fmt: skip


@pytest.mark.parametrize("key", ARITHMETIC)
def test_binary_in_all_forms(key):
    a, b = np.array([[0.5, 1.25, 2.0]]), np.array([[1.5], [0.75]])
    whole = np.broadcast_arrays(a, b)
    name = {"add": "_plus", "sub": "_minus", "mul": "_mul", "div": "_div"}.get(key, f"_{key}")
    np.testing.assert_allclose(forward(name, *whole), BINARY[key](*whole), rtol=1e-12)
    np.testing.assert_allclose(forward(f"broadcast_{key}", a, b), BINARY[key](a, b), rtol=1e-12)
    scalar = {"add": "_plus", "sub": "_minus"}.get(key, f"_{key}") + "_scalar"
    np.testing.assert_allclose(forward(scalar, a, scalar=1.5), BINARY[key](a, 1.5), rtol=1e-12)
    if key != "mod":
        check_numerically(f"broadcast_{key}", a, b)
        check_numerically(scalar, a, scalar=1.5)


@pytest.mark.parametrize("key", TESTS)
def test_comparisons_give_numbers_of_the_type(key):
    a, b = np.array([0, 1, 2, 2], np.float32), np.array([0, 0, 3, 2], np.float32)
    numpy = {"lesser": np.less, "lesser_equal": np.less_equal}.get(key) or getattr(np, key)
    made = forward(f"_{key}", a, b)
    assert made.dtype == np.float32 and made.tolist() == numpy(a, b).astype(float).tolist()
    assert forward(f"_{key}_scalar", a, scalar=2.0).tolist() == numpy(a, np.float32(2)).astype(float).tolist()


def test_ties_and_nan_of_maximum():
    a, b = np.array([1.0, np.nan, 1.0, 2.0]), np.array([1.0, 1.0, np.nan, 5.0])
    assert np.isnan(forward("_maximum", a, b)).tolist() == [False, True, True, False]
    left, right = gradients("_maximum", a, b)
    assert left.tolist() == [1, 0, 0, 0] and right.tolist() == [0, 0, 0, 1]


def test_mod_gradient():
    a, b = np.array([7.0, -7.0]), np.array([2.0, 2.0])
    assert [g.tolist() for g in gradients("_mod", a, b)] == [[1, 1], [-3, 4]]
    assert gradients("_rmod_scalar", np.array([2.0]), scalar=7.0)[0].tolist() == [-3]


@given(st.integers(-40, 40), st.sampled_from([2.5, 1.5, -7.9, 5.5]))
def test_numbers_are_cast_to_the_integer_type_first(value, number):
    x = np.array([value], np.int32)
    whole = int(number)
    assert forward("_plus_scalar", x, scalar=number)[0] == value + whole
    assert forward("_mul_scalar", x, scalar=number)[0] == value * whole
    assert forward("_div_scalar", x, scalar=number)[0] == int(value / whole)
    assert forward("_greater_scalar", x, scalar=number)[0] == int(value > whole)


def test_is_int_false_makes_integers_double():
    made = forward("_plus_scalar", np.array([1], np.int32), scalar=2.5, is_int=False)
    assert made.dtype == np.float64 and made[0] == 3.5


def test_inference_goes_both_ways():
    assert infer("elemwise_add", (0, 3), (2, 0)) == ([(2, 3), (2, 3)], [(2, 3)])
    assert infer("exp", None, outs=[(2, 3)]) == ([(2, 3)], [(2, 3)])
    assert infer("broadcast_add", (2, 1), (3,))[1] == [(2, 3)]
    with pytest.raises(ShapeError):
        infer("elemwise_add", (2, 3), (1, 3))
    with pytest.raises(ShapeError):
        infer("broadcast_add", (2, 3), (4,))
    with pytest.raises(ShapeError):
        infer_types("elemwise_add", "float32", "float64")


def test_refused_attributes():
    for attrs in ({}, {"a_min": 0}, {"a_min": "x", "a_max": 1}, {"a_min": 0, "a_max": 1, "b": 2}):
        with pytest.raises(MXNetError):
            make("clip", **attrs)
    with pytest.raises(MXNetError):
        make("add_n", 0)


@pytest.mark.parametrize(
    ("name", "attr", "texts"),
    [
        ("sum", "axis", ["", "1.0", "1e2", "True", "1,2", "(1.5,)", "(None,)", "{1,2}", "(1,,2)"]),
        ("argmax", "axis", ["", "1_0", "1.0", "(1,)"]),
        ("softmax", "temperature", ["", "inf", "nan", "1_0"]),
        ("_plus_scalar", "scalar", ["1 ", "1_0", "1e400", ""]),
        ("_contrib_MultiBoxPrior", "sizes", ["", "1,2", "(None,)", "(True,)"]),
        ("slice", "begin", ["", "(1.5,)", "1,2"]),
    ],
)
def test_ill_formed_values(name, attr, texts):
    more = {"end": "(2,)"} if name == "slice" else {}
    for text in texts:
        with pytest.raises(MXNetError, match=attr):
            make(name, **{attr: text}, **more)


def test_well_formed_values():
    for text, axes in (
        ("None", None),
        ("()", ()),
        ("-1", (-1,)),
        ("[0, 1]", (0, 1)),
        ("(1L,)", (1,)),
        (" (1,2) ", (1, 2)),
    ):
        assert make("sum", axis=text).axis == axes
    assert make("slice", begin="(None,1)", end="(2,None)").begin == (None, 1)
    assert make("_contrib_MultiBoxPrior", sizes="(.5,1)").sizes == (0.5, 1)
    assert make("_plus_scalar", scalar="inf").scalar == float("inf")


def test_add_n():
    xs = [np.full((2,), float(i)) for i in range(4)]
    assert forward("add_n", *xs).tolist() == [6, 6]
    assert all(g.tolist() == [1, 1] for g in gradients("add_n", *xs))


@pytest.mark.parametrize(
    ("name", "attrs", "wanted"),
    [
        ("broadcast_to", {"shape": (0, 4)}, (2, 4)),
        ("broadcast_axis", {"axis": 1, "size": 4}, (2, 4)),
    ],
)
def test_repeated_axes(name, attrs, wanted):
    x = np.array([[1.0], [2.0]])
    assert forward(name, x, **attrs).tolist() == np.broadcast_to(x, wanted).tolist()
    assert gradients(name, x, **attrs)[0].tolist() == [[4], [4]]
    with pytest.raises(ShapeError):
        infer(name, (2, 3), **attrs)


@pytest.mark.parametrize(
    ("name", "ins", "attrs"),
    [
        ("broadcast_axis", [(2, 4)], {"axis": 1, "size": 4}),
        ("broadcast_axis", [(2, 1)], {"axis": 1, "size": -4}),
        ("broadcast_axis", [(1, 1)], {"axis": (1, 1), "size": (2, 2)}),
        ("broadcast_to", [(2, 1)], {"shape": (2, -1)}),
        ("broadcast_like", [(2, 1), (2, 3)], {"lhs_axes": 0, "rhs_axes": 0}),
    ],
)
def test_axes_that_cannot_be_repeated(name, ins, attrs):
    with pytest.raises(ShapeError):
        infer(name, *ins, **attrs)

"""Operators on one tensor, element by element, and on two tensors of one shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.types import F64
from symc.ops.base import BuildContext, Operator, Shapes, Types, operator
from symc.ops.shared import storage as stored
from symc.ops.shared.families import (
    Elementwise,
    Function,
    Number,
    NumberOrBool,
    constant,
    element_type,
    floats_only,
    half_in_single,
    in_floats,
    ir_type,
    no_gradient,
    register,
    scalar,
    truncating,
    truth,
    with_rule,
)

# --------------------------------------------------------------------------------------------- one operand


def softsign(x: Node) -> Node:
    """x / (1 + |x|); the derivative 1 / (1 + |x|)^2 is given, the quotient's own would cancel for large x."""

    def rule(ins: Any, outs: Any, cts: Any) -> list[Node]:
        below = ew.abs_(ins[0]) + 1.0
        return [cts[0] / (below * below)]

    return with_rule([x], lambda x: x / (ew.abs_(x) + 1.0), rule)


def straight_through(function: Function) -> Function:
    """`function` with the gradient of the identity (Bengio et al. 2013)."""
    return lambda x: with_rule([x], function, lambda ins, outs, cts: [cts[0]])


#: name, function, docstring; computed in floats for every type
_SMOOTH: list[tuple[str, Function, str]] = [
    ("sqrt", ew.sqrt, "Square root."),
    ("rsqrt", ew.rsqrt, "1 / sqrt(x)."),
    ("cbrt", ew.cbrt, "Cube root."),
    ("rcbrt", lambda x: 1.0 / ew.cbrt(x), "1 / cube root of x."),
    ("reciprocal", lambda x: 1.0 / x, "1 / x."),
    ("exp", ew.exp, "e to the power x."),
    ("expm1", ew.expm1, "exp(x) - 1, exact near 0."),
    ("log", ew.log, "Natural logarithm."),
    ("log2", ew.log2, "Logarithm base 2."),
    ("log10", ew.log10, "Logarithm base 10."),
    ("log1p", ew.log1p, "log(1 + x), exact near 0."),
    ("sin", ew.sin, "Sine of radians."),
    ("cos", ew.cos, "Cosine of radians."),
    ("tan", ew.tan, "Tangent of radians."),
    ("arcsin", ew.asin, "Arc sine in radians; nan outside [-1, 1]."),
    ("arccos", ew.acos, "Arc cosine in radians; nan outside [-1, 1]."),
    ("arctan", ew.atan, "Arc tangent in radians."),
    ("sinh", ew.sinh, "Hyperbolic sine."),
    ("cosh", ew.cosh, "Hyperbolic cosine."),
    ("tanh", ew.tanh, "Hyperbolic tangent."),
    (
        "arcsinh", ew.asinh,
        "Inverse hyperbolic sine.\n\nDiffers from MXNet: the gradient of its gradient has its sign; MXNet's is turned.",
    ),
    ("arccosh", ew.acosh, "Inverse hyperbolic cosine; nan below 1."),
    ("arctanh", ew.atanh, "Inverse hyperbolic tangent; nan outside [-1, 1]."),
    ("erf", ew.erf, "Error function."),
    ("erfinv", ew.erfinv, "Inverse error function; nan outside [-1, 1]."),
    ("sigmoid", ew.sigmoid, "1 / (1 + exp(-x))."),
    ("softsign", softsign, "x / (1 + |x|)."),
    ("gamma", ew.gamma, "Gamma function."),
    ("gammaln", ew.gammaln, "Logarithm of |gamma(x)|."),
    ("degrees", lambda x: x * (180.0 / math.pi), "Radians to degrees."),
    ("radians", lambda x: x * (math.pi / 180.0), "Degrees to radians."),
]  # fmt: skip

#: derivatives that MXNet computes from the result, which shows where integers truncate it
_SLOPES: dict[str, Function] = {
    "sqrt": lambda y: 0.5 / y,
    "cbrt": lambda y: 1.0 / (3.0 * y * y),
    "exp": lambda y: y,
    "tan": lambda y: y * y + 1.0,
    "tanh": lambda y: 1.0 - y * y,
    "sigmoid": lambda y: y * (1.0 - y),
}

#: those that MXNet runs on what is stored of a sparse array: they give 0 for 0
_KEEP_ZERO = frozenset("sqrt cbrt expm1 log1p sin tan arcsin arctan sinh tanh arcsinh arctanh degrees radians".split())

for _name, _function, _doc in _SMOOTH:
    register(
        _name, Elementwise, _doc, truncating(_function, _SLOPES.get(_name), F64),
        storage=stored.kept if _name in _KEEP_ZERO else None,
    )  # fmt: skip

#: the same with gradient zero
_STEPS: list[tuple[str, Function, str]] = [
    ("floor", ew.floor, "Largest integer not above x; gradient 0."),
    ("ceil", ew.ceil, "Smallest integer not below x; gradient 0."),
    ("trunc", ew.trunc, "The integer part, toward zero; gradient 0."),
    ("fix", ew.trunc, "The integer part, toward zero; gradient 0."),
    ("round", ew.round_, "Nearest integer, halves away from zero; gradient 0."),
    ("rint", ew.rint, "Nearest integer, halves to the smaller neighbour; gradient 0."),
]  # fmt: skip

for _name, _function, _doc in _STEPS:
    register(_name, Elementwise, _doc, in_floats(_function, F64), gradient="zero", storage=stored.kept)

register("abs", Elementwise, "|x|; gradient 0 at 0.", ew.abs_, storage=stored.kept)
register("sign", Elementwise, "-1, 0 or 1; 0 for nan; gradient 0.", ew.sign, gradient="zero", storage=stored.kept)
register("negative", Elementwise, "-x.", ew.neg, storage=stored.kept)
register("square", Elementwise, "x * x.", half_in_single(lambda x: x * x), storage=stored.kept)
register("relu", Elementwise, "max(x, 0); gradient 0 at 0.", ew.relu, storage=stored.kept)
register("logical_not", Elementwise, "1 where x is 0, else 0.", truth(lambda x: ew.eq(x, 0)), gradient="zero")
register("_copy", Elementwise, "The data itself.", lambda x: x, aliases="identity", storage=stored.kept)
register(
    "BlockGrad", Elementwise, "The data itself; no gradient passes.", no_gradient(lambda x: x),
    aliases="stop_gradient", gradient="zero", storage=stored.kept,
)  # fmt: skip
register(
    "zeros_like", Elementwise, "Zeros of the data's shape and type.",
    no_gradient(lambda x: constant(0, x.dtype, x.shape)), gradient="zero", storage=stored.kept,
)  # fmt: skip
register(
    "ones_like", Elementwise, "Ones of the data's shape and type.",
    no_gradient(lambda x: constant(1, x.dtype, x.shape)), gradient="zero",
)  # fmt: skip
register(
    "_contrib_sign_ste",
    Elementwise,
    "sign(x) with the gradient of the identity.",
    straight_through(ew.sign),
    hint="sign_ste",
    storage=stored.kept,
)
register(
    "_contrib_round_ste",
    Elementwise,
    "round(x) with the gradient of the identity.",
    straight_through(in_floats(ew.round_, F64)),
    hint="round_ste",
    storage=stored.kept,
)


@operator("make_loss", outputs="loss", storage=stored.kept)
class MakeLossValue(Elementwise):
    """The data as a loss: its gradient is 1 everywhere, whatever head is given."""

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return with_rule(inputs, lambda x: x, lambda ins, outs, cts: [constant(1, outs[0].dtype, outs[0].shape)])


@operator("hard_sigmoid")
class HardSigmoid(Elementwise):
    """clip(alpha * x + beta, 0, 1); gradient 0 outside, and at nan, which stays."""

    alpha: float = 0.2
    beta: float = 0.5

    def complete_types(self, t: Types) -> None:
        t.all_alike()
        floats_only(self, t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def value(x: Node) -> Node:
            y = x * self.alpha + self.beta
            return ew.select(ew.ge(y, 1.0), 1.0, ew.select(ew.le(y, 0.0), 0.0, y))

        def rule(ins: Any, outs: Any, cts: Any) -> list[Node]:
            inside = ew.and_(ew.gt(outs[0], 0.0), ew.lt(outs[0], 1.0))
            return [ew.select(inside, cts[0] * self.alpha, 0.0)]

        return in_floats(lambda x: with_rule([x], value, rule))(inputs[0])


@operator("smooth_l1")
class SmoothL1(Elementwise):
    """(s x)^2 / 2 where |x| < 1 / s^2, else |x| - 1 / (2 s^2) (Girshick, Fast R-CNN, 2015)."""

    scalar: float = 1.0

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        # integers meet the whole part of the number
        number = self.scalar if inputs[0].dtype.is_float else float(int(self.scalar))
        square = number * number
        limit = 1.0 / square if square else math.inf

        def value(x: Node) -> Node:
            size = ew.abs_(x)
            return ew.select(ew.lt(size, limit), x * x * (0.5 * square), size - 0.5 * limit)

        def rule(ins: Any, outs: Any, cts: Any) -> list[Node]:
            # the slope on either side; that of the square would be nan times 0 at infinity
            outside = ew.gt(ew.abs_(ins[0]), limit)
            return [cts[0] * ew.select(outside, ew.sign(ins[0]), ins[0] * square)]

        return in_floats(lambda x: with_rule([x], value, rule))(inputs[0])


@operator("clip")
class Clip(Elementwise):
    """x limited to [a_min, a_max]; the gradient passes on both limits and at nan, which stays."""

    ignores_add: ClassVar[bool] = True

    a_min: float
    a_max: float

    def storage(self, stypes: Sequence[str]) -> str:
        return stypes[0] if self.a_min <= 0 <= self.a_max else stored.DEFAULT

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        low, high = (constant(v, inputs[0].dtype, ()) for v in (self.a_min, self.a_max))
        in_order = bool(low.op.array() <= high.op.array())

        def value(x: Node) -> Node:
            raised = ew.select(ew.lt(x, low), low, x)
            # one after the other they are two instructions; of limits the wrong way round the upper one counts first
            return ew.select(ew.gt(raised if in_order else x, high), high, raised)

        def rule(ins: Any, outs: Any, cts: Any) -> list[Node]:
            outside = ew.or_(ew.gt(ins[0], high), ew.lt(ins[0], low))
            return [ew.select(outside, 0, cts[0])]

        return with_rule(inputs, value, rule)


@operator("_contrib_gradientmultiplier", hint="gradientmultiplier", storage=stored.kept)
class GradientMultiplier(Elementwise):
    """The data itself; the gradient is multiplied by `scalar` (-1 for gradient reversal, Ganin & Lempitsky 2014)."""

    scalar: float = 1.0
    is_int: bool = True

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return with_rule(inputs, lambda x: x, lambda ins, outs, cts: [cts[0] * scalar(self.scalar, cts[0].dtype)])


@operator("_contrib_quadratic", hint="quadratic")
class Quadratic(Elementwise):
    """a x^2 + b x + c."""

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0

    def storage(self, stypes: Sequence[str]) -> str:
        return stored.CSR if stypes[0] == stored.CSR and self.c == 0 else stored.DEFAULT

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return in_floats(lambda x: x * (x * self.a + self.b) + self.c)(inputs[0])


@operator("_contrib_div_sqrt_dim", hint="div_sqrt_dim")
class DivSqrtDim(Elementwise):
    """x / sqrt(size of the last axis); integers are divided by its whole part."""

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        x = inputs[0]
        if not x.dtype.is_float:
            return ew.div(x, scalar(math.sqrt(x.shape[-1]), x.dtype))
        return in_floats(lambda x: x * (1.0 / math.sqrt(x.shape[-1])))(x)


# --------------------------------------------------------------------------------------------- element types


@operator("Cast", aliases="cast")
class Cast(Operator):
    """The data in another element type: floats truncate to integers, small integers wrap; the gradient is cast back.

    No gradient passes through bool (MXNet casts it to bool and back: 0 or 1).
    """

    dtype: NumberOrBool

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def complete_types(self, t: Types) -> None:
        t.set_out(0, element_type(self, self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return ew.cast(inputs[0], ir_type(self.dtype))


def _amp(dtype: Any) -> bool:
    return dtype in (np.dtype(np.float16), np.dtype(np.float32))


@operator("amp_cast")
class AmpCast(Operator):
    """Cast between float16 and float32; data of any other type passes unchanged."""

    dtype: Number

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def complete_types(self, t: Types) -> None:
        if t.ins[0] is not None:
            t.set_out(0, element_type(self, self.dtype) if _amp(t.ins[0]) else t.ins[0])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        x = inputs[0]
        return ew.cast(x, ir_type(self.dtype)) if _amp(x.dtype.numpy) else x


@operator("amp_multicast", variadic="num_outputs")
class AmpMulticast(Operator):
    """All float16 and float32 inputs in one type: the widest of the two that occurs (`cast_narrow`: the narrowest), but
    float16 widens to the type of the first input where no float32 occurs, as in MXNet."""

    counts_itself: ClassVar[bool] = False

    num_outputs: int
    cast_narrow: bool = False

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(f"data_{i}" for i in range(self.num_outputs))

    def list_outputs(self) -> tuple[str, ...]:
        return tuple(f"output{i}" for i in range(self.num_outputs)) if self.num_outputs > 1 else ("output",)

    def _target(self, types: Sequence[Any]) -> Any:
        deciding = (np.float16, np.float32) if self.cast_narrow else (np.float32,)
        return next((np.dtype(d) for d in deciding if d in types), types[0])

    def complete(self, s: Shapes) -> None:
        """Every output has its input's shape, and the input its output's."""
        for at in range(self.num_outputs):
            s.all_alike((at,), (at,))

    def complete_types(self, t: Types) -> None:
        known = [d for d in t.ins if d is not None]
        if len(known) == len(t.ins):
            for at, dtype in enumerate(known):
                t.set_out(at, self._target(known) if _amp(dtype) else dtype)

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        target = ir_type(self._target([x.dtype.numpy for x in inputs]))
        return [ew.cast(x, target) if _amp(x.dtype.numpy) else x for x in inputs]


# --------------------------------------------------------------------------------------------- two operands

#: key: (function, docstring); the scalar and broadcasting families use them too
ARITHMETIC: dict[str, tuple[Function, str]] = {
    "add": (ew.add, "lhs + rhs"),
    "sub": (ew.sub, "lhs - rhs"),
    "mul": (ew.mul, "lhs * rhs"),
    "div": (ew.div, "lhs / rhs; integers truncate toward zero"),
    "mod": (ew.mod, "the remainder with the divisor's sign; 0 for divisor 0"),
    "power": (half_in_single(ew.pow_), "lhs to the power rhs"),
    "maximum": (ew.maximum, "the larger; nan wins; at a tie the gradient goes to lhs"),
    "minimum": (ew.minimum, "the smaller; nan wins; at a tie the gradient goes to lhs"),
    "hypot": (truncating(ew.hypot), "sqrt(lhs^2 + rhs^2)"),
}

#: tests give 0 or 1 in the operands' type and have gradient zero
TESTS: dict[str, tuple[Function, str]] = {
    "equal": (truth(ew.eq), "1 where lhs == rhs, else 0"),
    "not_equal": (truth(ew.ne), "1 where lhs != rhs, else 0"),
    "greater": (truth(ew.gt), "1 where lhs > rhs, else 0"),
    "greater_equal": (truth(ew.ge), "1 where lhs >= rhs, else 0"),
    "lesser": (truth(ew.lt), "1 where lhs < rhs, else 0"),
    "lesser_equal": (truth(ew.le), "1 where lhs <= rhs, else 0"),
    "logical_and": (truth(lambda a, b: ew.and_(ew.ne(a, 0), ew.ne(b, 0))), "1 where both are not 0, else 0"),
    "logical_or": (truth(lambda a, b: ew.or_(ew.ne(a, 0), ew.ne(b, 0))), "1 where one is not 0, else 0"),
    "logical_xor": (truth(lambda a, b: ew.xor(ew.ne(a, 0), ew.ne(b, 0))), "1 where exactly one is not 0, else 0"),
}


def camel(key: str) -> str:
    """logical_and -> LogicalAnd."""
    return "".join(part.capitalize() for part in key.split("_"))


_NAMES = {
    "add": ("elemwise_add", "_Plus _add _plus"),
    "sub": ("elemwise_sub", "_Minus _minus _sub"),
    "mul": ("elemwise_mul", "_Mul _mul"),
    "div": ("elemwise_div", "_Div _div"),
}

_STORAGE = {**dict.fromkeys(("add", "sub", "maximum", "minimum", "hypot"), stored.common), "mul": stored.multiplied}

for _key, (_function, _doc) in {**ARITHMETIC, **TESTS}.items():
    _name, _aliases = _NAMES.get(_key, (f"_{_key}", "_" + "_".join(p.capitalize() for p in _key.split("_"))))
    register(
        _name, Elementwise, f"{_doc[0].upper()}{_doc[1:]}, for two tensors of one shape.", _function,
        inputs="lhs rhs", aliases=_aliases, gradient="zero" if _key in TESTS else "", storage=_STORAGE.get(_key),
    )  # fmt: skip

register(
    "_grad_add", Elementwise, "lhs + rhs; what sums gradients.", ew.add, inputs="lhs rhs", gradient="none",
    storage=stored.common,
)  # fmt: skip


@operator("_identity_with_attr_like_rhs", inputs="lhs rhs")
class IdentityLikeRhs(Operator):
    """lhs itself, of rhs's shape; no gradient for rhs."""

    def storage(self, stypes: Sequence[str]) -> str:
        return stypes[1]

    def complete(self, s: Shapes) -> None:
        """Both inputs and the output have one shape."""
        s.all_alike()

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return inputs[0]


def total(*operands: Node) -> Node:
    """The sum of all operands, from the left."""
    result = operands[0]
    for x in operands[1:]:
        result = ew.add(result, x)
    return result


@operator("add_n", aliases="ElementWiseSum", variadic="num_args")
class AddN(Elementwise):
    """The sum of any number of tensors of one shape."""

    num_args: int

    def storage(self, stypes: Sequence[str]) -> str:
        return stored.ROW_SPARSE if set(stypes) == {stored.ROW_SPARSE} else stored.DEFAULT

    def check(self) -> None:
        from symc.ops.base import MXNetError

        if self.num_args < 1:
            raise MXNetError("add_n: it needs at least one input")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return half_in_single(total)(*inputs)

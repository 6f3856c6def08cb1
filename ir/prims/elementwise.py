"""Elementwise primitives: every operand has the result's shape, or is a scalar (rank 0) used everywhere.

Element types of the operands agree; comparisons and logic give i1. There is no promotion anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, Union

import numpy as np

from symc.ir.op import ARITHMETIC, Index, Node, Primitive, Read, Ref, Scalars, made_by, primitive, require
from symc.ir.prims import numeric
from symc.ir.types import BOOL, F64, Array, DType, TensorType, Type, dtype_of

Operand = Union[Node, int, float, bool]


# --------------------------------------------------------------------------------------------- constants


@primitive("const")
class Const(Primitive):
    """A literal tensor. `data` is its bytes, row-major."""

    tensor: TensorType
    data: bytes

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(self.data) == self.tensor.nbytes, self, f"{len(self.data)} bytes for", self.tensor)
        return self.tensor

    def array(self) -> Array:
        return np.frombuffer(self.data, dtype=self.tensor.dtype.numpy).reshape(self.tensor.shape)

    def scalar(self) -> int | float | bool:
        """The value of a rank-0 constant."""
        item: int | float | bool = self.array().item()
        return item

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return self.array().astype(out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return ()

    def is_literal(self, node: Node) -> bool:
        return not self.tensor.shape

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        return None if self.tensor.shape else k.const(self.scalar(), self.tensor.dtype)


def const(value: Array | int | float | bool, dtype: DType | None = None) -> Node:
    """A constant tensor (rank 0 for a Python number, whose dtype must be given)."""
    if dtype is not None and isinstance(value, (int, float)):
        # repr tells -0.0 from 0.0 and True from 1
        return _scalar(repr(value), dtype)
    return _constant(value, dtype)


@functools.lru_cache(maxsize=4096)
def _scalar(text: str, dtype: DType) -> Node:
    """A rank-0 constant; small numbers are used over and over."""
    value = {"True": 1, "False": 0}.get(text)
    return _constant(
        float(text) if value is None and not text.lstrip("-").isdigit() else int(text) if value is None else value,
        dtype,
    )


def _constant(value: Array | int | float | bool, dtype: DType | None) -> Node:
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype.numpy if dtype else None))
    # ascontiguousarray makes rank 0 rank 1.
    array = array.reshape(np.shape(value))
    return Node.make(Const(TensorType(dtype_of(array.dtype), array.shape), array.tobytes()))


def full(value: float, type: TensorType) -> Node:
    """A tensor filled with one value: a scalar constant broadcast."""
    scalar = const(value, type.dtype)
    return made_by("broadcast", [scalar], shape=type.shape, dims=()) if type.shape else scalar


def zeros_like(x: Node) -> Node:
    return full(0, x.tensor)


# --------------------------------------------------------------------------------------------- families


class Elementwise(Primitive):
    """Base: the shape rule, and the element rule (apply the operation to the operands' elements)."""

    elementwise: ClassVar[bool] = True
    arity: ClassVar[int] = 1
    #: operand kinds accepted: subset of "fiub"
    kinds: ClassVar[str] = "fiu"
    #: gives i1 instead of the operands' type
    truth: ClassVar[bool] = False

    def type(self, ins: Sequence[TensorType]) -> Type:
        found = self._alike(ins)
        if found is None:
            require(len(ins) == self.arity, self, f"takes {self.arity} operands", *ins)
            _common_shape(self, ins)
            require(all(t.dtype == ins[0].dtype for t in ins), self, "element types differ", *ins)
            require(False, self, f"does not take {ins[0].dtype}", *ins)
            raise AssertionError
        return TensorType(BOOL, found.shape) if self.truth else found

    def _alike(self, ins: Sequence[TensorType]) -> TensorType | None:
        """The type all operands share; None where the operands are refused (the caller says why: this is the path of
        every node that is built, and messages cost)."""
        if len(ins) != self.arity:
            return None
        whole = ins[0]
        for t in ins:
            if t.dtype != whole.dtype or t.shape and whole.shape and t.shape != whole.shape:
                return None
            if t.shape:
                whole = t
        return whole if whole.dtype.kind in self.kinds else None

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        # a rank-0 operand beside ranked ones is read at the empty index
        return k.apply(self, [r(index if i.rank else ()) for r, i in zip(reads, node.inputs)])

    def __call__(self, *operands: Operand) -> Node:
        return Node.make(self, lift(operands))


def _common_shape(op: Primitive, ins: Sequence[TensorType]) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for t in ins:
        if t.shape:
            require(not shape or t.shape == shape, op, "shapes differ", *ins)
            shape = t.shape
    return shape


def lift(operands: Sequence[Operand], dtype: DType | None = None) -> list[Node]:
    """Operands as nodes: Python numbers become scalars of the first node's element type."""
    if dtype is None:
        dtype = next(o.dtype for o in operands if isinstance(o, Node))
    return [o if isinstance(o, Node) else const(o, dtype) for o in operands]


Rule = Callable[..., Sequence["Node | None"]]


def _define(
    name: str,
    numpy: Callable[..., Array],
    grad: Rule | None,
    *,
    doc: str,
    arity: int = 1,
    kinds: str = "f",
    truth: bool = False,
    cost: int = 1,
    neutral: Callable[[DType], float | int | bool] | None = None,
) -> Elementwise:
    """One elementwise primitive. `grad(ct, y, *operands)` gives the operands' cotangents; None: all zero."""

    def value(self: Primitive, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(numpy(*args), dtype=out[0].dtype.numpy)

    def backward(self: Primitive, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        if grad is None or ct[0] is None:
            return (None,) * arity
        return [_fit(g, i) for g, i in zip(grad(ct[0], node, *node.inputs), node.inputs)]

    def passes_back(self: Primitive, at: int) -> bool:
        return grad is not None

    def start(self: Primitive, dtype: DType) -> float | int | bool | None:
        return neutral(dtype) if neutral is not None and dtype.kind in kinds else None

    body = {
        "__doc__": doc,
        "arity": arity,
        "kinds": kinds,
        "truth": truth,
        "cost": cost,
        "value": value,
        "grad": backward,
        "passes_back": passes_back,
        "neutral": start,
    }
    cls = type(name.title().replace("_", ""), (Elementwise,), body)
    made: Elementwise = primitive(name)(cls)()
    return made


def _zero(dtype: DType) -> float | int | bool:
    """-0.0 is the only float x with x + y == y for every y, zeros included."""
    return -0.0 if dtype.is_float else False if dtype == BOOL else 0


def _one(dtype: DType) -> float | int | bool:
    return True if dtype == BOOL else 1


def _ones(dtype: DType) -> float | int | bool:
    """Every bit set."""
    return True if dtype == BOOL else -1 if dtype.kind == "i" else int(np.iinfo(dtype.numpy).max)


def _least(dtype: DType) -> float | int | bool:
    return float("-inf") if dtype.is_float else False if dtype == BOOL else int(np.iinfo(dtype.numpy).min)


def _largest(dtype: DType) -> float | int | bool:
    return float("inf") if dtype.is_float else True if dtype == BOOL else int(np.iinfo(dtype.numpy).max)


def _fit(ct: Node | None, operand: Node) -> Node | None:
    """The cotangent of a scalar operand used everywhere is the sum over all uses."""
    if ct is None or ct.shape == operand.shape:
        return ct
    return made_by("sum", [ct], axes=tuple(range(ct.rank)))


# The derivative of a whole number's function is truncated before it is multiplied with the cotangent, as in MXNet:
# that of a / b by a is 1 for b = 1, and mostly 0.


def _div_rule(ct: Node, y: Node, a: Node, b: Node) -> Sequence[Node | None]:
    if a.dtype.is_float:
        return [div(ct, b), neg(div(mul(ct, y), b))]
    return [mul(ct, div(1, b)), neg(mul(ct, div(a, mul(b, b))))]


def _mod_rule(ct: Node, y: Node, a: Node, b: Node) -> Sequence[Node | None]:
    return [ct, neg(mul(ct, floor(div(a, b))))] if a.dtype.is_float else [None, None]


def _pow_rule(ct: Node, y: Node, a: Node, b: Node) -> Sequence[Node | None]:
    slope = mul(y, log(a)) if a.dtype.is_float else cast(mul(cast(y, F64), log(cast(a, F64))), a.dtype)
    return [mul(ct, mul(b, pow_(a, sub(b, 1)))), mul(ct, slope)]


# --------------------------------------------------------------------------------------------- one operand

neg: Elementwise = _define("neg", np.negative, lambda ct, y, x: [neg(ct)], kinds="fiu", doc="-x")
abs_: Elementwise = _define("abs", np.abs, lambda ct, y, x: [mul(ct, sign(x))], kinds="fiu", doc="|x|; gradient 0 at 0")
sign: Elementwise = _define("sign", numeric.sign, None, kinds="fiu", doc="-1, 0 or 1; 0 for nan; gradient 0")
floor: Elementwise = _define("floor", np.floor, None, doc="largest integer not above x; gradient 0")
ceil: Elementwise = _define("ceil", np.ceil, None, doc="smallest integer not below x; gradient 0")
trunc: Elementwise = _define("trunc", np.trunc, None, doc="toward zero; gradient 0")
round_: Elementwise = _define("round", numeric.round_away, None, doc="nearest integer, ties away from zero; gradient 0")
rint: Elementwise = _define(
    "rint", numeric.round_half_down, None, doc="nearest integer, ties to the smaller neighbour; gradient 0"
)
sqrt: Elementwise = _define("sqrt", np.sqrt, lambda ct, y, x: [div(mul(ct, 0.5), y)], cost=4, doc="square root")
rsqrt: Elementwise = _define(
    "rsqrt", numeric.rsqrt, lambda ct, y, x: [mul(ct, mul(-0.5, div(y, x)))], cost=6, doc="1 / sqrt(x)"
)
cbrt: Elementwise = _define("cbrt", np.cbrt, lambda ct, y, x: [div(ct, mul(3.0, mul(y, y)))], cost=20, doc="cube root")
exp: Elementwise = _define("exp", np.exp, lambda ct, y, x: [mul(ct, y)], cost=12, doc="e to the power x")
expm1: Elementwise = _define("expm1", np.expm1, lambda ct, y, x: [mul(ct, add(y, 1.0))], cost=14, doc="exp(x) - 1")
log: Elementwise = _define("log", np.log, lambda ct, y, x: [div(ct, x)], cost=12, doc="natural logarithm")
log2: Elementwise = _define(
    "log2", np.log2, lambda ct, y, x: [div(ct, mul(x, float(np.log(2))))], cost=14, doc="logarithm base 2"
)
log10: Elementwise = _define(
    "log10", np.log10, lambda ct, y, x: [div(ct, mul(x, float(np.log(10))))], cost=14, doc="logarithm base 10"
)
log1p: Elementwise = _define("log1p", np.log1p, lambda ct, y, x: [div(ct, add(x, 1.0))], cost=14, doc="log(1 + x)")
sin: Elementwise = _define("sin", np.sin, lambda ct, y, x: [mul(ct, cos(x))], cost=15, doc="sine")
cos: Elementwise = _define("cos", np.cos, lambda ct, y, x: [neg(mul(ct, sin(x)))], cost=15, doc="cosine")
tan: Elementwise = _define("tan", np.tan, lambda ct, y, x: [mul(ct, add(mul(y, y), 1.0))], cost=25, doc="tangent")
asin: Elementwise = _define(
    "asin", np.arcsin, lambda ct, y, x: [div(ct, sqrt(sub(1.0, mul(x, x))))], cost=20, doc="arc sine"
)
acos: Elementwise = _define(
    "acos", np.arccos, lambda ct, y, x: [neg(div(ct, sqrt(sub(1.0, mul(x, x)))))], cost=20, doc="arc cosine"
)
atan: Elementwise = _define(
    "atan", np.arctan, lambda ct, y, x: [div(ct, add(mul(x, x), 1.0))], cost=20, doc="arc tangent"
)
sinh: Elementwise = _define("sinh", np.sinh, lambda ct, y, x: [mul(ct, cosh(x))], cost=16, doc="hyperbolic sine")
cosh: Elementwise = _define("cosh", np.cosh, lambda ct, y, x: [mul(ct, sinh(x))], cost=16, doc="hyperbolic cosine")
tanh: Elementwise = _define(
    "tanh", np.tanh, lambda ct, y, x: [mul(ct, sub(1.0, mul(y, y)))], cost=14, doc="hyperbolic tangent"
)
asinh: Elementwise = _define(
    "asinh", np.arcsinh, lambda ct, y, x: [div(ct, sqrt(add(mul(x, x), 1.0)))], cost=20, doc="inverse of sinh"
)
acosh: Elementwise = _define(
    "acosh", np.arccosh, lambda ct, y, x: [div(ct, sqrt(sub(mul(x, x), 1.0)))], cost=20, doc="inverse of cosh"
)
atanh: Elementwise = _define(
    "atanh", np.arctanh, lambda ct, y, x: [div(ct, sub(1.0, mul(x, x)))], cost=20, doc="inverse of tanh"
)
erf: Elementwise = _define(
    "erf", numeric.erf, lambda ct, y, x: [mul(ct, mul(1.1283791670955126, exp(neg(mul(x, x)))))], cost=16,
    doc="error function",
)  # fmt: skip
erfinv: Elementwise = _define(
    "erfinv", numeric.erfinv, lambda ct, y, x: [mul(ct, mul(0.8862269254527580, exp(mul(y, y))))], cost=25,
    doc="inverse error function",
)  # fmt: skip
sigmoid: Elementwise = _define(
    "sigmoid", numeric.sigmoid, lambda ct, y, x: [mul(ct, mul(y, sub(1.0, y)))], cost=14, doc="1 / (1 + exp(-x))"
)
softrelu: Elementwise = _define(
    "softrelu", numeric.softrelu, lambda ct, y, x: [mul(ct, sigmoid(x))], cost=25, doc="log(1 + exp(x))"
)
gamma: Elementwise = _define(
    "gamma", numeric.gamma, lambda ct, y, x: [mul(ct, mul(y, digamma(x)))], cost=60, doc="gamma function"
)
gammaln: Elementwise = _define(
    "gammaln", numeric.gammaln, lambda ct, y, x: [mul(ct, digamma(x))], cost=60, doc="log |gamma(x)|"
)
digamma: Elementwise = _define(
    "digamma", numeric.digamma, lambda ct, y, x: [mul(ct, trigamma(x))], cost=60, doc="derivative of gammaln"
)
trigamma: Elementwise = _define(
    "trigamma", numeric.trigamma, None, cost=60, doc="derivative of digamma; its own gradient is not offered (0)"
)
relu: Elementwise = _define(
    "relu",
    numeric.relu,
    # where y is not above 0 it is 0, or the nan that the gradient is there as well; or what somebody wrote over it
    # since, maybe below 0, where the gradient is 0
    lambda ct, y, x: [select(gt(y, 0), ct, mul(y, 0))],
    kinds="fiu",
    doc="max(x, 0); nan stays; gradient 0 at 0",
)
isnan: Elementwise = _define("isnan", numeric.isnan, None, kinds="fiu", truth=True, doc="whether x is nan")
isinf: Elementwise = _define("isinf", numeric.isinf, None, kinds="fiu", truth=True, doc="whether x is +inf or -inf")
not_: Elementwise = _define("not", np.logical_not, None, kinds="b", truth=True, doc="logical not of i1")

# --------------------------------------------------------------------------------------------- two operands

add: Elementwise = _define(
    "add", np.add, lambda ct, y, a, b: [ct, ct], arity=2, kinds="fiu", neutral=_zero, doc="a + b"
)
sub: Elementwise = _define("sub", np.subtract, lambda ct, y, a, b: [ct, neg(ct)], arity=2, kinds="fiu", doc="a - b")
mul: Elementwise = _define(
    "mul", np.multiply, lambda ct, y, a, b: [mul(ct, b), mul(ct, a)], arity=2, kinds="fiu", neutral=_one, doc="a * b"
)
div: Elementwise = _define(
    "div",
    numeric.div,
    _div_rule,
    arity=2,
    kinds="fiu",
    cost=4,
    doc="a / b; integers truncate toward zero, x / 0 is 0 for them",
)
mod: Elementwise = _define(
    "mod",
    numeric.mod,
    _mod_rule,
    arity=2,
    kinds="fiu",
    cost=8,
    doc="remainder with the sign of the divisor; x mod 0 is 0; gradient 0 for integers",
)
pow_: Elementwise = _define("pow", numeric.power, _pow_rule, arity=2, kinds="fiu", cost=40, doc="a to the power b")
maximum: Elementwise = _define(
    "maximum", np.maximum, lambda ct, y, a, b: [select(ge(a, b), ct, 0), select(lt(a, b), ct, 0)],
    arity=2, kinds="fiu", neutral=_least, doc="the larger; nan wins; at a tie the gradient goes to a",
)  # fmt: skip
minimum: Elementwise = _define(
    "minimum", np.minimum, lambda ct, y, a, b: [select(le(a, b), ct, 0), select(gt(a, b), ct, 0)],
    arity=2, kinds="fiu", neutral=_largest, doc="the smaller; nan wins; at a tie the gradient goes to a",
)  # fmt: skip
atan2: Elementwise = _define(
    "atan2", np.arctan2,
    lambda ct, y, a, b: [
        div(mul(ct, b), add(mul(a, a), mul(b, b))), neg(div(mul(ct, a), add(mul(a, a), mul(b, b)))),
    ],
    arity=2, cost=25, doc="angle of the point (b, a)",
)  # fmt: skip
hypot: Elementwise = _define(
    "hypot", np.hypot, lambda ct, y, a, b: [mul(ct, div(a, y)), mul(ct, div(b, y))], arity=2, cost=10,
    doc="sqrt(a*a + b*b) without overflow",
)  # fmt: skip
eq: Elementwise = _define("eq", np.equal, None, arity=2, kinds="fiub", truth=True, doc="a == b")
ne: Elementwise = _define("ne", np.not_equal, None, arity=2, kinds="fiub", truth=True, doc="a != b")
lt: Elementwise = _define("lt", np.less, None, arity=2, kinds="fiu", truth=True, doc="a < b")
le: Elementwise = _define("le", np.less_equal, None, arity=2, kinds="fiu", truth=True, doc="a <= b")
gt: Elementwise = _define("gt", np.greater, None, arity=2, kinds="fiu", truth=True, doc="a > b")
ge: Elementwise = _define("ge", np.greater_equal, None, arity=2, kinds="fiu", truth=True, doc="a >= b")
and_: Elementwise = _define("and", np.bitwise_and, None, arity=2, kinds="iub", neutral=_ones, doc="bitwise and")
or_: Elementwise = _define("or", np.bitwise_or, None, arity=2, kinds="iub", neutral=_zero, doc="bitwise or")
xor: Elementwise = _define("xor", np.bitwise_xor, None, arity=2, kinds="iub", doc="bitwise exclusive or")
shl: Elementwise = _define(
    "shl", np.left_shift, None, arity=2, kinds="iu", doc="a shifted left by b bits (b below the width)"
)
shr: Elementwise = _define(
    "shr", np.right_shift, None, arity=2, kinds="iu", doc="a shifted right by b bits; arithmetic for signed"
)

ARITHMETIC.update({"add": add, "sub": sub, "mul": mul, "div": div, "neg": neg})

# --------------------------------------------------------------------------------------------- others


@primitive("fma")
class Fma(Elementwise):
    """a*b + c. Made by the lowering for contractions; targets without the instruction round twice."""

    arity: ClassVar[int] = 3

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(args[0] * args[1] + args[2], dtype=out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        a, b, c = node.inputs
        g = ct[0]
        if g is None:
            return (None, None, None)
        return [_fit(mul(g, b), a), _fit(mul(g, a), b), _fit(g, c)]


@primitive("select")
class Select(Elementwise):
    """condition ? a : b, element by element; the condition is i1."""

    arity: ClassVar[int] = 3

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 3 and ins[0].dtype == BOOL, self, "takes an i1 condition and two values", *ins)
        require(ins[1].dtype == ins[2].dtype, self, "element types differ", *ins)
        return TensorType(ins[1].dtype, _common_shape(self, ins))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.asarray(np.where(args[0], args[1], args[2]), dtype=out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        c, a, b = node.inputs
        g = ct[0]
        if g is None:
            return (None, None, None)
        return [None, _fit(select(c, g, 0), a), _fit(select(c, 0, g), b)]


def select(condition: Node, a: Operand, b: Operand) -> Node:
    """condition ? a : b."""
    return Node.make(Select(), [condition, *lift([a, b])])


@primitive("cast")
class Cast(Elementwise):
    """To another element type: floats truncate to integers (uint8 wraps), numbers to i1 by x != 0."""

    to: DType = F64

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1, self, "takes one operand", *ins)
        return ins[0].with_dtype(self.to)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return numeric.cast(args[0], out[0].dtype)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        source = node.inputs[0].dtype
        # a truth value has no cotangent; an integer's is carried in its own type, as MXNet's Cast does
        return [None if ct[0] is None or source == BOOL else cast(ct[0], source)]


def cast(x: Node, to: DType) -> Node:
    """x in another element type (x itself if it has it already)."""
    return x if x.dtype == to else Node.make(Cast(to), [x])


@primitive("bitcast")
class Bitcast(Elementwise):
    """The same bits as another element type of the same size."""

    to: DType = F64

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and ins[0].dtype.itemsize == self.to.itemsize, self, "sizes differ", *ins)
        return ins[0].with_dtype(self.to)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.ascontiguousarray(args[0]).view(self.to.numpy).reshape(args[0].shape)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None]


def bitcast(x: Node, to: DType) -> Node:
    return Node.make(Bitcast(to), [x])

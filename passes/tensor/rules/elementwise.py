"""Rules on elementwise primitives. All hold bit for bit, nan, infinities, -0 and empty tensors included (the sign and
payload of a nan are not values), except `pow` (a correctly rounded product instead of a power)."""

from __future__ import annotations

import math

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.elementwise import Bitcast, Cast, Const, Elementwise, Select
from symc.ir.prims.movement import Broadcast, Reshape, broadcast, reshape
from symc.ir.types import F16, DType, TensorType
from symc.passes.manager.rewrite import Rule
from symc.passes.manager.watching import Refused
from symc.passes.tensor.rules.common import collect, filled_with, literal, scalar_of, without_units

RULES: list[Rule] = []

ADD, SUB, MUL, DIV, POW = (type(op) for op in (ew.add, ew.sub, ew.mul, ew.div, ew.pow_))
NEG, ABS, NOT, RELU = (type(op) for op in (ew.neg, ew.abs_, ew.not_, ew.relu))
AND, OR, XOR, SHL, SHR = (type(op) for op in (ew.and_, ew.or_, ew.xor, ew.shl, ew.shr))
EQ, NE = type(ew.eq), type(ew.ne)
MAXIMUM, MINIMUM = type(ew.maximum), type(ew.minimum)


def _positive_zero(value: float) -> bool:
    return value == 0 and math.copysign(1, value) > 0


def _negative_zero(value: float) -> bool:
    return value == 0 and math.copysign(1, value) < 0


# --------------------------------------------------------------------------------------------- literals


@collect(RULES, "fold-literals", Elementwise)
def fold_literals(node: Node) -> Node | None:
    """op(literals) is a literal: the primitive's own meaning says which."""
    literals = [i.op for i in node.inputs if isinstance(i.op, Const) and literal(i)]
    if not literals or len(literals) < len(node.inputs):
        return None
    arrays = [op.array() for op in literals]
    value = np.asarray(node.op.value(arrays, [node.tensor]), node.dtype.numpy)
    return ew.const(value.reshape(()), node.dtype)


@collect(RULES, "uniform-constant", Const)
def uniform_constant(node: Node) -> Node | None:
    """A constant tensor of equal elements is one literal broadcast."""
    assert isinstance(node.op, Const)
    tensor, data = node.op.tensor, node.op.data
    item = data[: tensor.dtype.itemsize]
    if not tensor.shape or not tensor.size or data != item * tensor.size:
        return None
    return broadcast(Node.make(Const(TensorType(tensor.dtype, ()), item)), tensor.shape, ())


@collect(RULES, "literal-operand", Elementwise)
def literal_operand(node: Node) -> Node | None:
    """op(x, broadcast(literal)) is op(x, literal), as long as x keeps the shape."""
    if not node.shape:
        return None
    literals = [filled_with(i) for i in node.inputs]
    if not any(literals) or all(x is not None or not i.rank for x, i in zip(literals, node.inputs)):
        return None
    return Node.make(node.op, [i if x is None else x for x, i in zip(literals, node.inputs)])


@collect(RULES, "literal-right", ADD, MUL, EQ, NE, AND, OR, XOR)
def literal_right(node: Node) -> Node | None:
    """A literal is the second operand of what commutes (maximum and minimum may tell 0 from -0 by their order)."""
    a, b = node.inputs
    return Node.make(node.op, [b, a]) if literal(a) and not literal(b) else None


# --------------------------------------------------------------------------------------------- below movement


@collect(RULES, "before-broadcast", Elementwise)
def before_broadcast(node: Node) -> Node | None:
    """op(broadcast(x), broadcast(y), scalar) is broadcast(op(x, y, scalar)): fewer elements are computed."""
    ranked = [i for i in node.inputs if i.rank]
    spread = {(i.op.dims, i.inputs[0].shape) if isinstance(i.op, Broadcast) else None for i in ranked}
    same = spread.pop() if len(spread) == 1 else None
    if same is None:
        return None
    dims = same[0]
    return broadcast(Node.make(node.op, [i.inputs[0] if i.rank else i for i in node.inputs]), node.shape, dims)


@collect(RULES, "before-reshape", Elementwise)
def before_reshape(node: Node) -> Node | Refused | None:
    """op(reshape(x), scalar) is reshape(op(x, scalar)), where the reshape only places axes of extent 1."""
    ranked = [i for i in node.inputs if i.rank]
    if not ranked or not all(isinstance(i.op, Reshape) for i in ranked):
        return None
    shape = ranked[0].inputs[0].shape
    if without_units(shape) != without_units(node.shape) or any(i.inputs[0].shape != shape for i in ranked):
        return Refused("the reshapes do more than place axes of extent 1, or differ")
    return reshape(Node.make(node.op, [i.inputs[0] if i.rank else i for i in node.inputs]), node.shape)


# --------------------------------------------------------------------------------------------- identities


@collect(RULES, "neutral-operand", ADD, SUB, MUL, DIV, POW, OR, XOR, SHL, SHR, AND)
def neutral_operand(node: Node) -> Node | Refused | None:
    """x*1, x/1, x^1, x-0, integer x+0, x + -0.0, logic with its neutral value are x. (x + 0.0 is not: -0 + 0 is 0)"""
    x, other = node.inputs
    value = scalar_of(other)
    if value is None or x.shape != node.shape:
        return None
    op, real = node.op, x.dtype.is_float
    if isinstance(op, (MUL, DIV)):
        neutral = value == 1
    elif isinstance(op, POW):
        neutral = real and value == 1
    elif isinstance(op, SUB):
        neutral = _positive_zero(value)
    elif isinstance(op, ADD):
        if real and _positive_zero(value):
            return Refused("-0 + 0 is 0: only -0 is neutral in a sum of floats")
        neutral = _negative_zero(value) if real else value == 0
    elif isinstance(op, AND):
        neutral = value is True
    else:
        neutral = value == 0
    return x if neutral else None


@collect(RULES, "same-operands", MAXIMUM, MINIMUM, AND, OR)
def same_operands(node: Node) -> Node | None:
    """max(x, x), min(x, x), x and x, x or x are x."""
    a, b = node.inputs
    return a if a is b else None


@collect(RULES, "twice", NEG, NOT, ABS, RELU)
def twice(node: Node) -> Node | None:
    """neg(neg x) and not(not x) are x; abs(abs x), abs(neg x) and relu(relu x) need one step."""
    inner = node.inputs[0]
    if isinstance(node.op, (NEG, NOT)):
        return inner.inputs[0] if inner.op == node.op else None
    if isinstance(node.op, ABS) and isinstance(inner.op, NEG):
        return ew.abs_(inner.inputs[0])
    return inner if inner.op == node.op else None


@collect(RULES, "negated-operand", ADD, SUB, MUL, DIV)
def negated_operand(node: Node) -> Node | None:
    """a + -b is a - b, a - -b is a + b, -a * -b is a * b, -a * literal is a * -literal (IEEE defines them so)."""
    a, b = node.inputs
    if isinstance(node.op, ADD):
        if isinstance(b.op, NEG):
            return ew.sub(a, b.inputs[0])
        return ew.sub(b, a.inputs[0]) if isinstance(a.op, NEG) else None
    if isinstance(node.op, SUB):
        return ew.add(a, b.inputs[0]) if isinstance(b.op, NEG) else None
    if not isinstance(a.op, NEG) or isinstance(node.op, DIV) and not a.dtype.is_float:
        return None
    if isinstance(b.op, NEG):
        return Node.make(node.op, [a.inputs[0], b.inputs[0]])
    return Node.make(node.op, [a.inputs[0], ew.neg(b)]) if literal(b) else None


@collect(RULES, "divide-by-power-of-two", DIV)
def divide_by_power_of_two(node: Node) -> Node | None:
    """x / 2^k is x * 2^-k: both are the same number, rounded once. (2^-k must not be denormal.)"""
    a, b = node.inputs
    value = scalar_of(b)
    if value is None or not a.dtype.is_float or not math.isfinite(value) or abs(math.frexp(value)[0]) != 0.5:
        return None
    info = np.finfo(a.dtype.numpy)
    inverse = 1.0 / value if abs(value) > 1e-300 else math.inf
    return ew.mul(a, inverse) if float(info.tiny) <= abs(inverse) <= float(info.max) else None


@collect(RULES, "small-power", POW)
def small_power(node: Node) -> Node | Refused | None:
    """x^2 is x*x and x^-1 is 1/x for floats (integer powers go through double precision: kept)."""
    x, exponent = node.inputs
    value = scalar_of(exponent)
    if value is None or x.shape != node.shape:
        return None
    if not x.dtype.is_float:
        return Refused("integer powers go through double precision")
    if value == 2:
        return ew.mul(x, x)
    return ew.div(1.0, x) if value == -1 else Refused(f"the exponent is {value}, neither 2 nor -1")


# --------------------------------------------------------------------------------------------- select and cast


@collect(RULES, "select", Select)
def select_known(node: Node) -> Node | None:
    """Equal arms, or a known condition, choose themselves; a negated condition exchanges the arms."""
    condition, a, b = node.inputs
    known = scalar_of(condition)
    chosen = a if a is b or known is True else b if known is False else None
    if chosen is not None:
        return chosen if chosen.shape == node.shape else broadcast(chosen, node.shape, ())
    return ew.select(condition.inputs[0], b, a) if isinstance(condition.op, NOT) else None


def _holds(source: DType, to: DType) -> bool:
    """Whether every value of `source` is one of `to`."""
    if source.kind in "iu" and to.kind == "f":
        return source.itemsize * 8 <= int(np.finfo(to.numpy).nmant) + 1
    return bool(np.can_cast(source.numpy, to.numpy, "safe"))


@collect(RULES, "cast", Cast)
def cast_chain(node: Node) -> Node | Refused | None:
    """cast(cast(x, wide), to) is cast(x, to) if `wide` holds every value of x. Not from integers over floats back to
    integers (what does not fit wraps in one case and saturates in the other), nor to f16 from wide integers."""
    inner = node.inputs[0]
    if inner.dtype == node.dtype:
        return inner
    if not isinstance(inner.op, Cast):
        return None
    x = inner.inputs[0]
    source, wide, to = x.dtype, inner.dtype, node.dtype
    if not _holds(source, wide):
        return Refused(f"{wide} does not hold every value of {source}")
    over_float = wide.is_float and not to.is_float or to == F16 and source.itemsize > 1
    if over_float and source != to and not source.is_float:
        return Refused(f"from {source} over {wide} to {to} what does not fit wraps, or saturates")
    return ew.cast(x, to)


@collect(RULES, "bitcast", Bitcast)
def bitcast_chain(node: Node) -> Node | None:
    """bitcast(bitcast(x)) is one, or x."""
    inner = node.inputs[0]
    if inner.dtype == node.dtype:
        return inner
    if not isinstance(inner.op, Bitcast):
        return None
    x = inner.inputs[0]
    return x if x.dtype == node.dtype else ew.bitcast(x, node.dtype)

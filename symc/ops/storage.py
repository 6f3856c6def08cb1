"""Storage types: which of MXNet's three an operator's results have, given those of its inputs.

An array is dense ("default"), a matrix in compressed rows ("csr"), or some of its rows ("row_sparse"). Programs compute
on dense arrays; this table says what the arrays are that users see, as MXNet 1.9.1 decides it on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symc.ops.base import Operator

DEFAULT, ROW_SPARSE, CSR = "default", "row_sparse", "csr"
#: the numbers that `Variable(stype=...)` writes into the attribute
NUMBERS = {"undefined": -1, DEFAULT: 0, ROW_SPARSE: 1, CSR: 2}
ATTRIBUTE = "__storage_type__"

_KEEP_ZERO = frozenset(
    """abs arcsin arcsinh arctan arctanh BlockGrad cbrt ceil _contrib_gradientmultiplier _contrib_round_ste
    _contrib_sign_ste _copy degrees expm1 fix floor log1p make_loss negative radians relu rint round sign sin sinh sqrt
    square tan tanh trunc zeros_like _mul_scalar _div_scalar""".split()
)
_SUMS = frozenset("elemwise_add elemwise_sub _grad_add _maximum _minimum _hypot".split())
_TESTS: dict[str, Callable[[float, float], bool]] = {
    "_equal_scalar": float.__eq__, "_not_equal_scalar": float.__ne__, "_greater_scalar": float.__gt__,
    "_greater_equal_scalar": float.__ge__, "_lesser_scalar": float.__lt__, "_lesser_equal_scalar": float.__le__,
}  # fmt: skip


def _mapped(op: Operator, stypes: Sequence[str]) -> str:
    """Functions of one array that give 0 for 0."""
    return stypes[0]


def _summed(op: Operator, stypes: Sequence[str]) -> str:
    return stypes[0] if len(set(stypes)) == 1 else DEFAULT


def _multiplied(op: Operator, stypes: Sequence[str]) -> str:
    kinds = set(stypes)
    if len(kinds) == 2 and DEFAULT not in kinds:
        return DEFAULT
    return next((s for s in stypes if s != DEFAULT), DEFAULT)


def _by_row(op: Operator, stypes: Sequence[str]) -> str:
    return CSR if list(stypes) == [CSR, DEFAULT] else DEFAULT


def _tested(op: Any, stypes: Sequence[str]) -> str:
    return DEFAULT if _TESTS[op.op_name](0.0, float(op.scalar)) else stypes[0]


def _shifted(op: Any, stypes: Sequence[str]) -> str:
    return stypes[0] if op.scalar == 0 else DEFAULT


def _clipped(op: Any, stypes: Sequence[str]) -> str:
    return stypes[0] if op.a_min <= 0 <= op.a_max else DEFAULT


def _dot(op: Any, stypes: Sequence[str]) -> str:
    if op.forward_stype != "None":
        return str(op.forward_stype)
    left, right = stypes
    if left == CSR and right in (DEFAULT, ROW_SPARSE) and op.transpose_a and not op.transpose_b:
        return ROW_SPARSE
    return CSR if left == DEFAULT and right == CSR and not op.transpose_a else DEFAULT


def _sliced(op: Any, stypes: Sequence[str]) -> str:
    return CSR if stypes[0] == CSR and all(s in (None, 1) for s in op.step or ()) else DEFAULT


def _joined(op: Any, stypes: Sequence[str]) -> str:
    return CSR if op.dim == 0 and set(stypes) == {CSR} else DEFAULT


def _taken(op: Any, stypes: Sequence[str]) -> str:
    return CSR if stypes[0] == CSR and op.axis == 0 and op.mode in ("clip", "wrap") else DEFAULT


def _added(op: Operator, stypes: Sequence[str]) -> str:
    return ROW_SPARSE if set(stypes) == {ROW_SPARSE} else DEFAULT


def _squares(op: Any, stypes: Sequence[str]) -> str:
    return ROW_SPARSE if stypes[0] == ROW_SPARSE and op.axis == (1,) and op.keepdims else DEFAULT


def _quadratic(op: Any, stypes: Sequence[str]) -> str:
    return CSR if stypes[0] == CSR and op.c == 0 else DEFAULT


#: by operator; all others give dense results
_RULES: dict[str, Callable[[Any, Sequence[str]], str]] = {
    **dict.fromkeys(_KEEP_ZERO, _mapped), **dict.fromkeys(_SUMS, _summed), **dict.fromkeys(_TESTS, _tested),
    "elemwise_mul": _multiplied, "broadcast_mul": _by_row, "broadcast_div": _by_row, "_plus_scalar": _shifted,
    "_minus_scalar": _shifted, "clip": _clipped, "dot": _dot, "slice": _sliced, "Concat": _joined, "take": _taken,
    "add_n": _added, "_square_sum": _squares, "_contrib_quadratic": _quadratic,
    "cast_storage": lambda op, stypes: str(op.stype), "_sparse_retain": lambda op, stypes: ROW_SPARSE,
    "_identity_with_attr_like_rhs": lambda op, stypes: stypes[1],
}  # fmt: skip


#: results of dense inputs that may be sparse
FROM_DENSE = frozenset({"cast_storage", "_sparse_retain", "dot"})


def result_stype(op: Operator, stypes: Sequence[str]) -> str:
    """The storage type of an operator's first output; all others are dense."""
    rule = _RULES.get(op.op_name)
    if rule is None or (all(s == DEFAULT for s in stypes) and op.op_name not in FROM_DENSE):
        return DEFAULT
    return rule(op, stypes)


def is_lazy(op: Any, stypes: Sequence[str]) -> bool:
    """Whether an update of (weight, gradient, states...) touches the gradient's rows only."""
    if len(stypes) < 2 or stypes[1] != ROW_SPARSE:
        return False
    weight, states = stypes[0], set(stypes[2:])
    if op.op_name == "ftrl_update":
        return weight == ROW_SPARSE and states == {ROW_SPARSE}
    if op.op_name in ("sgd_update", "sgd_mom_update", "adam_update"):
        return bool(op.lazy_update) and states <= {weight}
    return op.op_name == "_sparse_adagrad_update"

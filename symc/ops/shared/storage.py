"""Storage types: which of MXNet's three an operator's results have, given those of its inputs.

An array is dense ("default"), a matrix in compressed rows ("csr"), or some of its rows ("row_sparse"). Programs compute
on dense arrays; operators say here what the arrays are that users see (`Operator.storage`), as MXNet 1.9.1 decides it
on the CPU. These are the rules that several share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DEFAULT, ROW_SPARSE, CSR = "default", "row_sparse", "csr"
#: the numbers that `Variable(stype=...)` writes into the attribute
NUMBERS = {"undefined": -1, DEFAULT: 0, ROW_SPARSE: 1, CSR: 2}
ATTRIBUTE = "__storage_type__"


def kept(op: Any, stypes: Sequence[str]) -> str:
    """Functions that give 0 for 0."""
    return stypes[0]


def common(op: Any, stypes: Sequence[str]) -> str:
    """What all inputs have."""
    return stypes[0] if len(set(stypes)) == 1 else DEFAULT


def multiplied(op: Any, stypes: Sequence[str]) -> str:
    """What a dense array is multiplied by, or both are."""
    kinds = set(stypes)
    if len(kinds) == 2 and DEFAULT not in kinds:
        return DEFAULT
    return next((s for s in stypes if s != DEFAULT), DEFAULT)


def by_row(op: Any, stypes: Sequence[str]) -> str:
    """Compressed rows, each with a dense number."""
    return CSR if list(stypes) == [CSR, DEFAULT] else DEFAULT


def lazily(op: Any, stypes: Sequence[str]) -> bool:
    """`lazy_update` of a row_sparse gradient, where the states are stored as the weight is."""
    return bool(op.lazy_update) and stypes[1] == ROW_SPARSE and set(stypes[2:]) <= {stypes[0]}

"""The numbers by which MXNet's library knows element types, storage types and gradient requests. Programs import these
tables from several of its modules (`symc.aliases.ELSEWHERE`)."""

from __future__ import annotations

import numpy as np

from symc.ndarray.files import FLAG_BY_DTYPE
from symc.ndarray.ndarray import DTYPES
from symc.ops.shared.storage import NUMBERS

_DTYPE_NP_TO_MX = {None: -1, **{kind: FLAG_BY_DTYPE[np.dtype(kind)] for kind in DTYPES}}
_DTYPE_MX_TO_NP = {flag: dtype for dtype, flag in _DTYPE_NP_TO_MX.items()}
_GRAD_REQ_MAP = {"null": 0, "write": 1, "add": 3}
_STORAGE_TYPE_UNDEFINED = NUMBERS["undefined"]
_STORAGE_TYPE_DEFAULT = NUMBERS["default"]
_STORAGE_TYPE_ROW_SPARSE = NUMBERS["row_sparse"]
_STORAGE_TYPE_CSR = NUMBERS["csr"]
_STORAGE_TYPE_STR_TO_ID = NUMBERS
_STORAGE_TYPE_ID_TO_STR = {number: name for name, number in NUMBERS.items()}

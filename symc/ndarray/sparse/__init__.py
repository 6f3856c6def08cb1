"""mx.nd.sparse: csr and row_sparse arrays, and the operators that MXNet has kernels for on them.

Any other operator takes sparse arrays, too, by way of dense copies (`kernels.run_stored`).
"""

from symc.ndarray.sparse.arrays import (
    BaseSparseNDArray,
    CSRNDArray,
    NotSupportedForSparseNDArray,
    RowSparseNDArray,
)
from symc.ndarray.sparse.creation import array, csr_matrix, empty, row_sparse_array, zeros

__all__ = [
    "BaseSparseNDArray", "CSRNDArray", "NotSupportedForSparseNDArray", "RowSparseNDArray", "array", "csr_matrix",
    "empty", "row_sparse_array", "zeros",
]  # fmt: skip

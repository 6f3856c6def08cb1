"""mx.test_utils: comparing arrays, and checking operators against finite differences and expected values.

Tolerances that are not given depend on the element types compared, as in MXNet. `from mxnet.test_utils import *` gives
programs the modules that MXNet's file imports, too, and they use them.
"""

import bz2
import errno
import gzip
import json
import logging
import numbers
import os
import struct
import sys
import time
import traceback
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import numpy.random as rnd
import numpy.testing as npt

import symc as mx
from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.context import Context, current_context
from symc.ndarray import array
from symc.symbol import Symbol
from symc.test_utils.checking import (
    check_consistency,
    check_numeric_gradient,
    check_symbolic_backward,
    check_symbolic_forward,
    compare_optimizer,
    numeric_grad,
    simple_forward,
)
from symc.test_utils.comparing import (
    DummyIter,
    almost_equal,
    assert_allclose,
    assert_almost_equal,
    assert_almost_equal_ignore_nan,
    assert_almost_equal_with_err,
    assert_exception,
    default_atols,
    default_context,
    default_dtype,
    default_numeric_eps,
    default_rtols,
    environment,
    get_atol,
    get_etol,
    get_rtol,
    get_tols,
    list_gpus,
    np_reduce,
    rand_shape_2d,
    rand_shape_3d,
    rand_shape_nd,
    random_arrays,
    random_sample,
    random_uniform_arrays,
    retry,
    same,
    same_array,
    set_default_context,
)
from symc.test_utils.datasets import (
    download,
    download_model,
    get_bz2_data,
    get_cifar10,
    get_mnist,
    get_mnist_iterator,
    get_mnist_pkl,
    get_mnist_ubyte,
    get_zip_data,
)
from symc.test_utils.helpers import (
    check_speed,
    collapse_sum_like,
    compare_ndarray_tuple,
    create_2d_tensor,
    create_vector,
    discard_stderr,
    effective_dtype,
    get_identity_mat,
    get_identity_mat_batch,
    get_im2rec_path,
    get_tolerance,
    getenv,
    has_tvm_ops,
    is_aarch64_run,
    is_cd_run,
    is_op_runnable,
    new_matrix_with_real_eigvals_2d,
    new_matrix_with_real_eigvals_nd,
    new_orthonormal_matrix_2d,
    new_sym_matrix_with_real_eigvals_2d,
    new_sym_matrix_with_real_eigvals_nd,
    rand_coord_2d,
    same_symbol_structure,
    setenv,
)
from symc.test_utils.random_sparse import (
    assign_each,
    assign_each2,
    create_sparse_array,
    create_sparse_array_zd,
    rand_ndarray,
    rand_sparse_ndarray,
    shuffle_csr_column_indices,
)
from symc.test_utils.statistics import (
    chi_square_check,
    gen_buckets_probs_with_ppf,
    mean_check,
    var_check,
    verify_generator,
)

__all__ = [
    "DummyIter", "almost_equal", "assert_allclose", "assert_almost_equal", "assert_almost_equal_ignore_nan",
    "assert_almost_equal_with_err", "assert_exception", "assign_each", "assign_each2", "check_consistency",
    "check_numeric_gradient", "check_speed", "check_symbolic_backward", "check_symbolic_forward", "chi_square_check",
    "collapse_sum_like", "compare_ndarray_tuple", "compare_optimizer", "create_2d_tensor", "create_sparse_array",
    "create_sparse_array_zd", "create_vector", "default_atols", "default_context", "default_dtype",
    "default_numeric_eps", "default_rtols", "discard_stderr", "download", "download_model", "effective_dtype",
    "environment", "gen_buckets_probs_with_ppf", "get_atol", "get_bz2_data", "get_cifar10", "get_etol",
    "get_identity_mat", "get_identity_mat_batch", "get_im2rec_path", "get_mnist", "get_mnist_iterator", "get_mnist_pkl",
    "get_mnist_ubyte",
    "get_rtol", "get_tolerance", "get_tols", "get_zip_data", "getenv", "has_tvm_ops", "is_aarch64_run", "is_cd_run",
    "is_op_runnable", "list_gpus", "mean_check", "new_matrix_with_real_eigvals_2d", "new_matrix_with_real_eigvals_nd",
    "new_orthonormal_matrix_2d", "new_sym_matrix_with_real_eigvals_2d", "new_sym_matrix_with_real_eigvals_nd",
    "np_reduce", "numeric_grad", "rand_coord_2d", "rand_ndarray", "rand_shape_2d", "rand_shape_3d", "rand_shape_nd",
    "rand_sparse_ndarray", "random_arrays", "random_sample", "random_uniform_arrays", "retry", "same", "same_array",
    "same_symbol_structure", "set_default_context", "setenv", "shuffle_csr_column_indices", "simple_forward",
    "var_check", "verify_generator",
    # what MXNet's file imports
    "Context", "OrderedDict", "Symbol", "array", "bz2", "contextmanager", "current_context", "errno", "gzip", "json",
    "logging", "mx", "np", "npt", "numbers", "os", "rnd", "struct", "sys", "time", "traceback", "zipfile",
]  # fmt: skip

__getattr__ = _standing_elsewhere(__name__)

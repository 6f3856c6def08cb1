"""mx.test_utils: comparing arrays, and checking operators against finite differences and expected values.

Tolerances that are not given depend on the element types compared, as in MXNet.
"""

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
    get_bz2_data,
    get_cifar10,
    get_mnist,
    get_mnist_iterator,
    get_mnist_pkl,
    get_mnist_ubyte,
    get_zip_data,
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

__all__ = [
    "DummyIter", "almost_equal", "assert_allclose", "assert_almost_equal", "assert_almost_equal_ignore_nan",
    "assert_almost_equal_with_err", "assert_exception", "assign_each", "assign_each2", "check_consistency",
    "check_numeric_gradient", "check_symbolic_backward", "check_symbolic_forward", "compare_optimizer",
    "create_sparse_array", "create_sparse_array_zd", "default_atols", "default_context", "default_dtype",
    "default_numeric_eps", "default_rtols", "download", "environment", "get_atol", "get_bz2_data", "get_cifar10",
    "get_etol", "get_mnist", "get_mnist_iterator", "get_mnist_pkl", "get_mnist_ubyte", "get_rtol", "get_tols",
    "get_zip_data", "list_gpus", "np_reduce", "numeric_grad", "rand_ndarray", "rand_shape_2d", "rand_shape_3d",
    "rand_shape_nd", "rand_sparse_ndarray", "random_arrays", "random_sample", "random_uniform_arrays", "retry", "same",
    "same_array", "set_default_context", "shuffle_csr_column_indices", "simple_forward",
]  # fmt: skip

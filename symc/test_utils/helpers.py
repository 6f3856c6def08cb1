"""Small things that MXNet's tests use: matrices, comparisons, what the machine is, speed."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from symc import ndarray as nd
from symc.context import Context
from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.symbol import Symbol
from symc.test_utils.comparing import assert_almost_equal, default_context
from symc.util import getenv as getenv
from symc.util import setenv as setenv


def create_2d_tensor(rows: int, columns: int, dtype: Any = np.int64) -> NDArray:
    """(rows, columns): the number of the row, in every column."""
    return nd.array(np.repeat(np.arange(rows)[:, None], columns, axis=1), dtype=dtype)


def create_vector(size: int, dtype: Any = np.int64) -> NDArray:
    """0, 1, ..., size - 1."""
    return nd.arange(0, size, dtype=dtype)


def get_identity_mat(size: int) -> NDArray:
    """The identity matrix."""
    return nd.eye(size)


def get_identity_mat_batch(size: int) -> NDArray:
    """Two identity matrices."""
    return nd.array(np.stack([np.eye(size)] * 2))


def rand_coord_2d(x_low: int, x_high: int, y_low: int, y_high: int) -> tuple[Any, Any]:
    """A random x and y, below the higher limits."""
    return np.random.randint(x_low, x_high, dtype=np.int64), np.random.randint(y_low, y_high, dtype=np.int64)


def collapse_sum_like(a: Array, shape: Sequence[int]) -> Array:
    """The sum of `a` over the axes along which an array of `shape` was repeated to it."""
    if len(a.shape) < len(shape):
        raise AssertionError(f"{a.shape} has fewer axes than {tuple(shape)}")
    if 0 in shape or not a.size:
        return np.zeros(shape, a.dtype)
    extra = a.ndim - len(shape)
    repeated = [at + extra for at, size in enumerate(shape) if size != a.shape[at + extra]]
    if any(shape[at - extra] != 1 for at in repeated):
        raise AssertionError(f"{tuple(shape)} is not broadcast to {a.shape}")
    return np.sum(a, axis=(*range(extra), *repeated)).reshape(shape)


def new_orthonormal_matrix_2d(n: int) -> Array:
    """A random orthonormal matrix."""
    x = np.random.randn(n, n)
    return np.asarray(np.linalg.qr(x.T @ x)[0])


def new_sym_matrix_with_real_eigvals_2d(n: int) -> Array:
    """A random symmetric matrix with eigenvalues from -10 to 10."""
    q = new_orthonormal_matrix_2d(n)
    return np.asarray(q.T @ np.diag(np.random.uniform(-10.0, 10.0, n)) @ q)


def new_matrix_with_real_eigvals_2d(n: int) -> Array:
    """A random matrix with real eigenvalues from -10 to 10, and eigenvectors that are far from each other."""
    while True:
        v = np.random.uniform(-1.0, 1.0, (n, 1))
        v /= np.linalg.norm(v)
        q = (np.eye(n) - 2 * v @ v.T) @ np.diag(np.random.uniform(-1.0, 1.0, n))
        if np.linalg.cond(q, 2) < 3:
            return np.asarray(np.linalg.inv(q) @ np.diag(np.random.uniform(-10.0, 10.0, n)) @ q)


def new_matrix_with_real_eigvals_nd(shape: Sequence[int]) -> Array:
    """Such matrices in the last two axes."""
    return _stacked(new_matrix_with_real_eigvals_2d, shape)


def new_sym_matrix_with_real_eigvals_nd(shape: Sequence[int]) -> Array:
    """Such matrices in the last two axes."""
    return _stacked(new_sym_matrix_with_real_eigvals_2d, shape)


def _stacked(make: Any, shape: Sequence[int]) -> Array:
    count = int(np.prod(shape[:-2]))
    return np.array([make(shape[-1]) for _ in range(count)]).reshape(shape)


def compare_ndarray_tuple(t1: Any, t2: Any, rtol: Any = None, atol: Any = None) -> None:
    """AssertionError unless arrays, or tuples of them, are alike; None is like everything."""
    if t1 is None or t2 is None:
        return
    if isinstance(t1, tuple):
        for one, other in zip(t1, t2):
            compare_ndarray_tuple(one, other, rtol, atol)
    else:
        assert_almost_equal(t1, t2, rtol=rtol, atol=atol)


def same_symbol_structure(sym1: Symbol, sym2: Symbol) -> bool:
    """Whether two Symbols have the same operators in the same order."""
    one, other = ([node["op"] for node in json.loads(s.tojson())["nodes"]] for s in (sym1, sym2))
    return all(a == b for a, b in zip(one, other))


def effective_dtype(dat: Any) -> Any:
    """The element type whose precision an array has."""
    return np.dtype(dat.dtype)


def get_tolerance(dat: Any, tol: Any, default_tol: Mapping[Any, float]) -> float:
    """A tolerance for an array: a number, or one of a table by element types, or of the default table."""
    if isinstance(tol, (int, float)):
        return float(tol)
    dtype = effective_dtype(dat)
    return float(tol[dtype] if tol and dtype in tol else default_tol[dtype])


@contextmanager
def discard_stderr() -> Iterator[None]:
    """What is written to standard error is lost, also by libraries."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def is_cd_run() -> bool:
    """Whether CD_JOB says that this is a release's run."""
    return os.environ.get("CD_JOB", "0") == "1"


def is_aarch64_run() -> bool:
    """Whether the processor is a 64-bit ARM."""
    return platform.machine() == "aarch64"


def has_tvm_ops() -> bool:
    """There are no operators of TVM's."""
    return False


def is_op_runnable() -> bool:
    """Operators run on the CPU."""
    return True


def get_im2rec_path(home_env: str = "MXNET_HOME") -> str:
    """Where MXNet's im2rec.py is, below the folder that the variable names. OSError if it is not there."""
    path = os.path.join(os.environ.get(home_env, ""), "tools", "im2rec.py")
    if not os.path.isfile(path):
        raise OSError(f"there is no tools/im2rec.py below {home_env}={os.environ.get(home_env)}")
    return path


def check_speed(
    sym: Symbol, location: Mapping[str, Array] | None = None, ctx: Context | None = None, N: int = 20,
    grad_req: Any = None, typ: str = "whole", **kwargs: Any,
) -> float:  # fmt: skip
    """Seconds that a Symbol takes: forward and backward (`typ` "whole"), or "forward". `kwargs` are input shapes."""
    if typ not in ("whole", "forward"):
        raise ValueError(f"typ={typ!r} is neither 'whole' nor 'forward'")
    shapes = kwargs if location is None else {name: value.shape for name, value in location.items()}
    exe = sym.simple_bind(ctx or default_context(), grad_req=grad_req or "write", **shapes)
    for name, array in exe.arg_dict.items():
        given = np.random.normal(size=array.shape) if location is None else location.get(name)
        if given is not None:
            array[:] = given

    def run() -> None:
        exe.forward(is_train=typ == "whole")
        if typ == "whole":
            exe.backward(out_grads=exe.outputs)

    run()
    begun = time.time()
    for _ in range(N):
        run()
    return (time.time() - begun) / N

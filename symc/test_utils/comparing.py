"""Comparing arrays within tolerances that depend on their element types, and random arrays and shapes to compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from numbers import Number
from typing import Any

import numpy as np

from symc.context import Context, current_context
from symc.io import DataIter
from symc.ir.types import Array
from symc.ndarray import NDArray

_EXACT = (np.bool_, np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64)
Tolerance = float | Mapping[Any, float] | None


def default_context() -> Context:
    """The context of the innermost `with`, or the one that set_default_context gave."""
    return current_context()


def set_default_context(ctx: Context) -> None:
    """Arrays of this thread are made on `ctx` where nothing else is said."""
    Context._default_ctx.value = ctx


def default_dtype() -> type:
    """float32."""
    return np.float32


def _by_type(half: float, single: float, double: float) -> dict[Any, float]:
    inexact = {np.dtype(np.float16): half, np.dtype(np.float32): single, np.dtype(np.float64): double}
    return inexact | {np.dtype(t): 0 for t in _EXACT}


def default_rtols() -> dict[Any, float]:
    """Relative tolerances by element type."""
    return _by_type(1e-2, 1e-4, 1e-5)


def default_atols() -> dict[Any, float]:
    """Absolute tolerances by element type."""
    return _by_type(1e-1, 1e-3, 1e-20)


def default_numeric_eps() -> dict[Any, float]:
    """Steps of finite differences by element type: powers of two, so that adding one rounds nothing away."""
    return {np.dtype(np.float16): 2.0**-6, np.dtype(np.float32): 2.0**-9, np.dtype(np.float64): 2.0**-14}


def get_rtol(rtol: float | None = None, dtype: Any = np.float64) -> float:
    """`rtol`, or the type's default."""
    return default_rtols()[np.dtype(dtype)] if rtol is None else rtol


def get_atol(atol: float | None = None, dtype: Any = np.float64) -> float:
    """`atol`, or the type's default."""
    return default_atols()[np.dtype(dtype)] if atol is None else atol


def get_etol(etol: float | None = None) -> float:
    """`etol`, or 0: the share of elements that may differ."""
    return 0 if etol is None else etol


def tolerance(data: Any, given: Tolerance, defaults: Mapping[Any, float]) -> float:
    """The tolerance for one side of a comparison: the number given, or of the dict given or the defaults the type's."""
    if isinstance(given, Number):
        return given  # type: ignore[return-value]
    dtype = np.dtype(getattr(data, "dtype", np.asarray(data).dtype))
    return (given or {}).get(dtype, defaults[dtype])  # type: ignore[union-attr]


def get_tols(x: Any, y: Any, rtol: Tolerance, atol: Tolerance) -> tuple[float, float]:
    """(relative, absolute): the larger of what is given or usual for the two types."""
    return (
        max(tolerance(x, rtol, default_rtols()), tolerance(y, rtol, default_rtols())),
        max(tolerance(x, atol, default_atols()), tolerance(y, atol, default_atols())),
    )


def as_numpy(value: Any) -> Any:
    """A numpy array of an NDArray; anything else as it is."""
    return value.asnumpy() if isinstance(value, NDArray) else value


def random_arrays(*shapes: Sequence[int]) -> Any:
    """Normally distributed float32 arrays: a list, or the one array of one shape."""
    arrays = [np.asarray(np.random.randn(*s), dtype=default_dtype()) for s in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def random_uniform_arrays(
    *shapes: Sequence[int], low: float = 0.0, high: float = 1.0, dtype: Any = np.float32
) -> list[Array]:
    """Uniformly distributed arrays."""
    return [np.random.uniform(low, high, size=s).astype(dtype) for s in shapes]


def random_sample(population: Sequence[Any], k: int) -> list[Any]:
    """`k` elements of the population, without repetition."""
    if not 0 <= k <= len(population):
        raise AssertionError(f"cannot take {k} of {len(population)}")
    return [population[i] for i in np.random.permutation(len(population))[:k]]


def rand_shape_nd(num_dim: int, dim: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """A shape of rank `num_dim` with extents of 1 (or 0) to `dim`."""
    return tuple(int(n) for n in np.random.randint(0 if allow_zero_size else 1, dim + 1, size=num_dim))


def rand_shape_2d(dim0: int = 10, dim1: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """A matrix's shape, each extent up to its own most."""
    return tuple(rand_shape_nd(1, most, allow_zero_size)[0] for most in (dim0, dim1))


def rand_shape_3d(dim0: int = 10, dim1: int = 10, dim2: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """A shape of rank 3, each extent up to its own most."""
    return tuple(rand_shape_nd(1, most, allow_zero_size)[0] for most in (dim0, dim1, dim2))


def np_reduce(dat: Array, axis: Any, keepdims: bool, numpy_reduce_func: Callable[..., Any]) -> Array:
    """Reduce over one or several axes (None: all) with a function that takes one."""
    axes = range(dat.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    made = dat
    for one in sorted((a % dat.ndim for a in axes), reverse=True):
        made = np.expand_dims(numpy_reduce_func(made, axis=one), one)
    kept = {a % dat.ndim for a in axes}
    return made if keepdims else made.reshape([n for i, n in enumerate(dat.shape) if i not in kept])


def same(a: Any, b: Any) -> bool:
    """Whether two arrays have the same shape and elements."""
    return bool(np.array_equal(as_numpy(a), as_numpy(b)))


def same_array(array1: NDArray, array2: NDArray) -> bool:
    """Whether two arrays have the same memory: a change of one shows in the other. Both are put back."""
    array1[:] += 1
    found = same(array1, array2)
    array1[:] -= 1
    return found and same(array1, array2)


def almost_equal(
    a: Any, b: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
    use_broadcast: bool = True,
) -> bool:  # fmt: skip
    """numpy.allclose with MXNet's tolerances of float64."""
    a, b = as_numpy(a), as_numpy(b)
    if not use_broadcast:
        _same_shape(a, b)
    return bool(np.allclose(a, b, rtol=get_rtol(rtol), atol=get_atol(atol), equal_nan=equal_nan))


def _same_shape(a: Any, b: Any) -> None:
    if np.shape(a) != np.shape(b):
        raise AssertionError(f"a.shape = {np.shape(a)} and b.shape = {np.shape(b)} are not equal")


def _violations(a: Any, b: Any, rtol: float, atol: float, equal_nan: bool) -> Array:
    """For every element, its difference in units of what is allowed; infinite where one side is not a number."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    with np.errstate(invalid="ignore"):
        found = np.abs(a - b) / (atol + rtol * np.abs(b) + 1e-20)
    equal = (a == b) | (equal_nan & np.isnan(a) & np.isnan(b))
    return np.asarray(np.where(equal, 0.0, np.where(np.isnan(found), np.inf, found)))


def assert_almost_equal(
    a: Any, b: Any, rtol: Tolerance = None, atol: Tolerance = None, names: Sequence[str] = ("a", "b"),
    equal_nan: bool = False, use_broadcast: bool = True, mismatches: Sequence[int] = (10, 10),
) -> None:  # fmt: skip
    """AssertionError unless |a - b| <= atol + rtol * |b| everywhere; it says where they differ most, and how often.
    `mismatches[0]` of the places are printed."""
    if not use_broadcast:
        _same_shape(a, b)
    relative, absolute = get_tols(a, b, rtol, atol)
    a, b = as_numpy(a), as_numpy(b)
    if np.allclose(a, b, rtol=relative, atol=absolute, equal_nan=equal_nan):
        return
    found = _violations(a, b, relative, absolute, equal_nan)
    a, b = np.broadcast_arrays(a, b)
    order = np.argsort(-found, axis=None, kind="stable")[: max(mismatches[0], 1)]
    count = int((found > 1).sum())
    lines = []
    for place in order[:count]:
        index = tuple(int(i) for i in np.unravel_index(place, found.shape))
        lines.append(f"{found[index]:f} at {index}, {names[0]}={a[index]:.8f}, {names[1]}={b[index]:.8f}")
    print("\n".join(f"{i + 1:3d}: Error {line}" for i, line in enumerate(lines)))
    raise AssertionError(
        f"Error {found.max():f} exceeds tolerance rtol={relative:e}, atol={absolute:e} "
        f"(mismatch {100 * count / max(found.size, 1):f}%).\nLocation of maximum error: {lines[0]}\n"
        f" {names[0]}: {a!r}\n {names[1]}: {b!r}"
    )


def assert_allclose(a: Any, b: Any, rtol: float = 1e-07, atol: float = 0, equal_nan: bool = True) -> None:
    """assert_almost_equal with numpy's tolerances."""
    assert_almost_equal(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


def assert_almost_equal_with_err(
    a: Any, b: Any, rtol: Tolerance = None, atol: Tolerance = None, etol: float | None = None,
    names: Sequence[str] = ("a", "b"), equal_nan: bool = False, mismatches: Sequence[int] = (10, 10),
) -> None:  # fmt: skip
    """assert_almost_equal, but the share `etol` of the elements may differ."""
    relative, absolute = get_tols(a, b, rtol, atol)
    found = _violations(as_numpy(a), as_numpy(b), relative, absolute, equal_nan)
    if float((found > 1).mean()) > get_etol(etol):
        assert_almost_equal(a, b, rtol, atol, names, equal_nan, mismatches=mismatches)


def assert_almost_equal_ignore_nan(
    a: Any, b: Any, rtol: Tolerance = None, atol: Tolerance = None, names: Sequence[str] = ("a", "b")
) -> None:
    """assert_almost_equal where neither is a NaN."""
    a, b = np.copy(as_numpy(a)), np.copy(as_numpy(b))
    absent = np.isnan(a) | np.isnan(b)
    a[absent] = b[absent] = 0
    assert_almost_equal(a, b, rtol, atol, names)


def assert_exception(f: Callable[..., Any], exception_type: type[BaseException], *args: Any, **kwargs: Any) -> None:
    """AssertionError unless the call raises `exception_type`."""
    try:
        f(*args, **kwargs)
    except exception_type:
        return
    raise AssertionError(f"{getattr(f, '__name__', f)} did not raise {exception_type.__name__}")


def retry(n: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: a test with random data passes if one of `n` runs does."""
    if n <= 0:
        raise AssertionError("retry takes the number of runs, 1 or more")

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def tried(*args: Any, **kwargs: Any) -> None:
            for left in reversed(range(n)):
                try:
                    return test(*args, **kwargs)
                except AssertionError:
                    if not left:
                        raise

        return tried

    return decorate


@contextmanager
def environment(*args: Any) -> Iterator[None]:
    """A scope with environment variables set: environment("NAME", "value"), or a dict; None takes one away."""
    wanted: Mapping[str, str | None] = args[0] if len(args) == 1 else {args[0]: args[1]}
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value)


def list_gpus() -> list[int]:
    """The numbers of the GPUs: none."""
    return []


class DummyIter(DataIter):
    """Gives the first batch of `real_iter` over and over: a speed that reading data does not limit."""

    def __init__(self, real_iter: Any) -> None:
        super().__init__(real_iter.batch_size)
        self.real_iter = real_iter
        self.provide_data, self.provide_label = real_iter.provide_data, real_iter.provide_label
        self.the_batch = next(iter(real_iter))

    def next(self) -> Any:
        """The one batch."""
        return self.the_batch

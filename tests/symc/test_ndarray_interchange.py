"""Protects: NDArray's views, results into given arrays, memory that is shared with numpy and DLPack, and old names."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest

import symc as mx


def test_shapes_change_in_place_where_that_is_asked_for():
    array = mx.nd.zeros((2, 1, 3))
    for view in (array.flatten(inplace=True), array.squeeze(inplace=True), array.expand_dims(1, inplace=True)):
        view[:] += 1
    assert (array.asnumpy() == 3).all()
    for copy in (array.flatten(), array.squeeze(axis=1), array.expand_dims(1), array.reshape_like(mx.nd.ones((3, 2)))):
        copy[:] = 0
    assert (array.asnumpy() == 3).all()
    with pytest.raises(AssertionError, match="duplicate"):
        array.squeeze(axis=(1, 1))


def test_results_go_into_out():
    out = mx.nd.zeros((2, 2))
    for made, value in ((mx.nd.ones((2, 2), out=out), 1), (mx.nd.zeros((2, 2), out=out), 0)):
        assert made is out or (made.asnumpy() == value).all()
    mx.nd.full((2, 2), 2, out=out)
    assert (out.asnumpy() == 2).all()
    with pytest.raises(mx.MXNetError, match="shape"):
        mx.nd.full((3, 2), 2, out=out)


def test_memory_of_numpy_is_taken_over():
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    first, second = mx.nd.from_numpy(given), mx.nd.from_numpy(given)
    with pytest.raises(ValueError, match="read-only"):
        given[0, 0] = 9
    first[0, 0], second[1, 2] = 7, 8
    assert given[0, 0] == 7 and given[1, 2] == 8
    fixed = np.arange(3)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        mx.nd.from_numpy(fixed)[0] = 1


def test_capsules_go_through_functions_too():
    array = mx.nd.arange(6)
    for give in (mx.nd.to_dlpack_for_read, mx.nd.to_dlpack_for_write):
        np.testing.assert_array_equal(mx.nd.from_dlpack(give(array)).asnumpy(), np.arange(6))


def test_splits_and_histograms():
    array = mx.nd.arange(12).reshape((6, 2))
    assert [p.shape for p in mx.nd.split_v2(array, 3)] == [(2, 2)] * 3
    assert [p.shape for p in array.split_v2((1, 4))] == [(1, 2), (3, 2), (2, 2)]
    counts, bounds = mx.nd.histogram(array, bins=3, range=(0.0, 12.0))
    assert counts.asnumpy().tolist() == [4, 4, 4] and bounds.asnumpy().tolist() == [0, 4, 8, 12]
    counts, _ = mx.nd.histogram(array, mx.nd.array([0, 1, 12]))
    assert counts.asnumpy().tolist() == [1, 11]


def test_arrays_that_mxnet_pickled_are_read():
    head = struct.pack("<Iiiq", 0xF993FAC9, 0, 1, 2) + struct.pack("<iii", 2, 0, 0)  # on a GPU
    array = mx.nd.zeros(1)
    array.__setstate__({"handle": bytearray(head + np.array([1.5, 2], np.float32).tobytes())})
    assert array.asnumpy().tolist() == [1.5, 2] and array.context == mx.cpu()


def test_which_slices_are_contiguous():
    data = np.arange(24).reshape(2, 3, 4)
    for key in itertools.product((slice(None), slice(1, 2), slice(None, None, 2), slice(None, None, -1)), repeat=3):
        assert mx.nd.NDArray._basic_indexing_slice_is_contiguous(key, data.shape) is data[key].flags.contiguous
        if data[key].flags.c_contiguous:
            array = mx.nd.array(data)
            array[key][:] = -1
            assert (array[key].asnumpy() == -1).all()


def test_a_symbol_is_called_with_arrays():
    op = mx.nd.CachedOp(mx.sym.FullyConnected(mx.sym.Variable("x"), name="fc", num_hidden=2) + 2)
    x, weight, bias = mx.nd.ones((3, 4)), mx.nd.ones((2, 4)), mx.nd.zeros((2,))
    assert (op(x, weight, bias).asnumpy() == 6).all()
    out = mx.nd.zeros((3, 2))
    assert op(x, weight, bias, out=out) is out and (out.asnumpy() == 6).all()
    weight.attach_grad()
    with mx.autograd.record():
        found = op(mx.nd.ones((5, 4)), weight, bias) * 3
    found.backward()
    assert (weight.grad.asnumpy() == 15).all()
    with pytest.raises(mx.MXNetError, match="takes 3 arrays"):
        op(x)


@pytest.mark.parametrize(
    ("source", "dtype", "wanted"),
    [
        (["1", "2.5"], None, [1.0, 2.5]), (["1", "2"], "int32", [1, 2]), ([["1"], ["2"]], None, [[1.0], [2.0]]),
        (["1", 2], None, [1.0, 2.0]), ([b"1", b"2"], None, [1.0, 2.0]),
        (np.array(["1", "2"]), "float64", [1.0, 2.0]), (np.array([1, 2], object), "int32", [1, 2]),
        (np.array([3.5, 1], object), None, [3.5, 1.0]),
    ],
)  # fmt: skip
def test_text_and_objects_are_numbers(source: object, dtype: str | None, wanted: object) -> None:
    """Programs read tables, and give arrays the text of their cells."""
    made = mx.nd.array(source, dtype=dtype)
    assert made.dtype == np.dtype(dtype or "float32") and made.asnumpy().tolist() == wanted
    written = mx.nd.zeros_like(made)
    written[:] = source
    assert written.asnumpy().tolist() == wanted


def test_none_is_no_number_and_other_things_are_refused() -> None:
    assert np.isnan(mx.nd.array([1.0, None]).asnumpy()).tolist() == [False, True]
    assert mx.nd.full((2,), "3").asnumpy().tolist() == [3.0, 3.0] and float(mx.nd.array("3").asnumpy()) == 3.0
    batch = mx.io.NDArrayIter({"a": np.array([["1"], ["2"]])}, batch_size=1).next()
    assert batch.data[0].asnumpy().tolist() == [[1.0]]
    for source, dtype in ((["a"], None), (["2.5"], "int32"), ([None], "int32"), ([1 + 2j], None), ([{}], None)):
        with pytest.raises(TypeError):
            mx.nd.array(source, dtype=dtype)
        with pytest.raises(TypeError, match="cannot hold"):
            mx.nd.zeros((1,), dtype=dtype or "float32")[:] = source

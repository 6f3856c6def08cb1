"""Protects indexing, ordering, matrix products and creation operators."""

from __future__ import annotations

import numpy as np
import pytest
from operating import check_numerically, forward, gradients, infer, infer_types

from symc.base import LateError
from symc.ops.base import MXNetError, ShapeError

X = np.array([[3.0, 1.0, 2.0], [0.5, 4.0, 4.0]])


def test_take_modes_and_repeats():
    at = np.array([1.7, -1, 5], np.float32)
    assert forward("take", X, at).tolist() == X[[1, 0, 1]].tolist()
    assert forward("take", X, np.array([-1, 2]), axis=1, mode="wrap").tolist() == X[:, [2, 2]].tolist()
    grad, index = gradients("take", X, np.array([0.0, 0.0, 1.0]))
    assert grad.tolist() == [[2, 2, 2], [1, 1, 1]] and not index.any()
    with pytest.raises(LateError):
        forward("take", X, np.array([2]), mode="raise")


def test_embedding_clips():
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    ids = np.array([[0, 9], [-4, 2]], np.float32)
    made = forward("Embedding", ids, weight, input_dim=3, output_dim=2)
    assert made.tolist() == weight[[[0, 2], [0, 2]]].tolist()
    assert infer("Embedding", (4,), None, input_dim=3, output_dim=2) == ([(4,), (3, 2)], [(4, 2)])


def test_pick_and_batch_take():
    assert forward("pick", X, np.array([2, 0])).tolist() == [2, 0.5]
    assert forward("pick", X, np.array([[2], [9]]), keepdims=True).tolist() == [[2], [4]]
    assert forward("pick", X, np.array([1, -1, 2]), axis=0, mode="wrap").tolist() == [0.5, 4, 2]
    assert forward("batch_take", X, np.array([-1, 7], np.int32)).tolist() == [3, 4]
    check_numerically("pick", X, np.array([2, 0]))


def test_one_hot():
    made = forward("one_hot", np.array([1, -1, 3, 0.9]), depth=3, on_value=5, off_value=-1, dtype="int32")
    assert made.tolist() == [[-1, 5, -1], [-1, -1, -1], [-1, -1, -1], [5, -1, -1]] and made.dtype == np.int32


def test_coordinates():
    at = np.array([[0, -1], [2, 0]])
    assert forward("gather_nd", X, at).tolist() == [2, 0.5]
    assert gradients("gather_nd", X, np.array([[0, 0], [1, 1]]))[0].tolist() == [[0, 2, 0], [0, 0, 0]]
    with pytest.raises(LateError):
        forward("gather_nd", X, np.array([[0], [3]]))
    made = forward("scatter_nd", np.array([5.0, 6.0]), np.array([[0, 0], [1, 1]]), shape=(2, 2))
    assert made.tolist() == [[0, 6], [0, 0]]
    flat = forward("_ravel_multi_index", np.array([[0, 1], [2, 0]]), shape=(2, 3))
    assert flat.tolist() == [2, 3]
    assert forward("_unravel_index", flat, shape=(2, 3)).tolist() == [[0, 1], [2, 0]]


def test_writes():
    assert forward("_contrib_index_copy", X, np.array([1]), np.zeros((1, 3))).tolist() == [[3, 1, 2], [0, 0, 0]]
    made = forward("fill_element_0index", *(np.array(v, np.float32) for v in (X, [7, 8], [1, 0])))
    assert made.tolist() == [[3, 7, 2], [8, 4, 4]]


def test_where_by_element_and_by_row():
    y = -X
    assert forward("where", np.array([[1, 0, 1], [0, 2, 0]]), X, y).tolist() == [[3, -1, 2], [-0.5, 4, -4]]
    assert forward("where", np.array([0.0, 1.0]), X, y).tolist() == [y[0].tolist(), X[1].tolist()]
    check_numerically("where", np.array([0, 1]), X, y)
    with pytest.raises(ShapeError):
        infer("where", (3,), (2, 3), (2, 3))


def test_histogram_includes_the_last_edge():
    counts, edges = forward("_histogram", np.array([0.0, 0.5, 1.0, 2.0, 2.1]), bin_cnt=2, range=(0, 2))
    assert counts.tolist() == [2, 2] and counts.dtype == np.int64 and edges.tolist() == [0, 1, 2]
    counts, _ = forward("_histogram", X, np.array([0.0, 2.0, 4.0]))
    assert counts.tolist() == np.histogram(X, [0, 2, 4])[0].tolist()


def test_sorting():
    assert forward("sort", X, is_ascend=False).tolist() == np.sort(X)[:, ::-1].tolist()
    assert forward("argsort", X, axis=None).tolist() == np.argsort(X, None, kind="stable").tolist()
    assert forward("argsort", X).dtype == np.float32
    assert gradients("sort", X, heads=[[[1, 2, 3], [4, 5, 6]]])[0].tolist() == [[3, 1, 2], [4, 5, 6]]


@pytest.mark.parametrize(("kind", "wanted"), [
    ("indices", [[0, 2], [1, 2]]), ("value", [[3, 2], [4, 4]]), ("mask", [[1, 0, 1], [0, 1, 1]]),
])  # fmt: skip
def test_topk(kind, wanted):
    assert forward("topk", X, k=2, ret_typ=kind).tolist() == wanted


def test_topk_of_everything_and_too_much():
    values, places = forward("topk", X, k=0, ret_typ="both", is_ascend=True, dtype="int32")
    assert values.tolist() == np.sort(X).tolist() and places.dtype == np.int32
    assert gradients("topk", X, k=1, ret_typ="value")[0].tolist() == [[1, 0, 0], [0, 1, 0]]
    with pytest.raises(ShapeError):
        infer("topk", (2, 3), k=4)


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_products(ta, tb):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4, 5))
    left, right = (a.swapaxes(1, 2) if ta else a), (b.swapaxes(1, 2) if tb else b)
    np.testing.assert_allclose(forward("batch_dot", left, right, transpose_a=ta, transpose_b=tb), a @ b, rtol=1e-12)
    check_numerically("batch_dot", left, right, transpose_a=ta, transpose_b=tb)
    a, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 5, 2))
    left, right = (np.moveaxis(a, 2, 0) if ta else a), (np.moveaxis(b, 0, 2) if tb else b)
    made = forward("dot", left, right, transpose_a=ta, transpose_b=tb)
    np.testing.assert_allclose(made, np.tensordot(a, b, 1), rtol=1e-12)


def test_products_of_vectors():
    assert forward("dot", np.array([1.0, 2.0]), np.array([3.0, 4.0])).tolist() == [11]
    assert forward("khatri_rao", X, X).shape == (4, 3)
    with pytest.raises(ShapeError):
        infer("dot", (2, 3), (2, 3))


def test_creation():
    assert forward("_arange", start=1, stop=7, step=2, repeat=2).tolist() == [1, 1, 3, 3, 5, 5]
    assert forward("_arange", start=3, dtype="int64").tolist() == [0, 1, 2]
    assert forward("_linspace", start=0, stop=1, num=4, endpoint=False).tolist() == [0, 0.25, 0.5, 0.75]
    assert forward("_eye", N=2, M=3, k=1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert forward("_full", shape=(2,), value=2.5, dtype="int32").tolist() == [2, 2]
    assert forward("_contrib_arange_like", X, start=1.0, axis=1).tolist() == [1, 2, 3]
    assert forward("_contrib_index_array", X, axes=(1,))[1].tolist() == [[0], [1], [2]]
    assert infer_types("_ones", dtype="float16")[1] == [np.dtype(np.float16)]
    with pytest.raises(MXNetError):
        forward("_arange", start=0, stop=1, step=0)


def test_embedding_takes_its_type_from_the_weight_or_else_from_dtype():
    attrs = {"input_dim": 3, "output_dim": 2, "dtype": "float16"}
    assert infer_types("Embedding", "int32", "float64", **attrs)[1] == ["float64"]
    assert infer_types("Embedding", "int32", None, **attrs) == (["int32", "float16"], ["float16"])


@pytest.mark.parametrize(("name", "shapes", "attrs", "match"), [
    ("gather_nd", [(3, 4), (1,)], {}, "two axes"),
    ("scatter_nd", [(2,), (1, 2)], {"shape": (-5,)}, "negative"),
    ("_contrib_index_copy", [(4,), (7,), (7,)], {}, "at most 4"),
    ("_contrib_index_copy", [(4,), (2, 1), (2,)], {}, "one axis"),
    ("_ravel_multi_index", [(2, 3)], {}, "missing"),
    ("_ravel_multi_index", [(2, 3, 4)], {"shape": (2, 2)}, "coordinates, how many"),
    ("_unravel_index", [(3,)], {}, "missing"),
    ("one_hot", [(4,)], {"depth": -1}, "depth=-1"),
    ("Embedding", [(4,), None], {"input_dim": 0, "output_dim": 2}, "input_dim=0"),
])  # fmt: skip
def test_refused(name, shapes, attrs, match):
    with pytest.raises(MXNetError, match=match):
        infer(name, *shapes, **attrs)

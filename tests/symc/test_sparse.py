"""Protects: csr and row_sparse arrays, alone and in operators, against MXNet 1.9.1.

The answers were recorded by running tests/golden/sparse/scenarios.py under MXNet; the same functions run here.
"""

from __future__ import annotations

import json
import logging
import pickle

import loading
import numpy as np
import pytest

import symc as mx
from symc.ir.prims.reduce import reduce_sum
from symc.ndarray.functions import Function
from symc.ndarray.sparse import kernels
from symc.optimizer import compiled, rows

GOLDEN = loading.GOLDEN / "sparse"
ANSWERS = json.loads((GOLDEN / "answers.json").read_text())["answers"]
SCENARIOS = loading.module_at(GOLDEN / "scenarios.py")

#: (scenario, number of the answer) -> reason
DIFFERENT = {
    ("assigning", 7): "MXNet raises a bare Exception where a key is no slice; TypeError is one",
    ("optimizers", 1): "MXNet's NAG decays the momentum by the new weight, but by the old one where it works on copies",
}


@pytest.mark.parametrize("scenario", SCENARIOS.SCENARIOS)
def test_answers(scenario):
    found, expected = SCENARIOS.run(mx, scenario), ANSWERS[scenario]
    assert len(found) == len(expected)
    if isinstance(expected, dict):
        found, expected = list(found.items()), list(map(list, expected.items()))
    for at, (ours, theirs) in enumerate(zip(found, expected)):
        if (scenario, at) not in DIFFERENT:
            assert json.dumps(ours) == json.dumps(theirs), (scenario, at)


@pytest.mark.parametrize("stype", ["csr", "row_sparse"])
def test_arrays_survive_a_pickle(stype):
    array = mx.nd.array([[0, 1.5], [0, 0], [2, 0]]).tostype(stype)
    again = pickle.loads(pickle.dumps(array))
    assert type(again) is type(array) and again.context == array.context
    np.testing.assert_array_equal(again.asnumpy(), array.asnumpy())


def test_scipy_matrices_come_and_go():
    scipy = pytest.importorskip("scipy.sparse")
    # not canonical: columns out of order, and one twice
    given = scipy.csr_matrix((np.array([1, 2, 3, 4, 5.0]), [2, 0, 1, 1, 0], [0, 2, 4, 5]), shape=(3, 3))
    for make in (mx.nd.array, mx.nd.sparse.array, mx.nd.sparse.csr_matrix):
        array = make(given)
        assert array.stype == "csr" and array.dtype == np.float64
        array.check_format()
        np.testing.assert_array_equal(array.asnumpy(), given.toarray())
        np.testing.assert_array_equal(array.asscipy().toarray(), given.toarray())


def test_coordinates_are_sorted_and_summed():
    array = mx.nd.sparse.csr_matrix(([1, 2, 3, 4], ([2, 0, 2, 2], [1, 2, 1, 0])), shape=(3, 4))
    array.check_format()
    np.testing.assert_array_equal(array.asnumpy(), [[0, 0, 2, 0], [0, 0, 0, 0], [4, 4, 0, 0]])
    with pytest.raises(ValueError, match="outside"):
        mx.nd.sparse.csr_matrix(([1], ([3], [0])), shape=(3, 4))


def test_a_write_that_cannot_reach_what_is_stored_is_an_error():
    array = mx.nd.ones((2, 2)).tostype("row_sparse")
    with pytest.raises(ValueError, match="read-only"):
        array._data[0] = 3


def test_falling_back_to_dense_is_told_once(caplog, monkeypatch):
    monkeypatch.delenv("MXNET_STORAGE_FALLBACK_LOG_VERBOSE", raising=False)
    monkeypatch.setattr(kernels, "_said", set())
    csr = mx.nd.array([[0, 1.0], [2, 0]]).tostype("csr")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            np.testing.assert_array_equal(mx.nd.softmax(csr).stype, "default")
            mx.nd.square(csr)
    assert [r.getMessage()[:7] for r in caplog.records] == ["softmax"]


def test_stored_values_of_any_number_are_computed_without_compiling(monkeypatch):
    monkeypatch.setattr(Function, "__call__", None)
    for count in range(1, 5):
        rows = mx.nd.ones((count, 3)).tostype("row_sparse")
        assert mx.nd.sin(rows + rows).stype == "row_sparse"


@pytest.mark.parametrize("stype", ["csr", "row_sparse"])
def test_variables_keep_their_storage_type(stype):
    net = mx.sym.cast_storage(mx.sym.Variable("x", stype=stype), stype="default")
    number = {"csr": "2", "row_sparse": "1"}[stype]
    assert mx.sym.load_json(net.tojson()).attr_dict()["x"] == {"__storage_type__": number}


def test_random_sparse_arrays_are_what_is_asked_for():
    np.random.seed(3)
    for stype in ("csr", "row_sparse"):
        array = mx.test_utils.rand_ndarray((20, 30), stype, density=0.5)
        array.check_format()
        assert array.stype == stype and 0.3 < (array.asnumpy() != 0).mean() < 0.7
    law, (indptr, indices, data) = mx.test_utils.rand_sparse_ndarray((8, 64), "csr", 0.25, distribution="powerlaw")
    assert len(data) == 128 and np.diff(indptr.asnumpy()).tolist() == [2, 4, 8, 16, 32, 64, 1, 1]
    rows = mx.test_utils.create_sparse_array_zd((9, 2), "row_sparse", 0.5, rsp_indices=[7, 2], data_init=3)
    assert rows.indices.asnumpy().tolist() == [2, 7] and (rows.data.asnumpy() == 3).all()


def test_gradients_come_in_the_storage_type_of_their_arrays():
    weight = mx.nd.array([[1.0, 2], [3, 4], [5, 6]])
    weight.attach_grad(stype="row_sparse")
    for _ in range(2):
        with mx.autograd.record():
            found = mx.nd.Embedding(mx.nd.array([2, 2, 0]), weight, input_dim=3, output_dim=2, sparse_grad=True)
        found.backward(mx.nd.array([[1, 2], [3, 4], [5, 6]]))
        assert weight.grad.indices.asnumpy().tolist() == [0, 2]
        assert weight.grad.data.asnumpy().tolist() == [[5, 6], [4, 6]]
    sparse = weight.tostype("csr")
    sparse.attach_grad("add")
    for count in (1, 2):
        with mx.autograd.record():
            found = (sparse * 3).sum()
        found.backward()
        assert sparse.grad.stype == "csr" and (sparse.grad.asnumpy() == 3 * count).all()


def test_a_sparse_step_compiles_no_program_for_every_number_of_rows(monkeypatch):
    optimizer = mx.optimizer.SGD(learning_rate=1.0, momentum=0.5)
    weight = mx.nd.zeros((100, 4))
    state = optimizer.create_state(0, weight)
    made = []
    bind = compiled.bind_step
    monkeypatch.setattr(rows, "bind_step", lambda *args: made.append(args) or bind(*args))
    for count in (1, 7, 30, 99):
        gradient = mx.nd.sparse.row_sparse_array((np.ones((count, 4)), np.arange(count)), (100, 4), dtype="float32")
        optimizer.update(0, weight, gradient, state)
    assert len(made) == 1
    assert weight.asnumpy()[[0, 1, 7, 30, 99], 0].tolist() == [-6.125, -4.25, -2.5, -1.0, 0.0]


def test_a_rule_that_a_subclass_changed_is_not_lazy():
    class Normed(mx.optimizer.SGD):
        def step(self, ctx, weight, grad, states, s):
            return weight - reduce_sum(grad, (0, 1)), ()

    weight = mx.nd.zeros((3, 2))
    gradient = mx.nd.sparse.row_sparse_array(([[1.0, 2.0]], [1]), (3, 2))
    Normed().update(0, weight, gradient, None)
    assert (weight.asnumpy() == -3).all()


LIBSVM = "1.0 0:0.5 2:1.2\n-2.0\n-3.0 2:1.2 0:0.6 1:2.4\n4 2:-1.2  # the last\n"


def test_libsvm_files_are_read_in_batches(tmp_path):
    data, label = tmp_path / "data.t", tmp_path / "label.t"
    data.write_text(LIBSVM)
    label.write_text("1.0\n-2.0 0:0.125\n-3.0 2:1.2\n4 1:1.0 2:-1.2\n")
    rows = np.array([[0.5, 0, 1.2], [0, 0, 0], [0.6, 2.4, 1.2], [0, 0, -1.2]], np.float32)
    it = mx.io.LibSVMIter(data_libsvm=str(data), data_shape=(3,), batch_size=3)
    assert it.provide_data[0].shape == (3, 3) and it.provide_label[0].shape == (3,)
    order = []
    for _ in range(2):
        for batch in it:
            batch.data[0].check_format()
            np.testing.assert_array_equal(batch.data[0].asnumpy(), rows[batch.index])
            order.append((batch.index.tolist(), batch.pad, batch.label[0].asnumpy().tolist()))
        it.reset()
    # the pass after one that was filled goes on behind what filled it
    first, second, third = order
    assert first == ([0, 1, 2], 0, [1, -2, -3]) and second == ([3, 0, 1], 2, [4, 1, -2])
    assert third[0] == [2, 3, 0]
    it = mx.io.LibSVMIter(str(data), (3,), str(label), (3,), batch_size=2)
    assert it.next().label[0].stype == "csr"
    np.testing.assert_array_equal(it.next().label[0].asnumpy(), np.array([[0, 0, 1.2], [0, 1, -1.2]], np.float32))


@pytest.mark.parametrize("line", ["1 -1:0.5", "1 3:0.5", "1 a:0.5", "x 1:0.5", "1 1:b"])
def test_libsvm_files_that_are_none_are_refused(tmp_path, line):
    path = tmp_path / "data.t"
    path.write_text(f"1 0:1\n{line}\n")
    with pytest.raises(mx.MXNetError, match="data.t"):
        mx.io.LibSVMIter(data_libsvm=str(path), data_shape=(3,), batch_size=1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_csr_arrays_are_those_of_dense_ones(shuffle):
    dense = np.where(np.arange(33).reshape(11, 3) % 4 == 0, np.arange(33).reshape(11, 3), 0).astype(np.float32)
    found = []
    for data in (mx.nd.array(dense).tostype("csr"), mx.nd.array(dense)):
        np.random.seed(5)
        it = mx.io.NDArrayIter(data, batch_size=4, shuffle=shuffle, last_batch_handle="discard")
        batches = [b for _ in range(2) for b in (it.reset(), *it)[1:]]
        assert {b.data[0].stype for b in batches} == {data.stype}
        found.append([(b.data[0].asnumpy().tolist(), b.pad) for b in batches])
    assert found[0] == found[1] and len(found[0]) == 4


@pytest.mark.parametrize("last", ["pad", "roll_over"])
def test_the_last_batch_of_csr_arrays_is_filled_by_nobody(last):
    """Neither of the data nor of the labels, as in MXNet."""
    dense = mx.nd.ones((3, 2))
    for data, label in ((dense.tostype("csr"), None), (dense, dense.tostype("csr"))):
        with pytest.raises(NotImplementedError, match="discard"):
            mx.io.NDArrayIter(data, label, 2, last_batch_handle=last)


def test_rows_are_pulled_from_a_store():
    kv = mx.kv.create()
    kv.init("w", mx.nd.ones((4, 2)).tostype("row_sparse") * 2)
    out, other = (mx.nd.sparse.zeros("row_sparse", (4, 2)) for _ in range(2))
    kv.row_sparse_pull("w", out=out, row_ids=mx.nd.array([3, 1, 3]))
    assert out.indices.asnumpy().tolist() == [1, 3] and (out.data.asnumpy() == 2).all()
    kv.set_optimizer(mx.optimizer.SGD(learning_rate=1.0, wd=0.5))
    kv.push("w", [mx.nd.sparse.row_sparse_array(([[1.0, 1]], [row]), (4, 2)) for row in (1, 1)])
    kv.row_sparse_pull("w", out=[out, other], row_ids=[mx.nd.array([0, 1]), mx.nd.array([1])])
    assert out.asnumpy()[:, 0].tolist() == [2, -1, 0, 0] and other.asnumpy()[:, 0].tolist() == [0, -1, 0, 0]
    kv.pull("w", out=other)
    assert other.asnumpy()[0, 0] == 0
    kv.pull("w", out=other, ignore_sparse=False)
    assert other.asnumpy()[:, 0].tolist() == [2, -1, 2, 2]
    for wrong in ({"out": mx.nd.zeros((4, 2)), "row_ids": mx.nd.array([0])}, {"out": out, "row_ids": mx.nd.array([4])}):
        with pytest.raises(mx.MXNetError, match="row_sparse_pull"):
            kv.row_sparse_pull("w", **wrong)

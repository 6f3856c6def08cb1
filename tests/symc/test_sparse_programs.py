"""Protects: Symbols bound to sparse arrays, and modules that train them, beside what tests/golden/sparse recorded."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

IDS = mx.nd.array([3, 1, 3])


def embedding(stype: str = "default", **kwargs):
    weight = mx.sym.Variable("w", stype=stype)
    found = mx.sym.Embedding(mx.sym.Variable("ids"), weight, input_dim=6, output_dim=2, sparse_grad=True)
    reqs = {"ids": "null", "w": "write"}
    return found.simple_bind(mx.cpu(), grad_req=kwargs.pop("grad_req", reqs), ids=(3,), w=(6, 2), **kwargs)


def test_a_gradient_has_the_rows_of_its_ids_though_they_are_zero():
    exe = embedding()
    exe.forward(is_train=True, ids=IDS)
    exe.backward(mx.nd.zeros((3, 2)))
    gradient = exe.grad_dict["w"]
    assert gradient.indices.asnumpy().tolist() == [1, 3] and not gradient.data.asnumpy().any()


def test_gradients_are_added_to():
    exe = embedding(grad_req={"ids": "null", "w": "add"})
    for ids in ([3, 1, 3], [0, 1, 1]):
        exe.forward(is_train=True, ids=mx.nd.array(ids))
        exe.backward(mx.nd.ones((3, 2)))
    assert exe.grad_dict["w"].stype == "row_sparse"
    assert exe.grad_dict["w"].asnumpy()[:, 0].tolist() == [1, 3, 0, 2, 0, 0]


def test_a_program_sees_what_its_sparse_arguments_become():
    exe = embedding("row_sparse")
    weight = exe.arg_dict["w"]
    for value in (mx.nd.ones((6, 2)), mx.nd.sparse.row_sparse_array(([[5.0, 6]], [3]), (6, 2)), mx.nd.ones((6, 2)) * 2):
        weight[:] = value
        np.testing.assert_array_equal(exe.forward(ids=IDS)[0].asnumpy(), value.asnumpy()[[3, 1, 3]])
    # all rows are stored: they are the program's memory, and a step on one of them is seen without a copy
    weight._write_rows(np.array([1]), np.array([[7.0, 8]]))
    assert weight._values is exe._inner.arg_dict["w"]._data
    assert exe.forward(ids=IDS)[0].asnumpy()[1].tolist() == [7, 8]


def test_csr_batches_of_other_sizes_reshape_an_executor():
    net = mx.sym.dot(mx.sym.Variable("data", stype="csr"), mx.sym.Variable("w"))
    exe = net.simple_bind(mx.cpu(), data=(2, 3), w=(3, 2), grad_req="null")
    exe.arg_dict["w"][:] = 1
    other = exe.reshape(data=(4, 3), w=(3, 2), allow_up_sizing=True)
    rows = np.eye(4, 3, dtype=np.float32)
    assert other.forward(data=mx.nd.array(rows).tostype("csr"))[0].asnumpy().sum() == 6
    assert other.arg_dict["data"].stype == "csr" and exe.arg_dict["data"].shape == (2, 3)


def test_what_a_module_with_a_sparse_weight_learned_is_saved(tmp_path):
    rows = (np.arange(48).reshape(8, 6) % 5 == 0).astype(np.float32)
    batches = mx.io.NDArrayIter(
        mx.nd.array(rows).tostype("csr"), np.ones((8, 1)), 4, last_batch_handle="discard", label_name="label"
    )
    product = mx.sym.dot(
        mx.sym.Variable("data", stype="csr"), mx.sym.Variable("net_weight", stype="row_sparse", shape=(6, 1))
    )
    net = mx.sym.LinearRegressionOutput(product, mx.sym.Variable("label"))
    module = mx.mod.Module(net, ["data"], ["label"])
    module.fit(
        batches, num_epoch=4, eval_metric="mse", initializer=mx.init.One(), optimizer_params={"learning_rate": 0.5}
    )
    module.save_checkpoint(str(tmp_path / "m"), 4, save_optimizer_states=True)
    again = mx.mod.Module.load(str(tmp_path / "m"), 4, data_names=["data"], label_names=["label"])
    again.bind(batches.provide_data, batches.provide_label, for_training=False)
    weight = again.get_params()[0]["net_weight"]
    assert weight.stype == "row_sparse" and not (weight.asnumpy() == 1).all()
    np.testing.assert_array_equal(module.predict(batches).asnumpy(), again.predict(batches).asnumpy())
    with pytest.raises(AssertionError, match="dict"):
        module.prepare(None, sparse_row_id_fn=lambda batch: [1])


def test_several_contexts_train_a_sparse_weight_as_one_does():
    rows = (np.arange(48).reshape(8, 6) % 5 == 0).astype(np.float32)
    found = []
    for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]):
        weight = mx.sym.Variable("net_weight", stype="row_sparse", shape=(6, 1))
        net = mx.sym.LinearRegressionOutput(
            mx.sym.dot(mx.sym.Variable("data", stype="csr"), weight), mx.sym.Variable("label")
        )
        batches = mx.io.NDArrayIter(
            mx.nd.array(rows).tostype("csr"), np.ones((8, 1)), 4, last_batch_handle="discard", label_name="label"
        )
        module = mx.mod.Module(net, ["data"], ["label"], context=contexts)
        settings = {"learning_rate": 0.5, "momentum": 0.9, "wd": 0.1}
        module.fit(batches, num_epoch=2, eval_metric="mse", initializer=mx.init.One(), optimizer_params=settings)
        found.append(module.get_params()[0]["net_weight"].asnumpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_gradient_array_that_is_not_asked_for_stays_as_it_is():
    """As with dense arrays: it is kept, and not written."""
    x, w = mx.sym.Variable("x"), mx.sym.Variable("w", stype="row_sparse")
    net = mx.sym.Embedding(x, weight=w, input_dim=4, output_dim=2, sparse_grad=True)
    weight = mx.nd.ones((4, 2)).tostype("row_sparse")
    kept = mx.nd.full((4, 2), 7).tostype("row_sparse")
    exe = net.bind(mx.cpu(), {"x": mx.nd.array([1, 3]), "w": weight}, {"w": kept}, {"x": "null", "w": "null"})
    exe.forward(is_train=True)
    exe.backward([mx.nd.ones((2, 2))])
    assert exe.grad_dict["w"] is kept and (kept.asnumpy() == 7).all()


def test_nothing_of_a_csr_batch_is_left_in_the_next():
    """Also where batches have nothing in common, no values, or more of them; and where the executor is reshaped."""
    rng = np.random.default_rng(3)
    x, w = mx.sym.Variable("x", stype="csr"), mx.sym.Variable("w")
    net = mx.sym.broadcast_add(mx.sym.dot(x, w), mx.sym.sum(x))
    exe = net.simple_bind(mx.cpu(), x=(4, 50), w=(50, 3), grad_req={"x": "null", "w": "write"})
    weight = rng.standard_normal((50, 3)).astype("f")
    exe.arg_dict["w"][:] = weight
    for rows, density in ((4, 0.1), (4, 0.0), (4, 0.3), (2, 0.1), (4, 0.05)):
        batch = rng.standard_normal((rows, 50)).astype("f") * (rng.random((rows, 50)) < density)
        if rows != exe.arg_dict["x"].shape[0]:
            exe = exe.reshape(x=(rows, 50), w=(50, 3), partial_shaping=True, allow_up_sizing=True)
        (made,) = exe.forward(is_train=True, x=mx.nd.array(batch).tostype("csr"))
        np.testing.assert_allclose(made.asnumpy(), batch @ weight + batch.sum(), rtol=1e-4, atol=1e-5)
        exe.backward(mx.nd.ones(made.shape))
        wanted = batch.T @ np.ones((rows, 3), "f")
        np.testing.assert_allclose(exe.grad_dict["w"].asnumpy(), wanted, rtol=1e-4, atol=1e-5)

"""Protects: programs that read what csr arguments store, beside the same programs of dense arrays; the memory that they
do without."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import symc as mx

X, W, B = mx.sym.Variable("x", stype="csr"), mx.sym.Variable("w"), mx.sym.Variable("b")
#: by name: a Symbol of a csr x of (4, 50), and the shapes of its other arguments
NETS = {
    "matrix": (lambda x: mx.sym.dot(x, W), {"w": (50, 3)}),
    "vector": (lambda x: mx.sym.dot(x, W), {"w": (50,)}),
    "turned": (lambda x: mx.sym.dot(x, W, transpose_a=True), {"w": (4, 3)}),
    "by turned": (lambda x: mx.sym.dot(x, W, transpose_b=True), {"w": (3, 50)}),
    "dense": (lambda x: mx.sym.FullyConnected(x, W, B, num_hidden=3), {"w": (3, 50), "b": (3,)}),
    "dense, no bias": (lambda x: mx.sym.FullyConnected(x, W, num_hidden=3, no_bias=True), {"w": (3, 50)}),
    "sums": (
        lambda x: mx.sym.broadcast_add(
            mx.sym.sum(x, axis=1, keepdims=True), mx.sym.sum(mx.sym.sqrt(mx.sym.abs(x)), axis=0, keepdims=True) * W
        ),
        {"w": (1, 50)},
    ),
    "mapped": (lambda x: mx.sym.dot(mx.sym.square(-2 * x), W) + mx.sym.dot(x, mx.sym.square(W)), {"w": (50, 3)}),
    "factorisation": (
        lambda x: mx.sym.sum(mx.sym.square(mx.sym.dot(x, W)), axis=1, keepdims=True)
        - mx.sym.dot(mx.sym.square(x), mx.sym.sum(mx.sym.square(W), axis=1, keepdims=True)),
        {"w": (50, 3)},
    ),
}  # fmt: skip


def bound(name, rows=4, dtype="float32"):
    make, shapes = NETS[name]
    given = {"x": (rows, 50), **shapes}
    types = dict.fromkeys(given, dtype)
    reqs = {key: "null" if key == "x" else "write" for key in given}
    return [make(x).simple_bind(mx.cpu(), grad_req=reqs, type_dict=types, **given) for x in (X, mx.sym.Variable("x"))]


@pytest.mark.parametrize("name", NETS)
def test_what_is_stored_is_enough(name):
    """Batches that store nothing, little, and so much that the program is made anew."""
    rng = np.random.default_rng(5)
    sparse, dense = bound(name)
    assert sparse._parts and "x" not in sparse._twins
    for key in sparse.arg_dict.keys() - {"x"}:
        sparse.arg_dict[key][:] = dense.arg_dict[key][:] = rng.standard_normal(dense.arg_dict[key].shape)
    for density in (0.1, 0.0, 0.9, 1.0, 0.02):
        batch = rng.standard_normal((4, 50)) * (rng.random((4, 50)) < density)
        results = [e.forward(True, x=x) for e, x in zip((sparse, dense), (mx.nd.array(batch).tostype("csr"), batch))]
        np.testing.assert_allclose(results[0][0].asnumpy(), results[1][0].asnumpy(), rtol=1e-5, atol=1e-5)
        head = mx.nd.array(rng.standard_normal(results[0][0].shape))
        for exe in (sparse, dense):
            exe.backward(head)
        for key in sparse.arg_dict.keys() - {"x"}:
            found, wanted = sparse.grad_dict[key].asnumpy(), dense.grad_dict[key].asnumpy()
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(sparse.forward(False)[0].asnumpy(), results[0][0].asnumpy())
    assert sparse.outputs[0].shape == dense.outputs[0].shape


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_types(dtype):
    """Half precision is summed in single."""
    sparse, _ = bound("matrix", dtype=dtype)
    sparse.arg_dict["w"][:] = 1
    batch = np.full((4, 50), 0.1, dtype)
    (made,) = sparse.forward(x=mx.nd.array(batch, dtype=dtype).tostype("csr"))
    assert made.dtype == np.dtype(dtype)
    np.testing.assert_allclose(
        made.asnumpy(), batch.astype("d") @ np.ones((50, 3)), rtol=1e-3 if dtype == "float16" else 1e-14
    )


def test_what_the_other_factor_has_where_nothing_is_stored_is_not_read():
    sparse, _ = bound("matrix")
    sparse.arg_dict["w"][:] = np.where(np.arange(50)[:, None] == 7, 2, np.nan)
    batch = np.zeros((4, 50), "f")
    batch[2, 7] = 3
    (made,) = sparse.forward(x=mx.nd.array(batch).tostype("csr"))
    assert made.asnumpy().tolist() == [[0] * 3, [0] * 3, [6] * 3, [0] * 3]


def test_names_and_monitors_are_those_of_the_symbol():
    net = mx.sym.FullyConnected(mx.sym.square(X, name="sq"), num_hidden=3, name="fc")
    exe = net.simple_bind(mx.cpu(), grad_req={"x": "null", "fc_weight": "write", "fc_bias": "add"}, x=(2, 9))
    assert exe._parts and list(exe.output_dict) == ["fc_output"] and list(exe.arg_dict) == net.list_arguments()
    seen = []
    exe.set_monitor_callback(lambda name, array: seen.append(name))
    for count in (2, 90):
        batch = mx.nd.sparse.csr_matrix(np.ones((2, 9)))
        exe.arg_dict["fc_bias"][:] = count
        assert exe.forward(True, x=batch)[0].asnumpy()[0, 0] == count
        exe.backward(mx.nd.ones((2, 3)))
    assert "fc_output" in seen and exe.grad_dict["fc_bias"].asnumpy().tolist() == [4] * 3


@pytest.mark.parametrize(
    ("net", "reqs"),
    [
        (mx.sym.broadcast_add(mx.sym.dot(X, W), mx.sym.sum(X)), "null"),
        (mx.sym.dot(X, W), {"x": "write", "w": "null"}),
        (mx.sym.Group([mx.sym.dot(X, W), mx.sym.abs(X)]), "null"),
        (mx.sym.dot(mx.sym.dot(mx.sym.Variable("w"), X), mx.sym.Variable("v", shape=(50, 2))), "null"),
    ],
    ids=["sum of all", "its gradient", "an output", "on the right"],
)
def test_a_reader_that_needs_the_matrix_has_a_dense_one(net, reqs):
    shapes = {"w": (2, 4)} if "v" in net.list_arguments() else {"w": (50, 3)}
    exe = net.simple_bind(mx.cpu(), grad_req=reqs, x=(4, 50), **shapes)
    assert not exe._parts and exe._twins["x"].shape == (4, 50)


def test_a_matrix_that_does_not_fit_is_refused_where_a_reader_needs_it_dense():
    shapes = {"x": (1 << 20, 1 << 24), "w": (1 << 24, 1)}
    assert mx.sym.dot(X, W).simple_bind(mx.cpu(), grad_req="null", **shapes)._parts
    with pytest.raises(mx.MXNetError, match=r"'x', of storage type csr, is read as a dense array.*dot"):
        mx.sym.broadcast_add(mx.sym.dot(X, W), mx.sym.max(X)).simple_bind(mx.cpu(), grad_req="null", **shapes)


def test_a_million_columns_train_from_a_file(tmp_path, caplog):
    """Logistic regression on LibSVM data: what a batch takes is what it stores."""
    columns, rng = 1_000_000, np.random.default_rng(2)
    lines = []
    for at in range(64):
        stored = np.unique(rng.integers(100, columns, 20))
        told = [f"{c}:{rng.random():.3f}" for c in stored]
        lines.append(f"{at % 2} {at % 2}:1 {' '.join(told)}")
    path = tmp_path / "data.libsvm"
    path.write_text("\n".join(lines))
    data = mx.io.LibSVMIter(data_libsvm=str(path), data_shape=(columns,), batch_size=16)
    weight = mx.sym.Variable("weight", stype="row_sparse", shape=(columns, 2), init=mx.init.Zero())
    net = mx.sym.SoftmaxOutput(mx.sym.dot(mx.sym.Variable("data", stype="csr"), weight), name="softmax")
    module = mx.mod.Module(net)
    with caplog.at_level(logging.WARNING):
        module.fit(data, num_epoch=2, optimizer_params={"learning_rate": 1.0}, eval_metric="acc")
    assert dict(module.score(data, "acc"))["accuracy"] == 1 and "dense copies" not in caplog.text
    (exe,) = module._exec_group.execs
    assert exe.grad_dict["weight"].indices.shape[0] < 16 * 21 + 2 and exe._inner.arg_dict["data.values"].size == 512

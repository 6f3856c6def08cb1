"""boolean_mask: an output whose size only its mask tells; protects the executor's counting and recompiling."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx


def test_size_follows_the_mask_from_run_to_run() -> None:
    data, index = mx.sym.Variable("data"), mx.sym.Variable("index")
    net = mx.sym.contrib.boolean_mask(data, index) * 2
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    exe = net.bind(mx.cpu(), {"data": mx.nd.array(values), "index": mx.nd.array([1, 0, 0, 1])})
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), 2 * values[[0, 3]])
    exe.arg_dict["index"][:] = mx.nd.array([0, 1, 1, 1])
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), 2 * values[1:])


def test_gradient_goes_to_the_kept_rows() -> None:
    data, index = mx.sym.Variable("data"), mx.sym.Variable("index")
    net = mx.sym.contrib.boolean_mask(data, index)
    arrays = {"data": mx.nd.ones((3, 2)), "index": mx.nd.array([1, 0, 1])}
    grads = {"data": mx.nd.zeros((3, 2))}
    exe = net.bind(mx.cpu(), arrays, grads, {"data": "write", "index": "null"})
    exe.forward(is_train=True)
    exe.backward(mx.nd.array([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(grads["data"].asnumpy(), [[1, 2], [0, 0], [3, 4]])


def test_imperative() -> None:
    made = mx.nd.contrib.boolean_mask(mx.nd.array([[1, 2], [3, 4]]), mx.nd.array([0, 1]))
    np.testing.assert_array_equal(made.asnumpy(), [[3, 4]])


def _after_the_mask(dim: int) -> list[mx.sym.Symbol]:
    x = mx.sym.Variable("x")
    chosen = mx.sym.contrib.boolean_mask(mx.sym.Variable("data"), mx.sym.Variable("index"))
    return [chosen, mx.sym.Concat(chosen, x, chosen, dim=dim), mx.sym.Concat(x, chosen, dim=dim), chosen + x]


@pytest.mark.parametrize("dim", [0, 1])
def test_inference_ends_where_an_operator_has_to_run(dim: int) -> None:
    """As MXNet's: not even a reader of the masked rows whose other input is known gets a shape."""
    for net in _after_the_mask(dim):
        given = {"data": (4, 2), "index": (4,), "x": (3, 2)}
        known = {name: given[name] for name in net.list_arguments()}
        assert net.infer_shape(**known) == (None, None, None)
        shapes, outputs, _ = net.infer_shape_partial(**known)
        assert outputs == [()] and shapes == [*known.values()]

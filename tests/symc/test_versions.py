"""Whoever computed something from an array has to learn of every write to it: for each way of writing there is, a net
predicts, the write happens, and the net predicts what one that is bound afterwards does."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.base import NDArrayHandle
from symc.compile import compile_graph
from symc.ir.parse import parse
from symc.runtime.versions import version_of

SHAPE = (4, 6)
WAYS: dict[str, Callable[[Any], Any]] = {}


def way(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A way of writing to an array of SHAPE; what it gives lives on until the array has been looked at."""
    WAYS[function.__name__] = function
    return function


def some(seed: int = 1) -> np.ndarray:
    return np.random.RandomState(seed).uniform(-1, 1, SHAPE).astype(np.float32)


def ready(array: Any) -> Any:
    """A fused net reading its weight, to be written to in many ways."""
    data = mx.sym.Variable("data")
    net = mx.sym.FullyConnected(data, mx.sym.exp(mx.sym.Variable("w_weight")), num_hidden=4, no_bias=True, name="fc")
    exe = net.bind(mx.cpu(), {"data": mx.nd.array(some(5)), "w_weight": array}, grad_req="null")
    exe.forward()
    return exe


#: ... in Python, by what an NDArray has
for _name, _statement in {
    "whole": "w[:] = 2", "row": "w[1] = 3", "part": "w[1:3, 2:] = 3", "element": "w[1, 2] = 3",
    "steps": "w[::2] = 4", "rows by an array": "w[mx.nd.array([0, 2])] = 5", "mask": "w[w.asnumpy() > 0] = 7",
    "add": "w += 1", "sub": "w -= 1", "mul": "w *= 2", "div": "w /= 2", "mod": "w %= 0.3", "pow": "w **= 2",
    "row of a view": "w[1:][1][:] = 2", "view by reshape": "w.reshape((-1,))[3] = 9", "detached": "w.detach()[:] = 3",
    "flat": "w.flatten(inplace=True)[:] = 1", "squeezed": "w.expand_dims(0, inplace=True).squeeze(0, True)[:] = 8",
    "iterated": "next(iter(w))[:] = 4", "at": "w._at(1)[:] = 4", "slice": "w._slice(1, 2)[:] = 4",
    "filled": "w._full(3)", "synchronised": "w._sync_copyfrom(some(3))",
    "scalar": "w.slice_assign_scalar(3, (0,), (2,))",
    "slice of another": "w.slice_assign(mx.nd.ones((1, 6)), (1,), (2,))", "copyto": "mx.nd.array(some(3)).copyto(w)",
    "copy of sparse": "mx.nd.array(some(3)).tostype('row_sparse').copyto(w)",
    "full": "mx.nd.full(w.shape, 3, out=w)", "zeros": "mx.nd.zeros(w.shape, out=w)",
    "ones": "mx.nd.ones(w.shape, out=w)",
    "onehot": "mx.nd.onehot_encode(mx.nd.array([0, 1, 5, 2]), w)", "out": "mx.nd.exp(w, out=w)",
    "out of a view": "mx.nd.exp(w[1:2], out=w[1:2])", "binary out": "mx.nd.broadcast_add(w, w, out=w)",
    "uniform": "mx.nd.random.uniform(0, 1, w.shape, out=w)", "normal": "mx.nd.random.normal(0, 1, w.shape, out=w)",
    "shuffled": "mx.nd.shuffle(w, out=w)", "sampled": "mx.random.uniform(0, 1, w.shape, out=w)",
    "sgd": "mx.nd.sgd_update(w, w, lr=0.5, out=w)", "adam": "mx.nd.adam_update(w, w, w * 0, w * 0, lr=0.5, out=w)",
    "momentum": "mx.nd.sgd_mom_update(w * 1, w * 1, w, lr=0.5)",
    "mean": "mx.nd.adam_update(w * 1, w * 1, w, w * 0, lr=0.5)",
    "many": "mx.nd.multi_sgd_update(w, w, lrs=(0.5,), wds=(0.0,), out=w)",
    "initialized": "mx.init.Uniform(3.0)(mx.init.InitDesc('w_weight'), w)",
    "array for numpy": "w.__array__(copy=False)[1] = 3", "data": "w._data[1] = 3",
    "dlpack": "mx.nd.from_dlpack(w)._data[1] = 3",
    "handle": "mx.nd.NDArray(ctypes.cast(w, NDArrayHandle))[:] = 3",
    "optimizer": "mx.optimizer.SGD(0.5).update(0, w, w * 1, None)",
    "updater": "mx.optimizer.get_updater(mx.optimizer.Adam(0.5))(0, w * 1, w)",
    "sparse updater": "mx.optimizer.get_updater(mx.optimizer.SGD(0.5))(0, (w * 1).tostype('row_sparse'), w)",
    "bound": "ready(w * 1).copy_params_from({'w_weight': mx.nd.ones(w.shape)}) or ready(w).forward(w_weight=w * 3)",
    "copied to": "ready(w).copy_params_from({'w_weight': mx.nd.ones(w.shape)})",
}.items():  # fmt: skip

    def _written(w: Any, statement: str = _statement) -> None:
        exec(statement, {**globals(), "w": w})

    WAYS[_name] = _written


@way
def array_that_numpy_keeps(w: Any) -> Any:
    seen = w.__array__(copy=False)[1:]
    yield seen
    seen[0] = 4


@way
def memory_that_dlpack_keeps(w: Any) -> Any:
    seen = mx.nd.from_dlpack(w)._data
    yield seen
    seen[2] = 4


@way
def pulled(w: Any) -> None:
    store = mx.kv.create("local")
    store.init(3, mx.nd.ones(w.shape))
    store.pull(3, out=w)


@way
def pushed_and_pulled(w: Any) -> None:
    store = mx.kv.create("local")
    store.init(3, mx.nd.ones(w.shape))
    store.pushpull(3, w * 2, out=w)


@way
def held_by_a_store(w: Any) -> None:
    store = mx.kv.create("local")
    store.set_optimizer(mx.optimizer.SGD(0.5))
    store.init(3, w)
    store.push(3, w * 2)
    store.pull(3, out=w)


@way
def gradient_of_the_tape(w: Any) -> None:
    x = mx.nd.ones(w.shape)
    mx.autograd.mark_variables([x], [w])
    with mx.autograd.record():
        y = (x * 3).sum()
    y.backward()


@way
def added_gradient_of_the_tape(w: Any) -> None:
    x = mx.nd.ones(w.shape)
    mx.autograd.mark_variables([x], [w], "add")
    with mx.autograd.record():
        y = (x * 3).sum()
    y.backward()


@way
def gradient_of_an_executor(w: Any) -> Any:
    net = mx.sym.sum(mx.sym.Variable("x") * 3)
    exe = net.bind(mx.cpu(), {"x": mx.nd.ones(w.shape)}, {"x": w})
    exe.forward(True)
    exe.backward(mx.nd.ones((1,)))
    yield exe
    exe.backward(mx.nd.array([5.0]))


@way
def added_gradient_of_an_executor(w: Any) -> Any:
    net = mx.sym.sum(mx.sym.Variable("x") * 3)
    exe = net.bind(mx.cpu(), {"x": mx.nd.ones(w.shape)}, {"x": w}, "add")
    exe.forward(True)
    exe.backward(mx.nd.ones((1,)))
    yield exe
    exe.forward(True)
    exe.backward(mx.nd.ones((1,)))


def normalized() -> Any:
    return mx.sym.BatchNorm(mx.sym.Variable("x"), fix_gamma=False, momentum=0.5, name="bn")


def states(w: Any) -> dict[str, Any]:
    """The mean is a part of the array."""
    return {"bn_moving_mean": w.reshape((-1,))[:6], "bn_moving_var": mx.nd.ones((6,))}


@way
def states_of_an_executor(w: Any) -> Any:
    args = {"x": mx.nd.array(some(3) + 7), "bn_gamma": mx.nd.ones((6,)), "bn_beta": mx.nd.ones((6,))}
    exe = normalized().bind(mx.cpu(), args, {"x": mx.nd.zeros(w.shape)}, aux_states=states(w))
    exe.forward(is_train=True)
    yield exe
    exe.backward(mx.nd.ones(w.shape))


@way
def states_of_a_recorded_call(w: Any) -> None:
    ones = mx.nd.ones((6,))
    x = mx.nd.array(some(3) + 7)
    x.attach_grad()
    with mx.autograd.record():
        y = mx.nd.BatchNorm(x, ones, ones, *states(w).values(), fix_gamma=False, momentum=0.5)
    y.backward()


@way
def states_of_a_called_symbol(w: Any) -> None:
    net = normalized()
    ones = mx.nd.ones((6,))
    call = mx.nd.CachedOp(net)
    x = mx.nd.array(some(3) + 7)
    x.attach_grad()
    given = {"x": x, "bn_gamma": ones, "bn_beta": ones, **states(w)}
    with mx.autograd.record():
        y = call(*[given[n] for n in net.list_inputs()])
    y.backward()


class Counting(mx.operator.CustomOp):
    def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        aux[0][:] += 1
        self.assign(out_data[0], req[0], in_data[0])

    def backward(self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        aux[0][:] += 10
        self.assign(in_grad[0], req[0], out_grad[0])


@mx.operator.register("counting_versions")
class CountingProp(mx.operator.CustomOpProp):
    def list_auxiliary_states(self) -> list[str]:
        return ["count"]

    def infer_shape(self, in_shape: Any) -> Any:
        return in_shape, in_shape, in_shape

    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Any:
        return Counting()


@way
def states_of_an_operator_in_python(w: Any) -> Any:
    x = mx.nd.ones(w.shape)
    x.attach_grad()
    with mx.autograd.record():
        y = mx.nd.Custom(x, w, op_type="counting_versions")
    yield
    y.backward()


@way
def states_of_a_bound_operator_in_python(w: Any) -> Any:
    net = mx.sym.Custom(mx.sym.Variable("x"), op_type="counting_versions", name="c")
    exe = net.bind(mx.cpu(), {"x": mx.nd.ones(w.shape)}, {"x": mx.nd.ones(w.shape)}, aux_states={"c_count": w})
    exe.forward(True)
    yield
    exe.backward(mx.nd.ones(w.shape))


@way
def outputs_of_an_executor(w: Any) -> Any:
    """Nothing is written to the array: the executor's output is what the net reads."""
    exe = (mx.sym.Variable("x") * 2).bind(mx.cpu(), {"x": w}, grad_req="null")
    yield exe.forward()[0]
    exe.forward(x=w * 2)


@way
def the_library(w: Any) -> Any:
    """A program of the compiler as a library, bound to the array."""
    text = """symc ir 1 level=tensor
func @f(%w: f32[4,6] arg) -> () {
  %y: f32[4,6] = add(%w, 1.0) !1
  return
    update %w = %y
}
!1 = sym "y" broadcast_add
"""
    instance = compile_graph(parse(text)).bind({"w": w._data})
    instance.run()
    yield instance
    instance.run_forward()


@way
def module_that_trains(w: Any) -> None:
    module = mx.mod.Module(mx.sym.SoftmaxOutput(small(), name="softmax"), label_names=["softmax_label"])
    module.bind([("data", (4, 6))], [("softmax_label", (4,))])
    module.init_params(mx.init.One())
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    batch = mx.io.DataBatch([mx.nd.array(some(2))], [mx.nd.array([0, 1, 2, 3])])
    module.forward_backward(batch)
    module.update()
    module.get_params()[0]["fc_weight"].copyto(w)


def small() -> Any:
    return mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, no_bias=True, name="fc")


@way
def another_thread(w: Any) -> None:
    thread = threading.Thread(target=lambda: w.__setitem__(slice(None), 3))
    thread.start()
    thread.join()


def predicted(net: Any, w: Any, data: Any) -> np.ndarray:
    return net.bind(mx.cpu(), {"data": data, "w_weight": w}, grad_req="null").forward()[0].asnumpy()


@pytest.mark.parametrize("name", WAYS)
def test_every_way_of_writing_is_seen(name: str):
    w = mx.nd.array(some())
    exe = ready(w)
    held = [exe.arg_dict["w_weight"]]
    net, data = exe._symbol, exe.arg_dict["data"]
    run = WAYS[name](w)
    steps = [None]
    if run is not None:  # what is written before and after it stops
        steps = [next(run)]
        if isinstance(steps[0], mx.nd.NDArray):
            held = [steps[0]]
            exe = ready(held[0])
    seen = [exe.forward()[0].asnumpy()]
    np.testing.assert_array_equal(seen[0], predicted(net, held[0], data))
    if run is not None:
        before = held[0].asnumpy()
        assert next(run, None) is None
        assert (before != held[0].asnumpy()).any(), "nothing was written"
    else:
        assert (held[0].asnumpy() != some()).any(), "nothing was written"
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), predicted(net, held[0], data))


@pytest.mark.parametrize("name", [n for n in WAYS if n not in ("outputs_of_an_executor",)])
def test_every_way_of_writing_makes_a_version(name: str):
    w = mx.nd.array(some())
    first = version_of(w._read)
    run = WAYS[name](w)
    if run is not None:
        kept = [next(run)]
        first = version_of(w._read)
        next(run, None)
        del kept
    assert first is None or version_of(w._read) != first


def test_reading_makes_no_version():
    w = mx.nd.array(some())
    exe = ready(w)
    first = version_of(w._read)
    assert first is not None
    _ = (w.asnumpy(), w[1].asnumpy(), w + 1, mx.nd.exp(w), repr(w), np.asarray(w), w.copy(), w.copyto(mx.cpu()))
    w.copyto(mx.nd.zeros(SHAPE))
    exe.forward()
    exe.forward(data=mx.nd.ones((4, 6)))
    assert version_of(w._read) == first


def test_memory_in_other_hands_has_no_version_as_long_as_they_hold_it():
    w = mx.nd.array(some())
    first = version_of(w._read)
    seen = w[1:].__array__(copy=False)
    part = seen[1:2]
    del seen
    gc.collect()
    assert version_of(w._read) is None
    part[:] = 7
    del part
    gc.collect()
    assert version_of(w._read) not in (None, first)
    other = np.from_dlpack(w)
    assert version_of(w._read) is None
    del other
    gc.collect()
    assert version_of(w._read) is not None


def test_memory_that_symc_has_not_allocated_has_no_version():
    base = some()
    for array in (mx.nd.from_numpy(some()), mx.nd.NDArray(base), mx.nd.from_dlpack(some())):
        assert version_of(array._read) is None
    assert version_of(mx.nd.from_numpy(some(), zero_copy=False)._read) is not None


def test_views_have_the_version_of_the_whole():
    w = mx.nd.zeros((3000, 300))  # pages of its own
    views = [w, w[5:9], w.reshape((300, 3000))[7], w.T.T, w.detach()]
    first = [version_of(v._read) for v in views]
    views[2][:] = 1
    assert [a != version_of(v._read) for v, a in zip(views, first)] == [True, True, True, False, True]


assert ctypes and NDArrayHandle  # read by the statements above

"""Protects values that are computed again in the backward half: the same gradients bit for bit in less memory, within a
budget that is kept or refused; and Executors, Modules and Symbols that ask for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.program.recompute import Recompute

Arrays = dict[str, np.ndarray]


def residual(units: int) -> mx.sym.Symbol:
    """Units of two convolutions with batch norm, as ResNet's, on a path that nothing interrupts."""
    x = mx.sym.Convolution(mx.sym.Variable("data"), kernel=(3, 3), pad=(1, 1), num_filter=4, no_bias=True, name="stem")
    for unit in range(units):
        y = x
        for half in "ab":
            y = mx.sym.BatchNorm(y, fix_gamma=half == "a", name=f"norm{unit}{half}")
            y = mx.sym.Activation(y, act_type="relu")
            y = mx.sym.Convolution(y, kernel=(3, 3), pad=(1, 1), num_filter=4, no_bias=True, name=f"conv{unit}{half}")
        x = x + y
    x = mx.sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type="avg")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=3, name="fc"), name="softmax")


def noisy(layers: int) -> mx.sym.Symbol:
    """Dropout, and values that are views of others."""
    x = mx.sym.Variable("data")
    x = mx.sym.slice_axis(mx.sym.reshape(x, shape=(0, -1)), axis=1, begin=0, end=16)
    for layer in range(layers):
        w = mx.sym.Variable(f"w{layer}", shape=(16, 16))
        y = mx.sym.Dropout(mx.sym.dot(x, w), p=0.3, name=f"drop{layer}")
        x = mx.sym.tanh(mx.sym.reshape(mx.sym.reshape(y, shape=(-1,)), shape=(-1, 16)) + mx.sym.sin(x))
    return mx.sym.MakeLoss(mx.sym.sum(x * x))


def looped(steps: int) -> mx.sym.Symbol:
    """A loop, which is kept, between layers that are not."""
    x = mx.sym.tanh(mx.sym.Variable("data") * 2.0)
    x = mx.sym.sigmoid(mx.sym.reshape(x, shape=(steps, -1)) + 1.0)
    outs, last = mx.sym.contrib.foreach(lambda row, h: (mx.sym.tanh(row + h),) * 2, x, mx.sym.Variable("h"))
    return mx.sym.MakeLoss(mx.sym.sum(mx.sym.exp(mx.sym.sin(outs * 3.0)) * outs) + mx.sym.sum(last))


NETS: dict[str, tuple[Any, dict[str, tuple[int, ...]]]] = {
    "residual": (residual(9), {"data": (2, 4, 6, 6)}),
    "noisy": (noisy(12), {"data": (8, 4, 8)}),
    "looped": (looped(5), {"data": (20, 30), "h": (120,)}),
}


def trained(net: mx.sym.Symbol, shapes: dict[str, tuple[int, ...]], **options: Any) -> tuple[Arrays, int]:
    """What a training step leaves in outputs, gradients and states; and the bytes of its arena."""
    exe = net.simple_bind(mx.cpu(), **shapes, **options)
    rng = np.random.default_rng(0)
    for array in exe.arg_dict.values():
        array[:] = rng.normal(0, 0.5, array.shape)
    mx.random.seed(7)
    exe.forward(is_train=True)
    exe.backward()
    found = {**exe.output_dict, **exe.grad_dict, **exe.aux_dict}
    return {name: array.asnumpy() for name, array in found.items()}, exe._instances[True].executable.program.arena


@pytest.mark.parametrize("name", NETS)
def test_the_same_in_less_memory(name: str) -> None:
    net, shapes = NETS[name]
    plain, most = trained(net, shapes)
    again, least = trained(net, shapes, memory_budget=0)
    assert least < (0.5 if name != "looped" else 1.0) * most
    for key, value in plain.items():
        np.testing.assert_array_equal(again[key], value, key)
    between = (least + most) // 2
    middle, used = trained(net, shapes, memory_budget=between)
    assert least <= used <= between
    np.testing.assert_array_equal(middle["data"], plain["data"])


def test_memory_grows_as_the_square_root_of_depth() -> None:
    """Four times as many layers need about twice the memory, where keeping everything needs four times as much."""
    shapes = {"data": (1, 4, 8, 8)}
    few, many = (trained(residual(units), shapes, memory_budget=0)[1] for units in (9, 36))
    assert many < 2.6 * few
    assert trained(residual(36), shapes)[1] > 4 * many


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    net, shapes = NETS["residual"]
    with pytest.raises(mx.MXNetError, match=r"memory_budget=1000, but training needs \d+ bytes"):
        trained(net, shapes, memory_budget=1000)
    for wrong in (-1, 2.5, "1G"):
        with pytest.raises(ValueError, match="memory_budget"):
            net.simple_bind(mx.cpu(), memory_budget=wrong, **shapes)
    assert net.simple_bind(mx.cpu(), grad_req="null", memory_budget=1000, **shapes).forward()[0].shape == (2, 3)


def test_symbols_and_the_environment_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As MXNet's mirroring."""
    net, shapes = NETS["residual"]
    least = trained(net, shapes, memory_budget=0)[1]
    with mx.AttrScope(force_mirroring="True"):
        assert trained(residual(9), shapes)[1] == least
    monkeypatch.setenv("MXNET_BACKWARD_DO_MIRROR", "1")
    assert trained(net, shapes)[1] == least


def test_a_reshaped_executor_keeps_the_budget() -> None:
    small = noisy(12).simple_bind(mx.cpu(), memory_budget=0, data=(8, 4, 8))
    exe = small.reshape(allow_up_sizing=True, data=(16, 4, 8))
    plain = noisy(12).simple_bind(mx.cpu(), data=(16, 4, 8))
    for each in (exe, plain):
        each.forward(is_train=True)
    assert 2 * exe._instances[True].executable.program.arena < plain._instances[True].executable.program.arena


def test_a_module_trains_in_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step is one program without halves: what comes second begins where most bytes are alive."""
    weights, arenas = [], []
    for mirror in "01":
        monkeypatch.setenv("MXNET_BACKWARD_DO_MIRROR", mirror)
        mx.random.seed(3)
        np.random.seed(3)
        module = mx.mod.Module(residual(9))
        module.bind([("data", (2, 4, 6, 6))], [("softmax_label", (2,))])
        module.init_params(mx.init.Uniform(0.3))
        module.init_optimizer(optimizer_params={"learning_rate": 0.1, "momentum": 0.9})
        images = mx.nd.array(np.random.default_rng(1).normal(size=(2, 4, 6, 6)))
        seen: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(Manager, "run", _watching(Manager.run, seen))
            for _ in range(2):
                module.forward_backward(mx.io.DataBatch([images], [mx.nd.array([0, 1])]))
                module.update()
            module.get_params()
        arenas.append(max(seen))
        weights.append({name: array.asnumpy() for name, array in module.get_params()[0].items()})
    assert arenas[1] < 0.5 * arenas[0]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], value, name)


def _watching(run: Any, arenas: list[int]) -> Any:
    def watched(self: Manager, passes: Any, module: Any) -> Any:
        made = run(self, passes, module)
        arenas.append(getattr(getattr(made, "program", None), "arena", 0))
        return made

    return watched


class Some(Instrument):
    """Lets every third step run again."""

    def __init__(self) -> None:
        self.asked = 0

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        self.asked += rule == "recompute"
        return rule != "recompute" or number % 3 == 0


@pytest.mark.parametrize("name", NETS)
def test_what_is_vetoed_is_kept(name: str) -> None:
    """Any part of the pass's actions leaves a right program."""
    from symc.compile import emit, pipeline
    from symc.typed import complete, module_of

    net, shapes = NETS[name]
    found, _ = complete(net, shapes)
    passes = pipeline(True, ["data"])
    at = 1 + [p.name for p in passes].index("schedule")
    results = []
    for extra in ([], [Recompute()]):
        instrument = Some()
        loops = Manager([instrument], verify=True).run([*passes[:at], *extra, *passes[at:]], module_of(net, found))
        assert bool(instrument.asked) == bool(extra)
        rng = np.random.default_rng(0)
        arrays = {p.name: rng.normal(0, 0.5, p.type.shape) for p in loops.program.params if p.role != "key"}
        keys = {p.name: np.array([1, 2], np.uint32) for p in loops.program.params if p.role == "key"}
        from symc.codegen.target import host_target

        results.append(emit(loops, host_target())(**arrays, **keys))
    for key, value in results[0].items():
        np.testing.assert_array_equal(results[1][key], value, key)

"""Protects the rule of symc.sharing: to reshape, to share or to copy never makes a parameter anew. Answers and refusals
are those of MXNet 1.9.1 (tests/golden/runtime/sharing.txt); refusals say which array, its two shapes, whose it is."""

from __future__ import annotations

import json

import loading
import numpy as np
import pytest

import symc as mx

GOLDEN = loading.GOLDEN / "runtime"
ANSWERS = json.loads((GOLDEN / "sharing.json").read_text())
QUESTIONS = loading.module_at(GOLDEN / "questions.py")
DIFFERENT = QUESTIONS.different("sharing")
USE = QUESTIONS.names(mx)
#: what a refusal may be; a KeyError or an IndexError would be an accident
REFUSALS = ("MXNetError", "AssertionError", "RuntimeError", "ValueError")


def refused(answer: object) -> bool:
    return isinstance(answer, dict) and "raises" in answer


@pytest.mark.parametrize("text", ANSWERS, ids=range(len(ANSWERS)))
def test_answers_are_those_of_mxnet(text, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    got, want = QUESTIONS.answer(mx, text), ANSWERS[text]
    same = refused(want) if refused(got) else QUESTIONS.same(got, want)
    assert same is (text not in DIFFERENT), f"{text}\nMXNet: {want}\nsymc:  {got}"
    assert not refused(got) or got["raises"] in REFUSALS, f"{text}\n{got}"


def test_the_recorded_questions_are_those_of_the_list() -> None:
    assert QUESTIONS.read("sharing") == list(ANSWERS)


# --------------------------------------------------------------------------------------------- what refusals say


def executor(*args: object, **kwargs: object) -> mx.executor.Executor:
    return USE["ones"](USE["dense"](*args, **kwargs).simple_bind(mx.cpu(), data=(2, 4)))


def beside(net: object, other: object, **kwargs: object) -> object:
    shared = {"shared_exec": other, "shared_arg_names": net.list_arguments()[1:], "shared_buffer": {}}
    return net.simple_bind(mx.cpu(), **{"data": (2, 4), **shared, **kwargs})


def states_of(module: object, optimizer: str, **settings: object) -> bytes:
    module.init_optimizer(optimizer=optimizer, optimizer_params=settings)
    module.forward_backward(USE["batch"](2, 4))
    module.update()
    return module._updater.get_states()


def steps_with(states: bytes, **settings: object) -> None:
    module = USE["module"]()
    module.init_optimizer(optimizer_params=settings)
    module._updater.set_states(states)
    module.forward_backward(USE["batch"](2, 4))
    module.update()


WEIGHT = r"'fc_weight', the weight of FullyConnected 'fc' \(.*questions.py:\d+\), has shape "
CASES = {
    "reshape": (
        lambda: executor().reshape(data=(2, 5), allow_up_sizing=True),
        WEIGHT + r"\(3, 4\), but \(3, 5\) is needed.*partial_shaping",
    ),
    "reshape of a state": (
        lambda: mx.sym.BatchNorm(mx.sym.Variable("x"), name="bn")
        .simple_bind(mx.cpu(), x=(2, 4))
        .reshape(x=(2, 3), bn_gamma=(3,), bn_beta=(3,)),
        r"'bn_moving_mean', the moving_mean of BatchNorm 'bn' .*\(4,\), but \(3,\)",
    ),
    "growing": (
        lambda: executor().reshape(data=(3, 4)), r"'data', the data of .*\(2, 4\) to \(3, 4\).*allow_up_sizing"
    ),
    "a batch": (
        lambda: USE["fed"](USE["module"](), USE["batch"](2, 5)),
        WEIGHT + r"\(3, 4\), but \(3, 5\) is needed; the module is bound to data \(2, 4\).*another Module",
    ),
    "a bucket": (
        lambda: USE["fed"](USE["buckets"](lambda k: USE["loss"](2 + k)), USE["batch"](2, 4, 2)),
        "bucket 2: .*" + WEIGHT + r"\(3, 4\), but \(4, 4\) is needed.*name of its own",
    ),
    "a bucket's layer": (
        lambda: USE["fed"](USE["buckets"](USE["deep"]), USE["batch"](2, 4, 2)),
        r"bucket 2: .*'fc1_weight', the weight of FullyConnected 'fc1' .*did you mean fc0_weight.*all parameters first",
    ),
    "a shared type": (
        lambda: beside(USE["dense"](), executor(), type_dict={"data": "float16"}),
        "'fc_weight', .*has type float32, but float16 is needed",
    ),
    "a shared state": (
        lambda: beside(USE["dense"](norm=True), executor()),
        "'bn_moving_mean'.*is not in the executor|'bn_gamma'.*is not in the executor",
    ),
    "a copy": (
        lambda: executor().copy_params_from({"fc_weight": mx.nd.ones((3, 5))}),
        WEIGHT + r"\(3, 5\), but \(3, 4\) is needed.*another net",
    ),
    "set_params": (
        lambda: USE["module"]().set_params({"fc_weight": mx.nd.ones((1, 4)), "fc_bias": mx.nd.ones(3)}, {}),
        "Module of softmax: " + WEIGHT + r"\(1, 4\), but \(3, 4\) is needed",
    ),
    "a missing value": (
        lambda: USE["module"]().set_params({}, {}), "fc_bias is not presented; pass allow_missing=True"
    ),
    "a model": (lambda: mx.model.FeedForward(USE["loss"]()).predict(np.ones((2, 4), "f")), "no parameters yet.*fit"),
    "an array": (
        lambda: USE["dense"]().bind(mx.cpu(), [mx.nd.ones(s) for s in ((2, 4), (3, 4), (5,))]),
        "bias has shape|'fc_bias'",
    ),
    "states of another net": (
        lambda: steps_with(states_of(USE["module"](USE["loss"](5)), "sgd", momentum=0.9), momentum=0.9),
        r"'fc_.*' is float32\(5.*SGD keeps float32\(3.*another optimizer or net",
    ),
    "states of another optimizer": (
        lambda: steps_with(states_of(USE["module"](), "adam"), momentum=0.9),
        r"is \(float32.*, float32.*\), but SGD keeps float32",
    ),
    "states of a simpler optimizer": (
        lambda: steps_with(states_of(USE["module"](), "sgd"), momentum=0.9), "is NoneType, but SGD keeps float32"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_refusals_name_the_array_and_what_to_do(case) -> None:
    act, words = CASES[case]
    with pytest.raises((mx.MXNetError, RuntimeError, AssertionError), match=words):
        act()


# --------------------------------------------------------------------------------------------- beyond MXNet


def test_zeros_that_nobody_asked_for_are_told() -> None:
    module = mx.mod.Module(USE["loss"]())
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    with pytest.warns(UserWarning, match="not given: fc_bias; they are zeros"):
        module.set_params({"fc_weight": mx.nd.ones((3, 4))}, {}, allow_missing=True)
    module = mx.mod.Module(USE["loss"]())
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    with pytest.warns(UserWarning, match="neither given nor initialized: fc_weight; they are zeros"):
        module.init_params(None, {"fc_bias": mx.nd.ones(3)}, {}, allow_missing=True)
    with pytest.warns(UserWarning, match="shared_arg_names shares nothing without shared_buffer"):
        USE["dense"]().simple_bind(mx.cpu(), data=(2, 4), shared_exec=executor(), shared_arg_names=["fc_weight"])


def test_a_file_without_a_parameter(tmp_path) -> None:
    prefix = str(tmp_path / "net")
    mx.model.save_checkpoint(prefix, 1, USE["loss"](), {"fc_weight": mx.nd.ones((3, 4))}, {})
    module = mx.mod.Module.load(prefix, 1)
    with pytest.warns(UserWarning, match="the file does not have: fc_bias; they are zeros"):
        module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    assert sorted(module.get_params()[0]) == ["fc_bias", "fc_weight"]


def test_a_failed_bind_leaves_nothing_behind(tmp_path) -> None:
    """A module whose binding is refused is not bound, and keeps its parameters."""
    module = USE["module"]()
    with pytest.raises(mx.MXNetError, match=WEIGHT):
        module.bind([("data", (2, 5))], [("softmax_label", (2,))], force_rebind=True)
    assert not module.binded
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    assert module.get_params()[0]["fc_weight"].asnumpy().sum() == 12
    executor_ = executor()
    with pytest.raises(mx.MXNetError):
        executor_.copy_params_from({"fc_bias": mx.nd.ones(3) * 9, "fc_weight": mx.nd.ones((3, 5))})
    assert executor_.arg_dict["fc_bias"].asnumpy().sum() == 3


def test_a_refused_shape_changes_nothing() -> None:
    module = USE["module"]()
    with pytest.raises(mx.MXNetError):
        module.reshape([("data", (2, 5))], [("softmax_label", (2,))])
    assert module.data_shapes[0].shape == (2, 4)


def test_momenta_go_by_name_in_buckets_of_another_order() -> None:
    """Buckets share the optimizer; a net that reads the same weights in another order must not mix their momenta."""

    def net(key: int) -> tuple[object, ...]:
        x = mx.sym.Variable("data")
        for name in ("a", "b") if key == 1 else ("b", "a"):
            x = mx.sym.FullyConnected(x, num_hidden=4, no_bias=True, name=name)
        return mx.sym.SoftmaxOutput(x, name="softmax"), ("data",), ("softmax_label",)

    def batch(key: int) -> mx.io.DataBatch:
        return mx.io.DataBatch(
            [mx.nd.array(np.eye(2, 4))], [mx.nd.array([key, 3])], bucket_key=key, provide_data=[("data", (2, 4))],
            provide_label=[("softmax_label", (2,))],
        )  # fmt: skip

    weights = {n: np.linspace(-1, 1, 16).reshape(4, 4) * s for n, s in (("a_weight", 0.5), ("b_weight", -0.3))}
    given = {n: mx.nd.array(w) for n, w in weights.items()}
    settings = {"learning_rate": 0.5, "momentum": 0.9}
    module = mx.mod.BucketingModule(net, default_bucket_key=1)
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    module.set_params(given, {})
    module.init_optimizer(optimizer_params=settings)
    # the reference: executors of their own, and one updater that knows parameters by name
    updater = mx.optimizer.get_updater(mx.optimizer.create("sgd", rescale_grad=0.5, **settings))
    arrays = {n: a.copy() for n, a in given.items()}
    for key in (1, 2, 1, 2):
        module.forward_backward(batch(key))
        module.update()
        bound = net(key)[0].simple_bind(mx.cpu(), data=(2, 4))
        for name, array in arrays.items():
            bound.arg_dict[name][:] = array
        bound.forward(True, data=batch(key).data[0], softmax_label=batch(key).label[0])
        bound.backward()
        for name, array in arrays.items():
            updater(name, bound.grad_dict[name], array)
    for name, array in module.get_params()[0].items():
        np.testing.assert_allclose(array.asnumpy(), arrays[name].asnumpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_parameters_set_in_a_small_bucket_reach_all() -> None:
    module = USE["buckets"](USE["deep"], 2)
    USE["fed"](module, USE["batch"](2, 4, 1))
    module.set_params({n: a * 3 for n, a in module.get_params()[0].items()}, {})
    assert {n: a.asnumpy().sum() for n, a in module.get_params()[0].items()}["fc1_weight"] == 48


@pytest.mark.parametrize("data", [
    b"", b"x", b"\x80\x04", b"cos\nnothing\n.", b"]r\xff\xff\xff\x7f.", b"]p9999999999\n.", b"I5\n.", b"(I1\nI2\nt.",
])  # fmt: skip
def test_bytes_that_are_no_states(data) -> None:
    with pytest.raises(mx.MXNetError, match="states"):
        mx.optimizer.get_updater(mx.optimizer.create("sgd")).set_states(data)

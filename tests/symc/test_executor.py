"""Protects Executor against MXNet 1.9.1 (answers in tests/golden/runtime), and what must hold beyond it: threads,
forks, arrays that share memory, arrays of others."""

from __future__ import annotations

import ctypes
import json
import os
import re
import threading
import time

import loading
import numpy as np
import pytest

import symc as mx

GOLDEN = loading.GOLDEN / "runtime"
ANSWERS = json.loads((GOLDEN / "executor.json").read_text())


QUESTIONS = loading.module_at(GOLDEN / "questions.py")

DIFFERENT = QUESTIONS.different("executor")


@pytest.mark.parametrize("text", ANSWERS, ids=range(len(ANSWERS)))
def test_answers_are_those_of_mxnet(text: str) -> None:
    got, want = QUESTIONS.answer(mx, text), ANSWERS[text]
    assert QUESTIONS.same(got, want) is (text not in DIFFERENT), f"{text}\nMXNet: {want}\nsymc:  {got}"


def test_the_recorded_questions_are_those_of_the_list() -> None:
    assert QUESTIONS.read("executor") == list(ANSWERS)


def square(size: int = 4, **kwargs: object) -> mx.executor.Executor:
    x = mx.sym.Variable("x")
    return (x * x + x).simple_bind(mx.cpu(), x=(size,), **kwargs)


# --------------------------------------------------------------------------------------------- memory


def test_a_gradient_in_its_arguments_own_memory() -> None:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    for order in ([0, 1], [1, 0]):
        values = [mx.nd.array([1, 2, 3]), mx.nd.array([5, 6, 7])]
        grads = [values[i] for i in order]
        bound = (a * b).bind(mx.cpu(), values, grads)
        bound.forward(is_train=True)
        bound.backward(mx.nd.ones(3))
        want = [[5, 6, 7], [1, 2, 3]]
        for at, grad in enumerate(grads):
            np.testing.assert_array_equal(grad.asnumpy(), want[at])


@pytest.mark.parametrize("req", ["add", "write"])
def test_two_gradients_in_one_array(req: str) -> None:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    grad = mx.nd.ones(2)
    bound = (a * b).bind(mx.cpu(), [mx.nd.array([1, 2]), mx.nd.array([3, 4])], [grad, grad], req)
    bound.forward(is_train=True)
    bound.backward(mx.nd.ones(2))
    np.testing.assert_array_equal(grad.asnumpy(), [5, 7] if req == "add" else [1, 2])


def test_gradients_in_overlapping_slices() -> None:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    memory = mx.nd.zeros(5)
    bound = (a * b).bind(mx.cpu(), [mx.nd.array([1, 2, 3]), mx.nd.array([4, 5, 6])], [memory[0:3], memory[2:5]], "add")
    bound.forward(is_train=True)
    bound.backward(mx.nd.ones(3))
    np.testing.assert_array_equal(memory.asnumpy(), [4, 5, 7, 2, 3])


def test_a_state_with_anothers_memory_is_refused() -> None:
    net = mx.sym.BatchNorm(mx.sym.Variable("x"), name="bn")
    one, x = mx.nd.ones(2), mx.nd.ones((3, 2))
    bound = net.bind(mx.cpu(), [x, mx.nd.ones(2), mx.nd.ones(2)], aux_states=[one, one])
    with pytest.raises(mx.MXNetError, match="bn_moving"):
        bound.forward(is_train=True)


def test_arrays_of_others() -> None:
    base = np.arange(12, dtype=np.float32)
    x, net = mx.sym.Variable("x"), mx.sym.Variable("x") * 2
    foreign = {
        "numpy": mx.nd.from_numpy(base), "unaligned": mx.nd.from_numpy(base[1:7]),
        "dlpack": mx.nd.from_dlpack(base.copy()), "strided": mx.nd.from_dlpack(base.copy()[::2]),
        "slice": mx.nd.array(base)[3:8], "row": mx.nd.array(base).reshape((3, 4))[1],
    }  # fmt: skip
    for array in foreign.values():
        (got,) = net.bind(mx.cpu(), [array]).forward()
        np.testing.assert_array_equal(got.asnumpy(), array.asnumpy() * 2)
    bound = (x * 1).bind(mx.cpu(), [foreign["unaligned"]], [mx.nd.from_numpy(base[2:8].copy())])
    bound.forward(is_train=True)
    foreign["numpy"][:] = 5
    np.testing.assert_array_equal(bound.forward()[0].asnumpy(), [5] * 6)


def test_reshape_shares_what_shrinks() -> None:
    big = square(6)
    small = big.reshape(x=(3,))
    small.arg_dict["x"][:] = 7
    np.testing.assert_array_equal(big.arg_dict["x"].asnumpy(), [7, 7, 7, 0, 0, 0])
    grown = big.reshape(allow_up_sizing=True, x=(9,))
    grown.arg_dict["x"][:] = 1
    assert big.arg_dict["x"].asnumpy()[0] == 7


# --------------------------------------------------------------------------------------------- runs


def test_backward_without_training_keeps_outputs_and_states() -> None:
    """Backward reuses the memory of forward values: a second one computes them again, and nothing else changes."""
    x = mx.sym.Variable("x")
    net = mx.sym.tanh(mx.sym.BatchNorm(mx.sym.tanh(x * x), name="bn", fix_gamma=False) * x)
    bound = net.simple_bind(mx.cpu(), x=(4, 3))
    bound.arg_dict["x"][:] = np.linspace(-1, 1, 12).reshape(4, 3)
    bound.arg_dict["bn_gamma"][:] = 2
    bound.aux_dict["bn_moving_var"][:] = 1
    bound.forward(is_train=True)
    states = {n: a.asnumpy() for n, a in bound.aux_dict.items()}
    found = []
    bound.forward(is_train=False)
    out = bound.outputs[0].asnumpy()
    for _ in range(3):
        bound.backward(mx.nd.ones((4, 3)))
        found.append({n: g.asnumpy() for n, g in bound.grad_dict.items()})
    for again in found[1:]:
        for name, value in again.items():
            np.testing.assert_array_equal(value, found[0][name])
    np.testing.assert_array_equal(bound.outputs[0].asnumpy(), out)
    for name, value in bound.aux_dict.items():
        np.testing.assert_array_equal(value.asnumpy(), states[name])


def test_dropout_repeats_its_draw_in_a_second_backward() -> None:
    bound = mx.sym.Dropout(mx.sym.Variable("x"), p=0.5).simple_bind(mx.cpu(), x=(64,))
    bound.arg_dict["x"][:] = 1
    out = bound.forward(is_train=True)[0].asnumpy()
    for _ in range(2):
        bound.backward(mx.nd.ones(64))
        np.testing.assert_array_equal(bound.grad_dict["x"].asnumpy(), out)
    bound.forward(is_train=True)
    assert (bound.outputs[0].asnumpy() != out).any()


def test_monitoring_changes_nothing() -> None:
    x = mx.sym.Variable("x")
    net = mx.sym.Dropout(mx.sym.BatchNorm(x, name="bn", momentum=0.5), p=0.5, name="drop")
    results = []
    for watch in (False, True):
        mx.random.seed(5)
        bound = net.simple_bind(mx.cpu(), x=(8, 2))
        bound.arg_dict["x"][:] = np.arange(16).reshape(8, 2)
        bound.arg_dict["bn_gamma"][:] = 1
        seen: dict[str, np.ndarray] = {}
        if watch:
            bound.set_monitor_callback(lambda n, a, seen=seen: seen.__setitem__(n, a.asnumpy()), monitor_all=True)
        for _ in range(2):
            bound.forward(is_train=True)
        results.append([bound.outputs[0].asnumpy(), *(a.asnumpy() for a in bound.aux_arrays)])
    for plain, watched in zip(*results):
        np.testing.assert_array_equal(plain, watched)
    np.testing.assert_array_equal(seen["drop_output"], results[1][0])
    np.testing.assert_array_equal(seen["drop_data"], seen["bn_output"])
    assert {"x", "bn_gamma", "bn_data"} <= set(seen)


def test_outputs_are_overwritten_in_place() -> None:
    bound = square()
    bound.arg_dict["x"][:] = 2
    first = bound.forward()[0]
    assert bound.forward(x=mx.nd.ones(4))[0] is first and bound.outputs[0] is first
    np.testing.assert_array_equal(first.asnumpy(), [2] * 4)
    assert bound.forward(is_train=True)[0] is first


@pytest.mark.parametrize("written, mask", [(-2.0, [0, 0, 0, 0]), (3.0, [1, 1, 1, 1]), (None, [0, 0, 1, 1])])
def test_backward_reads_outputs_that_were_written_over(written: float | None, mask: list[int]) -> None:
    """relu's gradient passes where the output is positive, as it stands: modules that add to one another's outputs in
    place rely on it. What MXNet answers."""
    exe = mx.sym.Activation(mx.sym.var("x"), act_type="relu").simple_bind(mx.cpu(), x=(4,))
    exe.forward(is_train=True, x=mx.nd.array([-5.0, -1.0, 2.0, 4.0]))
    if written is not None:
        exe.outputs[0][:] = written
    exe.backward(mx.nd.array([1.0, 10.0, 100.0, 1000.0]))
    assert exe.grad_dict["x"].asnumpy().tolist() == [g * m for g, m in zip((1, 10, 100, 1000), mask)]


def test_outputs_of_the_same_name_are_told_apart() -> None:
    x = mx.sym.Variable("x")
    group = mx.sym.Group([mx.sym.square(x, name="y"), mx.sym.exp(x, name="y")])
    bound = group.simple_bind(mx.cpu(), x=(2,))
    bound.forward(is_train=True, x=mx.nd.array([1, 2]))
    bound.backward([mx.nd.array([1, 0]), mx.nd.array([0, 1])])
    np.testing.assert_allclose(bound.outputs[1].asnumpy(), np.exp([1, 2]), rtol=1e-6)
    np.testing.assert_allclose(bound.grad_dict["x"].asnumpy(), [2, np.exp(2)], rtol=1e-6)


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda e: e.forward(y=mx.nd.ones(4)), TypeError, ["'y'", "x"]),
        (lambda e: e.forward(x=mx.nd.ones(5)), ValueError, ["'x'", r"\(4,\)", r"\(5,\)"]),
        (lambda e: e.backward(), mx.MXNetError, ["output", r"\(4,\)"]),
        (lambda e: e.backward(mx.nd.ones(5)), mx.MXNetError, [r"\(5,\)", r"\(4,\)"]),
        (lambda e: e.backward({"no": mx.nd.ones(4)}), mx.MXNetError, ["'no'"]),
        (lambda e: e.backward("x"), TypeError, ["str"]),
        (lambda e: e.copy_params_from({"q": mx.nd.ones(4)}), ValueError, ["'q'", "x"]),
        (lambda e: e.reshape(x=(9,)), mx.MXNetError, ["'x'", "allow_up_sizing"]),
    ],
)
def test_errors_say_what_and_where(act, error, words) -> None:
    bound = square()
    bound.forward(is_train=True)
    for word in words:
        with pytest.raises(error, match=word):
            act(bound)


def test_debug_str_has_steps_and_memory() -> None:
    bound = square()
    bound.forward(is_train=True)
    text = bound.debug_str()
    assert "MB allocated" in text and "training" in text and "x" in text
    # the last lines as programs parse them that plan batch sizes by memory
    assert re.fullmatch(r"Total \d+ MB allocated", text.split("\n")[-3])
    assert re.fullmatch(r"Total \d+ TempSpace resource requested", text.split("\n")[-2]) and text.endswith("\n")
    x = mx.sym.Variable("x")
    large = mx.sym.exp(mx.sym.dot(x, x)) * 2
    exe = mx.sym.dot(large, large).simple_bind(mx.cpu(), x=(1024, 1024), grad_req="null")
    assert int(exe.debug_str().split("\n")[-3].split()[1]) >= 4


@pytest.mark.parametrize("grad_req", ["write", "add", "null"])
def test_debug_str_makes_no_machine_code(grad_req: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exe = mx.sym.tanh(square()._symbol * 1.0625).simple_bind(mx.cpu(), grad_req=grad_req, x=(3, 5))
    with monkeypatch.context() as patched:
        patched.setattr("symc.compile.link_kernels", lambda *_: pytest.fail("kernels are compiled"))
        before = exe.debug_str()
    exe.forward(is_train=grad_req != "null")
    assert exe.debug_str() == before  # what is planned is what runs


# --------------------------------------------------------------------------------------------- threads and forks


def in_threads(work, count: int) -> None:
    problems: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(t.is_alive() for t in threads)
    if problems:
        raise problems[0]


def test_threads_with_executors_of_their_own() -> None:
    def work(number: int) -> None:
        bound = square(3000 + number)
        for value in range(20):
            bound.forward(is_train=True, x=np.full(3000 + number, value))
            bound.backward(mx.nd.ones(3000 + number))
            assert (bound.outputs[0].asnumpy() == value * value + value).all()
            assert (bound.grad_dict["x"].asnumpy() == 2 * value + 1).all()

    in_threads(work, 4)


def test_threads_that_share_an_executor_take_turns() -> None:
    bound = square(50000)
    bound.arg_dict["x"][:] = 3

    def work(number: int) -> None:
        for _ in range(20):
            bound.forward(is_train=True)
            bound.backward(mx.nd.ones(50000))
            bound.forward()

    in_threads(work, 3)
    assert (bound.outputs[0].asnumpy() == 12).all() and (bound.grad_dict["x"].asnumpy() == 7).all()


def test_threads_that_ask_for_outputs_before_any_run_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    bound, compiled, found = square(40), [], []
    both, compile_one = threading.Barrier(2), type(bound)._compile

    def slow(self: mx.executor.Executor, train: bool) -> object:
        compiled.append(train)
        time.sleep(0.05)
        return compile_one(self, train)

    def work(number: int) -> None:
        both.wait(30)
        found.append(bound.outputs[0])

    monkeypatch.setattr(type(bound), "_compile", slow)
    in_threads(work, 2)
    assert compiled == [False] and found[0] is found[1]


def test_threads_that_call_operators() -> None:
    def work(number: int) -> None:
        a = mx.nd.full((40, 30), number)
        for _ in range(30):
            assert (mx.nd.exp(mx.nd.log(a + 1)).asnumpy().round(3) == number + 1).all()
            assert mx.nd.dot(a, a, transpose_b=True).asnumpy()[0, 0] == number * number * 30

    in_threads(work, 4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on() -> None:
    bound = square(200000)
    bound.arg_dict["x"][:] = 2
    bound.forward(is_train=True)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            bound.forward(is_train=True, x=np.full(200000, 3))
            bound.backward(mx.nd.ones(200000))
            right = (bound.outputs[0].asnumpy() == 12).all() and (bound.grad_dict["x"].asnumpy() == 7).all()
            status = 0 if right and square(3).forward()[0].asnumpy().sum() == 0 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    bound.backward(mx.nd.ones(200000))
    assert (bound.grad_dict["x"].asnumpy() == 5).all()


def test_a_reshaped_executor_shares_the_memory_of_outputs() -> None:
    bound = mx.sym.FullyConnected(mx.sym.Variable("x"), num_hidden=4, name="fc").simple_bind(mx.cpu(), x=(5, 4))
    for array in bound.arg_arrays[:2]:
        array[:] = 1
    smaller, larger = bound.reshape(x=(3, 4)), bound.reshape(allow_up_sizing=True, x=(6, 4))
    smaller.forward()
    np.testing.assert_array_equal(bound.outputs[0].asnumpy()[:3], np.full((3, 4), 4))
    larger.arg_arrays[0][:] = 0
    larger.forward()
    assert bound.arg_arrays[0].asnumpy().all() and not larger.outputs[0].asnumpy().any()
    bound.forward()
    np.testing.assert_array_equal(bound.outputs[0].asnumpy(), np.full((5, 4), 4))


def test_groups_of_operators_have_contexts() -> None:
    with mx.AttrScope(ctx_group="first"):
        hidden = mx.sym.FullyConnected(mx.sym.Variable("x"), num_hidden=4, name="a")
    with mx.AttrScope(ctx_group="second"):
        net = mx.sym.FullyConnected(hidden, num_hidden=2, name="b")
    bound = net.simple_bind(mx.cpu(), group2ctx={"first": mx.cpu(1), "second": mx.cpu(2)}, x=(3, 5))
    assert {n: a.context.device_id for n, a in bound.arg_dict.items()} == {
        "x": 1, "a_weight": 1, "a_bias": 1, "b_weight": 2, "b_bias": 2,
    }  # fmt: skip
    assert bound.grad_dict["b_weight"].context == mx.cpu(2) == bound.forward()[0].context


def test_callbacks_written_for_mxnet_take_handles() -> None:
    """They cast what they get to a handle, and make an array of it."""
    from symc.base import NDArrayHandle, py_str

    seen: dict[str, float] = {}

    def callback(name: str, array: mx.nd.NDArray) -> None:
        again = mx.nd.NDArray(ctypes.cast(array, NDArrayHandle), writable=False)
        seen[py_str(name)] = again.sum().asscalar()

    bound = square()
    bound.arg_dict["x"][:] = 3
    bound.set_monitor_callback(callback)
    bound.forward()
    assert list(seen.values()) == [36, 48]
    names: list[tuple[str, str]] = []
    bound.set_monitor_callback(lambda name, _: names.append((name, name.decode("utf-8"))), monitor_all=True)
    bound.forward(is_train=True)
    bound.backward([mx.nd.ones(o.shape) for o in bound.outputs])
    assert set(seen) < {text for text, _ in names} and all(text == plain for text, plain in names)
    assert any("_backward_" in plain for _, plain in names) and {type(plain) for _, plain in names} == {str}
    assert py_str(b"x") == "x"
    with pytest.raises(mx.MXNetError, match="of no array"):
        mx.nd.NDArray(NDArrayHandle(1))


def test_a_gradient_array_that_is_not_asked_for_stays_as_it_is() -> None:
    x = mx.sym.Variable("x")
    given = mx.nd.array([7.0, 8.0])
    exe = mx.sym.exp(x).bind(mx.cpu(), {"x": mx.nd.zeros(2)}, {"x": given}, "null")
    exe.forward(is_train=True)
    exe.backward([mx.nd.ones(2)])
    assert exe.grad_dict["x"] is given and given.asnumpy().tolist() == [7.0, 8.0]


def test_gradients_as_in_prediction() -> None:
    """backward(is_train=False) differentiates what forward(is_train=False) computes: dropout passes on, batch norm
    takes its states, and what always draws keeps what it has drawn."""
    x = mx.sym.Variable("x")
    exe = mx.sym.Dropout(x, p=0.5).simple_bind(mx.cpu(), x=(20, 10))
    exe.arg_dict["x"][:] = 1
    head = mx.nd.array(np.arange(200).reshape(20, 10))
    exe.forward(is_train=True)
    mask = exe.outputs[0].asnumpy()
    exe.backward(head)
    np.testing.assert_array_equal(exe.grad_dict["x"].asnumpy(), head.asnumpy() * mask)
    exe.forward(is_train=False)
    exe.backward(head, is_train=False)
    np.testing.assert_array_equal(exe.grad_dict["x"].asnumpy(), head.asnumpy())
    np.testing.assert_array_equal(exe.outputs[0].asnumpy(), 1)
    exe.forward(is_train=True)
    mask = exe.outputs[0].asnumpy()
    exe.backward(head)
    np.testing.assert_array_equal(exe.grad_dict["x"].asnumpy(), head.asnumpy() * mask)

    exe = mx.sym.Dropout(x, p=0.5, mode="always").simple_bind(mx.cpu(), x=(20, 10))
    exe.arg_dict["x"][:] = 1
    exe.forward(is_train=False)
    mask = exe.outputs[0].asnumpy()
    assert set(mask.ravel()) == {0, 2}
    exe.backward(head, is_train=False)
    np.testing.assert_array_equal(exe.grad_dict["x"].asnumpy(), head.asnumpy() * mask)

    exe = mx.sym.BatchNorm(x, eps=1e-9, fix_gamma=False, name="bn").simple_bind(mx.cpu(), x=(4, 2))
    exe.copy_params_from(
        {"x": mx.nd.array(np.eye(4)[:, :2]), "bn_gamma": mx.nd.array([3, 1])},
        {"bn_moving_var": mx.nd.array([4, 4])}, allow_extra_params=True,
    )  # fmt: skip
    before = {n: a.asnumpy() for n, a in exe.aux_dict.items()}
    exe.forward(is_train=False)
    exe.backward(mx.nd.ones((4, 2)), is_train=False)
    np.testing.assert_allclose(exe.grad_dict["x"].asnumpy(), [[1.5, 0.5]] * 4, rtol=1e-6)
    for name, array in exe.aux_dict.items():
        np.testing.assert_array_equal(array.asnumpy(), before[name])


@pytest.mark.parametrize("kinds", [("float32", "float64"), ("float16", "float64"), ("float64", "float32")])
@pytest.mark.parametrize("req", ["write", "add"])
def test_gradients_are_converted_into_their_arrays(kinds: tuple[str, str], req: str) -> None:
    x = mx.nd.array([1, 2, 3], dtype=kinds[0])
    grad = mx.nd.array([5, 5, 5], dtype=kinds[1])
    exe = mx.sym.square(mx.sym.Variable("x")).bind(mx.cpu(), {"x": x}, {"x": grad}, req)
    for turn in (1, 2):
        exe.forward(is_train=True)
        exe.backward(mx.nd.ones(3, dtype=kinds[0]))
        assert grad.dtype == np.dtype(kinds[1])
        assert grad.asnumpy().tolist() == ([2, 4, 6] if req == "write" else [5 + 2 * turn, 5 + 4 * turn, 5 + 6 * turn])
    with pytest.raises(mx.MXNetError, match="gradient of 'x'"):
        mx.sym.square(mx.sym.Variable("x")).bind(mx.cpu(), {"x": x}, {"x": grad.astype("int32")})

"""Protects Predictor: right answers for any number of threads at once, outputs and parameters that nobody else changes,
one program for one set of shapes, and refusals that name what does not fit."""

from __future__ import annotations

import dataclasses
import gc
import pickle
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

import symc as mx
from symc import predictor as module
from symc.ir.modules import SymbolModule

RNG = np.random.default_rng(3)
SHAPE = (4, 2, 6, 6)
IMAGES = RNG.normal(size=(8, *SHAPE)).astype(np.float32)


def classifier() -> mx.sym.Symbol:
    data = mx.sym.Variable("data")
    maps = mx.sym.Convolution(data, kernel=(3, 3), num_filter=4, pad=(1, 1), name="conv")
    maps = mx.sym.Activation(mx.sym.BatchNorm(maps, fix_gamma=False, name="bn"), act_type="relu")
    maps = mx.sym.Pooling(maps, global_pool=True, kernel=(1, 1), pool_type="max")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(maps, num_hidden=3, name="fc"), name="softmax")


def parameters(net: mx.sym.Symbol) -> tuple[dict[str, mx.nd.NDArray], dict[str, mx.nd.NDArray]]:
    shapes, _, states = net.infer_shape(data=SHAPE)
    args = {
        n: mx.nd.array(RNG.normal(size=s))
        for n, s in zip(net.list_arguments(), shapes)
        if n[-4:] not in ("data", "abel")
    }
    return args, {"bn_moving_mean": mx.nd.array(RNG.normal(size=4)), "bn_moving_var": mx.nd.full((4,), 2)}


NET = classifier()
ARGS, AUX = parameters(NET)


def expected(data: np.ndarray, net: mx.sym.Symbol = NET, args=ARGS, aux=AUX) -> list[np.ndarray]:
    exe = net.simple_bind(mx.cpu(), grad_req="null", data=data.shape)
    exe.copy_params_from(args, aux)
    return [o.asnumpy() for o in exe.forward(data=data)]


def made(**options) -> mx.Predictor:
    return mx.Predictor(NET, (ARGS, AUX), {"data": SHAPE}, **options)


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


# --------------------------------------------------------------------------------------------- threads


def test_many_threads_get_their_own_answers() -> None:
    """Every output is compared after all threads have gone on, so that one which a later run writes to is found."""
    ask, want = made(), [expected(x)[0] for x in IMAGES]

    def work(number: int) -> None:
        order = np.random.default_rng(number).integers(0, len(IMAGES), 300)
        got = [ask.predict(data=IMAGES[i])[0] for i in order]
        for i, answer in zip(order, got):
            np.testing.assert_array_equal(answer, want[i])

    in_threads(work, 8)


def test_threads_that_bring_new_shapes_at_once() -> None:
    ask = made()
    want = {n: expected(IMAGES[0][:n])[0] for n in (1, 2, 3)}

    def work(number: int) -> None:
        for n in (1, 2, 3, 2, 1):
            np.testing.assert_array_equal(ask(IMAGES[0][:n])[0], want[n])

    in_threads(work, 4)
    assert len(ask._programs) == 4


def test_threads_of_random_nets() -> None:
    """No two runs get the same numbers, and each gets those of one key."""
    x = mx.sym.Variable("x")
    ask = mx.Predictor(x + mx.sym.random.uniform(shape=(64,)), None, {"x": (64,)})
    got: list[bytes] = []
    in_threads(lambda number: got.extend(ask(np.zeros(64))[0].tobytes() for _ in range(50)), 4)
    assert len(set(got)) == 200
    mx.random.seed(7)
    first = [ask(np.zeros(64))[0] for _ in range(2)]
    mx.random.seed(7)
    np.testing.assert_array_equal(first, [ask(np.zeros(64))[0] for _ in range(2)])


class Counting(mx.operator.CustomOp):
    """Adds its state to the data, and one to the state."""

    def forward(self, is_train, req, in_data, out_data, aux):
        if (in_data[0].asnumpy() < 0).any():
            raise ValueError("negative")
        self.assign(out_data[0], req[0], in_data[0] + aux[0])
        aux[0][:] = aux[0] + 1


@mx.operator.register("predictor_counting")
class CountingProp(mx.operator.CustomOpProp):
    def list_auxiliary_states(self):
        return ["state"]

    def infer_shape(self, in_shape):
        return in_shape, in_shape, in_shape

    def infer_type(self, in_type):
        return in_type, in_type, in_type

    def create_operator(self, ctx, shapes, dtypes):
        return Counting()


def test_states_never_change_and_errors_leave_nothing_behind() -> None:
    net = mx.sym.Custom(mx.sym.Variable("data"), op_type="predictor_counting", name="count") * 2
    state = mx.nd.full((3,), 5)
    ask = mx.Predictor(net, {"aux:count_state": state}, {"data": (3,)})

    def work(number: int) -> None:
        for _ in range(20):
            assert (ask(np.full(3, number))[0] == 2 * (number + 5)).all()
            with pytest.raises(ValueError, match="negative"):
                ask(np.full(3, -1))

    in_threads(work, 4)
    assert (state.asnumpy() == 5).all()


def test_loops_run_in_many_threads() -> None:
    data, start = mx.sym.Variable("data"), mx.sym.Variable("start")
    out, last = mx.sym.contrib.foreach(lambda x, s: (x * s, s + x), data, start)
    ask = mx.Predictor(mx.sym.Group([out, last]), None, {"data": (5, 2), "start": (2,)})

    def work(number: int) -> None:
        rows = np.arange(10).reshape(5, 2) + number
        before = np.concatenate([np.zeros((1, 2)), np.cumsum(rows, 0)])
        for _ in range(20):
            scaled, total = ask.predict(data=rows, start=np.zeros(2))
            np.testing.assert_array_equal(scaled, rows * before[:-1])
            np.testing.assert_array_equal(total, before[-1])

    in_threads(work, 4)


# --------------------------------------------------------------------------------------------- what it is made from


def test_symbols_and_parameters_in_all_forms(tmp_path: Path) -> None:
    prefix = str(tmp_path / "model")
    mx.model.save_checkpoint(prefix, 3, NET, ARGS, AUX)
    want = expected(IMAGES[0])[0]
    json, params = f"{prefix}-symbol.json", f"{prefix}-0003.params"
    both = {**{f"arg:{n}": a for n, a in ARGS.items()}, **{n: a.asnumpy() for n, a in AUX.items()}}
    forms = [
        (prefix, 3), (prefix, None), (json, params), (Path(json), Path(params)), (json, None), (NET.tojson(), params),
        (NET, params), (NET, both), (NET, [ARGS, AUX]),
        (NET, {**{n: a.asnumpy().astype("d") for n, a in ARGS.items()}, **AUX}),
    ]  # fmt: skip
    for symbol, given in forms:
        ask = mx.Predictor(symbol, given, [("data", SHAPE)])
        np.testing.assert_array_equal(ask.predict(data=IMAGES[0])[0], want)
        assert ask.output_names == ["softmax_output"] and ask.input_shapes == {"data": SHAPE}
    mx.model.save_checkpoint(prefix, 4, None, ARGS, AUX)
    with pytest.raises(mx.MXNetError, match="model-0003.params, .*model-0004.params; say which"):
        mx.Predictor(prefix, None, {"data": SHAPE})


def test_a_part_of_a_net_takes_the_parameters_of_the_whole() -> None:
    part = NET.get_internals()["bn_output"]
    got = mx.Predictor(part, (ARGS, AUX), {"data": SHAPE})(IMAGES[1])[0]
    args = {n: a for n, a in ARGS.items() if n in part.list_arguments()}
    np.testing.assert_array_equal(got, expected(IMAGES[1], part, args)[0])


def test_parameters_are_its_own() -> None:
    args = {n: a.copy() for n, a in ARGS.items()}
    ask = mx.Predictor(NET, (args, AUX), {"data": SHAPE})
    want = ask(IMAGES[0])[0]
    for array in args.values():
        array[:] = 0
    np.testing.assert_array_equal(ask(IMAGES[0])[0], want)


def test_it_goes_to_other_processes() -> None:
    ask = pickle.loads(pickle.dumps(made()))
    np.testing.assert_array_equal(ask(IMAGES[0])[0], expected(IMAGES[0])[0])


def test_types_follow_the_parameters_or_are_given() -> None:
    x = mx.sym.Variable("x")
    net = mx.sym.FullyConnected(x, num_hidden=2, no_bias=True, name="fc")
    half = mx.Predictor(net, {"fc_weight": np.ones((2, 3), np.float16)}, {"x": (1, 3)})
    assert half(np.ones((1, 3)))[0].dtype == np.float16
    double = mx.Predictor(net, {"fc_weight": np.ones((2, 3))}, {"x": (1, 3)}, types={"x": "float64"})
    assert double([[1, 2, 3]])[0].tolist() == [[6, 6]]
    assert mx.Predictor(x * 2, None, {"x": (2,)}, {"x": np.int32})([1.9, -1.9])[0].tolist() == [2, -2]


# --------------------------------------------------------------------------------------------- labels


def test_labels_make_no_difference() -> None:
    want = expected(IMAGES[0])[0]
    with_shape = mx.Predictor(NET, (ARGS, AUX), {"data": SHAPE, "softmax_label": (4,)})
    for ask in (made(), with_shape):
        np.testing.assert_array_equal(ask(data=IMAGES[0])[0], want)
        np.testing.assert_array_equal(ask(data=IMAGES[0], softmax_label=np.ones(4))[0], want)
        np.testing.assert_array_equal(ask(IMAGES[0][:2])[0], expected(IMAGES[0][:2])[0])


def test_labels_that_make_a_difference_are_inputs() -> None:
    data, label = mx.sym.Variable("data"), mx.sym.Variable("label")
    net = mx.sym.softmax_cross_entropy(data, label)
    with pytest.raises(mx.MXNetError, match="its outputs depend on 'label', too: give its shape"):
        mx.Predictor(net, None, {"data": (2, 3)})
    ask = mx.Predictor(net, None, {"data": (2, 3), "label": (2,)})
    assert ask(np.eye(2, 3) * 100, [0, 1])[0] == 0 and ask(data=np.eye(2, 3) * 100, label=[1, 1])[0] > 9
    with pytest.raises(mx.MXNetError, match="input 'label' is missing"):
        ask(data=np.eye(2, 3))


# --------------------------------------------------------------------------------------------- shapes and refusals


def test_other_shapes_get_programs_of_their_own_which_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRAMS", 3)
    ask = made()
    for n in (1, 2, 4, 3, 4, 1, 2):
        np.testing.assert_array_equal(ask(IMAGES[2][:n])[0], expected(IMAGES[2][:n])[0])
    assert [key[0][0] for key in ask._programs] == [4, 1, 2]


def test_idle_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 2)
    ask = made()
    in_threads(lambda number: [ask(IMAGES[0]) for _ in range(20)], 6)
    (program,) = ask._programs.values()
    assert 1 <= len(program._idle) <= 6
    runs = [program.idle_run() for _ in range(8)]
    for run in runs:
        program.done(run)
    assert len(program._idle) == 2


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "input 'data' is missing; it needs data"),
        ({"image": 1}, "input 'image' does not exist; the inputs are data"),
        ({"data": IMAGES[0], "fc_weight": 1}, "input 'fc_weight' is a parameter"),
        ({"data": IMAGES[0][0]}, r"'data' has shape \(2, 6, 6\), but its shape was given as \(4, 2, 6, 6\)"),
        ({"data": IMAGES[0][:0]}, r"'data' has shape \(0, 2, 6, 6\), which is empty"),
        (
            {"data": IMAGES[0][:, :1]},
            r"'conv_weight', the weight of Convolution 'conv' .*, has shape \(4, 2, 3, 3\), but \(4, 1, 3, 3\) is "
            r"needed; that is for inputs of shapes data: \(4, 1, 6, 6\)",
        ),
    ],
)
def test_wrong_inputs_are_refused(inputs: dict[str, object], words: str) -> None:
    ask = made()
    with pytest.raises(mx.MXNetError, match=f"Predictor of softmax: .*{words}"):
        ask.predict(**inputs)
    np.testing.assert_array_equal(ask(IMAGES[0])[0], expected(IMAGES[0])[0])


def test_inputs_in_order() -> None:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    ask = mx.Predictor(a - b, None, {"b": (2,), "a": (2,)})
    own = mx.Predictor(mx.sym.Variable("self") * 2, None, {"self": (1,)})
    assert own.predict(self=[4])[0].tolist() == [8]
    assert ask([3, 4], [1, 1])[0].tolist() == ask([3, 4], b=mx.nd.ones(2))[0].tolist() == [2, 3]
    with pytest.raises(mx.MXNetError, match="3 inputs given, but it has a, b"):
        ask([1, 1], [1, 1], [1, 1])
    with pytest.raises(mx.MXNetError, match="input 'a' is given twice"):
        ask([1, 1], a=[1, 1], b=[1, 1])
    with pytest.raises(TypeError, match="input 'b' must be an array of numbers"):
        ask([1, 1], ["x", "y"])


@pytest.mark.parametrize(
    ("params", "shapes", "words"),
    [
        ((ARGS, {}), {"data": SHAPE}, "no parameter 'bn_moving_mean', 'bn_moving_var'; give parameters in params"),
        ((ARGS, AUX), {}, "no parameter 'data'"),
        ((ARGS, AUX), {"date": SHAPE}, "there is no input 'date'; it has data, conv_weight"),
        (
            ({**ARGS, "fc_bias": mx.nd.zeros(4)}, AUX),
            {"data": SHAPE},
            r"'fc_bias', the bias of FullyConnected 'fc' .*, has shape \(4,\), but \(3,\) is needed; that is for",
        ),
        (7, {"data": SHAPE}, "params=7 is an epoch, which needs a checkpoint's prefix"),
    ],
)
def test_what_does_not_fit_together_is_refused(params: object, shapes: dict[str, object], words: str) -> None:
    with pytest.raises(mx.MXNetError, match=f"Predictor of softmax: .*{words}"):
        mx.Predictor(NET, params, shapes)


def test_other_refusals() -> None:
    with pytest.raises(TypeError, match="params must be arrays by name, a file or an epoch, got float"):
        mx.Predictor(NET, 1.5, {"data": SHAPE})
    with pytest.raises(TypeError, match="symbol must be a Symbol, its file or its JSON text, got int"):
        mx.Predictor(3, None, {"data": SHAPE})
    twice = mx.sym.Variable("x") + mx.sym.Variable("x")
    with pytest.raises(mx.MXNetError, match="'x' is the name of several variables"):
        mx.Predictor(twice, None, {"x": (2,)})
    some = mx.sym.contrib.boolean_mask(mx.sym.Variable("x"), mx.sym.Variable("keep"), name="some")
    with pytest.raises(mx.MXNetError, match="the size of the output of .*boolean_mask 'some' depends on values"):
        mx.Predictor(some, None, {"x": (2, 2), "keep": (2,)})


# --------------------------------------------------------------------------------------------- one program


def test_equal_types_have_one_program_while_somebody_uses_it() -> None:
    ask, other = made(), made()
    exe = NET.simple_bind(mx.cpu(), grad_req="null", data=SHAPE)
    (first,), (second,) = ask._programs.values(), other._programs.values()
    assert first.executable is second.executable is exe._instance(False).executable
    again = mx.sym.load_json(NET.tojson())
    assert mx.Predictor(again, (ARGS, AUX), {"data": SHAPE})(IMAGES[0])[0].shape == (4, 3)
    assert exe._instance(True).executable is not first.executable  # training is another program
    kept = weakref.ref(first.executable)
    del ask, other, exe, first, second
    gc.collect()
    assert kept() is None


def test_the_key_of_a_program_has_all_that_it_is_made_from() -> None:
    """Whoever gives SymbolModule a field decides whether symc.runtime.programs tells programs apart by it."""
    follows = {"inferred"}
    fields = {f.name for f in dataclasses.fields(SymbolModule)} - follows
    assert fields == {"name", "graph", "types", "output_names", "roles", "shapes"}


def test_what_differs_in_anything_is_another_program() -> None:
    """Names are part of a program, and so is the Python object of an operator that the user wrote."""
    x = mx.sym.Variable("x")

    def program(net: mx.sym.Symbol, shape: tuple[int, ...] = (3,)) -> object:
        exe = net.simple_bind(mx.cpu(), grad_req="null", x=shape)
        kept.append(exe)
        return exe._instance(False).executable

    kept: list[mx.executor.Executor] = []
    nets = [mx.sym.tanh(x, name="a"), mx.sym.tanh(x, name="b"), mx.sym.sigmoid(x, name="a")]
    nets += [mx.sym.Custom(x, op_type="predictor_counting", name="c") for _ in range(2)]
    made = [program(net) for net in nets]
    assert len(set(map(id, made))) == 5
    assert [program(net) for net in nets] == made
    assert program(nets[0], (4,)) is not made[0]

"""Index values that point nowhere: no operator reads or writes beyond its arrays, and what comes out is defined."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

BAD = [3.0, 4.0, 5.0, 100.0, 1e9, -1.0, -2.0, -7.0, -1e9, float("nan"), float("inf"), float("-inf"), 0.7]
nd = mx.nd


def run(symbol: mx.sym.Symbol, arrays: dict[str, object]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(outputs, gradients) of a training step with heads of ones."""
    given = {k: v if isinstance(v, nd.NDArray) else nd.array(np.asarray(v, np.float32)) for k, v in arrays.items()}
    grads = {k: nd.zeros(v.shape, dtype=v.dtype) for k, v in given.items()}
    executor = symbol.bind(mx.cpu(), given, args_grad=grads)
    executor.forward(is_train=True)
    executor.backward([nd.ones(o.shape, dtype=o.dtype) for o in executor.outputs])
    return [o.asnumpy() for o in executor.outputs], [g.asnumpy() for g in grads.values()]


def x(*shape: int) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


v = mx.sym.Variable
REGIONS = {"data": x(2, 4, 8, 8)}
CASES = {
    "take": (mx.sym.take(v("a"), v("i")), lambda b: {"a": x(4, 3), "i": [b, 0]}),
    "take wrap": (mx.sym.take(v("a"), v("i"), mode="wrap", axis=1), lambda b: {"a": x(4, 3), "i": [b, 0]}),
    "Embedding": (
        mx.sym.Embedding(v("i"), v("w"), input_dim=4, output_dim=3), lambda b: {"i": [b, 1], "w": x(4, 3)},
    ),
    "pick": (mx.sym.pick(v("a"), v("i")), lambda b: {"a": x(2, 3), "i": [b, 0]}),
    "pick wrap": (mx.sym.pick(v("a"), v("i"), mode="wrap"), lambda b: {"a": x(2, 3), "i": [b, 0]}),
    "one_hot": (mx.sym.one_hot(v("i"), depth=4), lambda b: {"i": [b, 1]}),
    "SequenceLast": (
        mx.sym.SequenceLast(v("a"), v("n"), use_sequence_length=True), lambda b: {"a": x(3, 2, 2), "n": [b, 1]},
    ),
    "SequenceMask": (
        mx.sym.SequenceMask(v("a"), v("n"), use_sequence_length=True), lambda b: {"a": x(3, 2, 2), "n": [b, 1]},
    ),
    "SequenceReverse": (
        mx.sym.SequenceReverse(v("a"), v("n"), use_sequence_length=True), lambda b: {"a": x(3, 2, 2), "n": [b, 2]},
    ),
    "ROIPooling": (
        mx.sym.ROIPooling(v("data"), v("r"), pooled_size=(2, 2), spatial_scale=1.0),
        lambda b: {**REGIONS, "r": [[b, 0, 0, 4, 4], [0, b, 0, 4, b]]},
    ),
    "ROIAlign": (
        mx.sym.contrib.ROIAlign(v("data"), v("r"), pooled_size=(2, 2), spatial_scale=1.0, sample_ratio=2),
        lambda b: {**REGIONS, "r": [[b, 0, 0, 4, 4], [0, b, 0, 4, b]]},
    ),
    "PSROIPooling": (
        mx.sym.contrib.PSROIPooling(
            v("data"), v("r"), output_dim=1, pooled_size=2, spatial_scale=1.0, group_size=2
        ),
        lambda b: {**REGIONS, "r": [[b, 0, 0, 4, 4], [0, b, 0, 4, b]]},
    ),
    "DeformablePSROIPooling": (
        mx.sym.contrib.DeformablePSROIPooling(
            v("data"), v("r"), v("t"), output_dim=1, pooled_size=2, spatial_scale=1.0, group_size=2, trans_std=0.1,
            sample_per_part=2, part_size=2,
        ),
        lambda b: {**REGIONS, "r": [[b, 0, 0, 4, 4], [0, b, 0, 4, b]], "t": np.full((2, 2, 2, 2), b)},
    ),
    "DeformableConvolution": (
        mx.sym.contrib.DeformableConvolution(
            v("data"), v("o"), v("w"), kernel=(3, 3), num_filter=1, no_bias=True
        ),
        lambda b: {"data": x(1, 1, 5, 5), "o": np.full((1, 18, 3, 3), b), "w": x(1, 1, 3, 3)},
    ),
    "BilinearSampler": (
        mx.sym.BilinearSampler(v("a"), v("g")), lambda b: {"a": x(1, 2, 4, 4), "g": np.full((1, 2, 2, 2), b)},
    ),
    "SoftmaxOutput": (mx.sym.SoftmaxOutput(v("a"), v("l")), lambda b: {"a": x(2, 3), "l": [b, 1]}),
    "SVMOutput": (mx.sym.SVMOutput(v("a"), v("l")), lambda b: {"a": x(2, 3), "l": [b, 1]}),
    "softmax_cross_entropy": (mx.sym.softmax_cross_entropy(v("a"), v("l")), lambda b: {"a": x(2, 3), "l": [b, 1]}),
    "CTCLoss lengths": (
        mx.sym.CTCLoss(
            data=v("a"), label=v("l"), data_lengths=v("n"), label_lengths=v("m"), use_data_lengths=True,
            use_label_lengths=True,
        ),
        lambda b: {"a": x(4, 1, 3), "l": [[1, 2]], "n": [b], "m": [b]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_no_index_reaches_beyond_an_array(name: str) -> None:
    symbol, arrays = CASES[name]
    for bad in BAD:
        first, again = run(symbol, arrays(bad)), run(symbol, arrays(bad))
        for one, other in zip(first[0] + first[1], again[0] + again[1]):
            np.testing.assert_array_equal(one, other)  # what comes from beyond an array is not the same twice
    with pytest.raises((IndexError, mx.MXNetError), match="outside"):
        mx.nd.gather_nd(nd.ones((4, 4)), nd.array([[100000000], [0]])).asnumpy()


def test_sequences_longer_than_the_data_are_turned_round_whole() -> None:
    symbol, arrays = CASES["SequenceReverse"]
    for length in (3.0, 4.0, 1e9):
        (out,), (grad, _) = run(symbol, arrays(length))
        np.testing.assert_array_equal(out[:, 0], x(3, 2, 2)[::-1, 0])
        np.testing.assert_array_equal(out[:, 1], x(3, 2, 2)[[1, 0, 2], 1])
        np.testing.assert_array_equal(grad, 1)
    for length in (-1.0, float("nan")):
        np.testing.assert_array_equal(run(symbol, arrays(length))[0][0][:, 0], x(3, 2, 2)[:, 0])


def test_regions_of_no_image_are_zero() -> None:
    symbol, arrays = CASES["ROIPooling"]
    for image, there in ((0.0, True), (1.0, True), (2.0, False), (-1.0, False), (1e9, False), (float("nan"), False)):
        (out,), (grad, _) = run(symbol, {**arrays(0.0), "r": [[image, 0, 0, 4, 4]]})
        assert bool(out.any()) == bool(grad.any()) == there


def test_a_place_that_is_nan_gives_nan() -> None:
    symbol, arrays = CASES["BilinearSampler"]
    assert np.isnan(run(symbol, arrays(float("nan")))[0][0]).all()
    assert (run(symbol, arrays(1e9))[0][0] == 0).all()


@pytest.mark.parametrize(("label", "blank"), [(3, "first"), (7, "first"), (1e8, "first"), (-2, "first"), (3, "last")])
def test_a_label_that_is_no_class_is_named(label: float, blank: str) -> None:
    loss = mx.sym.CTCLoss(v("a"), v("l"), blank_label=blank, name="ctc")
    with pytest.raises(
        mx.MXNetError,
        match=rf"^CTCLoss 'ctc' .*test_bad_indices.py:\d+\): sequence 1 has the label {int(label)}, but the 3 classes",
    ):
        run(loss, {"a": x(4, 2, 3), "l": [[1, 0], [label, 1]]})


def test_words_that_cannot_be_spelled_cost_nothing() -> None:
    loss = mx.sym.CTCLoss(v("a"), v("l"), v("n"), use_data_lengths=True)
    (out,), (grad, *_) = run(loss, {"a": x(3, 3, 3), "l": [[1, 2, 0], [1, 1, 0], [1, 1, 0]], "n": [1, 2, 3]})
    assert out[0] == 0 and out[1] == 0 and out[2] > 0
    assert not grad[:, :2].any() and grad[:, 2].any()


def test_a_region_without_end_is_refused() -> None:
    rois = nd.array([[0, 3, 3, 1e9, 4, 0]])
    with pytest.raises(mx.MXNetError, match="RROIAlign: region 0 is .* give sampling_ratio"):
        nd.contrib.RROIAlign(nd.ones((1, 1, 8, 8)), rois, pooled_size=(2, 2), spatial_scale=1.0).asnumpy()
    rois = nd.array([[float("nan"), 3, 3, 4, 4, 0]])
    made = nd.contrib.RROIAlign(nd.ones((1, 1, 8, 8)), rois, pooled_size=(2, 2), spatial_scale=1.0).asnumpy()
    assert (made == 1).all()

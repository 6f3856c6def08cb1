"""Protects mx.contrib in Python: gradients of reduced variance, vocabularies, vectors of tokens; stores of one's
own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import symc as mx
from symc.contrib.svrg_optimization.svrg_module import SVRGModule
from symc.contrib.svrg_optimization.svrg_optimizer import _SVRGOptimizer

text = mx.contrib.text

# --------------------------------------------------------------------------------------------- SVRG

X = np.random.RandomState(0).rand(10, 2).astype("f")
Y = X @ np.array([[1.0], [2.0]], "f")


def regression(**given):
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=1, no_bias=True, name="fc")
    net = mx.sym.LinearRegressionOutput(net, mx.sym.Variable("label"), name="out")
    return SVRGModule(net, ["data"], ["label"], **{"update_freq": 2, **given})


def batches():
    return mx.io.NDArrayIter({"data": X}, {"label": Y}, 5)


@pytest.mark.filterwarnings("error")
def test_a_store_whose_values_are_the_parameters_pulls_in_silence():
    """They need not be copied onto themselves, which is warned of where programs do it."""
    mod, data = regression(), batches()
    mod.bind(data.provide_data, data.provide_label)
    mod.init_params()
    mod.init_optimizer(kvstore=mx.kv.create("local"))
    mod.update_full_grads(data)
    data.reset()
    mod.forward_backward(next(data))
    mod.update()


def gradient(x, y, w):
    return ((x @ w.T - y).T @ x).astype("f")


@pytest.mark.parametrize("context", [mx.cpu(), [mx.cpu(0), mx.cpu(1)]])
def test_gradients_are_corrected(context):
    """Four epochs in numpy give the same parameters; the earlier ones are taken over every other epoch."""
    if isinstance(context, list):
        given = mx.io.NDArrayIter({"data": X}, {"label": Y}, 10)
    else:
        given = batches()
    size = given.batch_size
    module = regression(context=context)
    start = mx.nd.array([[0.5, -0.5]])
    module.fit(given, eval_metric="mse", optimizer_params={"learning_rate": 0.1}, num_epoch=4,
               arg_params={"fc_weight": start}, initializer=None)  # fmt: skip
    w = start.asnumpy()
    parts = [(X[at : at + size], Y[at : at + size]) for at in range(0, 10, size)]
    for epoch in range(4):
        if epoch % 2 == 0:
            v = w.copy()
            full = sum(gradient(x, y, v) for x, y in parts) / len(parts)
        for x, y in parts:
            w = w - 0.1 / size * (gradient(x, y, w) - gradient(x, y, v) + full)
    assert np.allclose(module.get_params()[0]["fc_weight"].asnumpy(), w, atol=1e-5)


def test_rows_that_fill_a_batch_do_not_count():
    module, given = regression(), mx.io.NDArrayIter({"data": X}, {"label": Y}, 4, last_batch_handle="pad")
    module.bind(given.provide_data, given.provide_label)
    module.init_params(mx.init.One())
    module.init_optimizer()
    assert type(module._optimizer) is _SVRGOptimizer
    for _ in range(2):  # and nothing is left of the time before
        module.update_full_grads(given)
        found = module._param_dict[0]["fc_weight"].asnumpy()
        padded = sum(gradient(x, y, np.ones((1, 2), "f")) for x, y in ((X, Y), (X[:2], Y[:2])))
        assert np.allclose(found, padded / 2.5, rtol=1e-4)


def test_how_often_is_a_positive_number():
    for wrong, error in ((None, TypeError), (1.5, TypeError), (0, ValueError)):
        with pytest.raises(error, match="update_freq"):
            regression(update_freq=wrong)


# --------------------------------------------------------------------------------------------- text

COUNTS = Counter(["a", "b", "b", "c", "c", "c", "d$"])


def test_tokens_are_counted():
    count = text.utils.count_tokens_from_str
    assert count(" Life is great ! \n life is good . \n", to_lower=True) == Counter(
        {"life": 2, "is": 2, "!": 1, ".": 1, "great": 1, "good": 1}
    )
    assert count(r"*a*b*\*a", r"\*", r"\n", counter_to_update=Counter("a")) == Counter({"a": 3, "b": 1, "\\": 1})


@pytest.mark.parametrize("given, tokens", [
    ({}, ["<unk>", "c", "b", "a", "d$"]), ({"min_freq": 2}, ["<unk>", "c", "b"]),
    ({"most_freq_count": 1, "reserved_tokens": ["<pad>", "b"]}, ["<unk>", "<pad>", "b", "c"]),
    ({"unknown_token": "b", "min_freq": 2}, ["b", "c"]), ({"most_freq_count": 0}, ["<unk>"]),
])  # fmt: skip
def test_vocabularies(given, tokens):
    made = text.vocab.Vocabulary(COUNTS, **given)
    assert made.idx_to_token == tokens and made.token_to_idx == {t: n for n, t in enumerate(tokens)}
    assert made.to_indices(["nowhere", tokens[-1]]) == [0, len(made) - 1] and made.to_tokens(0) == tokens[0]
    assert made.reserved_tokens == given.get("reserved_tokens")


def test_vocabularies_refuse():
    for wrong in ({"min_freq": 0}, {"reserved_tokens": ["b", "b"]}, {"reserved_tokens": ["<unk>"]}):
        with pytest.raises(AssertionError):
            text.vocab.Vocabulary(COUNTS, **wrong)
    made = text.vocab.Vocabulary(COUNTS)
    for wrong in (5, -1, [0, 9], "c"):
        with pytest.raises(ValueError, match="there are 5"):
            made.to_tokens(wrong)


@pytest.fixture
def vectors(tmp_path):
    (tmp_path / "v.txt").write_text("2 3\na 1 2\nb 3 4\na 9 9\n<u> 7 8\n")
    return str(tmp_path / "v.txt")


def test_vectors_of_a_file(vectors):
    with pytest.warns(UserWarning) as said:
        made = text.embedding.CustomEmbedding(vectors, init_unknown_vec=mx.nd.ones)
    assert [word in str(w.message) for w, word in zip(said, ("likely a header", "token a is there before"))] == [
        True
    ] * 2
    assert made.idx_to_token == ["<unk>", "a", "b", "<u>"] and made.vec_len == 2
    assert made.idx_to_vec.asnumpy().tolist() == [[1, 1], [1, 2], [3, 4], [7, 8]]
    assert made.get_vecs_by_tokens(["B", "b"]).asnumpy().tolist() == [[1, 1], [3, 4]]
    assert made.get_vecs_by_tokens("B", lower_case_backup=True).asnumpy().tolist() == [3, 4]
    made.update_token_vectors("a", mx.nd.array([5, 6]))
    assert made.get_vecs_by_tokens("a").asnumpy().tolist() == [5, 6]
    with pytest.raises(ValueError, match="z is no token here"):
        made.update_token_vectors(["a", "z"], mx.nd.ones((2, 2)))
    with pytest.raises(AssertionError, match="new_vectors"):
        made.update_token_vectors(["a", "b"], mx.nd.ones(2))


@pytest.mark.filterwarnings("ignore:.*v.txt")
def test_vectors_of_a_vocabulary(vectors):
    words = text.vocab.Vocabulary(COUNTS, reserved_tokens=["<pad>"])
    one = text.embedding.CustomEmbedding(vectors, unknown_token="<u>")
    kept = text.embedding.CustomEmbedding(vectors, unknown_token="<u>", vocabulary=words)
    assert kept.idx_to_token == words.idx_to_token and kept.reserved_tokens == ["<pad>"]
    assert kept.idx_to_vec.asnumpy().tolist() == [[7, 8], [7, 8], [7, 8], [3, 4], [1, 2], [7, 8]]
    both = text.embedding.CompositeEmbedding(words, [one, kept])
    assert both.vec_len == 4 and both.get_vecs_by_tokens("b").asnumpy().tolist() == [3, 4, 3, 4]


def test_embeddings_by_name(tmp_path, vectors):
    @text.embedding.register
    class Mine(text.embedding._TokenEmbedding):
        pretrained_file_name_sha1 = {"v.txt": ""}

        def __init__(self, embedding_root, **kwargs):
            super().__init__(**kwargs)
            self._load_embedding(self._get_pretrained_file(embedding_root, "v.txt"), " ", mx.nd.zeros)

    with pytest.raises(mx.MXNetError, match="symc downloads nothing, put it there"):
        text.embedding.create("mine", embedding_root=str(tmp_path))
    assert (
        text.embedding.get_pretrained_file_names("mine") == ["v.txt"]
        and "glove" in text.embedding.get_pretrained_file_names()
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/v.txt").write_text("x 1 2\n")
    assert text.embedding.create("Mine", embedding_root=str(tmp_path)).idx_to_token == ["<unk>", "x"]
    for wrong in (
        lambda: text.embedding.get_pretrained_file_names("none"),
        lambda: text.embedding.create("glove", pretrained_file_name="x"),
    ):
        with pytest.raises(KeyError, match="no embedding|has no file"):
            wrong()


# --------------------------------------------------------------------------------------------- stores


def test_stores_of_ones_own():
    @mx.kv.KVStoreBase.register
    class Doubling(mx.kv.KVStoreBase):
        def pushpull(self, key, value, out=None, priority=0):
            out[:] = value * 2

    store, out = mx.kv.create("Doubling"), mx.nd.zeros(2)
    store.pushpull("k", mx.nd.ones(2), out)
    assert type(store) is Doubling and out.asnumpy().tolist() == [2, 2]
    with pytest.raises(NotImplementedError, match="Doubling has no broadcast"):
        store.broadcast("k", out, out)
    test = mx.kv.create("teststore")
    test.pushpull(0, [mx.nd.ones(2), mx.nd.ones(2)], out)
    assert out.asnumpy().tolist() == [2, 2] and not test.is_capable("optimizer")
    assert mx.kv.create("local").is_capable("optimizer") and isinstance(mx.kv.create(), mx.kv.KVStoreBase)


def test_keys_are_of_one_kind():
    store = mx.kv.create()
    store.init(3, mx.nd.ones(2))
    with pytest.raises(mx.MXNetError, match="key 'a' is a str, but other keys are not"):
        store.init("a", mx.nd.ones(2))


#: sums of each weight, gradient, mean, variance (and copy) after an update of two weights, as MXNet 1.9.1 leaves them
AFTER = {
    "multi_adamw_update": [[3.15, 2.531], [3.275, 2.651], [3.764, 2.132], [3.027, 2.967]],
    "multi_mp_adamw_update": [[2.375, 1.942], [2.823, 1.855], [2.001, 1.953], [4.021, 1.135], [2.375, 1.942]],
    "multi_lamb_update": [[2.395, 1.305], [3.723, 2.506], [3.748, 3.07], [4.07, 1.544]],
    "multi_mp_lamb_update": [[1.953, 1.787], [4.292, 2.86], [3.211, 2.147], [4.712, 1.547], [1.953, 1.787]],
}


def test_updates_of_many_weights() -> None:
    """One call for lists of arrays; half precision has its copies."""
    rng = np.random.RandomState(0)

    def pair(dtype: str = "float32") -> list[mx.nd.NDArray]:
        return [mx.nd.array(rng.uniform(0.1, 1, shape), dtype=dtype) for shape in ((3, 2), (4,))]

    for name, sums in AFTER.items():
        half = "float16" if "mp" in name else "float32"
        arrays = [pair(half), pair(half), *(pair() for _ in sums[2:])]
        rates = {"lrs": [0.1, 0.2], "wds": [0.01, 0.02], "out": arrays[0]}
        function = getattr(mx.nd.contrib, name)
        if "adamw" in name:
            function(*arrays, 0.5, etas=[1.0, 0.5], **rates)
        else:
            function(*arrays, step_count=[1, 2], **rates)
        found = [[float(x.asnumpy().astype("float32").sum()) for x in group] for group in arrays]
        np.testing.assert_allclose(found, sums, atol=2e-3, err_msg=name)
    with pytest.raises(AssertionError, match="the lists have 2, 1, 2, 2 arrays"):
        mx.nd.contrib.multi_lamb_update(pair(), pair()[:1], pair(), pair(), [1, 2], [0.1, 0.1], [0, 0])

"""The Trainer and its store: which store adds up and updates, and where the values of row_sparse parameters are."""

import numpy as np
import pytest

import symc as mx
from symc import gluon

TWO = [mx.cpu(0), mx.cpu(1)]


def parameter(name="x", ctx=None, **kinds):
    made = gluon.Parameter(name, shape=(4, 2), **kinds)
    made.initialize("zeros", ctx=ctx or TWO)
    return made


def step(trainer, arrays, factors=(1, 1)):
    with mx.autograd.record():
        heads = [array * factor for array, factor in zip(arrays, factors)]
    for head in heads:
        head.backward()
    trainer.step(1)


class Doubling(mx.kv.KVStoreBase):
    """Adds up, and doubles."""

    type, rank, num_workers = "doubling", 0, 1

    def __init__(self):
        self.calls = []

    def broadcast(self, key, value, out, priority=0):
        self.calls.append(("broadcast", key))

    def pushpull(self, key, value, out=None, priority=0):
        self.calls.append(("pushpull", key))
        total = sum(2 * v.asnumpy() for v in value)
        for one in value if out is None else out:
            one[:] = total

    @staticmethod
    def is_capable(capability):
        return False


def test_a_store_of_ones_own_adds_up():
    for contexts, moved in ((TWO, -4), ([mx.cpu(0)], -2)):
        x, store = parameter(ctx=contexts), Doubling()
        step(gluon.Trainer([x], "sgd", {"learning_rate": 1}, kvstore=store), x.list_data())
        assert store.calls == [("broadcast", 0), ("pushpull", 0)]
        assert all((data.asnumpy() == moved).all() for data in x.list_data())


@pytest.mark.parametrize(
    ("kinds", "settings", "error"),
    [
        ({}, {"kvstore": Doubling(), "update_on_kvstore": True}, ValueError),
        ({}, {"kvstore": 5}, TypeError),
        ({"grad_stype": "row_sparse"}, {"kvstore": Doubling()}, ValueError),
        ({"stype": "row_sparse"}, {"kvstore": Doubling()}, TypeError),
        ({"stype": "row_sparse"}, {"kvstore": None}, TypeError),
        ({"stype": "row_sparse"}, {"update_on_kvstore": False}, ValueError),
    ],
)
def test_stores_that_cannot_do_it_are_refused_by_the_first_step(kinds, settings, error):
    trainer = gluon.Trainer([parameter(**kinds)], "sgd", **settings)
    with pytest.raises(error):
        trainer.step(1)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_all_ways_to_update_give_the_same(name):
    found = []
    for contexts, on_store in ((TWO, None), (TWO, True), (TWO, False), ([mx.cpu(1)], None)):
        x = parameter(ctx=contexts)
        trainer = gluon.Trainer([x], name, {"learning_rate": 0.5}, update_on_kvstore=on_store)
        for _ in range(3):
            step(trainer, x.list_data(), (1, 2) if len(contexts) == 2 else (3,))
        assert trainer._update_on_kvstore == (None if len(contexts) == 1 else on_store is not False)
        assert trainer.optimizer.num_update == 3
        found += [data.asnumpy() for data in x.list_data()]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("on_store", [True, False])
def test_states_come_back_to_every_context(tmp_path, on_store):
    path, x = str(tmp_path / "states"), parameter()
    settings = {"learning_rate": 0.5, "momentum": 0.9}
    trainer = gluon.Trainer([x], "sgd", settings, update_on_kvstore=on_store)
    step(trainer, x.list_data())
    trainer.save_states(path)
    again = gluon.Trainer([x], "sgd", settings, update_on_kvstore=on_store)
    again.load_states(path)
    assert again.optimizer is (again._kvstore._updater if on_store else again._updaters[1]).optimizer
    x.lr_mult = 2.0  # the optimizer that was read knows the parameters
    step(again, x.list_data())
    # momentum -1 after the first step, -0.9 - 2 after the second
    assert all((data.asnumpy() == np.float32(-3.9)).all() for data in x.list_data())


def test_other_values_reach_the_store():
    x = parameter()
    trainer = gluon.Trainer([x], "sgd", {"learning_rate": 1})
    step(trainer, x.list_data())
    x.set_data(mx.nd.full((4, 2), 10))
    assert trainer._kvstore is None and trainer._params_to_init == [x]
    step(trainer, x.list_data())
    assert all((data.asnumpy() == 8).all() for data in x.list_data())


def test_rows_of_a_sparse_parameter_are_in_the_store(tmp_path):
    x = parameter(stype="row_sparse", grad_stype="row_sparse")
    rows, other = mx.nd.array([1, 3, 1]), mx.nd.array([0, 3], ctx=mx.cpu(1))
    for read in (x.data, x.list_data):
        with pytest.raises(RuntimeError, match="row_sparse_data"):
            read()
    with pytest.raises(RuntimeError, match="no Trainer"):
        x.row_sparse_data(rows)
    with pytest.raises(RuntimeError, match="data"):
        parameter().row_sparse_data(rows)
    trainer = gluon.Trainer([x], "sgd", {"learning_rate": 1})
    with pytest.raises(RuntimeError, match="no second"):
        gluon.Trainer([x], "sgd")
    with mx.autograd.record():
        first, second = x.row_sparse_data(rows), x.row_sparse_data(other)
        assert first.context == mx.cpu(0) and second.context == mx.cpu(1)
        heads = [
            mx.nd.Embedding(at, weight, input_dim=4, output_dim=2, sparse_grad=True)
            for at, weight in ((rows, first), (other, second))
        ]
    for head in heads:
        head.backward()
    trainer.step(1)
    (_, copy) = x.list_row_sparse_data(mx.nd.array([3, 1]))
    assert copy.indices.asnumpy().tolist() == [1, 3] and copy.data.asnumpy()[:, 0].tolist() == [-2, -2]
    net = gluon.ParameterDict()
    net._params["x"] = x
    net.save(str(tmp_path / "x"))
    saved = mx.nd.load(str(tmp_path / "x"))["x"]
    assert saved.stype == "row_sparse" and saved.asnumpy()[:, 0].tolist() == [-1, -2, 0, -2]
    net.load(str(tmp_path / "x"))
    assert x.row_sparse_data(mx.nd.array([0])).asnumpy()[:, 0].tolist() == [-1, 0, 0, 0]


def test_rows_are_not_lost_with_the_store_that_another_parameter_gives_up():
    x, y = parameter(stype="row_sparse"), parameter("y")
    trainer = gluon.Trainer([x, y], "sgd", {"learning_rate": 1})
    x.set_data(mx.nd.ones((4, 2)))
    x.row_sparse_data(mx.nd.array([1]))
    y.set_data(mx.nd.ones((4, 2)))
    assert trainer._kvstore is None
    assert x.row_sparse_data(mx.nd.arange(4)).asnumpy()[:, 0].tolist() == [1, 1, 1, 1]


def test_a_sparse_parameter_is_one_in_symbols_too():
    for stype, number in (("default", "0"), ("row_sparse", "1"), ("csr", "2")):
        assert gluon.Parameter("w", shape=(2, 2), stype=stype).var().attr("__storage_type__") == number
    data, weight = mx.sym.Variable("data"), mx.sym.Variable("weight", stype="row_sparse")
    with pytest.raises(AssertionError, match="'weight'.*sparse"):
        gluon.SymbolBlock(mx.sym.dot(data, weight), data)


def test_programs_look_into_parameters_as_into_mxnets():
    late = gluon.Parameter("late", shape=(0, 2), allow_deferred_init=True)
    late.initialize()
    assert late._data is None and late._grad is None and late._deferred_init
    x = parameter()
    assert [a.context for a in x._data] == TWO and x._grad[1] is x.grad(mx.cpu(1)) and not x._deferred_init


def test_the_type_of_a_file_is_taken_by_arrays_that_are_there(tmp_path):
    path = str(tmp_path / "half")
    half, single = gluon.ParameterDict(), gluon.ParameterDict()
    for held, dtype in ((half, "float16"), (single, "float32")):
        held.get("w", shape=(2, 2), dtype=dtype)
        held.initialize(mx.init.One() if held is half else mx.init.Zero())
    half.save(path)
    single.load(path, cast_dtype=True, dtype_source="saved")
    assert single["w"].data().dtype == single["w"].grad().dtype == np.float16
    assert (single["w"].data().asnumpy() == 1).all()


@pytest.mark.parametrize(("stype", "axis", "parts"), [
    ("default", 0, "default"), ("csr", 0, "csr"), ("csr", 1, "default"), ("row_sparse", 1, "default"),
])  # fmt: skip
def test_sparse_data_is_divided_too(stype, axis, parts):
    dense = np.eye(4, 6, dtype=np.float32)
    found = gluon.utils.split_and_load(mx.nd.array(dense).tostype(stype), TWO, batch_axis=axis)
    assert [part.context for part in found] == TWO and {part.stype for part in found} == {parts}
    for part, wanted in zip(found, np.split(dense, 2, axis)):
        assert (part.asnumpy() == wanted).all()

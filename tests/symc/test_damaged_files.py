"""Protects: whatever bytes come from outside, what reads them answers or says in a MXNetError what is wrong with them.
Sizes are checked before they are believed: nothing allocates, counts or nests as a damaged file says.

Thousands of damaged files (tests/damaging.py, the same at every run), and by name the kinds that once went wrong.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaging import VALUES, damaged_bytes, damaged_document, damaged_text

import symc as mx
from symc.cli.inputs import load_text
from symc.cli.report import CliError, explain
from symc.ir.errors import IRError
from symc.ndarray.files import dumps
from symc.ops.base import OPERATORS, Operator, Shapes, operator
from symc.runtime import memory

SIR = Path(__file__).parents[1] / "ir" / "sir"
S = mx.sym


def convolutions() -> tuple[mx.sym.Symbol, dict[str, tuple[int, ...]]]:
    x = S.Convolution(S.Variable("data"), kernel=(3, 3), num_filter=4, pad=(1, 1), name="c")
    x = S.Pooling(S.BatchNorm(x, name="bn"), kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool")
    x = S.FullyConnected(S.Dropout(S.UpSampling(x, scale=2, sample_type="nearest"), p=0.3), num_hidden=5, name="fc")
    return S.SoftmaxOutput(x, name="softmax"), {"data": (2, 3, 8, 8)}


def pieces() -> tuple[mx.sym.Symbol, dict[str, tuple[int, ...]]]:
    x = S.Variable("data")
    parts = S.SliceChannel(x, num_outputs=3, name="s")
    y = S.repeat(S.tile(S.Concat(*parts, dim=1, name="cc"), reps=(2, 1)), repeats=2, axis=0)
    halves = S.split_v2(y, indices_or_sections=2, axis=0)
    made = [S.one_hot(S.clip(y, 0, 3), depth=4), S.topk(y, k=2), S.stack(y, y), S.slice(y, begin=(0, 0), end=(2, 2))]
    made += [S.arange(0, 6), S.linspace(0, 1, 5), S.eye(3), S.zeros((2, 3)), S.random.uniform(shape=(2, 2)), halves[0]]
    return S.Group([*made, S.Embedding(x, input_dim=4, output_dim=2, name="e")]), {"data": (2, 6)}


def recurrent() -> tuple[mx.sym.Symbol, dict[str, tuple[int, ...]]]:
    x = S.RNN(S.Variable("data"), S.Variable("p"), S.Variable("s"), mode="gru", state_size=3, num_layers=2, name="r")
    rows, state = S.contrib.foreach(lambda row, total: (row + total, total * 2), x, S.zeros((2, 3)))
    turns, _ = S.contrib.while_loop(
        lambda a: S.sum(a) < 10, lambda a: (a * 2, [a + 1]), [S.sum(state, axis=0)], max_iterations=5
    )
    return S.Group([rows, turns[0]]), {"data": (4, 2, 3)}


NETS = [convolutions(), pieces(), recurrent()]


def use(symbol: mx.sym.Symbol, shapes: dict[str, tuple[int, ...]]) -> None:
    """What is done with a loaded Symbol before it runs."""
    names = symbol.list_arguments() + symbol.list_auxiliary_states()
    known = {n: s for n, s in shapes.items() if n in names}
    symbol.list_outputs()
    symbol.infer_shape_partial(**known)
    symbol.infer_type_partial()
    symbol.tojson()


def many(act, count: int, seed: int) -> tuple[int, int]:
    """(answers, refusals) of `act` for so many random numbers; any other exception goes through."""
    answers = 0
    for number in range(count):
        try:
            act(random.Random(seed * 1_000_000 + number))
            answers += 1
        except mx.MXNetError as problem:
            assert str(problem)
    return answers, count - answers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("net", range(len(NETS)))
def test_damaged_symbols(net: int) -> None:
    symbol, shapes = NETS[net]
    text = symbol.tojson()
    document = json.loads(text)

    def act(rng: random.Random) -> None:
        whole = damaged_document(document, rng) if rng.random() < 0.7 else damaged_text(text, rng)
        use(mx.sym.load_json(whole), shapes)

    answers, refusals = many(act, 250, net)
    assert answers and refusals


def sparse_file() -> bytes:
    """A row_sparse array of zeros and a csr array with 5 and 6."""
    rows = struct.pack("<Iiiqqiqq", 0xF993FAC9, 1, 2, 2, 2, 2, 1000, 2) + struct.pack("<iiiiiq", 1, 0, 0, 6, 1, 2)
    cells = struct.pack("<Iiiqiqq", 0xF993FAC9, 2, 1, 2, 2, 2, 3) + struct.pack("<iiiiiqiiq", 1, 0, 0, 6, 1, 3, 6, 1, 2)
    cells += struct.pack("<ffqqqqq", 5, 6, 0, 1, 2, 0, 2)
    return dumps([])[:16] + struct.pack("<Q", 2) + rows + bytes(16 + 16) + cells + struct.pack("<Q", 0)


def test_damaged_parameters() -> None:
    arrays = [np.ones((3, 4), "f"), np.ones(2, np.float16), np.arange(2)]
    files = [dumps(arrays, ["arg:w", "aux:m", "arg:i"]), dumps(arrays[:1]), sparse_file()]
    assert [a.asnumpy().sum() for a in mx.nd.load_frombuffer(files[-1])] == [0, 11]
    answers, refusals = many(lambda rng: mx.nd.load_frombuffer(damaged_bytes(rng.choice(files), rng)), 2000, 1)
    assert answers and refusals


def test_damaged_states() -> None:
    updater = mx.optimizer.get_updater(mx.optimizer.create("adam"))
    weight = mx.nd.ones((2, 3))
    updater(0, weight, weight)
    files = [updater.get_states(), updater.get_states(dump_optimizer=True)]

    def act(rng: random.Random) -> None:
        read = mx.optimizer.get_updater(mx.optimizer.create("adam"))
        read.set_states(damaged_bytes(rng.choice(files), rng))
        read(0, weight, weight)

    assert many(act, 250, 2)[1]


@pytest.mark.parametrize("path", sorted(SIR.glob("*.sir")), ids=lambda p: p.name)
def test_damaged_programs(path: Path) -> None:
    """Text forms end in the parser's, the verifier's or an operator's refusal."""
    lines = path.read_text().splitlines()
    text = "\n".join([*lines[:40], *lines[-12:]]) if len(lines) > 60 else "\n".join(lines)

    def act(rng: random.Random) -> None:
        try:
            load_text(damaged_text(text, rng), {}, True)
        except (IRError, CliError) as problem:
            raise mx.MXNetError(str(problem)) from None

    assert many(act, 120, 3)[1]


@pytest.mark.filterwarnings("ignore:loadtxt")
def test_damaged_tables(tmp_path: Path) -> None:
    table = "\n".join(",".join(f"{i * j}.5" for j in range(4)) for i in range(5))
    path = tmp_path / "x.csv"

    def act(rng: random.Random) -> None:
        path.write_bytes(damaged_bytes(table.encode(), rng))
        list(mx.io.CSVIter(str(path), (4,), batch_size=2))

    answers, refusals = many(act, 150, 4)
    assert answers and refusals


# --------------------------------------------------------------------------------------------- by name


def altered(op: str, **attrs: str) -> mx.sym.Symbol:
    """One of the nets with other attributes of an operator."""
    for symbol, _ in NETS:
        document = json.loads(symbol.tojson())
        nodes = [n for n in document["nodes"] if n["op"] == op]
        if nodes:
            nodes[0]["attrs"].update(attrs)
            return mx.sym.load_json(json.dumps(document))
    raise AssertionError(op)


COUNTS = [
    ("SliceChannel", "num_outputs"), ("Concat", "num_args"), ("_split_v2", "sections"), ("RNN", "num_layers"),
    ("_foreach", "num_outputs"), ("_foreach", "num_out_data"), ("_while_loop", "num_args"), ("UpSampling", "num_args"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "name"), COUNTS)
def test_no_operator_has_a_billion_parts(op: str, name: str) -> None:
    with pytest.raises(mx.MXNetError, match=f"{op}: parameter {name}=1000000000 is more than"):
        altered(op, **{name: "1000000000"})


@pytest.mark.parametrize(
    "text", ["[" * 100000, "(" * 500, "(" + "-" * 50000 + "1,)", "(" + "9" * 400 + ",)", "(1e999,)"]
)
def test_tuples_that_are_none(text: str) -> None:
    with pytest.raises(mx.MXNetError, match="kernel=.*is not valid"):
        altered("Convolution", kernel=text)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("where", ["nodes", "heads", "attrs", "arg_nodes"])
def test_members_that_are_something_else(where: str, value: object) -> None:
    document = json.loads(NETS[0][0].tojson())
    for place in (document, *([document[where]] if where == "attrs" else [])):
        place[where if place is document else "mxnet_version"] = value
        try:
            use(mx.sym.load_json(json.dumps(document)), NETS[0][1])
        except mx.MXNetError as problem:
            assert str(problem)
        document = json.loads(NETS[0][0].tojson())


def nested(depth: int) -> str:
    """The text of a loop in a loop in a loop, which take rows of rows."""
    text = {"num_args": "2", "num_outputs": "1", "num_out_data": "1", "in_state_locs": "()", "in_data_locs": "(0,)"}
    variable = {"op": "null", "name": "x", "inputs": []}
    graph: dict[str, Any] = {"nodes": [variable], "heads": [[0, 0, 0]]}
    for _ in range(depth):
        loop = {"op": "_foreach", "name": "f", "attrs": {**text, "remain_locs": "()"}, "inputs": [[0, 0, 0]]}
        graph = {"nodes": [variable, {**loop, "subgraphs": [graph]}], "heads": [[1, 0, 0]]}
    return json.dumps({**graph, "attrs": {"mxnet_version": ["int", 10901]}})


def test_graphs_in_graphs_have_an_end() -> None:
    few = mx.sym.load_json(nested(20)).simple_bind(mx.cpu(), "null", x=(1,) * 22)
    assert few.forward()[0].shape == (1,) * 22
    for text in (nested(33), nested(150), "[" * 20000):
        with pytest.raises(mx.MXNetError, match="nested"):
            mx.sym.load_json(text)


def test_arrays_have_no_more_axes_than_numpy_gives_them() -> None:
    shape = (1,) * 70
    with pytest.raises(mx.MXNetError, match="70 axes"):
        mx.nd.zeros(shape)
    with pytest.raises(mx.MXNetError, match="70 axes"):
        S.tanh(S.Variable("x")).simple_bind(mx.cpu(), x=shape)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    for name, content in (("a.json", b"\xff\xfe{"), ("b.json.gz", b"no gzip"), ("c.json", b"[" * 100000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(mx.MXNetError):
            mx.sym.load(tmp_path / name)


HUGE = {
    "a weight": (lambda x: S.FullyConnected(x, num_hidden=10**10, name="it"), "FullyConnected 'it'"),
    "weights": (lambda x: S.Embedding(x, input_dim=10**12, output_dim=4, name="it"), "'it_weight', the weight of Emb"),
    "a result": (lambda x: S.broadcast_to(x, shape=(10**6, 10**6), name="it"), "broadcast_to 'it'"),
    "a value": (lambda x: S.Pad(S.Reshape(x, shape=(1, 1, 1, 1)), mode="constant", name="it",
                                pad_width=(0, 0, 0, 0, 3 * 10**8, 3 * 10**8, 1, 1)), "its largest value is .*Pad 'it'"),
    "a constant": (lambda x: S.linspace(0, 1, 10**12, name="it"), "_linspace 'it'"),
    "turns": (lambda x: S.contrib.while_loop(lambda a: S.sum(a) < 10, lambda a: (a * 2, [a + 1]), [x],
                                             max_iterations=10**12)[0][0], "_while_loop '_while_loop"),
    "a kernel": (lambda x: S.Pooling(S.Reshape(x, shape=(1, 1, 1, 1)), kernel=(10**9, 10**9), pad=(10**9, 10**9),
                                     name="it"), "Pooling 'it'"),
    "columns": (lambda x: S.one_hot(S.Reshape(x, shape=(-1,)), depth=10**12, name="it"), "one_hot 'it'"),
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_what_does_not_fit_is_refused_by_name(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is allocated, and with the Symbol, its line and how much would be needed."""
    monkeypatch.setattr(memory, "limit", lambda: 4 << 30)
    make, words = HUGE[case]
    shapes = {n: (1, 1) for n in make(S.Variable("x")).list_arguments() if n == "x"}
    with pytest.raises(mx.MXNetError, match=f"{words}.*test_damaged_files.py"):
        make(S.Variable("x")).simple_bind(mx.cpu(), "null", **shapes).forward()


def test_arrays_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit", lambda: 4 << 30)
    for make in (
        lambda: mx.nd.zeros((10**5, 10**9)), lambda: mx.nd.ones((10**5, 10**9)), lambda: mx.nd.empty(10**14),
        lambda: mx.nd.arange(10**14), lambda: mx.nd.linspace(0, 1, 10**14), lambda: mx.nd.eye(10**8),
        lambda: mx.nd.tile(mx.nd.ones(3), reps=(10**14,)), lambda: mx.nd.ones((1, 3)).broadcast_to((10**14, 3)),
    ):  # fmt: skip
        with pytest.raises(mx.MXNetError, match="needs .* GiB of memory, but there are"):
            make()
    with pytest.raises(mx.MXNetError, match=r"\(-1, 3\).*negative"):
        mx.nd.zeros((-1, 3))


def test_zeros_are_zeros() -> None:
    """Large ones come as fresh pages and are not written."""
    for shape in ((3,), (1 << 20,), (0, 5)):
        with mx.np_shape(0 in shape):
            array = mx.nd.zeros(shape, dtype="float64")
        assert not array.asnumpy().any() and array.shape == shape
        array[:] = 1
        assert array.asnumpy().sum() == array.size


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"nonsense"])
def test_arrays_of_the_command_line(content: bytes, tmp_path: Path) -> None:
    from symc.cli.values import arrays_of, text_of

    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(CliError, match="x.npz"):
        arrays_of(str(tmp_path / "x.npz"))
    (tmp_path / "t.sir").write_bytes(b"\xff\xfe")
    with pytest.raises(CliError, match="is not a text"):
        text_of(str(tmp_path / "t.sir"))


@pytest.fixture
def failing() -> Iterator[None]:
    """An operator whose program cannot be made."""

    @operator("failing", inputs="data")
    class Failing(Operator):
        """Fails."""

        def complete(self, s: Shapes) -> None:
            s.all_alike()

        def build(self, ctx: Any, data: Any) -> Any:
            return {}[data]

    yield
    del OPERATORS["failing"]


def test_operators_whose_code_fails_are_named(failing: None) -> None:
    """What an operator's own code raises while it is built is a refusal that names the operator and the Symbol."""
    net = S.failing(S.Variable("x"), name="it")
    with pytest.raises(mx.MXNetError, match="KeyError.*\n.*in operator failing 'it'.*test_damaged_files.py") as found:
        net.simple_bind(mx.cpu(), "null", x=(1, 4)).forward()
    assert "internal error" not in explain(found.value)[0]


@pytest.mark.parametrize("attrs", [{"h_w": (2,)}, {"h_w": (2, 2, 2)}, {"offset": (1,), "h_w": (2, 2)}])
def test_cuts_have_two_axes(attrs: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(mx.MXNetError, match="two numbers each"):
        S.Crop(S.Variable("x"), num_args=1, **attrs)

"""Protects what users see of loops and branches below the Symbol: every level's text, the assembly, the table of the
memory plan, and that binding again compiles nothing."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc import compile as compiler
from symc.cli import main
from symc.ir.parse import parse
from symc.ir.text import print_module

NETS = """
import symc as mx

S, C = mx.sym, mx.sym.contrib
x, h, w, p = (S.Variable(n) for n in "xhwp")


def each():
    def turn(row, s):
        z = S.tanh(S.FullyConnected(row, weight=w, num_hidden=4, no_bias=True) + s, name="act")
        return z * 2, S.softmax(z, name="soft")

    return S.Group(C.foreach(turn, x, h))


def repeated():
    outs, last = C.while_loop(lambda s: S.sum(s) < 9, lambda s: (S.sin(s, name="wave"), [s + 1]), [h], max_iterations=4)
    return S.Group([outs[0], last[0]])


def chosen():
    return C.cond(S.sum(h) > 0, lambda: S.exp(h, name="up"), lambda: S.log(h, name="down"))


def nested():
    def turn(row, s):
        outs, last = C.while_loop(lambda t: S.sum(t) < 2, lambda t: (t * 3, [S.cos(t + 1, name="deep")]), [s], None, 2)
        return C.cond(S.sum(s) > 1, lambda: S.broadcast_add(row, S.sum(outs)), lambda: S.exp(row)), last[0] * 1

    return S.Group(C.foreach(turn, x, h))
""".replace("[s], None, 2)", "[s], max_iterations=2)")
SHAPES = {"each": "x=5x2x3,h=2x4", "repeated": "h=2x4", "chosen": "h=2x4", "nested": "x=5x4,h=4"}
#: a Symbol inside of a body
INSIDE = {"each": ["act", "soft"], "repeated": ["wave"], "chosen": ["up", "down"], "nested": ["deep"]}


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(NETS)
    return path


def dump(capsys, *options: str) -> str:
    assert main(["dump", *options]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("train", [[], ["--train"]])
@pytest.mark.parametrize("level", ["tensor", "fused", "planned", "loop"])
@pytest.mark.parametrize("net", SHAPES)
def test_a_level_holds_the_bodies_and_reads_back(nets, capsys, net, level, train) -> None:
    text = dump(capsys, f"{nets}:{net}", "--shapes", SHAPES[net], "--level", level, *train)
    for name in INSIDE[net]:
        assert f'sym "{name}"' in text, "nothing in the program comes from that Symbol"
    assert print_module(parse(text)) == text


@pytest.mark.parametrize("net", SHAPES)
def test_assembly_holds_the_kernels_of_bodies(nets, capsys, net) -> None:
    text = dump(capsys, f"{nets}:{net}", "--shapes", SHAPES[net], "--level", "asm")
    heads = [line for line in text.splitlines() if line.startswith("# -----")]
    for name in INSIDE[net]:
        assert any(name in head for head in heads)


def test_the_memory_plan_shows_values_of_bodies(nets, capsys) -> None:
    text = dump(capsys, f"{nets}:nested", "--shapes", SHAPES["nested"], "--memory")
    steps = [line.split()[0] for line in text.splitlines()]
    assert any(".body/" in step and ".cond/" in step for step in steps), "the condition inside of the body"
    assert dump(capsys, f"{nets}:nested", "--shapes", SHAPES["nested"], "--format", "dot", "--level", "planned").count(
        ".body/"
    )


def test_binding_again_compiles_nothing(monkeypatch) -> None:
    S, C = mx.sym, mx.sym.contrib
    x, h = S.Variable("x"), S.Variable("h")
    out, _ = C.foreach(lambda row, s: (S.tanh(row + s), s * 1), x, h)
    made = []
    emit = compiler.emit

    def counted(loops, target):
        made.append(emit(loops, target))
        return made[-1]

    monkeypatch.setattr(compiler, "emit", counted)
    arrays = {"x": mx.nd.ones((4, 8)), "h": mx.nd.ones(8)}
    out.bind(mx.cpu(), arrays).forward()
    assert len(made) == 1, "bodies are compiled with the program"
    executable = made[0]

    def refuse(*_):
        raise AssertionError("a bind compiles")

    for name in ("emit", "link_kernels"):
        monkeypatch.setattr(compiler, name, refuse)
    buffers = {"x": np.ones((4, 8), np.float32), "h": np.ones(8, np.float32)}
    for _ in range(2):
        instance = executable.bind(buffers)
        instance.run()
        np.testing.assert_allclose(instance.outputs[0], np.tanh(2.0), rtol=1e-6)


def test_an_operator_with_a_loop_moves_from_arrays_to_arrays(monkeypatch) -> None:
    """A call on other arrays writes their addresses into the program; it is not bound anew."""

    def call(seed: int):
        rs = np.random.RandomState(seed)
        given = [rs.uniform(-1, 1, s).astype(np.float32) for s in ((5, 2, 3), (36,), (1, 2, 4))]
        made = mx.nd.RNN(*map(mx.nd.array, given), state_size=4, num_layers=1, mode="rnn_tanh", state_outputs=True)
        x, p, h = given
        w, u, b, c = p[:12].reshape(4, 3), p[12:28].reshape(4, 4), p[28:32], p[32:36]
        state, rows = h[0], []
        for row in x:
            state = np.tanh(row @ w.T + b + state @ u.T + c)
            rows.append(state)
        np.testing.assert_allclose(made[0].asnumpy(), rows, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made[1].asnumpy()[0], state, rtol=1e-5, atol=1e-6)

    call(0)
    monkeypatch.setattr(compiler.Executable, "bind", lambda *_: pytest.fail("bound anew"))
    for seed in range(1, 4):
        call(seed)

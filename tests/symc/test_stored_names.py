"""Protects programs that are kept on disk from names: a Symbol that differs from another in names and lines only gets
its program, and finds in it what compiling it would have given, names, lines and all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native import in_new_process

import symc as mx
import symc.runtime.programs
from symc.compile import Executable, compile_symbol
from symc.ir.origins import SymOrigin, symbols_of
from symc.ir.program.nodes import programs_of
from symc.ir.program.renaming import Clash, Renaming
from symc.ir.text import print_program
from symc.passes.manager.manager import Manager
from symc.typed import complete, module_of

pytestmark = pytest.mark.usefixtures("own_cache", "as_users_compile")
S = mx.sym
Name = Callable[[str], str]


class PassesRan(Exception):
    pass


def mlp(n: Name) -> Any:
    x = S.FullyConnected(S.Variable(n("data")), num_hidden=8, name=n("fc1"))
    x = S.BatchNorm(x, fix_gamma=False, name=n("bn"))
    x = S.Dropout(S.Activation(x, act_type="relu", name=n("act")), p=0.3, name=n("drop"))
    return S.SoftmaxOutput(S.FullyConnected(x, num_hidden=4, name=n("fc2")), name=n("softmax"))


def convolutions(n: Name) -> Any:
    x = S.Convolution(S.Variable(n("data")), kernel=(3, 3), pad=(1, 1), num_filter=6, name=n("c"))
    x = S.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max", name=n("pool"))
    flat = [S.Flatten(y, name=n(f"flat{i}")) for i, y in enumerate((x, S.transpose(x, axes=(0, 2, 3, 1), name=n("t"))))]
    return S.Concat(*flat, dim=1, name=n("both"))


def steps(n: Name) -> Any:
    """A loop inside of the program."""
    data, parameters, state, cell = (S.Variable(n(w)) for w in ("data", "parameters", "state", "cell"))
    return S.RNN(
        data, parameters, state, cell, state_size=5, num_layers=1, mode="lstm", state_outputs=True, name=n("rnn")
    )


def tied(n: Name) -> Any:
    """A weight that is read twice, an output that is a variable, constants."""
    x, w = S.Variable(n("data")), S.Variable(n("w"), shape=(4, 4))
    y = S.dot(S.dot(x, w, name=n("one")), w, name=n("two"))
    z = S.broadcast_add(y, S.arange(4, name=n("numbers")).reshape((1, 4)), name=n("sum"))
    return S.Group([S.sort(z, axis=1, name=n("sorted")), w, S.sum(z, name=n("total"))])


NETS: dict[str, tuple[Callable[[Name], Any], tuple[int, ...]]] = {
    "mlp": (mlp, (5, 7)), "convolutions": (convolutions, (2, 3, 8, 8)), "steps": (steps, (4, 2, 3)),
    "tied": (tied, (3, 4)),
}  # fmt: skip

#: how the second Symbol's names differ: longer, in another order, one the beginning of another, with dots
OTHERS: dict[str, Name] = {
    "prefix": lambda word: f"net0_{word}",
    "backwards": lambda word: word[::-1],
    "nested": lambda word: "m" * (3 + list("dabcfpwnorst").index(word[0])) + word,
    "dotted": lambda word: f"block.{word}",
    "spaces": lambda word: f"my {word}",
}


def made(symbol: Any, shape: tuple[int, ...], name: Name, train: bool, manager: Manager | None = None) -> Executable:
    types, missing = complete(symbol, {name("data"): shape})
    assert not missing
    wrt = [v for v in symbol.list_arguments() if v != name("data") and "label" not in v] if train else []
    return compile_symbol(module_of(symbol, types), train, wrt, wrt[:1], manager)


def no_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> None:
        raise PassesRan

    symc.runtime.programs._programs.clear()
    monkeypatch.setattr(Manager, "run", run)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("net", NETS)
def test_other_names_are_the_same_program(net: str, how: str, train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is that of the program compiled under these names, with all origins."""
    make, shape = NETS[net]
    first, second = make(str), make(OTHERS[how])
    expected = made(second, shape, OTHERS[how], train, Manager())
    text = print_program(made(first, shape, str, train).program)
    no_passes(monkeypatch)
    found = made(second, shape, OTHERS[how], train)
    assert print_program(found.program) == print_program(expected.program)
    assert found.kernels == expected.kernels and found.called == expected.called
    assert print_program(made(first, shape, str, train).program) == text


def test_values_go_where_names_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operands change places, and so do their names."""

    def answers(left: str, right: str) -> list[float]:
        symbol = S.elemwise_sub(S.Variable(left) * 10, S.Variable(right), name="minus")
        exe = symbol.bind(
            mx.cpu(),
            {"p": mx.nd.array([1, 2]), "q": mx.nd.array([3, 5])},
            args_grad={n: mx.nd.zeros((2,)) for n in "pq"},
        )
        found = exe.forward(is_train=True)[0].asnumpy().tolist()
        exe.backward([mx.nd.ones((2,))])
        return [*found, *(float(exe.grad_dict[n].asnumpy()[0]) for n in "pq")]

    assert answers("p", "q") == [7, 15, 10, -1]
    no_passes(monkeypatch)
    assert answers("q", "p") == [29, 48, -1, 10]


def test_which_names_are_equal_tells_programs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable read twice is not two variables; gradients of others are another program."""
    two = S.elemwise_mul(S.Variable("a"), S.Variable("b"), name="m")
    a = S.Variable("a")
    one = S.elemwise_mul(a, a, name="m")
    compile_symbol(module_of(two, complete(two, {"a": (2,), "b": (2,)})[0]), True, ["a"])
    no_passes(monkeypatch)
    renamed = S.elemwise_mul(S.Variable("c"), S.Variable("d"), name="n")
    types = complete(renamed, {"c": (2,), "d": (2,)})[0]
    compile_symbol(module_of(renamed, types), True, ["c"])
    for symbol, wrt, known in ((renamed, ["d"], types), (one, ["a"], complete(one, {"a": (2,)})[0])):
        with pytest.raises(PassesRan):
            compile_symbol(module_of(symbol, known), True, wrt)


def test_names_that_would_meet_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that has the name which a value inside would get."""

    def symbol(inner: str, variable: str) -> Any:
        x = S.softmax(S.Variable("x") * 2, name=inner)
        return S.broadcast_add(x, S.Variable(variable), name="end")

    def answer(net: Any, variable: str) -> Any:
        exe = net.bind(mx.cpu(), {"x": mx.nd.array([[1, 2]]), variable: mx.nd.array([[10, 20]])})
        return exe.forward()[0].asnumpy()

    expected = answer(symbol("soft", "v"), "v")
    values = {r for p in programs_of(answer_program(symbol("soft", "v"))) for r in p.value_types()} | {"soft.exp"}
    for value in sorted(v for v in values if v.startswith("soft.")):
        meeting = value.replace("soft.", "other.")
        np.testing.assert_array_equal(answer(symbol("other", meeting), meeting), expected)


def answer_program(net: Any) -> Any:
    known = {n: (1, 2) for n in net.list_arguments()}
    return compile_symbol(module_of(net, complete(net, known)[0])).program


def test_lines_are_those_of_the_symbol_that_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(symbol: Any) -> Any:
        return compile_symbol(module_of(symbol, complete(symbol, {"x": (2, 3)})[0])).program

    first = S.exp(S.Variable("x"), name="e")
    second = S.exp(S.Variable("x"), name="e")
    before = {s.line for s in symbols_of(program(first).steps[0].origin)}
    no_passes(monkeypatch)
    after = {s.line for s in symbols_of(program(second).steps[0].origin)}
    assert after == {line + 1 for line in before}


def test_renaming() -> None:
    found = Renaming(
        [("a", "x"), ("a.b", "y"), ("c", "a")], [(SymOrigin("a", "exp"), SymOrigin("x", "exp", "f.py", 3))]
    )
    names = ("a", "a.b", "a.b.grad", "a.exp.1", "c", "ab", "", "d.exp")
    assert [found.name(n) for n in names] == ["x", "y", "y.grad", "x.exp.1", "a", "ab", "", "d.exp"]
    assert found.origin(SymOrigin("a", "exp")).line == 3 and found.origin(SymOrigin("c", "log", "g.py", 7)).name == "a"
    with pytest.raises(Clash, match="both be 'x.exp'"):
        found.name("x.exp"), found.name("a.exp")
    with pytest.raises(Clash):
        Renaming([("a", "x"), ("a", "y")], [])
    with pytest.raises(Clash):
        Renaming([], [(SymOrigin("a", "o"), SymOrigin("b", "o")), (SymOrigin("a", "o"), SymOrigin("c", "o"))])


def test_operators_called_by_themselves_are_kept_too(own_cache: Path) -> None:
    """A later process that calls mx.nd runs no pass, and gets the same bits; a random operator draws anew."""
    script = (
        "import numpy as np, symc as mx\n"
        "from symc.passes.manager.manager import Manager\n"
        "ran = []\nrun = Manager.run\nManager.run = lambda *a: ran.append(1) or run(*a)\n"
        "x = mx.nd.array(np.linspace(-2, 2, 24).reshape(2, 3, 4))\n"
        "x.attach_grad()\n"
        "with mx.autograd.record():\n"
        "    y = mx.nd.softmax(x, axis=1) * mx.nd.sum(x, axis=2, keepdims=True)\n"
        "y.backward()\n"
        "mx.nd.random.uniform(shape=(3,))\n"
        "print(len(ran), y.asnumpy().tobytes().hex(), x.grad.asnumpy().tobytes().hex())\n"
    )
    first, second = (in_new_process(script, SYMC_VERIFY="").split(" ", 1) for _ in range(2))
    assert first[0] != "0" and second[0] == "0" and first[1] == second[1]

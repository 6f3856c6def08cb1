"""Protects programs that are kept on disk: a later process gets the very program, runs no pass for it, and never gets
that of a Symbol that computes something else, other types, another way of compiling or another compiler."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native import in_new_process

import symc as mx
import symc.passes
import symc.runtime.programs
from symc.compile import Executable, compile_symbol
from symc.ir.program.packed import _Reader, pack, unpack
from symc.ir.text import print_loops, print_program
from symc.ir.types import F32, TensorType, dtype_of
from symc.passes.manager.manager import Manager
from symc.runtime import stored
from symc.typed import complete, module_of

pytestmark = pytest.mark.usefixtures("own_cache", "as_users_compile")
S = mx.sym


class PassesRan(Exception):
    pass


@pytest.fixture
def no_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """What makes it an error that passes run from there on, as in a process that finds all it needs."""

    def begin() -> None:
        def run(*_: Any) -> None:
            raise PassesRan

        symc.runtime.programs._programs.clear()
        monkeypatch.setattr(Manager, "run", run)

    yield begin
    monkeypatch.undo()


def named(make: Callable[[], Any]) -> Callable[[], Any]:
    """Automatic names begin anew, as in another process."""

    @functools.wraps(make)
    def made() -> Any:
        with mx.name.NameManager():
            return make()

    return made


@named
def mlp() -> Any:
    x = S.BatchNorm(S.FullyConnected(S.Variable("data"), num_hidden=8, name="fc1"), fix_gamma=False, name="bn")
    x = S.Dropout(S.Activation(x, act_type="relu"), p=0.3)
    return S.SoftmaxOutput(S.FullyConnected(x, num_hidden=4, name="fc2"), name="softmax")


@named
def convolutions() -> Any:
    x = S.Convolution(S.Variable("data"), kernel=(3, 3), pad=(1, 1), num_filter=6, name="c")
    x = S.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    return S.Concat(S.Flatten(x), S.Flatten(S.transpose(x, axes=(0, 2, 3, 1))), dim=1, name="both") * 2 + 1


@named
def steps() -> Any:
    """A loop inside of the program."""
    parameters, state, cell = (S.Variable(n) for n in ("parameters", "state", "cell"))
    return S.RNN(
        S.Variable("data"), parameters, state, cell, state_size=5, num_layers=1, mode="lstm", state_outputs=True
    )


@named
def constants() -> Any:
    x = S.Variable("data")
    return S.broadcast_add(x, S.arange(6).reshape((1, 6))) + S.sort(x, axis=1)


NETS: dict[str, tuple[Callable[[], Any], dict[str, tuple[int, ...]]]] = {
    "mlp": (mlp, {"data": (5, 7)}),
    "convolutions": (convolutions, {"data": (2, 3, 8, 8)}),
    "steps": (steps, {"data": (4, 2, 3)}),
    "constants": (constants, {"data": (3, 6)}),
}


def executable(
    net: Any, shapes: dict[str, Any], train: bool = True, wrt: list[str] | None = None, add: list[str] | None = None
) -> Executable:
    types, missing = complete(net, {n: TensorType(F32, s) for n, s in shapes.items()})
    assert not missing
    wanted = [n for n in net.list_arguments() if n not in shapes and "label" not in n] if wrt is None else wrt
    return compile_symbol(module_of(net, types), train, wanted if train else [], add or [])


def results(made: Executable) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    given = {p.name: rng.integers(0, 3, p.type.shape).astype(p.type.dtype.numpy) for p in made.program.params}
    return {**made(**given), **given}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_the_same_program_without_a_pass(name: str, train: bool, no_passes: Callable[[], None]) -> None:
    """Its text with all origins, and its answers to the bit."""
    net, shapes = NETS[name]
    first = executable(net(), shapes, train)
    text, answers = print_program(first.program), results(first)
    no_passes()
    again = executable(net(), shapes, train)
    assert again is not first and print_program(again.program) == text
    for key, value in results(again).items():
        np.testing.assert_array_equal(value, answers[key], err_msg=key)
    assert again.kernels == first.kernels and again.called == first.called


@pytest.mark.parametrize("name", NETS)
def test_loops_are_made_when_somebody_looks(name: str) -> None:
    net, shapes = NETS[name]
    loops = print_loops(executable(net(), shapes).loops)
    symc.runtime.programs._programs.clear()
    assert print_loops(executable(net(), shapes).loops) == loops


def test_another_process_binds_what_this_one_has_kept(own_cache: Path) -> None:
    script = (
        "import numpy as np, symc as mx\n"
        "from symc.passes.manager.manager import Manager\n"
        "ran = []\nrun = Manager.run\nManager.run = lambda *a: ran.append(1) or run(*a)\n"
        "x = mx.sym.FullyConnected(mx.sym.Variable('data'), num_hidden=3, name='fc')\n"
        "exe = x.simple_bind(mx.cpu(), data=(2, 4))\n"
        "for a in exe.arg_arrays: a[:] = np.arange(a.size).reshape(a.shape)\n"
        "exe.forward(is_train=True)\nexe.backward([mx.nd.ones((2, 3))])\n"
        "print(len(ran), exe.outputs[0].asnumpy().tolist(), exe.grad_dict['fc_weight'].asnumpy().tolist())\n"
    )
    first, second = (in_new_process(script, SYMC_VERIFY="").split(" ", 1) for _ in range(2))
    assert first[0] != "0" and second[0] == "0" and first[1] == second[1]


OTHERS: dict[str, Callable[[], Executable]] = {
    "shape": lambda: executable(mlp(), {"data": (6, 7)}),
    "prediction": lambda: executable(mlp(), {"data": (5, 7)}, train=False),
    "no gradients": lambda: executable(mlp(), {"data": (5, 7)}, wrt=[]),
    "fewer gradients": lambda: executable(mlp(), {"data": (5, 7)}, wrt=["fc1_weight"]),
    "added gradients": lambda: executable(mlp(), {"data": (5, 7)}, add=["fc1_weight"]),
    "attribute": lambda: executable(
        S.SoftmaxOutput(mlp().get_internals()["fc2_output"], grad_scale=2.0, name="softmax"), {"data": (5, 7)}
    ),
    "outputs": lambda: executable(S.Group([mlp(), mlp().get_internals()["fc1_output"]]), {"data": (5, 7)}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_the_same_is_compiled(what: str, no_passes: Callable[[], None]) -> None:
    executable(mlp(), {"data": (5, 7)})
    no_passes()
    executable(mlp(), {"data": (5, 7)})
    with pytest.raises(PassesRan):
        OTHERS[what]()


def test_types_tell_programs_apart(no_passes: Callable[[], None]) -> None:
    net = S.Variable("a") + S.Variable("b")

    def make(dtype: str) -> Executable:
        types, _ = complete(net, {n: TensorType(dtype_of(dtype), (3,)) for n in "ab"})
        return compile_symbol(module_of(net, types))

    make("float32")
    no_passes()
    with pytest.raises(PassesRan):
        make("float64")


def test_another_compiler_does_not_meet_it(
    no_passes: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executable(mlp(), {"data": (5, 7)})
    stored._compiler.cache_clear()
    executable(mlp(), {"data": (5, 7)})
    no_passes()
    executable(mlp(), {"data": (5, 7)})
    monkeypatch.setattr(stored, "_compiler", lambda: b"edited")
    symc.runtime.programs._programs.clear()
    with pytest.raises(PassesRan):
        executable(mlp(), {"data": (5, 7)})


def test_an_edited_source_is_another_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any of its files, whose time or size changes; its bytecode does not count."""
    folder = tmp_path / "passes" / "inner"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "one.py").write_text("1")
    monkeypatch.setattr(symc.passes, "__file__", str(folder.parent / "__init__.py"))
    seen = []
    for change in (lambda: None, lambda: (folder / "one.py").write_text("22"), lambda: (folder / "two.py").touch()):
        change()
        stored._compiler.cache_clear()
        seen.append(stored._compiler())
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "one.py").touch()
    stored._compiler.cache_clear()
    assert len(set(seen)) == 3 and stored._compiler() == seen[-1]
    stored._compiler.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_damaged_entries_are_compiled_anew(damage: str, own_cache: Path) -> None:
    answers = results(executable(mlp(), {"data": (5, 7)}, train=False))
    for path in own_cache.glob("*.o"):
        data = bytearray(path.read_bytes())
        if damage == "flipped":
            data[len(data) // 2] ^= 1
        changed = {"cut": data[: len(data) // 2], "flipped": data, "empty": b"", "foreign": b"x" * len(data)}[damage]
        path.write_bytes(bytes(changed))
    symc.runtime.programs._programs.clear()
    for key, value in results(executable(mlp(), {"data": (5, 7)}, train=False)).items():
        np.testing.assert_array_equal(value, answers[key])


def test_kernels_that_are_gone_are_made_again(own_cache: Path) -> None:
    """The cache drops what was not used for long, of kernels and programs alike."""
    script = (
        "import numpy as np, symc as mx\n"
        "x = mx.sym.FullyConnected(mx.sym.Variable('data'), num_hidden=3, name='fc')\n"
        "exe = x.simple_bind(mx.cpu(), data=(2, 4))\n"
        "for a in exe.arg_arrays: a[:] = np.arange(a.size).reshape(a.shape)\n"
        "print(exe.forward()[0].asnumpy().tolist())\n"
    )
    first = in_new_process(script, SYMC_VERIFY="")
    kernels = [path for path in own_cache.glob("*.o") if b"FullyConnected" not in path.read_bytes()]
    assert 0 < len(kernels) < len(list(own_cache.glob("*.o")))
    for path in kernels:
        path.unlink()
    assert in_new_process(script, SYMC_VERIFY="") == first
    assert all(path.exists() for path in kernels)


def test_what_means_something_in_this_process_only_is_not_kept(no_passes: Callable[[], None]) -> None:
    """Operators in Python, Symbols inside of operators."""

    class Twice(mx.operator.CustomOp):
        def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
            self.assign(out_data[0], req[0], in_data[0] * 2)

    @mx.operator.register("stored_twice")
    class TwiceProp(mx.operator.CustomOpProp):
        def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Twice:
            return Twice()

    x = S.Variable("data")
    loop, _ = S.contrib.foreach(lambda row, state: (row + state, state), x, S.Variable("s"))
    nets = [(S.Custom(x, op_type="stored_twice"), {"data": (3,)}), (loop, {"data": (4, 3), "s": (3,)})]
    for net, shapes in nets:
        executable(net, shapes, train=False)
    no_passes()
    for net, shapes in nets:
        with pytest.raises(PassesRan):
            executable(net, shapes, train=False)


def test_who_wants_to_see_passes_sees_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[int] = []
    run = Manager.run
    monkeypatch.setattr(Manager, "run", lambda *args: ran.append(1) or run(*args))

    def passes() -> int:
        symc.runtime.programs._programs.clear()
        ran.clear()
        executable(mlp(), {"data": (5, 7)}, train=False)
        return len(ran)

    assert passes() and not passes()
    with mx.pipeline(disable=["layout"]):
        assert passes() and passes()
    with monkeypatch.context() as patch:
        patch.setenv("SYMC_VERIFY", "1")
        assert passes()
    with monkeypatch.context() as patch:
        patch.setenv("SYMC_DUMP", str(tmp_path / "dump"))
        assert passes()
    with monkeypatch.context() as patch:
        patch.setenv("SYMC_CACHE", "0")
        assert passes()
    assert not passes()


def test_a_program_is_plain_data() -> None:
    """Reading one looks up no class."""
    made = executable(mlp(), {"data": (5, 7)})
    data = pack(made.program, made.called)
    program, called = unpack(data)
    assert print_program(program) == print_program(made.program) and called == made.called
    with pytest.raises(pickle.UnpicklingError, match=r"os|posix"):
        _Reader(io.BytesIO(pickle.dumps((__import__("os").system, "true")))).load()

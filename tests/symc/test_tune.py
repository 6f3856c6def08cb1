"""Measured schedules: they are kept beside the compiled kernels, and programs that are known already are compiled again
with them. Protects users from programs of yesterday's schedules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import ran

import symc as mx
from symc import tuning
from symc.codegen.target import host_target
from symc.compile import loop_passes, pipeline
from symc.ir.loop.schedule import Schedule
from symc.ir.loop.schedule_text import parse_schedule, schedule_text
from symc.ir.types import F32, TensorType
from symc.passes.loop.tiling.tuned import key_of_kernel
from symc.passes.manager.manager import Manager
from symc.tuned import add_tuned, tuned_file
from symc.typed import module_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMC_CACHE_DIR", str(tmp_path / "cache"))


def product() -> mx.sym.Symbol:
    return mx.sym.dot(mx.sym.Variable("a"), mx.sym.Variable("b"), name="product")


def f32(*shape: int) -> TensorType:
    return TensorType(F32, shape)


A, B = np.ones((20, 100), np.float32), np.ones((100, 40), np.float32)


def bound_schedule() -> str:
    """The schedule of the net's only kernel, as it is bound and run now."""
    exe = product().bind(mx.cpu(), {"a": mx.nd.array(A), "b": mx.nd.array(B)}, grad_req="null")
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), A @ B)
    (kernel,) = exe._instance(False).executable.loops.kernels
    assert kernel.schedule is not None
    return schedule_text(kernel.schedule)


def key() -> str:
    """The key of that kernel."""
    module = module_of(product(), {"a": f32(*A.shape), "b": f32(*B.shape)})
    *before, choose, _ = pipeline()
    (kernel,) = Manager().run(before, module).kernels
    return key_of_kernel(kernel, choose.block)


def test_a_known_program_is_compiled_anew_when_its_kernels_were_measured() -> None:
    """In this process, and in the cache that others read; and again when there are better ones."""
    plain = bound_schedule()
    assert bound_schedule() == plain
    for text in ("sums=256; %i: %j*16/8, %i*5", "sums=256; %i: %i*2, %j*8/4"):
        assert text != plain
        add_tuned({key(): parse_schedule(text)}, host_target())
        assert bound_schedule() == text
    add_tuned({key(): parse_schedule("%i: %i*21, %j")}, host_target())  # it does not fit: as if nothing was known
    assert bound_schedule() == plain


def test_files_are_known_by_what_is_in_them() -> None:
    target = host_target()
    assert tuned_file(target) == ""
    first = add_tuned({"a" * 64: parse_schedule("%i: %i*2")}, target)
    assert first is not None and tuned_file(target) == str(first)
    second = add_tuned({"b" * 64: parse_schedule("%i: %i*3")}, target)
    assert second is not None and second != first and not first.exists() and tuned_file(target) == str(second)
    assert second.read_text() == f"{'a' * 64}(%i: %i*2)\n{'b' * 64}(%i: %i*3)\n"
    assert add_tuned({"b" * 64: parse_schedule("%i: %i*3")}, target) == second
    (choose,) = [p for p in loop_passes(target) if p.name == "choose"]
    assert f"tuned={second}" in choose.spelled()


def test_without_a_cache_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMC_CACHE", "0")
    assert add_tuned({}, host_target()) is None and tuned_file(host_target()) == ""


# --------------------------------------------------------------------------------------------- the commands

NET = """
import symc as mx

def net():
    return mx.sym.dot(mx.sym.Variable("a"), mx.sym.Variable("b"), name="product")
"""
SHAPES = ("--shapes", "a=20x100,b=100x40")


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:net"


def test_what_measures_better_is_kept_and_taken(capsys, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is made up: the third candidate takes half the time, and nothing else does any good."""
    seen: list[object] = []

    def clock(one: object, other: object, turns: int = 0) -> tuple[float, float]:
        seen.append(other)
        return (1.0, 0.5) if turns or len(seen) == 3 else (1.0, 1.0)

    monkeypatch.setattr(tuning, "_alternately", clock)
    before, _ = ran(capsys, "dump", net, *SHAPES, "--level=schedule")
    out, _ = ran(capsys, "tune", net, *SHAPES, "--seconds=600")
    line, end = out.splitlines()
    assert line.startswith("@k0.dot  ") and "1 of 1 kernels measured, better schedules for 1, kept in " in end
    winner = line.partition(" us by ")[2].rpartition("  (")[0]
    after, _ = ran(capsys, "dump", net, *SHAPES, "--level=schedule")
    assert after == f"@k0.dot({winner})\n" != before
    assert bound_schedule() == winner
    monkeypatch.setenv("SYMC_CACHE", "0")
    assert ran(capsys, "dump", net, *SHAPES, "--level=schedule")[0] == before


def test_what_computes_something_else_is_no_winner(capsys, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_alternately", lambda one, other, turns=0: (1.0, 0.1))
    monkeypatch.setattr(tuning, "_agree", lambda found, wanted: False)
    out, _ = ran(capsys, "tune", net, *SHAPES, "--seconds=600")
    assert "as chosen" in out and out.endswith("1 of 1 kernels measured, better schedules for 0\n")
    assert tuned_file(host_target()) == ""


def test_candidates_fit_and_compute_what_the_plain_loops_do() -> None:
    """Everything that is tried near what is chosen, of a product, a reduction and a window."""
    data, weight = mx.sym.Variable("a"), mx.sym.Variable("b")
    layer = mx.sym.Convolution(data, weight, kernel=(3, 3), num_filter=8, no_bias=True)
    nets = [
        (product(), {"a": f32(20, 100), "b": f32(100, 40)}),
        (mx.sym.softmax(data), {"a": f32(6, 50)}),
        (layer, {"a": f32(1, 4, 9, 19), "b": f32(8, 4, 3, 3)}),
    ]
    tried = 0
    for symbol, types in nets:
        *before, choose, _ = pipeline()
        for kernel in Manager().run(before, module_of(symbol, types)).kernels:
            search = tuning._Search(kernel, choose, host_target())
            wanted = search._results(Schedule())
            for candidate in list(search._near(search.chosen))[::5]:
                assert all(map(tuning._agree, search._results(candidate), wanted)), schedule_text(candidate)
                tried += 1
    assert tried > 5


def test_opt_takes_schedules_of_a_file(capsys, net: str, tmp_path: Path) -> None:
    """As dump prints them; with comments and blanks, and refused where they are wrong."""
    file = tmp_path / "product.txt"
    file.write_text("// five rows at once\n@k0.dot(sums=256; %i: %j*16/8, %i*5)\n")
    out, _ = ran(capsys, "opt", net, *SHAPES, "--schedule", str(file))
    assert " schedule(sums=256; %i: %j*16/8, %i*5) scheduled {" in out and "{jam}" in out
    for text, message, code in [
        ("@k0.dot(%i: %i*21, %j)", "%i has 20 turns: there is no tile of 21", 2),
        ("@k7.dot(%i: %i, %j)", "a schedule is given for @k7.dot; open kernels are @k0.dot", 2),
        ("@k0.dot(%i: %i*, %j)", f"{file}:1:16: expected a whole number", 3),
    ]:
        file.write_text(text)
        _, err = ran(capsys, "opt", net, *SHAPES, "--schedule", str(file), code=code)
        assert message in err
    _, err = ran(capsys, "opt", net, *SHAPES, "-p", "decompose", "--schedule", str(file), code=2)
    assert "the pass choose, which takes schedules, does not run" in err

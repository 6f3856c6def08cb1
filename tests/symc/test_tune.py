"""Measured schedules: they are kept beside the compiled kernels, and programs that are known already are compiled again
with them. Protects users from programs of yesterday's schedules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import symc as mx
from symc.codegen.target import host_target
from symc.compile import loop_passes, pipeline
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


A, B = np.ones((20, 100), np.float32), np.ones((100, 40), np.float32)


def ran() -> str:
    """The schedule of the net's only kernel, as it is bound and run now."""
    exe = product().bind(mx.cpu(), {"a": mx.nd.array(A), "b": mx.nd.array(B)}, grad_req="null")
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), A @ B)
    (kernel,) = exe._instance(False).executable.loops.kernels
    assert kernel.schedule is not None
    return schedule_text(kernel.schedule)


def key() -> str:
    """The key of that kernel."""
    module = module_of(product(), {"a": TensorType(F32, A.shape), "b": TensorType(F32, B.shape)})
    *before, choose, _ = pipeline()
    (kernel,) = Manager().run(before, module).kernels
    return key_of_kernel(kernel, choose.block)


def test_a_known_program_is_compiled_anew_when_its_kernels_were_measured() -> None:
    """In this process, and in the cache that others read; and again when there are better ones."""
    plain = ran()
    assert ran() == plain
    for text in ("sums=256; %i: %j*16/8, %i*5", "sums=256; %i: %i*2, %j*8/4"):
        assert text != plain
        add_tuned({key(): parse_schedule(text)}, host_target())
        assert ran() == text
    add_tuned({key(): parse_schedule("%i: %i*21, %j")}, host_target())  # it does not fit: as if nothing was known
    assert ran() == plain


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

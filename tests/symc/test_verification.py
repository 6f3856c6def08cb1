"""Protects verification where users are: what SYMC_VERIFY means, that it is on by default and names the culprit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import symc as mx
import symc.compile
from symc.ir.errors import IRError, VerifyError
from symc.ir.loop.nodes import For, Store
from symc.ir.op import Recorder
from symc.ir.prims import elementwise as ew
from symc.ir.tensor.graph import finish
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager import manager
from symc.passes.program.fuse import Fuse
from symc.passes.tensor.layout import Layout
from symc.passes.tensor.simplify import Simplify
from symc.settings import SettingError, verification

#: a program that is on disk already runs no pass
pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[2]


def setting(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("SYMC_VERIFY", raising=False)
    else:
        monkeypatch.setenv("SYMC_VERIFY", value)


def compiled(shift: float) -> Any:
    """A program that nothing else has in use."""
    x = mx.sym.Variable("x")
    exe = mx.sym.exp(mx.sym.negative(x + shift), name="made").simple_bind(mx.cpu(), x=(5,), grad_req="null")
    exe.forward()
    return exe


def test_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, meaning in (("0", False), ("1", True), ("", None), (None, None)):
        setting(monkeypatch, text)
        assert verification() is meaning
    setting(monkeypatch, "yes")
    with pytest.raises(SettingError, match="SYMC_VERIFY='yes': expected 0 or 1"):
        compiled(0.5)


def test_everything_that_users_compile_asks_one_function() -> None:
    """No manager in symc decides by itself. (Tools that look for faults say that they verify, or that they replay.)"""
    for file in (ROOT / "symc").rglob("*.py"):
        if not {"fuzz", "debug", "bisect.py"} & set(file.relative_to(ROOT).parts):
            for made in re.findall(r"\bManager\(([^()]*(?:\(\))?[^()]*)\)", file.read_text()):
                assert "verification()" in made or made.startswith("[*instruments"), f"{file}: Manager({made})"


def without_origins(graph: Any) -> Any:
    with Recorder():
        return finish(graph.name, graph.inputs, [("out", ew.tanh(graph.output_nodes[0]))], [], {}, {})


@pytest.mark.parametrize(("value", "found"), [("1", True), (None, True), ("0", False)])
def test_a_broken_pass_is_named_at_bind(monkeypatch: pytest.MonkeyPatch, value: str | None, found: bool) -> None:
    """By default too, where simplify's result is looked at only after layout has run."""
    run = Simplify.run

    def broken(self: Simplify, graph: Any, rw: Any) -> Any:
        made = run(self, graph, rw)
        return replace(made, origins={})

    monkeypatch.setattr(Simplify, "run", broken)
    monkeypatch.setattr(Layout, "run", lambda self, graph, rw: graph)
    setting(monkeypatch, value)
    if found:
        with pytest.raises(VerifyError, match=r"T3: .*has no origin\n  after pass simplify"):
            compiled(1.5)
    else:
        with pytest.raises(Exception) as caught:  # fuse cannot do without
            compiled(1.5)
        assert not isinstance(caught.value, VerifyError)


def test_a_pass_that_falls_over_what_another_did_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default fuse is the first to meet what layout broke: the error is layout's, not fuse's KeyError."""
    monkeypatch.setattr(Layout, "run", lambda self, graph, rw: replace(graph, names={}))

    def stumbles(self: Fuse, graph: Any, rw: Any) -> Any:
        raise KeyError("fuse")

    monkeypatch.setattr(Fuse, "run", stumbles)
    monkeypatch.setattr(manager, "verify", lambda module, checked: None)
    setting(monkeypatch, None)
    with pytest.raises(KeyError):
        compiled(2.5)
    monkeypatch.undo()
    monkeypatch.setattr(Layout, "run", lambda self, graph, rw: replace(graph, names={}))
    monkeypatch.setattr(Fuse, "run", stumbles)
    setting(monkeypatch, None)
    with pytest.raises(VerifyError, match=r"T2: .*\n  after pass layout"):
        compiled(2.5)


def test_a_refusal_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pass says of a program stands: nothing runs twice for it."""
    runs: list[str] = []

    def refuses(self: Fuse, graph: Any, rw: Any) -> Any:
        runs.append("fuse")
        raise IRError("not this one")

    monkeypatch.setattr(Fuse, "run", refuses)
    setting(monkeypatch, None)
    with pytest.raises(IRError, match="not this one"):
        compiled(3.5)
    assert runs == ["fuse"]


def test_large_graphs_are_verified_on_demand_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = manager.verify
    monkeypatch.setattr(manager, "verify", lambda m, checked: (seen.append(type(m).__name__), real(m, checked=checked)))
    setting(monkeypatch, None)
    compiled(4.5)
    assert seen == ["Graph", "Program", "LoopModule"]
    del seen[:]
    monkeypatch.setattr(manager, "LARGE", 2)
    compiled(5.5)
    assert seen == []
    setting(monkeypatch, "1")
    compiled(6.5)
    assert len(seen) > 5


def test_a_kernel_is_verified_where_it_is_compiled_for_the_first_time(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    seen: list[str] = []
    real = symc.compile.verify_kernel

    def verify(kernel: Any, origins: bool) -> None:
        seen.append(kernel.name)
        real(kernel, origins)

    monkeypatch.setattr(symc.compile, "verify_kernel", verify)
    setting(monkeypatch, None)
    x = mx.sym.Variable("x")

    def made(extent: int) -> Any:
        exe = mx.sym.arctan(mx.sym.exp(x) + 0.25).simple_bind(mx.cpu(), x=(extent,), grad_req="null")
        exe.forward()

    made(977)
    assert len(seen) == 1
    made(977)
    assert len(seen) == 1
    setting(monkeypatch, "0")
    made(983)
    assert len(seen) == 1


@pytest.mark.parametrize("kind", ["avg", "sum", "max", "lp"])
def test_windows_over_a_whole_image_are_found_right(kind: str, own_cache: Path) -> None:
    """What is right must be provable: a refusal here would be one at bind."""
    x = mx.sym.Variable("x")
    net = mx.sym.Pooling(x, kernel=(7, 7), pool_type=kind, **({"p_value": 2} if kind == "lp" else {}))
    exe = net.simple_bind(mx.cpu(), x=(1, 2, 7, 7))
    exe.forward(is_train=True)
    exe.backward([mx.nd.ones((1, 2, 1, 1))])


def test_a_kernel_that_stores_beside_its_buffer_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    run = Tile.run

    def shifted(stmt: Any) -> Any:
        if isinstance(stmt, For):
            return replace(stmt, body=tuple(map(shifted, stmt.body)))
        return replace(stmt, index=tuple(i + 3 for i in stmt.index)) if isinstance(stmt, Store) else stmt

    def broken(self: Tile, module: Any, rw: Any) -> Any:
        made = run(self, module, rw)
        return replace(made, kernels=tuple(replace(k, body=tuple(map(shifted, k.body))) for k in made.kernels))

    monkeypatch.setattr(Tile, "run", broken)
    for value, word in ((None, "L4: kernel @"), ("1", "after pass tile")):
        setting(monkeypatch, value)
        with pytest.raises(VerifyError, match=word):
            compiled(7.5)

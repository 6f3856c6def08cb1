"""Protects what numdiff does beyond a net's own values: a pass from outside runs on parts of its program, on operands
that are equal, zero or at the edges of their type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import ran

from symc.passes.manager.manager import PASSES

FILE = """
import symc as mx
from symc.ir.op import Node
from symc.ir.prims import elementwise as ew, reduce as red
from symc.ir.prims.movement import reverse
from symc.ir.types import F32
from symc.passes.manager.rewrite import Rule, rewrite
from symc.passes.pipeline import Pass, register_pass


def data():
    return mx.sym.FullyConnected(mx.sym.sigmoid(mx.sym.Variable("data")), num_hidden=5, name="fc")


def choice():
    fc = data()
    return mx.sym.where(fc > 0, fc, mx.sym.exp(fc, name="exp"), name="where")


def last():
    return mx.sym.argmax(mx.sym.sigmoid(data(), name="sig"), axis=1, name="am")


def total():
    x = data()
    return mx.sym.sum(x / (1 + mx.sym.abs(x)), name="sum")


def once(name, match, numerics="exact"):
    @register_pass(name, numerics=numerics)
    class Outside(Pass):
        def run(self, graph, rw):
            made = set()

            def change(node):
                found = None if made else match(node)
                if found is not None:
                    made.add(node)
                return found

            return rewrite(graph, [Rule(name, change)], rw)


def greater(node):
    return ew.ge(*node.inputs) if node.op == ew.gt else None


def same(node):
    return ew.lt(*node.inputs[::-1]) if node.op == ew.gt else None


def tie(node):
    if node.op.name == "argmax":
        found = red.argmax(reverse(node.inputs[0], (1,)), 1)
        return ew.cast(ew.sub(float(node.inputs[0].shape[1] - 1), ew.cast(found, F32)), node.dtype)


def thirds(node):
    return ew.mul(ew.div(node.inputs[0], ew.mul(node.inputs[1], 3.0)), 3.0) if node.op == ew.div else None


def raising(node):
    return node.inputs[0].inputs[0].inputs[0] and None if node.op == ew.gt else None


for name, match, numerics in (
    ("greater", greater, "exact"), ("same", same, "exact"), ("tie", tie, "exact"), ("thirds", thirds, "exact"),
    ("near_thirds", thirds, "approx(1e-5)"), ("looks_far", raising, "exact"),
):
    once(name, match, numerics)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = set(PASSES)
    path = tmp_path_factory.mktemp("nearby") / "net.py"
    path.write_text(FILE)
    yield path
    for name in set(PASSES) - before:
        del PASSES[name]


def verdict(capsys: Any, file: Path, net: str, name: str, code: int) -> dict[str, Any]:
    given = [f"{file}:{net}", "--shapes", "data=4x3", "--diagnostics=json", "--load", str(file)]
    out = str(file.parent / "out")
    said, _ = ran(capsys, "numdiff", *given, "--insert", f"simplify+{name}", "--out", out, code=code)
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.parametrize(
    "net, name, value",
    [("choice", "greater", "gt"), ("last", "tie", "am.argmax"), ("total", "thirds", "_div0")],
)
def test_what_the_net_s_own_values_do_not_show(capsys: Any, file: Path, net: str, name: str, value: str) -> None:
    """Nothing is zero or equal in the net, or a sum hides it; the file that is written shows it again."""
    found = verdict(capsys, file, net, name, 1)
    assert found["pass"] == name and found["action"] == 0
    assert found["message"].startswith("alone, output out: ") or net != "choice"
    assert value in found["value"] and found["source"].startswith(str(file))
    text = Path(found["reproducer"]).read_text()
    assert len([line for line in text.splitlines() if line.startswith("  %")]) <= 3
    ran(capsys, "replay", found["reproducer"], code=1)


@pytest.mark.parametrize("net, name", [("choice", "same"), ("total", "near_thirds"), ("choice", "looks_far")])
def test_what_is_right_stays_so(capsys: Any, file: Path, net: str, name: str) -> None:
    """So does a pass that fails on a part of a program that is none of those it was written for."""
    assert verdict(capsys, file, net, name, 0)["verdict"] == "ok"

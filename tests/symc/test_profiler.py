"""Protects the profile: every kernel and Symbol with its part of a training step, what it takes, and the trace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import ran

import symc as mx
from symc import profiler
from symc.runtime.recording import active

NET = """
import symc as mx

h = mx.sym.relu(mx.sym.FullyConnected(mx.sym.Variable("data"), name="hid", num_hidden=8), name="act")
net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(h, name="out", num_hidden=3), name="softmax")
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch):
    """The limits take a second to measure; nothing is recorded afterwards."""
    monkeypatch.setattr(profiler, "limits", lambda: (1e11, 1e10))
    yield
    profiler.set_state("stop")
    profiler.dumps(reset=True)


def test_profile_of_a_command(capsys, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    command = ["run", f"{tmp_path / 'net.py'}:net", "--shapes=data=4x6", "--inputs=seed=0"]
    out, _ = ran(capsys, *command, "--train", "--profile")
    symbols, kernels, last = out.split("\n\n")
    names = {line.split()[0] for line in symbols.splitlines()[1:]}
    assert {"hid", "out"} <= names and "forward ms" in symbols and "backward ms" in symbols and "net.py:4" in symbols
    assert "of limit" in kernels and "dot" in kernels
    assert "memory of softmax: arguments 444 B, results " in last and "peak at step " in last
    assert last.startswith("forward ") and "limits measured here: 100 GFLOP/s, 10.0 GB/s" in last
    assert "backward" not in ran(capsys, *command, "--profile")[0]
    where = tmp_path / "p.json"
    out, _ = ran(capsys, *command, "--train", f"--profile={where}")
    assert out.startswith(f"wrote {where}; open it in https://ui.perfetto.dev")
    held = json.loads(where.read_text())
    ran_, live = ([e for e in held["traceEvents"] if e["ph"] == kind] for kind in "XC")
    assert len(ran_) + len(live) == len(held["traceEvents"]) == 2 * len(ran_)
    assert {e["cat"] for e in ran_} == {"forward", "backward"}
    assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in ran_)
    (memory,) = held["memory"]
    assert memory["arguments"] == 4 * (6 * 8 + 8 + 8 * 3 + 3 + 4 * 6 + 4) and memory["kept"] == 0
    assert max(e["args"]["bytes"] for e in live) == sum(memory["symbols"].values()) <= memory["arena"]
    dot = next(k for k in held["kernels"] if k["symbol"] == "hid" and k["phase"] == "forward")
    assert dot["flops"] == 2 * 4 * 6 * 8 and dot["nbytes"] >= 4 * (24 + 48 + 32) and dot["source"] == "net.py:4"
    assert dot["share"] == pytest.approx(max(dot["flops"] / 1e11, dot["nbytes"] / 1e10) / dot["seconds"])
    assert "leave --backend=ref out" in ran(capsys, *command, "--profile", "--backend=ref", code=2)[1]


def test_profiles_from_code(tmp_path: Path) -> None:
    """As mxnet.profiler: a training step of a Module has a forward, a backward and an update."""
    scope: dict = {}
    exec(NET, scope)  # the net of the command
    module = mx.mod.Module(scope["net"])
    module.bind([("data", (4, 6))], [("softmax_label", (4,))])
    module.init_params(mx.init.Uniform(0.1))
    module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.1, "momentum": 0.9})
    batch = mx.io.DataBatch([mx.nd.ones((4, 6))], [mx.nd.zeros((4,))])

    def step() -> np.ndarray:
        module.forward_backward(batch)
        module.update()
        return module.get_params()[0]["out_bias"].asnumpy()

    step()
    assert profiler.dumps() == "nothing was recorded"
    mx.profiler.set_config(filename=str(tmp_path / "profile.json"), profile_all=True)
    mx.profiler.set_state("run")
    first = step()
    mx.profiler.pause()
    step()
    mx.profiler.resume()
    step()
    mx.profiler.set_state("stop")
    assert active() is None and not np.array_equal(first, step())
    kernels = profiler.kernels(profiler._recording.events)
    assert {k.phase for k in kernels} == {"forward", "backward", "update"}
    assert max(k.calls for k in kernels) == 2
    text = mx.profiler.dumps()
    assert "update ms" in text and " hid " in text.replace("hid  ", " hid ")
    mx.profiler.dump()
    assert json.loads((tmp_path / "profile.json").read_text())["symbols"]
    assert mx.profiler.dumps(reset=True) == text and mx.profiler.dumps() == "nothing was recorded"
    with pytest.raises(ValueError, match="expected 'run' or 'stop'"):
        mx.profiler.set_state("on")


def test_what_is_recorded_computes_the_same() -> None:
    net = mx.sym.softmax(mx.sym.Variable("x") * 3, name="s")
    exe = net.simple_bind(mx.cpu(), x=(5, 7))
    exe.arg_dict["x"][:] = np.arange(35, dtype=np.float32).reshape(5, 7)
    plain = exe.forward()[0].asnumpy()
    mx.profiler.set_state("run")
    assert (exe.forward()[0].asnumpy() == plain).all()
    mx.profiler.set_state("stop")
    assert [k.symbol for k in profiler.kernels(profiler._recording.events)]


def test_what_a_program_marks_itself(tmp_path):
    """Spans, counters and marks stand beside the kernels in the trace; spans of a name are summed up."""
    mx.profiler.dumps(reset=True)
    mx.profiler.set_config(filename=str(tmp_path / "marks.json"))
    domain = mx.profiler.Domain("mine")
    domain.new_marker("unseen").mark()  # nothing is recorded yet
    mx.profiler.set_state("run")
    with domain.new_task("once"):
        for _ in range(2):
            frame = mx.profiler.Frame(domain, "twice")
            frame.start()
            frame.stop()
    counter = domain.new_counter("count", 3)
    counter += 2
    counter -= 1
    domain.new_marker("now").mark("thread")
    with mx.profiler.Event("free"):
        pass
    mx.sym.exp(mx.sym.Variable("x"), name="marked").simple_bind(mx.cpu(), x=(2,)).forward()
    mx.profiler.set_state("stop")
    times = json.loads(mx.profiler.dumps(format="json", sort_by="count", ascending=True))["Time"]
    assert [(name, found["Count"]) for name, found in times["mine"].items()] == [("once", 1), ("twice", 2)]
    assert times["mine"]["once"]["Total"] >= times["mine"]["twice"]["Total"] and "exp" in times["operator"]
    mx.profiler.dump()
    shown = json.loads((tmp_path / "marks.json").read_text())["traceEvents"]
    assert [e["args"]["value"] for e in shown if e["ph"] == "C" and "value" in e["args"]] == [3, 5, 4] and min(
        e["ts"] for e in shown
    ) == 0
    assert {"once", "twice", "now", "free", "marked"} <= {e["name"] for e in shown} and "unseen" not in str(shown)
    mx.profiler.dumps(reset=True)
    with pytest.raises(mx.MXNetError, match=r"stop\(\) before start"):
        mx.profiler.Task(domain, "t").stop()
    with pytest.raises(ValueError, match="sort_by"):
        mx.profiler.dumps(format="json", sort_by="size")
    with pytest.warns(UserWarning, match="earlier name"):
        mx.profiler.profiler_set_state("stop")

"""Protects what is shown of long work: a line that fits its terminal, nothing but whole lines elsewhere."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

import symc as mx
from symc.line import Line
from symc.module.live import Live
from symc.progress import Compilation, Progress, compiling, duration

ROOT = Path(__file__).resolve().parents[2]


class Screen:
    """The rows that a terminal of some width shows: what is wider goes on in the next row."""

    def __init__(self, width: int) -> None:
        self.width, self.rows, self.at = width, [""], 0

    def write(self, text: str) -> None:
        for char in text:
            if char == "\r":
                self.at = 0
            elif char == "\n":
                self.rows.append("")
            else:
                if self.at == self.width:
                    self.rows.append("")
                    self.at = 0
                row = self.rows[-1].ljust(self.at)
                self.rows[-1] = row[: self.at] + char + row[self.at + 1 :]
                self.at += 1


def on_terminal(width: int, *command: str, term: str = "xterm", cwd: Path) -> tuple[int, str, list[str]]:
    """Exit code, everything written, and the rows of a command run on a terminal."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    # the terminal says its width, not who runs the tests
    outer = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = {**outer, "TERM": term, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment, cwd=cwd)
    os.close(child)
    data = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        data += piece
    os.close(parent)
    text = data.decode()
    screen = Screen(width)
    screen.write(text.replace("\r\n", "\n\r"))
    return process.wait(), text, [row.rstrip() for row in screen.rows]


DEMO = (sys.executable, "-m", "symc", "demo", "--epochs=2")


@pytest.mark.parametrize("width", [80, 60])
def test_demo_on_a_terminal(tmp_path: Path, width: int) -> None:
    """One line for all of the training, whatever the width; digits side by side."""
    code, text, rows = on_terminal(width, *DEMO, cwd=tmp_path)
    assert code == 0, text
    assert sum("step" in row for row in rows) == 1 and text.count("\r") > 5
    assert re.search(r"step  *\d+/\d+  loss ", text)
    commands = next(i for i, row in enumerate(rows) if row.startswith("See what ran"))
    assert rows[0].startswith("LeNet") and any(row.startswith("compiling") for row in rows)
    assert not [row for row in rows if len(row) >= width]
    assert any("symc report" in row for row in rows[commands:])
    pixels = [row for row in rows[:commands] if "@@" in row]
    assert 4 <= len(pixels) <= 8
    assert (tmp_path / "symc-demo" / "digits-symbol.json").exists() and "\x1b" not in text


def test_demo_on_a_dumb_terminal_and_in_a_pipe(tmp_path: Path) -> None:
    """A line an epoch, and nothing is written over."""
    _, text, rows = on_terminal(80, *DEMO, term="dumb", cwd=tmp_path)
    assert "\r" not in text.replace("\r\n", "") and sum("step" in row for row in rows) == 2
    done = subprocess.run(DEMO, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert b"\r" not in done.stdout + done.stderr and done.stdout.count(b"step ") == 2 and done.returncode == 0


def test_demo_looks_at_its_folder_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from commands import ran

    (tmp_path / "file").write_text("")
    out, err = ran(capsys, "demo", "--out", str(tmp_path / "file" / "deep"), code=3)
    assert out == "" and "file/deep" in err


FIT = """
import numpy as np
import symc as mx

rng = np.random.RandomState(0)
train = mx.io.NDArrayIter(rng.randn(6000, 8), rng.randint(0, 3, 6000), 10)
net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3), name="softmax")
mx.mod.Module(net).fit(train, num_epoch=2, eval_metric="ce", batch_end_callback=CALLBACK)
"""

OFF_A_TERMINAL = """
import sys
assert "tqdm" not in sys.modules
"""


def test_fit_shows_a_line_on_a_terminal(tmp_path: Path) -> None:
    """The line of each epoch stays; nothing is shown where callbacks speak, or off a terminal."""
    command = (sys.executable, "-c", FIT.replace("CALLBACK", "None"))
    code, text, rows = on_terminal(100, *command, cwd=tmp_path)
    assert code == 0, text
    said = [row for row in rows if "epoch" in row]
    assert len(said) == 2 and all(
        re.match(rf"epoch {i + 1}/2  cross-entropy [\d.]+  [\d.]+ s$", r) for i, r in enumerate(said)
    )
    speaking = (sys.executable, "-c", FIT.replace("CALLBACK", "lambda param: None"))
    assert "epoch" not in on_terminal(100, *speaking, cwd=tmp_path)[1]
    assert on_terminal(100, "env", "TQDM_DISABLE=1", *command, cwd=tmp_path)[:2] == (0, "")
    piped = (*command[:2], command[2] + OFF_A_TERMINAL)
    done = subprocess.run(piped, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0 and done.stdout + done.stderr == b""


def test_the_line_of_fit_tells_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = Stream(), clock(monkeypatch)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    data = mx.io.NDArrayIter(mx.nd.zeros((40, 2)), None, 10)
    live = Live(range(3, 5), data, speaks=False)
    metric, batch = mx.metric.Loss(), next(data)
    metric.update(None, mx.nd.array([0.25]))
    for epoch in (3, 4):
        live.begin()
        for _ in range(4):
            now[0] += 1
            live.step(metric, batch, epoch)
        live.end([("loss", 0.5)], epoch)
    live.close()
    lines = [text for part in re.split("[\r\n]+", stream.text) if (text := part.strip())]
    assert lines[1].endswith("epoch 4/5  loss 0.25  10 samples/s  00:06 left") and lines[1].startswith("[###")
    assert lines[4] == "epoch 4/5  loss 0.5  4.0 s" and lines[-1] == "epoch 5/5  loss 0.5  4.0 s"
    assert rows(stream) == ["epoch 4/5  loss 0.5  4.0 s", "epoch 5/5  loss 0.5  4.0 s", ""]


def test_lines_fit_their_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is most important comes first, and a bar only where there is room, also when the width changes."""
    now = clock(monkeypatch)
    parent, child = pty.openpty()
    said = ["step 7/10", "loss 0.5"]
    with os.fdopen(child, "w") as stream:
        line = Line(10, stream, 0, lambda: said)
        line.n, now[0] = 7, 7.0

        def drawn(width: int) -> str:
            fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
            return str(line).rstrip()

        for width in range(2, 100):
            assert len(drawn(width)) <= width
        assert drawn(10) == drawn(13) == "step 7/10" and drawn(32) == "step 7/10  loss 0.5  00:03 left"
        assert drawn(80) == "[" + "#" * 21 + "." * 9 + "] step 7/10  loss 0.5  00:03 left"
        said[:] = ["too long by far"]
        assert drawn(9) == "too long"
        line.close()
    os.close(parent)
    assert (duration(2.34), duration(34.5), duration(600)) == ("2.3 s", "34 s", "10 min")


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in one item that tests set."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def rows(stream: Stream) -> list[str]:
    """What is seen in the end."""
    screen = Screen(80)
    screen.write(stream.text.replace("\n", "\n\r"))
    return [row.rstrip() for row in screen.rows]


class Stream:
    """A terminal of no known width."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def test_lines_are_drawn_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times a second at most, parts asked for only then; a shorter line leaves nothing of a longer one."""
    monkeypatch.setenv("TERM", "xterm")
    now, asked = clock(monkeypatch), []
    stream = Stream()
    shown = Progress(1000, stream)  # type: ignore[arg-type]
    for done in range(1, 1001):
        now[0] += 0.001
        shown.show(done, lambda: asked.append(1) or [f"step {done}"])  # noqa: B023
    assert 9 <= stream.text.count("\r") == len(asked) <= 12
    assert re.search(r"step 5\d\d  00:00 left", stream.text)
    shown.say("all 1000")
    shown.close()
    assert rows(stream) == ["all 1000", ""]


def test_lines_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line within another one's work takes its place, and the other goes on below what stays."""
    monkeypatch.setenv("TERM", "xterm")
    now, stream = clock(monkeypatch), Stream()
    outer = Progress(10, stream)  # type: ignore[arg-type]
    outer.show(1, lambda: ["outer, the longer one"])
    inner = Progress(3, stream)  # type: ignore[arg-type]
    inner.show(1, lambda: ["inner"])
    assert rows(stream) == ["[" + "#" * 10 + "." * 20 + "] inner"]
    inner.say("inner is done")
    inner.close()
    now[0] += 1
    outer.show(2, lambda: ["outer"])
    assert rows(stream) == ["inner is done", "[" + "#" * 6 + "." * 24 + "] outer  00:08 left"]
    outer.close()
    assert rows(stream) == ["inner is done", ""] and "\x1b" not in stream.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_child_does_not_draw_its_parents_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even when its program ends; and no thread watches lines, which a child would not have."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Stream()
    shown = Progress(10, stream)  # type: ignore[arg-type]
    shown.show(1, lambda: ["step 1"])
    assert all("tqdm" not in thread.name for thread in threading.enumerate())
    before = stream.text
    if not (child := os.fork()):
        shown.show(10, lambda: ["step 10"])
        shown.say("done")
        shown.close()
        silent = stream.text == before
        Progress(10, stream).show(1, lambda: ["of the child"])  # type: ignore[arg-type]
        os._exit(not silent or "of the child" not in stream.text)
    assert os.waitpid(child, 0)[1] == 0
    shown.close()
    assert rows(stream) == [""]


INTERRUPTING = """
batches = []
def interrupting(label, pred):
    batches.append(1)
    if len(batches) == 20:
        raise KeyboardInterrupt  # a signal would not do where whoever began the tests ignores it
    return 0.0
"""


def test_an_interrupt_leaves_the_terminal_clean(tmp_path: Path) -> None:
    """The traceback begins in a row of its own, and nothing of the line is left."""
    code = FIT.replace('eval_metric="ce"', "eval_metric=mx.metric.CustomMetric(interrupting)").replace(
        "CALLBACK", "None"
    )
    code = code.replace("import symc as mx\n", "import symc as mx\n" + INTERRUPTING)
    _, text, shown = on_terminal(100, sys.executable, "-c", code, cwd=tmp_path)
    assert "epoch 1/2" in text and "KeyboardInterrupt" in shown[-2]
    assert shown[0].startswith("Traceback") and all("epoch 1/2" not in row for row in shown)


def test_compilation_is_spoken_of_after_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = clock(monkeypatch)
    stream = Stream()
    for terminal in (False, True):
        monkeypatch.setenv("TERM", "xterm" if terminal else "dumb")
        monkeypatch.setattr(sys, "stderr", stream)
        with caplog.at_level(logging.INFO, "symc"), compiling("lenet"):
            work = Compilation(20, True)
            for done in range(20):
                work.show(done)
                now[0] += 0.125
            work.end()
    assert [r.message for r in caplog.records] == [
        "compiling lenet: 8/20 kernels so far; they are cached for next time",
        "compiled lenet: 20 kernels in 2.5 s",
    ]
    assert "compiling lenet: 12/20 kernels  cached for next time  00:01 left" in stream.text
    assert rows(stream) == ["compiled lenet: 20 kernels in 2.5 s", ""]
    work = Compilation(3, False)
    work.show(1)
    work.end()
    assert stream.text.count("\n") == 1
    with pytest.raises(KeyboardInterrupt), compiling("lenet"):
        now[0] += 2
        Compilation(20, True).show(3)
        assert "compiling lenet: 3/20" in rows(stream)[-1]
        raise KeyboardInterrupt
    assert rows(stream)[-1] == ""


def test_kernels_are_counted_where_they_are_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What compiles them says how many are done, by the name of the Symbol."""
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setenv("SYMC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Compilation, "show", lambda self, done: seen.append((self.name, done, self.kernels)))
    x = mx.sym.Variable("x")
    total = mx.sym.sum(mx.sym.exp(x * 1.2345 + 0.5), axis=1, keepdims=True)
    net = mx.sym.softmax(mx.sym.broadcast_mul(total, x), name="counted")
    net.simple_bind(mx.cpu(), x=(3, 1237)).forward()
    assert "counted" in {name for name, _, _ in seen}
    assert all(0 <= done <= kernels for _, done, kernels in seen)

"""Protects `symc run`: inputs of every kind, what it prints and writes, its summary, and its errors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from commands import ran


def test_run(capsys, tmp_path: Path) -> None:
    import symc as mx

    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    symbol.save(str(tmp_path / "m-symbol.json"))
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([10, 20], np.float32)
    mx.nd.save(str(tmp_path / "m.params"), {"arg:fc_weight": mx.nd.array(weight), "arg:fc_bias": mx.nd.array(bias)})
    data = np.ones((4, 3), np.float32)
    np.save(tmp_path / "x.npy", data)
    model = ["run", str(tmp_path / "m-symbol.json")]
    given = ["--params", str(tmp_path / "m.params"), "--input", f"data={tmp_path / 'x.npy'}"]
    out, _ = ran(capsys, *model, *given, "--output", str(tmp_path / "out.npz"))
    assert out.startswith("fc_output: float32[4, 2]\n")
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["fc_output"], data @ weight.T + bias)
    assert "min 13  max 32  mean 22.5" in ran(capsys, *model, *given, "--stats")[0]
    assert (
        "no argument dat; it has data, fc_weight, fc_bias"
        in ran(capsys, *model, "--input", f"dat={tmp_path / 'x.npy'}", code=2)[1]
    )
    assert "expected NAME=FILE.npy" in ran(capsys, *model, "--input", "data", code=2)[1]
    assert "no values for fc_weight" in ran(capsys, *model, *given[2:], code=3)[1]
    assert "no such file" in ran(capsys, *model, "--params", "nowhere.params", code=3)[1].lower()
    (tmp_path / "bad.params").write_bytes(b"bad")
    assert "not a .params file" in ran(capsys, *model, "--params", str(tmp_path / "bad.params"), code=3)[1]


def saved(tmp_path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The arguments that run a dense layer with a softmax, its weight, and its bias."""
    import symc as mx

    fc = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    mx.sym.SoftmaxOutput(fc, name="softmax").save(str(tmp_path / "m-symbol.json"))
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([10, 20], np.float32)
    mx.nd.save(str(tmp_path / "m.params"), {"arg:fc_weight": mx.nd.array(weight), "arg:fc_bias": mx.nd.array(bias)})
    return ["run", str(tmp_path / "m-symbol.json"), "--params", str(tmp_path / "m.params")], weight, bias


def test_run_takes_inputs_of_every_kind(capsys, tmp_path: Path) -> None:
    model, _, _ = saved(tmp_path)
    data = np.ones((1, 3), np.float32)
    np.savez(tmp_path / "x.npz", data=data)
    np.savez(tmp_path / "other.npz", photo=data)
    np.savez(tmp_path / "two.npz", a=data, b=data)
    first, _ = ran(capsys, *model, "--input", str(tmp_path / "x.npz"))
    assert first.startswith("softmax_output: float32[1, 2]\n")
    assert ran(capsys, *model, "--input", f"data={tmp_path / 'x.npz'}")[0] == first
    assert ran(capsys, *model, "--input", f"data={tmp_path / 'other.npz'}")[0] == first
    zeros, _ = ran(capsys, *model, "--input", "data=1x3", "-o", str(tmp_path / "o.npy"))
    assert zeros == ran(capsys, *model, "--shapes", "data=1x3")[0] != first
    assert np.load(tmp_path / "o.npy").shape == (1, 2)
    assert (
        "has no array 'data'; it has a, b" in ran(capsys, *model, "--input", f"data={tmp_path / 'two.npz'}", code=3)[1]
    )
    (tmp_path / "x.txt").write_text("no numbers")
    assert "not a .npy or .npz file" in ran(capsys, *model, "--input", f"data={tmp_path / 'x.txt'}", code=3)[1]


def test_run_reads_images(capsys, tmp_path: Path, monkeypatch) -> None:
    """With Pillow, in the size that is asked for; without it, an error that names it."""
    import types

    class Picture:
        def __init__(self, size: tuple[int, int]) -> None:
            self.size = size

        def convert(self, mode: str) -> Picture:
            assert mode == "RGB"
            return self

        def resize(self, size: tuple[int, int]) -> Picture:
            return Picture(size)

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.full((self.size[1], self.size[0], 3), (1, 2, 3), np.uint8).astype(dtype)

    pillow = types.SimpleNamespace(Image=types.SimpleNamespace(open=lambda path: Picture((8, 6))))
    import symc as mx

    mx.sym.sum(mx.sym.Variable("data"), axis=(2, 3), name="s").save(str(tmp_path / "s-symbol.json"))
    (tmp_path / "p.png").write_bytes(b"")
    command = ["run", str(tmp_path / "s-symbol.json"), "--input", f"data={tmp_path / 'p.png'}"]
    monkeypatch.setitem(sys.modules, "PIL", pillow)
    assert "[[ 48.  96. 144.]]" in ran(capsys, *command)[0]
    assert "[[ 4.  8. 12.]]" in ran(capsys, *command, "--shapes", "data=1x3x2x2")[0]
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "needs Pillow" in ran(capsys, *command, code=3)[1]
    assert "no such file" in ran(capsys, *command[:2], "--input", "data=nowhere.png", code=3)[1].lower()


def test_run_top(capsys, tmp_path: Path) -> None:
    model, _, _ = saved(tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    out, _ = ran(capsys, *model, "--input", "data=2x3", "--top", "1", "--labels", str(tmp_path / "names.txt"))
    assert out.splitlines()[1:] == ["row 0", "       1  0.999955  dog", "row 1", "       1  0.999955  dog"]


def test_run_names_what_does_not_fit(capsys, tmp_path: Path) -> None:
    model, _, _ = saved(tmp_path)
    err = ran(capsys, *model, "--input", "data=1x4", code=3)[1]
    assert err == "symc: fc_weight has shape (2, 3); for these inputs the model needs (2, 4)\n"
    assert "no values for data; give --input data=FILE.npy" in ran(capsys, *model, code=3)[1]


def test_run_summary(capsys, tmp_path: Path) -> None:
    model, _, _ = saved(tmp_path)
    out, _ = ran(capsys, *model[:2], "--summary", "--shapes", "data=5x3")
    rows = [line.split() for line in out.splitlines()]
    assert rows[1:5] == [
        ["data", "input", "5x3"], ["fc", "FullyConnected", "5x2", "8", "30"], ["softmax_label", "input", "5"],
        ["softmax", "SoftmaxOutput", "5x2"],
    ]  # fmt: skip
    assert (
        "parameters     8 (32 B)\nstates         0 (0 B)\n" in out
        and "multiply-adds  30 (6e-08 GFLOP)" in out
        and " planned for " in out
    )
    assert ran(capsys, *model, "--summary", "--input", "data=5x3")[0] == out
    assert "the shape of data, " in ran(capsys, *model[:2], "--summary", code=2)[1]


def test_work_of_loops_counts_every_turn(capsys, tmp_path: Path) -> None:
    import symc as mx

    def step(x: object, state: list[object]) -> tuple[object, list[object]]:
        made = mx.sym.FullyConnected(x + state[0], mx.sym.Variable("w"), num_hidden=3, no_bias=True, name="i2h")
        return made, [made]

    out, _ = mx.sym.contrib.foreach(step, mx.sym.Variable("data"), [mx.sym.Variable("h")])
    out.save(str(tmp_path / "f-symbol.json"))
    text, _ = ran(capsys, "run", str(tmp_path / "f-symbol.json"), "--summary", "--shapes", "data=7x2x3,h=2x3")
    assert "multiply-adds  126 " in text and "parameters     9 " in text


def test_summary_has_the_published_numbers(capsys, tmp_path: Path) -> None:
    """VGG-16 (Simonyan & Zisserman 2014): 138 million parameters, 15.5 thousand million multiply-adds."""
    import symc as mx

    x = mx.sym.Variable("data")
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = mx.sym.relu(mx.sym.Convolution(x, kernel=(3, 3), pad=(1, 1), num_filter=width))
        x = mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    for width in (4096, 4096, 1000):
        x = mx.sym.FullyConnected(x, num_hidden=width)
    x.save(str(tmp_path / "vgg-symbol.json"))
    out, _ = ran(capsys, "run", str(tmp_path / "vgg-symbol.json"), "--summary", "--shapes", "data=1x3x224x224")
    assert "parameters     138,357,544 (553.4 MB)" in out and "multiply-adds  15,470,264,320 (30.94 GFLOP)" in out


def test_inputs_are_cast_to_what_the_parameters_need(capsys, tmp_path: Path) -> None:
    """numpy's own type is double; images are bytes."""
    import symc as mx

    mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc").save(tmp_path / "m-symbol.json")
    mx.nd.save(tmp_path / "m.params", {"arg:fc_weight": mx.nd.ones((3, 4)), "arg:fc_bias": mx.nd.zeros(3)})
    out = tmp_path / "out.npy"
    for dtype in ("float64", "uint8", "float32"):
        np.save(tmp_path / "x.npy", np.arange(8, dtype=dtype).reshape(2, 4))
        given = ["--params", str(tmp_path / "m.params"), "--input", f"data={tmp_path / 'x.npy'}", "-o", str(out)]
        ran(capsys, "run", str(tmp_path / "m-symbol.json"), *given)
        assert np.load(out).dtype == np.float32 and np.load(out).tolist() == [[6] * 3, [22] * 3]

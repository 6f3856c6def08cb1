"""Protects `symc run`: inputs of every kind, what it prints and writes, its summary, and its errors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ran

from symc.passes.manager.manager import PASSES


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


# --------------------------------------------------------------------------------------------- programs

PROGRAM = """
import symc as mx

data = mx.sym.Variable("data")
norm = mx.sym.BatchNorm(mx.sym.FullyConnected(data, name="fc", num_hidden=5), name="bn", fix_gamma=False)
net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(norm, name="out", num_hidden=3), name="softmax")
"""


@pytest.mark.parametrize("level", ["symbol", "tensor", "fused", "planned", "loop"])
def test_run_takes_programs_of_every_level(capsys, tmp_path: Path, level: str) -> None:
    """The same outputs at every level, in machine code and in the interpreter, for prediction and training."""
    (tmp_path / "net.py").write_text(PROGRAM)
    net, file = [f"{tmp_path / 'net.py'}:net", "--shapes=data=4x6"], str(tmp_path / "p.sir")
    for train, outputs in ([], 1), (["--train"], 9):
        ran(capsys, "dump", *net, *train, f"--level={level}", "-o", file)
        # a symbol's text does not say that it is trained
        again = train if level == "symbol" else []
        made = []
        for backend in ["--backend=native"], ["--backend=ref"], ["--backend=ref", "--f64"]:
            where = str(tmp_path / "o.npz")
            out, _ = ran(capsys, "run", file, *again, *backend, "--compare=ref", "--inputs=seed=3", "-o", where)
            assert out.splitlines()[-1] == "agrees with the interpreter"
            made.append(dict(np.load(where)))
        direct = str(tmp_path / "d.npz")
        ran(capsys, "run", *net, *train, "--inputs=seed=3", "--compare=ref", "-o", direct)
        assert len(made[0]) == outputs
        for other in *made[1:], dict(np.load(direct)):
            assert list(other) == list(made[0])
            for name, value in made[0].items():
                np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


TEXT = """symc ir 1 level=tensor
func @f(%a: f32[2,3] arg, %b: f32[3] arg) -> (out: f32[2,3]) {
  %c: f32[2,3] = broadcast(%b) {dims=[1]} !1
  %d: f32[2,3] = add(%a, %c) !1
  return %d
}
!1 = sym "sum" broadcast_add at "net.py":3
"""


def test_inputs_of_programs(capsys, tmp_path: Path, monkeypatch) -> None:
    import io

    (tmp_path / "f.sir").write_text(TEXT)
    file, out = str(tmp_path / "f.sir"), tmp_path / "o.npy"
    run = ["run", file, "-o", str(out)]
    ran(capsys, *run, "--inputs=ones")
    assert np.load(out).tolist() == [[2.0] * 3] * 2
    ran(capsys, *run, "--inputs=exact-int")
    assert (np.load(out) == np.rint(np.load(out))).all()
    ran(capsys, *run)
    default = np.load(out)
    ran(capsys, *run, "--inputs", "seed=0")
    assert (np.load(out) == default).all() and not (default == np.rint(default)).any()
    np.savez(tmp_path / "x.npz", a=np.full((2, 3), 5.0), b=np.arange(3, dtype=np.uint8))
    ran(capsys, *run, "--inputs", str(tmp_path / "x.npz"))
    assert np.load(out).tolist() == [[5.0, 6.0, 7.0]] * 2
    np.save(tmp_path / "b.npy", np.full(3, 7))
    ran(capsys, *run, "--inputs=ones", "--input", f"b={tmp_path / 'b.npy'}")
    assert np.load(out).tolist() == [[8.0] * 3] * 2
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    ran(capsys, "run", "-", "--inputs=ones", "-o", str(out))
    assert np.load(out).tolist() == [[2.0] * 3] * 2
    assert "no input c; it has a, b" in ran(capsys, "run", file, "--input", "c=3", code=2)[1]
    assert "a has shape (2,); the program needs f32[2,3]" in ran(capsys, "run", file, "--input=a=2", code=3)[1]
    assert "expected seed=N, ones, exact-int or FILE.npz" in ran(capsys, "run", file, "--inputs=two", code=2)[1]
    assert "give --backend=ref" in ran(capsys, "run", file, "--f64", code=2)[1]
    assert "are for models" in ran(capsys, "run", file, "--summary", code=2)[1]


BAD_PASS = """
from symc.ir.prims import elementwise as ew
from symc.passes.manager.rewrite import Rule, rewrite
from symc.passes.pipeline import Pass, register_pass
def lose(node):
    return ew.mul(node.inputs[0], 2) if node.op == ew.add else None
@register_pass("loses")
class Loses(Pass):
    '''add(a, b) -> mul(a, 2): wrong.'''
    def run(self, graph, rw):
        return rewrite(graph, [Rule("lose", lose)], rw)
"""


def test_compare_finds_a_wrong_pass(capsys, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD_PASS)
    (tmp_path / "f.sir").write_text(TEXT)
    command = ["run", str(tmp_path / "f.sir"), "--load", str(tmp_path / "bad.py"), "--compare=ref"]
    try:
        out, _ = ran(capsys, *command, "--insert=simplify+loses", code=1)
    finally:
        PASSES.pop("loses", None)
    assert "differs from the interpreter: output out: " in out


def test_one_input_needs_no_name(capsys, tmp_path: Path) -> None:
    model, weight, bias = saved(tmp_path)
    np.save(tmp_path / "x.npy", np.ones((1, 3)))
    named, _ = ran(capsys, *model, "--input", f"data={tmp_path / 'x.npy'}")
    assert ran(capsys, *model, "--input", str(tmp_path / "x.npy"))[0] == named
    err = ran(capsys, *model[:2], "--input", str(tmp_path / "x.npy"), code=2)[1]
    assert "give NAME=" in err and "these lack values: data, fc_weight, fc_bias" in err


def test_models_run_on_seeded_weights(capsys, tmp_path: Path) -> None:
    model, _, _ = saved(tmp_path)
    first, _ = ran(capsys, *model[:2], "--shapes", "data=2x3", "--inputs", "seed=1")
    assert first == ran(capsys, *model[:2], "--shapes", "data=2x3", "--inputs", "seed=1")[0]
    assert first != ran(capsys, *model[:2], "--shapes", "data=2x3", "--inputs", "seed=2")[0]


def test_names_that_do_not_exist_are_told_by_their_option(capsys, tmp_path: Path) -> None:
    """At most six of the names there are, and the one that is meant."""
    import symc as mx

    net = mx.sym.Variable("data")
    for i in range(9):
        net = mx.sym.FullyConnected(net, num_hidden=2, name=f"fc{i}")
    net.save(str(tmp_path / "m-symbol.json"))
    model = str(tmp_path / "m-symbol.json")
    for command in (["run", model], ["dump", model, "--level=tensor"]):
        err = ran(capsys, *command, "--shapes", "dat=2x3", code=2)[1]
        assert err.startswith("symc: --shapes: ") and "did you mean data?" in err
        assert err.count("_weight") + err.count("_bias") == 5 and "13 others" in err


def test_what_a_run_was_given_is_saved_and_gives_it_again(capsys, tmp_path: Path) -> None:
    """Random bits and head gradients as well."""
    (tmp_path / "net.py").write_text(
        "import symc as mx\n"
        "x = mx.sym.FullyConnected(mx.sym.Variable('data'), num_hidden=3, name='fc')\n"
        "net = mx.sym.Dropout(x, p=0.5, name='drop')\n"
    )
    model = ["run", f"{tmp_path}/net.py:net", "--train", "--stats"]
    saved = str(tmp_path / "saved.npz")
    first, _ = ran(capsys, *model, "--shapes", "data=4x5", "--inputs", "seed=7", "--save-inputs", saved)
    with np.load(saved) as found:
        assert {"data", "fc_weight", "fc_bias", "random.key", "drop_output.head"} == set(found.files)
    again, _ = ran(capsys, *model, "--shapes", "data=4x5", "--inputs", saved)
    assert again == first
    assert ran(capsys, *model, "--shapes", "data=4x5", "--inputs", "seed=8")[0] != first
    for wrong, says in (("x.npy", "ends in .npz"), ("nowhere/x.npz", "nowhere")):
        given = ["--shapes", "data=4x5", "--inputs", "seed=0", "--save-inputs", f"{tmp_path}/{wrong}"]
        assert says in ran(capsys, *model, *given, code=2 if "npy" in wrong else 3)[1]
    np.savez(tmp_path / "odd.npz", dat=np.ones(3))
    _, err = ran(
        capsys, *model, "--shapes", "data=4x5", "--inputs", "seed=0", "--inputs", f"{tmp_path}/odd.npz", code=2
    )
    assert "--inputs: the program has no input dat; it has data" in err

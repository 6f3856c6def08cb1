"""Protects what programs look like: pictures in which no edge runs behind a box, tables, JSON, and the memory plan."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from commands import ran

import symc as mx
from symc.views.drawing import to_svg
from symc.views.graphs import picture_of
from symc.views.layout import PLACES, lay_out
from symc.views.picture import Picture, common_prefixes, focused, folded, keys_of

NET = """
import symc as mx

x = mx.sym.Variable("data")
for i in range(3):
    y = mx.sym.Convolution(x, num_filter=3, kernel=(3, 3), pad=(1, 1), stride=(1, 1), dilate=(1, 1), name=f"s{i}_conv")
    y = mx.sym.BatchNorm(y, name=f"s{i}_bn")
    y = mx.sym.Activation(y, act_type="relu", name=f"s{i}_relu")
    x = mx.sym.elemwise_add(x, y, name=f"s{i}_plus")
net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(x, num_hidden=2, name="fc"), name="softmax")
"""
SHAPES = ["--shapes", "data=2x3x8x8"]


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:net"


Point = tuple[float, float]


def points(path: str) -> list[Point]:
    """Points along a path of M, V and C."""
    found: list[Point] = []
    for command, text in re.findall(r"([MVC])([^MVC]*)", path):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", text)]
        if command == "M":
            found.append((numbers[0], numbers[1]))
        elif command == "V":
            x, y = found[-1]
            found += [(x, y + (numbers[0] - y) * t / 8) for t in range(1, 9)]
        else:
            a, b, c, d = found[-1], *zip(numbers[::2], numbers[1::2])
            for t in (n / 8 for n in range(1, 9)):
                w = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                found.append(tuple(sum(k * p[i] for k, p in zip(w, (a, b, c, d))) for i in (0, 1)))  # type: ignore[arg-type]
    return found


def check_edges(svg: str) -> dict[tuple[str, str], list[Point]]:
    """The edges of a picture by their ends; none runs behind a box, boxes are apart, each edge ends at its boxes."""
    root = ElementTree.fromstring(svg)
    boxes = {}
    for group in root.iterfind(".//{*}g[@data-key]"):
        rect = group.find("{*}rect")
        assert rect is not None
        boxes[group.get("data-key")] = tuple(float(rect.get(k, 0)) for k in ("x", "y", "width", "height"))
    edges = {}
    for path in root.iterfind(".//{*}path[@data-from]"):
        ends = path.get("data-from", ""), path.get("data-to", "")
        way = edges[ends] = points(path.get("d", ""))
        for (px, py), key in ((way[0], ends[0]), (way[-1], ends[1])):
            x, y, w, h = boxes[key]
            assert x <= px <= x + w and min(abs(py - y), abs(py - y - h)) < 0.2, f"{ends} does not end at {key}"
        for px, py in way[1:-1]:
            behind = [k for k, (x, y, w, h) in boxes.items() if x < px < x + w and y + 0.2 < py < y + h - 0.2]
            assert not behind or behind == [ends[0]] and py < way[0][1] + 0.2, f"{ends} runs behind {behind}"
    return edges


@pytest.mark.parametrize("level", ["symbol", "tensor", "planned"])
@pytest.mark.parametrize("train", [False, True])
def test_edges_go_around_boxes(capsys, net: str, level: str, train: bool) -> None:
    svg, _ = ran(capsys, "dump", net, "--level", level, "--format=svg", *SHAPES, *(["--train"] if train else []))
    edges = check_edges(svg)
    if level == "symbol":
        residual = [("data", "s0_plus"), ("s0_plus", "s1_plus"), ("s1_plus", "s2_plus")]
        assert set(residual) <= set(edges)
        for ends in residual:  # it passes the three layers of the branch beside it
            assert len(edges[ends]) > 3 * 16


def test_boxes_say_what_tells_operators_apart(capsys, net: str) -> None:
    svg, _ = ran(capsys, "dump", net, "--format=svg", *SHAPES)
    root = ElementTree.fromstring(svg)
    lines = {
        group.get("data-key"): [text.text for text in group.iterfind("{*}text")]
        for group in root.iterfind(".//{*}g[@data-key]")
    }
    assert lines["s0_conv"] == [
        "s0_conv", "Convolution", "num_filter=3", "kernel=(3, 3)", "pad=(1, 1)", "weight f32[3,3,3,3]", "bias f32[3]",
    ]  # fmt: skip
    assert "act_type=relu" in lines["s1_relu"] and "num_hidden=2" in lines["fc"]
    assert "s0_conv_weight" not in lines and "s0_bn_moving_var" not in lines and "softmax_label" in lines
    assert "f32[2,3,8,8]" in [text.text for text in root.iterfind(".//{*}text")]


def test_fold_and_focus(capsys, net: str) -> None:
    svg, _ = ran(capsys, "dump", net, "--format=svg", "--fold=s0_", "--fold=s1_", *SHAPES)
    edges = check_edges(svg)
    assert ("fold s0_ forward", "fold s1_ forward") in edges and "4 boxes" in svg and "s0_conv" not in svg
    dot, _ = ran(capsys, "dump", net, "--format=dot", "--focus=%s1_bn", "--radius=1", *SHAPES)
    assert dot.count("fillcolor") == 3 and '"s1_conv" -> "s1_bn"' in dot
    assert "did you mean s1_bn" in ran(capsys, "dump", net, "--format=dot", "--focus=s1_bm", code=1)[1]
    assert "no Symbol begins with 'zz'" in ran(capsys, "dump", net, "--format=dot", "--fold=zz", code=1)[1]


def test_boxes_leave_out_what_is_the_default_and_what_names_repeat() -> None:
    x = mx.sym.Variable("data")
    x = mx.sym.Convolution(
        x, mx.sym.Variable("a_conv0_weight"), name="a_conv0_fwd", num_filter=4, kernel=(3, 3), no_bias=True
    )
    x = mx.sym.BatchNorm(x, name="bn", axis=1)
    x = mx.sym.Pooling(x, name="pool", kernel=(2, 2), pool_type="max", global_pool=False)
    boxes = picture_of(mx.sym.softmax(x, axis=-1, name="soft").graph).boxes
    assert boxes["a_conv0_fwd"].lines == ["a_conv0_fwd", "Convolution", "num_filter=4", "kernel=(3, 3)", "weight"]
    assert boxes["bn"].lines == ["bn", "BatchNorm", "gamma", "beta", "moving_mean", "moving_var"]
    assert boxes["pool"].lines == ["pool", "Pooling", "kernel=(2, 2)", "pool_type=max"]
    assert boxes["soft"].lines == ["soft", "softmax"]


def test_what_lies_between_folded_boxes_is_folded_too() -> None:
    picture = Picture()
    for name in ("a1", "b", "a2", "c"):
        picture.box(name, [name], values=(name,), symbol=name)
    picture.edge("a1", "b")
    picture.edge("b", "a2")
    picture.edge("a1", "a2")
    picture.edge("a2", "c")
    made = folded(picture, ["a"])
    assert list(made.boxes) == ["fold a forward", "c"] and "1 between" in made.boxes["fold a forward"].lines[1]
    assert made.edges == [("fold a forward", "c", "")]
    assert list(focused(picture, keys_of(picture, "%c"), 1).boxes) == ["a2", "c"]


def test_prefixes_to_fold_are_parts_of_names() -> None:
    picture = Picture()
    for name in (
        "data",
        "_plus0",
        "_plus1",
        "_plus2",
        "_plus3",
        *(f"s{i}_{n}" for i in (1, 2) for n in "abcd"),
        "s3_a",
    ):
        picture.box(name, [name], symbol=name)
    assert common_prefixes(picture) == ["s1_", "s2_"]
    deeper = Picture()
    for name in ("data", *(f"net_s{i}_{n}" for i in (1, 2) for n in "abcd")):
        deeper.box(name, [name], symbol=name)
    assert common_prefixes(deeper) == ["net_s1_", "net_s2_"]


def test_a_graph_with_edges_of_all_lengths_has_few_places() -> None:
    count = 3000
    picture = Picture()
    for at in range(count):
        picture.box(str(at), [f"node{at}"], values=(str(at),))
        if at:
            picture.edge(str(at - 1), str(at))
        if at > count // 2:
            picture.edge(str(count - at), str(at))
    layout = lay_out(picture)
    drawn, far = len(layout.paths), sum(map(len, layout.references.values()))
    assert drawn + far == len(picture.edges) and 0 < far < count
    assert sum(path.count("C") for _, path in layout.paths) < 2 * PLACES + drawn
    assert "also reads node" in to_svg(picture, "far")


def test_what_is_computed_of_parameters_stands_near_its_use() -> None:
    picture = Picture()
    picture.box("data", ["data"], "input")
    for at in range(10):
        picture.box(f"a{at}", [f"a{at}"])
        picture.edge(f"a{at - 1}" if at else "data", f"a{at}")
    for name in ("pad", "reshape"):
        picture.box(name, [name])
    picture.box("conv", ["conv"])
    for source, target in (("pad", "reshape"), ("reshape", "conv"), ("a9", "conv")):
        picture.edge(source, target)
    layout = lay_out(picture)
    assert layout.boxes["reshape"].y == layout.boxes["a9"].y and layout.boxes["pad"].y == layout.boxes["a8"].y


def test_pixels_need_cairo(capsys, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    _, err = ran(capsys, "dump", net, "--format=png", "-o", str(tmp_path / "x.png"), code=2)
    assert "--format=png needs cairosvg" in err and "or use --format=svg" in err


@pytest.mark.parametrize("options", [["--level=planned"], ["--memory"]])
def test_pictures_as_pixels(capsys, net: str, tmp_path: Path, options: list[str]) -> None:
    try:
        import cairosvg
    except (ImportError, OSError) as problem:
        pytest.skip(f"cairosvg: {problem}")
    assert cairosvg
    ran(capsys, "dump", net, "--format=png", "-o", str(tmp_path / "x.png"), *options, *SHAPES)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("level", ["symbol", "tensor", "fused", "planned", "loop"])
def test_json_and_table_have_a_row_for_everything(capsys, net: str, level: str) -> None:
    text, _ = ran(capsys, "dump", net, "--level", level, "--format=json", "--train", *SHAPES)
    whole = json.loads(text)
    assert whole["symc"] == 1 and whole["level"] == level and whole["rows"]
    for row in whole["rows"]:
        assert ("value" in row) + ("step" in row) + ("kernel" in row) == 1
        assert isinstance(row["symbols"], list) and isinstance(row["source"], str)
    table, _ = ran(capsys, "dump", net, "--level", level, "--format=table", "--train", *SHAPES)
    assert len(table.splitlines()) == 1 + len(whole["rows"])
    some, _ = ran(capsys, "dump", net, "--level", level, "--format=json", "--select=s1_conv", "--train", *SHAPES)
    assert 0 < len(json.loads(some)["rows"]) < len(whole["rows"])


def test_kernels_say_their_work(capsys, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import symc as mx\nnet = mx.sym.FullyConnected(mx.sym.var('x'), num_hidden=8)\n")
    text, _ = ran(capsys, "dump", f"{tmp_path / 'one.py'}:net", "--level=loop", "--format=json", "--shapes=x=4x6")
    (row,) = json.loads(text)["rows"]
    assert row["flops"] == 2 * 4 * 6 * 8 + 4 * 8 and row["written"] == 4 * 4 * 8 and row["calls"] == 1
    assert row["read"] == 4 * (4 * 6 + 6 * 8 + 8)


def test_every_symbol_has_its_kernels(capsys, net: str, tmp_path: Path) -> None:
    """Equal kernels are one, and a kernel computes other Symbols' values in passing: all of them find it."""
    for train in ([], ["--train"]):
        text, _ = ran(capsys, "dump", net, "--level=loop", "--format=json", *train, *SHAPES)
        found = {name for row in json.loads(text)["rows"] for name in row["symbols"]}
        assert found >= {"fc", "softmax", *(f"s{i}_{op}" for i in range(3) for op in ("conv", "bn", "relu", "plus"))}
    code, _ = ran(capsys, "dump", net, "--level=asm", "--select=s2_conv", *SHAPES)
    heads = [line for line in code.splitlines() if line.startswith("# -----")]
    assert heads and all("s2_conv" in head for head in heads) and any("s1_conv" in head for head in heads)
    assert "# arguments 0 %" in code and re.search(r"^# writes .*%s2_conv", code, re.M)
    loops, _ = ran(capsys, "dump", net, "--level=loop", "--select=s2_conv", "--locs=none", *SHAPES)
    called = set(re.findall(r" = call .*?@([\w.]+)\(", loops))
    assert called and all(f"kernel @{kernel}(" in loops for kernel in called)
    (tmp_path / "words.py").write_text(
        "import symc as mx\nx = mx.sym.Embedding(mx.sym.var('x'), input_dim=9, output_dim=4, name='word')\n"
        "net = mx.sym.exp(mx.sym.transpose(x, name='turned'), name='grown')\n"
    )
    words = f"{tmp_path / 'words.py'}:net"
    text, _ = ran(capsys, "dump", words, "--level=loop", "--format=json", "--shapes=x=3x2", "--select=word")
    assert "grown" in {name for row in json.loads(text)["rows"] for name in row["symbols"]}


def test_memory_over_time(capsys, net: str) -> None:
    svg, _ = ran(capsys, "dump", net, "--memory", "--format=svg", "--train", *SHAPES)
    root = ElementTree.fromstring(svg)
    values = [[float(r.get(k, 0)) for k in ("x", "y", "width", "height")] for r in root.iterfind(".//*[@data-value]")]
    names = [r.get("data-value") for r in root.iterfind(".//*[@data-value]")]
    tips = {r.get("data-value"): r.findtext("{*}title", "") for r in root.iterfind(".//*[@data-value]")}
    assert len(values) > 5 and root.find(".//*[@id='peak']") is not None and root.find(".//*[@id='bound']") is not None
    for at, (x, y, w, h) in enumerate(values):
        for other, (x2, y2, w2, h2) in enumerate(values[:at]):
            apart = x + w <= x2 + 0.1 or x2 + w2 <= x + 0.1 or y + h <= y2 + 0.1 or y2 + h2 <= y + 0.1
            over = f"over %{names[other]}" in tips[names[at]]
            assert apart or over, f"{names[at]} lies over {names[other]} while both live"
    table, _ = ran(capsys, "dump", net, "--memory", "--train", *SHAPES)
    assert re.search(r"^peak at step \d+: \w+ \d+ \+ ", table, re.M) and " is read until step " in table


LOOP = """
import symc as mx

x, h = mx.sym.Variable("x"), mx.sym.Variable("h")
out, _ = mx.sym.contrib.foreach(lambda row, s: (mx.sym.tanh(row + s), mx.sym.softmax(mx.sym.sort(s)) * s), x, h)
net = mx.sym.sin(out, name="waves")
"""


def test_the_peak_is_the_largest_live_set(net: str, tmp_path: Path) -> None:
    """Memory that a result takes over counts once, and what loops work in counts, too."""
    from symc.cli.inputs import load, passes_for
    from symc.cli.opt import run_passes
    from symc.views.memory import lifetimes, memory_svg, peak

    (tmp_path / "loop.py").write_text(LOOP)
    for source, shapes in (
        (net, {"data": (2, 3, 8, 8)}),
        (f"{tmp_path / 'loop.py'}:net", {"x": (3, 2, 40), "h": (2, 40)}),
    ):
        loaded = load(source, shapes)
        for train in (False, True):
            passes = passes_for(loaded, train)
            names = [p.name for p in passes]
            program, _ = run_passes(passes[: names.index("plan_memory") + 1], loaded.module)
            values = lifetimes(program)
            _, alive = peak(values)
            total = sum(v.size for v in alive)
            # every piece begins at a multiple of 64 bytes
            assert total <= program.lower_bound < total + 64 * max(len(alive), 1)
            assert any(v.frame for v in values) == (source != net) == ("frame of step" in memory_svg(program, "m"))


def test_a_selected_kernel_is_printed_whole(capsys, net: str) -> None:
    text, _ = ran(capsys, "dump", net, "--level=loop", "--select=fc", "--locs=none", *SHAPES)
    kernels = re.findall(r"^kernel @.*?^\}", text, re.M | re.S)
    assert kernels and text.count("kernel @") == len(kernels) and all("for %" in kernel for kernel in kernels)


def test_every_level_into_a_folder(capsys, net: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "levels"
    ran(capsys, "dump", net, "--level=all", "--train", "-o", str(out), *SHAPES)
    names = ["0-symbol.sir", "1-tensor.sir", "2-fused.sir", "3-planned.sir", "4-loop.sir", "5-llvm.ll", "6-asm.s"]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        level = name[2:].partition(".")[0]
        assert ran(capsys, "dump", net, "--level", level, "--train", *SHAPES)[0] == (out / name).read_text(), level
    ran(capsys, "dump", str(out / "3-planned.sir"), "--level=all", "--locs=none", "-o", str(tmp_path / "rest"))
    assert sorted(path.name for path in (tmp_path / "rest").iterdir()) == names[3:]
    assert (tmp_path / "rest" / "6-asm.s").read_text() == (out / "6-asm.s").read_text()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--format=svg", "--select=fc"], "--select is for --format=text or json or table, not svg"),
        (["--focus=fc"], "--focus is for --format=dot or svg or png or html, not text"),
        (["--format=dot", "--radius=1"], "--radius is the distance from a --focus; give both"),
        (["--format=json", "--locs=none"], "--locs is for --format=text, not json"),
        (["--format=svg", "--elide=3"], "--elide is for --format=text, not svg"),
        (["--memory", "--select=fc"], "--select has no meaning for --memory"),
        (["--memory", "--format=json"], "--memory is drawn by --format=table or svg or png or html, not json"),
        (["--memory", "--level=llvm"], "--memory is the plan of a program; it has no --level=llvm"),
        (["--level=llvm", "--elide=3"], "--elide has no meaning for --level=llvm"),
        (["--level=asm", "--locs=short"], "--locs has no meaning for --level=asm"),
        (["--level=loop", "--format=svg"], "only the levels symbol, tensor, fused and program can be drawn"),
        (["--after=decompose", "--level=loop"], "both say where to stop"),
        (["--level=all"], "--level=all writes a file for every level: give their folder by -o DIR"),
        (["--level=all", "-o", "x", "--select=fc"], "--select has no meaning for --level=all"),
        (["--level=all", "-o", "x", "--after=fuse"], "--after has no meaning for --level=all"),
        (["--level=all", "-o", "x", "--format=svg"], "--level=all is text only"),
        (["--level=all", "-o", "x", "--focus=fc"], "--focus is for --format=dot or svg"),
        (["--format=png"], "--format=png is no text: give the file by -o FILE.png"),
        (["--level=asm", "--format=png", "-o", "x.png"], "--level=asm is text only, not --format=png"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(capsys, net: str, options: list[str], message: str) -> None:
    assert message in ran(capsys, "dump", net, *SHAPES, *options, code=2)[1]


def test_a_picture_as_a_page_has_all_inside(capsys, net: str) -> None:
    for options in ([], ["--memory"]):
        page, _ = ran(capsys, "dump", net, "--format=html", *options, *SHAPES)
        assert page.startswith("<!DOCTYPE html>") and "<svg" in page and "$" not in page.split("<script>")[0]
        assert not re.search(r"(src|href)=", page.replace('xmlns="http', ""))


def test_notebooks_show_pictures(tmp_path: Path) -> None:
    from symc.compile import pipeline
    from symc.passes.manager.manager import Manager
    from symc.typed import module_of

    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
    check_edges(net._repr_svg_())
    exe = net.simple_bind(mx.cpu(), data=(2, 3))
    assert repr(exe).startswith("<Executor") and "3 arguments, 1 outputs, compiled for nothing yet>" in repr(exe)
    assert "<td>fc_weight</td><td>f32[4,3]</td><td>write</td>" in exe._repr_html_()
    exe.forward()
    assert "compiled for prediction>" in repr(exe)
    module = module_of(net, exe._types, {})
    assert repr(module).startswith("<SymbolModule fc: 4 nodes, 3 variables")
    manager = Manager()
    for pass_ in pipeline():
        module = manager.step(pass_, module)
        shown = module._repr_html_() if hasattr(module, "_repr_html_") else module._repr_svg_()
        ElementTree.fromstring(f"<div>{shown}</div>")
        assert len(repr(module)) < 300 and " object at 0x" not in repr(module)
    assert repr(module) == "<LoopModule fc: 1 kernels for 1 steps>"


def test_notebooks_show_programs_that_no_symbol_made() -> None:
    """Who uses the library without Symbols and Executors sees pictures, too."""
    code = """
from symc.ir.parse import parse
graph = parse('symc ir 1 level=tensor\\nfunc @f(%x: f32[3] data) -> (y: f32[3]) {\\n  %y: f32[3] = exp(%x) !1\\n'
              '  return %y\\n}\\n!1 = sym "y" exp\\n')
assert graph._repr_svg_().startswith("<svg"), graph
import symc
made = symc.compile(graph)
assert "<svg" in made._repr_html_() and "k0.exp" in made.loops._repr_html_()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_what_objects_say_of_themselves() -> None:
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
    module = mx.mod.Module(net, label_names=None)
    assert repr(module) == "<Module of fc: not bound>"
    module.bind([("data", (2, 3))], for_training=False)
    module.init_params()
    assert repr(module) == "<Module of fc: bound for prediction, with parameters>"
    executable = mx.compile(net, {"data": (2, 3)})
    assert repr(executable).startswith("<Executable of <Program fc: 1 steps, ") and len(repr(executable)) < 300
    assert repr(executable.loops.kernels[0]).startswith("<LoopKernel k0.")
    assert (
        repr(net.graph) == "<SymGraph: 4 nodes, outputs fc>"
        and repr(net.graph.nodes()[0]) == "<SymNode data: variable>"
    )
    predictor = mx.Predictor(net, {"fc_weight": mx.nd.ones((4, 3)), "fc_bias": mx.nd.ones((4,))}, {"data": (2, 3)})
    assert repr(predictor) == "<Predictor of fc: data: f32[2,3], 2 parameters, 1 program>"
    assert repr(net.simple_bind(mx.cpu(), data=(2, 3))).startswith("<Executor of fc on cpu(0): 3 arguments, 1 outputs")


def data_of(page: str) -> dict[str, object]:
    """The data inside of a report."""
    packed = page.split('type="application/octet-stream">')[1].split("</script>")[0]
    found: dict[str, object] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return found


def test_report_holds_every_level(capsys, net: str, tmp_path: Path) -> None:
    page, _ = ran(capsys, "report", net, "--train", "--native=1", *SHAPES)
    assert page.startswith("<!DOCTYPE html>") and not re.search(r"""(src|href)=|@import|url\(""", page)
    data: dict[str, Any] = data_of(page)
    levels = [stage["level"] for stage in data["stages"]]
    assert list(dict.fromkeys(levels)) == ["symbol", "tensor", "fused", "planned", "loop"]
    assert all((stage["text"] is not None) == stage["changed"] for stage in data["stages"])
    assert any(stage["actions"] for stage in data["stages"]) and str(tmp_path / "net.py") in data["sources"]
    assert sum(bool(kernel["asm"]) for kernel in data["kernels"]) == 1 and all(k["llvm"] for k in data["kernels"])
    check_edges(data["pictures"][0]["svg"])
    assert ElementTree.fromstring(data["memory"]).find(".//*[@id='peak']") is not None


def test_a_report_with_times(capsys, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symc.profiler.limits", lambda: (1e12, 1e12))
    data: dict[str, Any] = data_of(ran(capsys, "report", net, "--train", "--profile", "--native=0", *SHAPES)[0])
    assert all(k["seconds"] > 0 and k["share"] >= 0 for k in data["kernels"])
    assert "texts only" in ran(capsys, "report", str(tmp_path), "--profile", code=2)[1]


def test_report_of_a_folder_of_stages(capsys, net: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ran(capsys, "opt", net, "-p", "decompose,inline,fuse", "--print-ir-tree-dir", str(tree), *SHAPES)
    data: dict[str, Any] = data_of(ran(capsys, "report", str(tree))[0])
    assert [stage["name"] for stage in data["stages"]] == ["input", "decompose", "inline", "fuse"]
    (tmp_path / "empty").mkdir()
    assert "has no .sir files" in ran(capsys, "report", str(tmp_path / "empty"), code=3)[1]

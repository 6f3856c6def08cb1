"""Protects what commands say to those who try them: odd files, code that fails, options that do not go together."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
from commands import NET, SHAPES, SIR, ran

from symc.base import near, those
from symc.cli import main
from symc.passes.pipeline import PASSES


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net and a program, which is the current one."""
    (tmp_path / "net.py").write_text(
        NET + "\n\ndef failing():\n    return 1 / 0\n\n\ndef needing(x, y=1):\n    return x\n"
    )
    (tmp_path / "f.sir").write_text(SIR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "odd.sir:1:1: there is no program in the text, which begins with: symc ir 1 level="),
        ("\n// nothing\n\n", "odd.sir:2:11: there is no program in the text"),
        (SIR + SIR, "odd.sir:7:1: another program begins here"),
        (SIR.partition("!1 =")[0], "origin !1 is not in the table of origins; the text ends without one"),
        (SIR.replace("exp(", "expo("), "odd.sir:3:16: unknown operation 'expo'; did you mean 'exp'?"),
    ],
)
def test_texts_that_are_no_program(capsys, here: Path, text: str, message: str) -> None:
    (here / "odd.sir").write_text(text)
    assert message in ran(capsys, "dump", "odd.sir", code=3)[1]


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n")])
def test_texts_as_other_editors_write_them(capsys, here: Path, change) -> None:
    (here / "odd.sir").write_bytes(change(SIR).encode())
    assert ran(capsys, "dump", "odd.sir")[0] == SIR
    (here / "odd.sir").write_bytes(change("// RUN: opt -p simplify\n// CHECK: exp(%x)\n" + SIR).encode())
    assert "1 of 1 pass" in ran(capsys, "test", ".")[1]


def test_json_as_other_editors_and_gzip_write_it(capsys, here: Path) -> None:
    import symc as mx

    text = mx.sym.exp(mx.sym.Variable("x"), name="y").tojson()
    (here / "a-symbol.json").write_text(text, encoding="utf-8-sig")
    (here / "b-symbol.json").write_bytes(gzip.compress(text.encode()))
    outs = [ran(capsys, "dump", name)[0] for name in ("a-symbol.json", "b-symbol.json")]
    assert outs[0] == outs[1] and "%y = exp(%x)" in outs[0]


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["dump", "net.py:failing"], "net.py:23 failed in failing(): ZeroDivisionError: division by zero", 3),
        (["dump", "net.py:needing"], "net.py:needing is called without arguments, and needs x\n", 3),
        (
            ["dump", "net.py:softmx"],
            "it has data, fc1, relu1, fc2, softmax, net and 3 others; did you mean softmax?",
            3,
        ),
        (["dump", "net.py"], "give the name of a Symbol in it, too, as in net.py:net", 2),
        (["dump", ":net"], "cannot read ':net'", 2),
        (["why", "net.py:net", "%fc1"], "the value stands before the input", 2),
        (["passes", "--load", "."], "'.' is neither FILE.py nor the name of a module", 3),
        (["passes", "--load", "leaves.py"], "leaves.py:2 failed when it was run: SystemExit: 3", 3),
        (["passes", "--load", "broken.py"], "broken.py:2 failed when it was run: SyntaxError: ", 3),
        (["dump", "bad_module:net"], "cannot import bad_module: ZeroDivisionError: division by zero", 3),
    ],
)
def test_code_that_fails_is_the_users(capsys, here: Path, words: list[str], message: str, code: int) -> None:
    (here / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (here / "broken.py").write_text("x = 1\ndef (:\n")
    (here / "bad_module.py").write_text("1 / 0\n")
    err = ran(capsys, *words, code=code)[1]
    assert message in err and "internal" not in err


def test_a_module_of_this_folder_is_found(capsys, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with python -m, also where an installed script is what runs."""
    (here / "own_net_module.py").write_text(NET)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(here))])
    assert "%fc1 = FullyConnected(" in ran(capsys, "dump", "own_net_module:net")[0]


# --------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--verison"], "unknown argument --verison; did you mean --version?"),
        (["--load", "a.py", "passes"], "unknown argument --load; options of a command stand behind its name"),
        (["dump", "net.py:net", "--shapes=data=4x6", "--shapes=data=5x6"], "data has two shapes, 4x6 and 5x6"),
        (["dump", "net.py:net", "--shapes=data=4x6,data=5x6"], "data has two shapes, 4x6 and 5x6"),
        (["dump", "net.py:net", "--shapes=data=99999999999999999999x6"], "is not a shape like 32x784"),
        (
            ["opt", "--print-changed", "net.py:net"],
            "'net.py:net' is none of diff, diff-quiet, dot; it stands behind that",
        ),
        (["run", "--profile", "net.py:net"], "'net.py:net' is no FILE.json; it stands behind that option"),
        (["trace", "-m", "package"], "unknown argument -m; give -- before the command"),
    ],
)
def test_words_that_argparse_would_misread(capsys, here: Path, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_help_is_a_command_too(capsys) -> None:
    for words, expected in ((["help"], "commands:"), (["help", "dump"], "usage: symc dump")):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0 and expected in capsys.readouterr().out


def test_shapes_of_several_options_are_taken_together(capsys, here: Path) -> None:
    out, _ = ran(capsys, "dump", "net.py:net", "--shapes", "data=4x6", "--shapes", "softmax_label=4")
    assert "%data: f32[4,6]" in out and "%softmax_label: f32[4]" in out


def test_names_that_are_near() -> None:
    known = ["Convolution", "Convolution_v1", "concat", "_cond", "relu1_output"]
    assert near("conv", known, 2) == ["Convolution", "Convolution_v1"]
    assert near("CONVOLUTION", known) == ["Convolution"] and near("relu1", known) == ["relu1_output"]
    assert near("", known) == [] and near("zzz", known) == []
    assert those("abcd", most=3) == "a, b, c and 1 other"
    assert "`symc passes` lists them" in _refused(["passes", "zzz"])


def _refused(words: list[str]) -> str:
    from symc.cli.info import show_passes
    from symc.cli.report import CliError

    with pytest.raises(CliError) as caught:
        show_passes(words[1])
    return str(caught.value)


NET_IN = ["net.py:net", *SHAPES]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dump", "f.sir", "--shapes=x=4"], "--shapes is for models; a program in text form has its types: f.sir"),
        (["why", "%y", "f.sir", "--shapes=x=4"], "--shapes is for models"),
        (["opt", "f.sir", "--split-input-file", "--shapes=x=4"], "--shapes is for models"),
        (["diff", "f.sir", "f.sir", "--shapes=x=4"], "--shapes is for models"),
        (["dump", "f.sir", "--train", "--level=loop"], "--train adds the gradients of a Symbol's parameters"),
        (["run", "f.sir", "--train", "--backend=ref"], "--train adds the gradients of a Symbol's parameters"),
        (["opt", *NET_IN, "--train", "-p", "decompose"], "--train is for -p default"),
        (["dump", *NET_IN, "--train"], "--train is for what the compiler makes of the input: give a --level"),
        (["dump", *NET_IN, "--level=schedule", "--locs=none"], "--level=schedule has neither origins nor constants"),
        (["dump", *NET_IN, "--target=avx2"], "--target is for what the compiler makes of the input"),
        (["dump", *NET_IN, "--level=all", "-o", "net.py"], "net.py is a file; --level=all writes a folder"),
        (["passes", "fuse", "--graph"], "NAME and --graph are different questions"),
        (["passes", "--graph", "--level=loop"], "--graph and --level are different questions"),
        (["opt", *NET_IN, "-p", "default,simplify"], "what the compiler runs itself is -p default, alone"),
        (["opt", *NET_IN, "-p", "O2"], "what the compiler runs itself is -p default, alone"),
        (["opt", *NET_IN, "--print-pipeline", "--check"], "--print-pipeline runs nothing"),
        (["opt", "f.sir", "--verify-diagnostics", "-o", "x"], "--verify-diagnostics prints nothing"),
        (["opt", "f.sir", "-p", "simplfy", "--verify-diagnostics"], "unknown pass 'simplfy'; did you mean simplify?"),
        (["opt", *NET_IN, "--print-ir-after=autodiff"], "--print-ir-after=autodiff: this pass does not run here"),
        (["opt", *NET_IN, "--debug-counter=fuse"], "--debug-counter: "),
        (["diff", *NET_IN[:1], "net.py:fc2", *SHAPES, "--disable=layout"], "--disable is for what passes make"),
        (["diff", "f.sir", "net.py:net", *SHAPES], "f.sir is tensor IR, net.py:net symbol IR"),
        (["diff", "-", "-"], "standard input can be read only once"),
        (["run", *NET_IN, "--summary", "--train"], "--summary runs nothing: --train has no meaning there"),
        (["run", *NET_IN, "--nan-guard", "--profile"], "--nan-guard tells where nan begins, in both backends"),
        (["run", *NET_IN, "--profile", "--compare=ref"], "--profile tells of time, not of values: --compare"),
        (["run", *NET_IN, "--backend=ref", "--disable=layout"], "--backend=ref interprets the input as it is"),
        (["run", *NET_IN, "--labels=x"], "--labels are names for --top"),
        (["run", *NET_IN, "--stats", "--top=2"], "--stats and --top both say how outputs are shown"),
        (["run", *NET_IN, "-o", "x.txt"], "--output x.txt: expected a name that ends in .npy"),
        (["run", *NET_IN, "--inputs=ones", "--inputs=exact-int"], "are two kinds of values"),
        (["run", "f.sir", "--input", "z=3"], "--input: the program has no input z; it has x"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(capsys, here: Path, words: list[str], message: str) -> None:
    assert message in ran(capsys, *words, code=2)[1]


def test_outputs_that_have_no_folder_are_refused_first(capsys, here: Path) -> None:
    words = ["run", *NET_IN, "--inputs=ones"]
    for option in ("--output=no/x.npy", "--save-inputs=no/x.npz", "--profile=no/x.json"):
        out, err = ran(capsys, *words, option, code=3)
        assert out == "" and "there is no folder no" in err


# --------------------------------------------------------------------------------------------- levels


def test_a_training_text_is_compiled_for_training(capsys, here: Path) -> None:
    """Without being told again."""
    ran(capsys, "dump", *NET_IN, "--train", "--level=tensor", "-o", "t.sir")
    both = [ran(capsys, "opt", "t.sir", "--print-pipeline", *more)[0] for more in ([], ["--train"])]
    assert both[0] == both[1] and "gradients=true" in both[0]


def test_names_are_selected_as_texts_spell_them(capsys, here: Path) -> None:
    out, _ = ran(capsys, "dump", *NET_IN, "--level=tensor", "--select=%relu1")
    line, origin = out.splitlines()  # only the origin that the line has
    assert line.startswith("  %relu1: ") and origin.startswith(f"{line.split()[-1]} = sym")
    derived = ran(capsys, "dump", *NET_IN, "--level=tensor", "--select=softmax.exp")[0].splitlines()
    assert [row.partition(" = ")[2][:6] for row in derived[1:]] == ['sym "s', "inline"]
    assert ran(capsys, "dump", *NET_IN, "--level=loop", "--select=@k0*")[0].startswith("kernel @k0.")
    for given in (["--level=tensor"], ["--level=asm"], ["--format=json"]):
        assert "did you mean relu1?" in ran(capsys, "dump", *NET_IN, "--select=relu", *given, code=1)[1]
    assert "probe.relu1" in ran(capsys, "run", *NET_IN, "--inputs=ones", "--stats", "--probe=%relu1")[0]


def test_a_kernel_of_many_symbols_blames_each_for_its_value(capsys, here: Path) -> None:
    out, _ = ran(capsys, "dump", *NET_IN, "--train", "--memory")
    rows = [row.split() for row in out.splitlines()]
    blamed = {row[at]: row[at + 3] for row in rows for at in range(2, 7) if at < len(row) and row[at].startswith("%")}
    assert (blamed["%relu1"], blamed["%fc2_bias.grad"], blamed["%softmax.sub"]) == ("relu1", "fc2", "softmax")
    assert "peak at step 4: relu1 256 + softmax 48" in out


def test_values_that_no_address_reaches_are_named(capsys, here: Path) -> None:
    huge = ["net.py:net", "--shapes=data=999999999999999999x6", "--level=planned"]
    err = ran(capsys, "dump", *huge, code=5)[1]
    assert "the largest is %relu1: f32[999999999999999999,8] of Symbol 'relu1'" in err


def test_python_that_another_process_has_is_no_internal_error(capsys, here: Path) -> None:
    text = SIR.replace("exp(%x)", 'host_call(%x) {function="of another process", types=[f32[3]], uid=1}')
    (here / "h.sir").write_text(text)
    for more in ([], ["--backend=ref"]):
        err = ran(capsys, "run", "h.sir", *more, code=3)[1]
        assert "calls 'of another process', a function in Python" in err and "internal" not in err


# --------------------------------------------------------------------------------------------- files of passes


def test_what_an_earlier_run_wrote_does_not_stay_among_new_files(capsys, here: Path) -> None:
    (here / "tree").mkdir()
    (here / "tree" / "07-mine.sir").write_text("// RUN: opt -p simplify\n" + SIR)
    for passes in ("decompose,inline,simplify", "decompose"):
        ran(capsys, "opt", *NET_IN, "-p", passes, "--print-ir-tree-dir=tree")
    assert sorted(p.name for p in (here / "tree").iterdir()) == ["00-input.sir", "01-decompose.sir", "07-mine.sir"]
    ran(capsys, "dump", *NET_IN, "--level=all", "-o", "levels")
    ran(capsys, "dump", "levels/3-planned.sir", "--level=all", "-o", "levels")
    assert sorted(p.name for p in (here / "levels").iterdir()) == [
        "3-planned.sir",
        "4-loop.sir",
        "5-llvm.ll",
        "6-asm.s",
    ]


def test_programs_of_one_file_have_files_of_their_own(capsys, here: Path) -> None:
    (here / "two.sir").write_text(f"{SIR}// -----\n{SIR.replace('@f', '@g')}")
    words = ["opt", "two.sir", "--split-input-file", "-p", "simplify"]
    ran(capsys, *words, "--print-ir-tree-dir=tree", "--check")
    assert "@g(" in (here / "tree" / "1" / "01-simplify.sir").read_text()
    assert ran(capsys, *words, "--print-pipeline")[0] == "simplify{rounds=100 without=}\n"
    (here / "two.sir").write_text(f"{SIR}// -----\n{SIR.replace('exp(', 'exq(')}")
    assert "two.sir:10:16: unknown operation 'exq'" in ran(capsys, *words, code=3)[1]


def test_determinism_is_of_the_changes_that_happen(capsys, here: Path) -> None:
    for limit in ("--bisect-limit=2", "--debug-counter=fuse-skip=1"):
        ran(capsys, "opt", *NET_IN, limit, "--check-determinism", "-o", "x.sir")


# --------------------------------------------------------------------------------------------- tests that are programs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("// CHECK-NEXT: exp", "there are RUN, CHECK, CHECK-NOT, CHECK-STATS"),
        ("// CHEK: exp", "there are RUN, CHECK, CHECK-NOT, CHECK-STATS"),
        ("//CHECK: exp", "it is written // CHECK: ..."),
        ("// RUN: opt -p simplify", "a test has one RUN line"),
        ('// CHECK: exp\n// RUN: opt -p "simplify', "No closing quotation"),
        ("// CHECK: exp\n// RUN: opt -p inline,simplfy", "t.sir:2:23: unknown pass 'simplfy'; did you mean simplify?"),
        ("// CHECK: exp\n// RUN: opt --frob -p inline", "t.sir:2:1: RUN: --frob is not understood here"),
    ],
)
def test_lines_that_nobody_would_heed_fail(capsys, here: Path, line: str, message: str) -> None:
    run = "" if "\n" in line else "// RUN: opt -p simplify\n"
    (here / "t.sir").write_text(f"{run}{line}\n{SIR}")
    assert message in ran(capsys, "test", "t.sir", code=1)[0]


def test_a_test_loads_its_passes_and_runs_the_default_pipeline(capsys, here: Path) -> None:
    (here / "own.py").write_text(
        "from symc.passes.pipeline import Pass, register_pass\n\n\n"
        '@register_pass("own_idle")\nclass Own(Pass):\n    """Does nothing."""\n\n'
        "    def run(self, graph, rw):\n        return graph\n"
    )
    (here / "tests").mkdir()
    (here / "tests" / "t.sir").write_text("// RUN: opt --load ../own.py -p own_idle\n// CHECK: exp(%x)\n" + SIR)
    (here / "tests" / "d.sir").write_text("// RUN: opt -p default\n// CHECK: kernel @k0.exp\n" + SIR)
    (here / "tests" / "other.sir").write_bytes(b"\xff\xfe\x00")
    try:
        assert "2 of 2 pass" in ran(capsys, "test", "tests")[1]
    finally:
        PASSES.pop("own_idle")


ODD = """
import sys

from symc.passes.pipeline import Pass, register_pass


@register_pass("own_leaving")
class Leaving(Pass):
    def run(self, module, rw):
        sys.exit(0)


@register_pass("own_forgetting")
class Forgetting(Pass):
    def run(self, module, rw):
        pass
"""


def test_passes_that_end_the_process_or_give_nothing(capsys, here: Path) -> None:
    (here / "odd.py").write_text(ODD)
    words = ["opt", "f.sir", "--load", "odd.py", "-p"]
    try:
        assert "own_leaving wants to end the process" in ran(capsys, *words, "own_leaving", code=5)[1]
        err = ran(capsys, *words, "own_forgetting", code=4)[1]
        assert "M2: pass own_forgetting gives no program: a NoneType is not IR" in err
    finally:
        del PASSES["own_leaving"], PASSES["own_forgetting"]


def test_programs_that_need_too_much_memory_are_no_internal_error(capsys, here: Path) -> None:
    (here / "h.sir").write_text(SIR.replace("f32[3]", "f32[40000000000,6]"))
    for words in (
        ["run"],
        ["run", "--backend=ref"],
        ["run", "--nan-guard"],
        ["numdiff"],
        ["bisect"],
        ["opt", "--check"],
    ):
        err = ran(capsys, words[0], "h.sir", *words[1:], code=5)[1]
        assert "of memory, but there are" in err and "f32[40000000000,6]" in err


def test_a_child_without_memory_or_with_a_refusal_says_so() -> None:
    from symc.base import MXNetError
    from symc.debug.apart import apart

    for kind in (MemoryError, MXNetError):

        def work(say, kind=kind):
            raise kind("not so")

        with pytest.raises(kind, match="not so"):
            apart(work, 10)


def test_programs_that_are_refused_have_the_name_of_their_file(capsys, here: Path) -> None:
    constant = SIR.replace("exp(%x)", "add(%x, %c)").replace(
        "  %y", "  %c: f32[3] = const() {value=[1.0, 2.0, 3.0]} !1\n  %y"
    )
    (here / "c.sir").write_text(constant)
    ran(capsys, "dump", "c.sir", "--elide=1", "-o", "e.sir")
    assert "y: float32[3]" in ran(capsys, "run", "e.sir", "--inputs=ones")[0]
    (here / "e.npz").unlink()
    assert "symc: e.sir:3:31: the data of this constant is not in the text" in ran(capsys, "run", "e.sir", code=3)[1]
    ran(capsys, "dump", *NET_IN, "--train", "--level=planned", "-o", "p.sir")
    text = (here / "p.sir").read_text()
    (here / "p.sir").write_text(text.replace("@A+128", "@A+64"))
    err = ran(capsys, "dump", "p.sir", code=4)[1]
    assert "P7: step 1: %fc2.dot at [64, 112) overlaps %relu1" in err and err.endswith("\n  in p.sir\n")


@pytest.mark.parametrize(
    ("pipeline", "column", "message"),
    [
        ("inline,simplify{", 16, "the options of pass simplify have no closing brace: simplify{a=1 b=2}"),
        ("simplify{rounds{3}}", 9, "the options of pass simplify have braces inside"),
        ("inline;simplify", 7, "expected a comma behind pass inline or its options in braces, found ';'"),
        ("inline simplify", 8, "expected a comma behind pass inline or its options in braces, found 's'"),
        ("simplify{rounds=3}x", 19, "expected a comma behind pass simplify, found 'x'"),
        ("inline,,simplify", 8, "expected the name of a pass"),
        ("simplify{rounds=3,without=x}", 10, "must be a whole number, got '3,without=x'; blanks stand between options"),
    ],
)
def test_pipelines_that_are_misspelt(capsys, here: Path, pipeline: str, column: int, message: str) -> None:
    err = ran(capsys, "opt", "f.sir", "-p", pipeline, code=2)[1]
    assert f"line 1, column {column}: {message}" in err or f"line 1, column {column}: option" in err and message in err
    assert err.endswith(f"\n  {pipeline}\n  {' ' * (column - 1)}^\n")


def test_warnings_have_no_place_in_the_projects_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    import symc
    from symc.cli.streams import spoken

    monkeypatch.setattr(sys, "stderr", None)
    with spoken():
        assert sys.stderr is not None  # print(file=None) would write among the results
        told = [warnings.formatwarning("symc: so", UserWarning, f, 2, "") for f in (symc.__file__, "net.py")]
        sys.stderr.close()
    assert told == ["symc: so\n", "net.py:2: UserWarning: symc: so\n"]


def test_parameters_of_another_model_are_told_apart(capsys, here: Path) -> None:
    import symc as mx

    mx.nd.save("other.params", {"arg:alien_weight": mx.nd.ones((2, 2))})
    err = ran(capsys, "run", *NET_IN, "--params", "other.params", code=3)[1]
    assert "--params: the file has nothing for fc1_weight" in err and "it has alien_weight" in err
    assert "it is a folder; expected" in ran(capsys, "dump", ".", code=2)[1]


ODD_NAMES = """
import symc as mx

x = mx.sym.Variable("in put")
fc = mx.sym.FullyConnected(x, num_hidden=3, name="enc/0 fc")
net = mx.sym.exp(fc, name="größe")
twice = mx.sym.Group([mx.sym.exp(x, name="same"), mx.sym.log(x, name="same")])
"""


def test_names_of_any_letters_are_found_as_texts_spell_them(capsys, here: Path) -> None:
    (here / "odd_names.py").write_text(ODD_NAMES, encoding="utf-8")
    given = ["odd_names.py:net", "--shapes", "in put=2x4"]
    for spelled in ("enc/0 fc", '%"enc/0 fc"'):
        assert '%"enc/0 fc": f32' in ran(capsys, "dump", *given, "--level=tensor", "--select", spelled)[0]
        assert '"enc/0 fc" [label=' in ran(capsys, "dump", *given, "--format=dot", "--focus", spelled)[0]
        assert ran(capsys, "why", spelled, *given)[0].startswith('%"enc/0 fc": ')
        assert "probe.enc/0 fc" in ran(capsys, "run", *given, "--inputs=ones", "--stats", "--probe", spelled)[0]
    assert 'label="größe\\nexp"' in ran(capsys, "dump", *given, "--format=dot")[0]


def test_outputs_of_one_name_are_all_there(capsys, here: Path) -> None:
    (here / "odd_names.py").write_text(ODD_NAMES, encoding="utf-8")
    given = ["odd_names.py:twice", "--shapes", "in put=2x4"]
    for more in ([], ["--backend=ref"]):
        out = ran(capsys, "run", *given, "--inputs=ones", "--stats", *more)[0]
        assert "same_output: float32[2, 4]  min 2.71828" in out and "same_output_1: float32[2, 4]  min 0" in out
    assert ran(capsys, "dump", *given[:1])[0].splitlines()[1] == "graph @net -> (same_output, same_output_1) {"


def test_a_test_can_be_replayed(capsys, here: Path) -> None:
    for number, words in enumerate(("opt -p simplify", "symc opt -p 'simplify'", "opt -p default")):
        (here / f"{number}.sir").write_text(f"// RUN: {words}\n{SIR}")
        ran(capsys, "replay", f"{number}.sir")
    (here / "odd.sir").write_bytes(b"\xff\xfe")
    assert "odd.sir is not a text" in ran(capsys, "replay", "odd.sir", code=3)[1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("// trial: {bad", "d.sir:2:1: the line is damaged: Expecting property name"),
        ('// trial: {"seed": 0}', "the line of the trial is damaged: it says nothing of passes"),
        ("// fails: nonsense", "d.sir:2:1: the line is damaged: Expecting value"),
        ('// fails: ["one"]', "d.sir:2:1: the line is damaged: not enough values to unpack"),
    ],
)
def test_damaged_reproducers_are_no_internal_error(capsys, here: Path, lines: str, message: str) -> None:
    good = '// trial: {"passes": "simplify", "requests": {}, "seed": 0}\n' if "trial" not in lines else ""
    (here / "d.sir").write_text(f"// RUN: symc replay d.sir\n{lines}\n{good}{SIR}")
    assert message in ran(capsys, "replay", "d.sir", code=3)[1]
    assert message in ran(capsys, "test", "d.sir", code=1)[0]

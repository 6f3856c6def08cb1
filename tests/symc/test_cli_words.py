"""Protects what commands say of arguments that nobody knows, of names in any alphabet, and of passes from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import NET, SHAPES, ran

from symc.cli import main
from symc.passes.pipeline import PASSES


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:net"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opt", "x.sir", "--bisect"], "unknown argument --bisect; did you mean"),
        (["opt", "x.sir", "--print-ir-after-al=3"], "did you mean --print-ir-after-all"),
        (["dump", "x.sir", "more"], "unknown argument more\n"),
        (["dump", "x.sir", "--shapes=data=1,3,64"], "extents are joined by x, as in data=1x3x64x64"),
    ],
)
def test_arguments_that_nobody_knows_are_refused(capsys, arguments: list[str], message: str) -> None:
    """Nothing is taken for the beginning of another option's name."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_letters_of_other_alphabets_stay_what_they_are(capsys, tmp_path: Path) -> None:
    text = 'import symc as mx\nnet = mx.sym.relu(mx.sym.Variable("größe"), name="слой\\u2028")\n'
    (tmp_path / "other.py").write_text(text, encoding="utf-8")
    out, _ = ran(capsys, "dump", f"{tmp_path / 'other.py'}:net", "--shapes", "größe=2x3", "--level=planned")
    assert '%"größe": f32[2,3]' in out and r"\u2028" in out  # what cannot be seen is escaped
    (tmp_path / "other.sir").write_text(out, encoding="utf-8")
    assert ran(capsys, "dump", str(tmp_path / "other.sir"))[0] == out


def test_what_a_pass_from_outside_raises_is_no_internal_error(capsys, net: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from symc.passes.pipeline import Pass, register_pass\n\n\n"
        '@register_pass("own_raising")\nclass Own(Pass):\n    """Raises."""\n\n'
        "    def run(self, graph, rw):\n        return sorted(graph.outputs)[9]\n"
    )
    given = ["--load", str(tmp_path / "own.py"), "--insert", "inline+own_raising"]
    try:
        _, err = ran(capsys, "opt", net, *SHAPES, *given, code=6)
    finally:
        PASSES.pop("own_raising")
    assert "symc: the pass raises IndexError: " in err and "own.py:9 in run)" in err and "internal" not in err


@pytest.mark.parametrize(
    "given",
    [
        ("numdiff", "net.sir", "--out"), ("numdiff", "net.sir", "--split-tests"), ("trace", "-o"), ("fuzz", "--out"),
        ("opt", "net.sir", "--print-ir-tree-dir"),
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_a_file_in_the_place_of_a_folder_is_refused_first(tmp_path: Path, capsys, given: tuple[str, ...]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for name in (str(file), str(file / "below")):
        with pytest.raises(SystemExit) as ended:
            main([*given, name])
        assert ended.value.code == 2
        assert f"{file} is a file; expected a folder" in capsys.readouterr().err

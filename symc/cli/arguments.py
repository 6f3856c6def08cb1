"""Arguments of commands that have many."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from symc.base import near, those
from symc.cli.report import USAGE
from symc.settings import whole

#: what is said of a word that an option has taken for its own
_TAKEN = "; it stands behind that option: put it before"


def folder(text: str) -> str:
    """The type of a command line's folder, which is made where it is missing: a usage error where a file has its name,
    told before any work is done."""
    above = next(path for path in (Path(text), *Path(text).parents) if path.exists())
    if not above.is_dir():
        raise argparse.ArgumentTypeError(f"{above} is a file; expected a folder")
    return text


def trace_file(text: str) -> str:
    """The type of a file for a trace: a word that stands behind the option by chance is none."""
    if text and not text.endswith(".json"):
        raise argparse.ArgumentTypeError(f"{text!r} is no FILE.json{_TAKEN}")
    return text


def parse_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """`data=32x784,label=32` as shapes by name; `key=` is a scalar's shape."""
    from symc.cli.values import parse_shape

    shapes: dict[str, tuple[int, ...]] = {}
    for item in filter(None, text.split(",")):
        name, equals, extents = item.partition("=")
        if not equals or not name:
            hint = "; extents are joined by x, as in data=1x3x64x64" if item.isdecimal() else ""
            raise argparse.ArgumentTypeError(f"{item!r} is not NAME=EXTENTxEXTENT...{hint}")
        shape = parse_shape(extents)
        if shape is None:
            raise argparse.ArgumentTypeError(f"{extents!r} is not a shape like 32x784")
        _add(shapes, name, shape)
    return shapes


def _add(shapes: dict[str, tuple[int, ...]], name: str, shape: tuple[int, ...]) -> None:
    if shapes.setdefault(name, shape) != shape:
        one, other = ("x".join(map(str, extents)) for extents in (shapes[name], shape))
        raise argparse.ArgumentTypeError(f"{name} has two shapes, {one} and {other}")


class Shapes(argparse.Action):
    """Shapes of several options are taken together; a name has one."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        given = dict(getattr(namespace, self.dest))
        try:
            for name, shape in values.items():
                _add(given, name, shape)
        except argparse.ArgumentTypeError as problem:
            raise argparse.ArgumentError(self, str(problem)) from None
        setattr(namespace, self.dest, given)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where all options are."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n  {self.prog} --help shows what there is\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """A word that is none of an argument's choices: what is like it, or some of what there is."""
        if action.choices is not None and value not in action.choices:
            told = f"{value!r} is none of {those(map(str, action.choices), str(value), 6)}"
            raise argparse.ArgumentError(action, told + (_TAKEN if action.nargs == "?" else ""))

    def refuse(self, word: str, hint: str = "") -> NoReturn:
        """Of a word that nobody takes; `hint` is said where nothing is like it."""
        name = word.partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        close = near(name, known, 3)
        self.error(f"unknown argument {word}" + (f"; did you mean {' or '.join(close)}?" if close else hint))


def watching(parser: argparse.ArgumentParser) -> None:
    """The options of what is shown and checked around passes."""
    add = parser.add_argument
    for word in ("before", "after"):
        given = "what a failing pass was given" if word == "before" else "what a pass gave that was refused"
        add(
            f"--print-ir-{word}",
            action="append",
            default=[],
            metavar="PASS",
            help=f"the program {word} this pass (stderr)",
        )
        add(f"--print-ir-{word}-all", action="store_true", help=f"the program {word} every pass")
        add(f"--print-ir-{word}-change", action="store_true", help=f"the program {word} passes that changed it")
        add(f"--print-ir-{word}-failure", action="store_true", help=given)
    add("--print-ir-tree-dir", type=folder, metavar="DIR", help="write NN-pass.sir files there")
    add(
        "--print-changed", nargs="?", const="diff", choices=("diff", "diff-quiet", "dot"),
        help="what every pass changed, as a diff (stderr); diff-quiet: only of passes that changed something; dot: a "
        "picture of each for Graphviz, what is new green and what is gone red",
    )  # fmt: skip
    add("--step", action="store_true", help="every change in a line (stderr); on a terminal, stop at each")
    add("--timing", action="store_true", help="seconds per pass (stderr)")
    add("--pass-statistics", action="store_true", help="tries, rewrites and refusals of every rule (stderr)")
    add("--bisect-limit", type=whole(-1), metavar="N", help="only the first N rewrites happen (-1: all)")
    add(
        "--debug-counter", action="append", default=[], metavar="RULE-skip=N,RULE-count=M",
        help="leave out the first N rewrites of a rule (or pass/rule, or pass) and those after M more",
    )  # fmt: skip
    add("--verify-each", action=argparse.BooleanOptionalAction, default=True, help="default: on")
    add(
        "--check-determinism", action="store_true",
        help="run the passes again, here and in a process with another order of sets: the texts must be equal",
    )  # fmt: skip
    add("--split-input-file", action="store_true", help="a .sir file of several programs, with // ----- between them")
    add(
        "--verify-diagnostics", action="store_true",
        help="the programs must be refused as comments // expected-error {{text}} say; nothing is printed",
    )  # fmt: skip
    add("--verify-preserved", action="store_true", help="look at what passes promise to keep, as if nothing was known")

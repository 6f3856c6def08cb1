"""Arguments of commands that have many."""

from __future__ import annotations

import argparse
from pathlib import Path

from symc.settings import whole


def folder(text: str) -> str:
    """The type of a command line's folder, which is made where it is missing: a usage error where a file has its name,
    told before any work is done."""
    above = next(path for path in (Path(text), *Path(text).parents) if path.exists())
    if not above.is_dir():
        raise argparse.ArgumentTypeError(f"{above} is a file; expected a folder")
    return text


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

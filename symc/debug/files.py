"""A failure as a `.sir` file that runs by itself: the program, and before it, as comments, how it is checked, what is
expected to fail, the values of the inputs that no seed gives, and what it was made with."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from symc import __version__
from symc.codegen.target import host_target
from symc.debug.reading import definition
from symc.debug.trial import Failure, Trial
from symc.ir.errors import ParseError
from symc.ir.parse import parse
from symc.ir.text import print_module
from symc.ir.types import Array
from symc.passes.pipeline import parse_pipeline
from symc.settings import VARIABLES

#: what starts the comment that holds a trial, and those of the failure and of values
_TRIAL, _FAILURE, _VALUE = "// trial: ", "// fails: ", "// value: "
_PLAIN = ("seed", "whole", "edge", "wide", "smooth", "native", "train", "veto", "refusable", "limit", "bound", "rules")


def text_of(
    trial: Trial,
    failure: Failure | None = None,
    name: str = "THIS.sir",
    source: str = "",
    loads: Sequence[str] = (),
    elide: int = 1 << 40,
) -> str:
    """The text of a trial; `source` says where it is from, `loads` are the files that its passes are from. Constants of
    more than `elide` elements are left out: the text does not stand alone then."""
    facts: dict[str, Any] = {word: getattr(trial, word) for word in _PLAIN}
    facts["requests"] = dict(trial.requests)
    facts["passes"] = ",".join(map(str, trial.passes))
    load = "".join(f" --load {shlex.quote(path)}" for path in loads)
    lines = [f"// RUN: symc replay {name}{load}", _TRIAL + json.dumps(facts)]
    if failure is not None:
        lines.append(failure_line(failure.signature))
        lines += [f"//   {line}" for line in failure.message.splitlines()]
    lines += [f"// {source}" for source in (source, _versions()) if source]
    for key, array in sorted(trial.given.items()):
        lines.append(_VALUE + json.dumps([key, array.dtype.name, list(array.shape), array.ravel().tolist()]))
    return "\n".join([*lines, print_module(trial.module, elide=elide)])


def failure_line(signature: tuple[str, str, str]) -> str:
    """The line of a failure that is expected; a rule "" stands for any."""
    return _FAILURE + json.dumps(signature)


def is_trial(text: str) -> bool:
    """Whether a text has a trial."""
    return any(line.startswith(_TRIAL) for line in text.splitlines())


def loads_of(text: str, folder: Path) -> list[str]:
    """The files that the RUN line of a text in a folder loads: they hold its passes. ParseError for a line that cannot
    be taken apart."""
    found = re.search(r"^\s*// RUN: (?:symc )?(?:replay|opt) (.*)", text, re.M)
    try:
        words = shlex.split(found[1]) if found else []
    except ValueError as problem:
        raise ParseError(f"RUN: {problem}") from None
    named = [word for before, word in zip(words, words[1:]) if before == "--load"]
    return [str(folder / name) if name.endswith(".py") else name for name in named]


def _versions() -> str:
    set_here = "".join(f", {name}={os.environ[name]}" for name in VARIABLES if name in os.environ)
    return (
        f"symc {__version__}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"llvmlite {version('llvmlite')}, {host_target().name}{set_here}"
    )


def read_text(text: str, constants: Mapping[str, Array] | None = None) -> tuple[Trial, tuple[str, str, str] | None]:
    """The trial in a text, and the signature of the failure that is expected. `constants` is the data of those that the
    text elides. ParseError for a text without a trial, or with one of another version."""
    facts: dict[str, Any] | None = None
    expected: tuple[str, str, str] | None = None
    given = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.startswith(_TRIAL):
                facts = dict(json.loads(line[len(_TRIAL) :]))
            elif line.startswith(_FAILURE):
                check, where, rule = json.loads(line[len(_FAILURE) :])
                expected = check, where, rule
            elif line.startswith(_VALUE):
                name, dtype, shape, flat = json.loads(line[len(_VALUE) :])
                given[name] = np.array(flat, dtype).reshape(shape)
        except (TypeError, ValueError) as problem:
            raise ParseError(f"the line is damaged: {problem}", number, 1, line[:100]) from None
    if facts is None:
        raise ParseError(f"no line begins with {_TRIAL!r}: this is no file of symc fuzz")
    lacking = [name for name in ("passes", "requests", "seed") if name not in facts]
    if lacking:
        raise ParseError(f"the line of the trial is damaged: it says nothing of {lacking[0]}")
    passes = tuple(parse_pipeline(facts.pop("passes")))
    unknown = [name for name in facts if name not in {*_PLAIN, "requests"}]
    if unknown:
        raise ParseError(f"the trial says {unknown[0]!r}, which this version of symc does not know")
    return Trial(parse(text, constants or {}, definition), passes, given=given, **facts), expected


def write(
    trial: Trial, failure: Failure | None, folder: Path, stem: str, source: str = "", loads: Sequence[str] = ()
) -> Path:
    """Write the file into a folder (made if missing); returns its path. `loads` are found from there. Without a failure
    it is a test that must pass."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.sir"
    loads = list(dict.fromkeys(os.path.relpath(n, folder) if n.endswith(".py") else n for n in loads))
    path.write_text(text_of(trial, failure, path.name, source, loads), encoding="utf-8")
    return path

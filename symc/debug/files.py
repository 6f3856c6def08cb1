"""A failure as a `.sir` file that runs by itself: the program, and before it, as comments, how it is checked, what is
expected to fail, the values of the inputs that no seed gives, and what it was made with."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from symc.codegen.target import host_target
from symc.debug.reading import definition
from symc.debug.trial import Failure, Trial
from symc.ir.errors import ParseError
from symc.ir.parse import parse
from symc.ir.text import print_module
from symc.passes.pipeline import parse_pipeline

#: what starts the comment that holds a trial, and those of the failure and of values
_TRIAL, _FAILURE, _VALUE = "// trial: ", "// fails: ", "// value: "
_PLAIN = ("seed", "whole", "edge", "smooth", "native", "train", "veto", "refusable", "limit", "bound", "rules")


def text_of(
    trial: Trial,
    failure: Failure | None = None,
    name: str = "THIS.sir",
    source: str = "",
    loads: Sequence[str] = (),
) -> str:
    """The text of a trial; `source` says where it is from, `loads` are the files that its passes are from."""
    facts: dict[str, Any] = {word: getattr(trial, word) for word in _PLAIN}
    facts["requests"] = dict(trial.requests)
    facts["passes"] = ",".join(map(str, trial.passes))
    load = "".join(f" --load {shlex.quote(path)}" for path in loads)
    lines = [f"// RUN: symc replay {name}{load}", _TRIAL + json.dumps(facts)]
    if failure is not None:
        lines.append(_FAILURE + json.dumps(failure.signature))
        lines += [f"//   {line}" for line in failure.message.splitlines()]
    lines += [f"// {source}" for source in (source, _versions()) if source]
    for key, array in sorted(trial.given.items()):
        lines.append(_VALUE + json.dumps([key, array.dtype.name, list(array.shape), array.ravel().tolist()]))
    # every constant in full: the file stands alone
    return "\n".join([*lines, print_module(trial.module, elide=1 << 40)])


def is_trial(text: str) -> bool:
    """Whether a text has a trial."""
    return any(line.startswith(_TRIAL) for line in text.splitlines())


def loads_of(text: str) -> list[str]:
    """The files that the RUN line of a trial's text loads: they hold its passes."""
    found = re.match(r"// RUN: symc replay (.*)", text)
    words = shlex.split(found[1]) if found else []
    return [word for before, word in zip(words, words[1:]) if before == "--load"]


def _versions() -> str:
    return (
        f"symc {version('symc')}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"llvmlite {version('llvmlite')}, {host_target().name}"
    )


def read_text(text: str) -> tuple[Trial, tuple[str, str, str] | None]:
    """The trial in a text, and the signature of the failure that is expected. ParseError for a text without one."""
    facts: dict[str, Any] | None = None
    expected: tuple[str, str, str] | None = None
    given = {}
    for line in text.splitlines():
        if line.startswith(_TRIAL):
            facts = json.loads(line[len(_TRIAL) :])
        elif line.startswith(_FAILURE):
            check, where, rule = json.loads(line[len(_FAILURE) :])
            expected = check, where, rule
        elif line.startswith(_VALUE):
            name, dtype, shape, flat = json.loads(line[len(_VALUE) :])
            given[name] = np.array(flat, dtype).reshape(shape)
    if facts is None:
        raise ParseError(f"no line begins with {_TRIAL!r}: this is no file of symc fuzz")
    passes = tuple(parse_pipeline(facts.pop("passes")))
    return Trial(parse(text, {}, definition), passes, given=given, **facts), expected


def write(trial: Trial, failure: Failure, folder: Path, stem: str, source: str = "", loads: Sequence[str] = ()) -> Path:
    """Write the file into a folder (made if missing); returns its path. `loads` are found from there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.sir"
    loads = [os.path.relpath(name, folder) if name.endswith(".py") else name for name in loads]
    path.write_text(text_of(trial, failure, path.name, source, loads), encoding="utf-8")
    return path

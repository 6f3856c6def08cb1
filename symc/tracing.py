"""What a script compiled, as files: every program, level by level, and an index of them.

    DIR/index.json, index.txt       a record of every program: name, types, passes, seconds, kernels
    DIR/0003-fc1/00-input.sir       what the compiler was given, and what every pass made of it (NN-pass.sir)
    DIR/0003-fc1/program.json       its record

Nothing that goes wrong in writing stops the program: it is warned of once. What a compilation that failed, or ended the
process, has written is there: its record says so. Several threads and processes may write into one directory.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from symc.base import MXNetError
from symc.codegen.errors import TargetError
from symc.extensions import files_of
from symc.ir.errors import IRError, VerifyError
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.process import lock
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph
from symc.ir.text import print_module, save_constants
from symc.leftovers import new_file
from symc.passes.manager.manager import Instrument, Module, Pass
from symc.settings import SettingError

#: programs in a directory, and bytes of text of one of them, at most
PROGRAMS, BYTES = 500, 1 << 26

_directory: ContextVar[str] = ContextVar("trace", default="")
#: makes what sees every compilation and keeps what shows its failure again (symc.debug.reproducer, in commands)
WATCHER: ContextVar[Callable[[Module, Sequence[Pass]], Watcher] | None] = ContextVar("watcher", default=None)
_index = lock("trace")
_warned: set[str] = set()


@contextmanager
def trace(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Programs that are compiled in the block are written into `directory` (made if missing). One that is in use
    already is not compiled again, and not written."""
    token = _directory.set(os.fspath(directory))
    try:
        yield
    finally:
        _directory.reset(token)


def dumping() -> str:
    """The directory that programs are written into, as they are compiled; "" where nobody asked for it."""
    return _directory.get() or os.environ.get("SYMC_DUMP", "")


class Watcher(Instrument):
    """Sees a compilation, and keeps what shows it again if it fails."""

    def stopped(self, error: BaseException) -> Path | None:
        """The file that shows again how the compilation ended."""
        raise NotImplementedError


@contextmanager
def tracing(module: Module, passes: Sequence[Pass]) -> Iterator[list[Instrument]]:
    """What sees the compilation of a module in the block: an instrument that writes it where somebody asked for that,
    and the one of WATCHER. An error of the compiler itself has a note of the file that shows it again."""
    directory = dumping()
    writer = _Writer(Path(directory), module, passes) if directory else None
    make = WATCHER.get()
    watcher = make(module, passes) if make else None
    try:
        yield [i for i in (writer, watcher) if i is not None]
    except BaseException as error:
        if writer is not None:
            writer.end(f"failed: {type(error).__name__}: {error}")
        if _is_fault(error):
            path = watcher.stopped(error) if watcher is not None else _reproducer(module, passes, error)
            if path is not None:
                error.__notes__ = [*getattr(error, "__notes__", ()), f"reproducer: {path}"]
        raise
    if writer is not None:
        writer.end("compiled")


def _is_fault(error: BaseException) -> bool:
    """Whether an error is one of the compiler itself: no operator and no pass that refuses a program."""
    if isinstance(error, VerifyError):
        return error.rule != "M6"  # an operator of the user's
    refusals = (IRError, MXNetError, MemoryError, SettingError, TargetError)
    return isinstance(error, Exception) and not isinstance(error, refusals)


def _reproducer(module: Module, passes: Sequence[Pass], error: BaseException) -> Path | None:
    """A file with a module, and the passes that failed on it; None where there is no place for it, or the module has no
    text."""
    try:
        path = new_file("reproducers", ".sir")
        load = "".join(f" --load {shlex.quote(file)}" for file in files_of(passes))
        head = [f'// RUN: symc opt -p "{",".join(map(str, passes))}" {path.name}{load}']
        cause = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
        head += [f"// {line}" for line in cause.splitlines()]
        _write(path, "\n".join([*head, print_module(module, elide=1 << 40)]))
    except (OSError, IRError):
        return None
    return path


class _Writer(Instrument):
    """Writes one compilation. Its folder is claimed first, so that no other takes it."""

    def __init__(self, directory: Path, module: Module, passes: Sequence[Pass]) -> None:
        self.directory, self.folder = directory, directory
        self.count = self.bytes = 0
        self.open = True
        self.record: dict[str, Any] = {
            "symbol": _name(module),
            "inputs": _inputs(module),
            "pipeline": ",".join(map(str, passes)),
            "state": "being compiled",
            "passes": [],
            "seconds": 0.0,
            "kernels": 0,
        }
        self._safely(self._begin)

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        if self.count == 0:
            self._text("input", module)
        return True

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.record["passes"].append({"pass": str(pass_), "seconds": round(seconds, 6)})
        self.record["seconds"] = round(self.record["seconds"] + seconds, 6)
        if isinstance(after, LoopModule):
            self.record["kernels"] = len(after.kernels)
        self._text(pass_.name, after)

    def end(self, state: str) -> None:
        """The compilation is over."""
        self.record["state"] = state
        self._safely(self._finish)

    def _begin(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "_", self.record["symbol"])[:60]
        taken = {path.name[:4] for path in self.directory.glob("[0-9][0-9][0-9][0-9]-*")}
        number = int(max(taken, default="-001")) + 1
        with _index:
            while number < PROGRAMS:
                folder = self.directory / f"{number:04d}-{stem}"
                try:
                    folder.mkdir()
                except FileExistsError:
                    number += 1
                    continue
                self.folder = folder
                self._finish_locked()
                return
        self.open = False
        self._warn(f"{PROGRAMS} programs are in it; no more are written")

    def _text(self, name: str, module: Module) -> None:
        def write() -> None:
            text = print_module(module)
            self.bytes += len(text)
            if self.bytes > BYTES:
                self.record["left out"] = f"texts after {self.count}: a program has {BYTES} bytes at most"
            else:
                path = self.folder / f"{self.count:02d}-{name}.sir"
                _write(path, text)
                save_constants(module, path)
            self.count += 1

        self._safely(write)

    def _finish(self) -> None:
        with _index:
            self._finish_locked()

    def _finish_locked(self) -> None:
        _write(self.folder / "program.json", json.dumps(self.record, indent=1))
        records = []
        for path in sorted(self.directory.glob("[0-9]*/program.json")):
            records.append({"folder": path.parent.name, **json.loads(path.read_text(encoding="utf-8"))})
        _write(self.directory / "index.json", json.dumps(records, indent=1))
        lines = [
            f"{r['folder']:32} {r['kernels']:5d} kernels {r['seconds']:9.3f} s in passes  {r['state']}" for r in records
        ]
        _write(self.directory / "index.txt", "\n".join(lines) + "\n")

    def _safely(self, write: Any) -> None:
        if self.open:
            try:
                write()
            except Exception as problem:
                self.open = False
                self._warn(str(problem))

    def _warn(self, problem: str) -> None:
        place = str(self.directory)
        if place not in _warned:
            _warned.add(place)
            warnings.warn(f"what is compiled cannot be written into {place}: {problem}", RuntimeWarning, stacklevel=2)


def _write(path: Path, text: str) -> None:
    """The file is whole or not there, whatever happens."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _name(module: Module) -> str:
    return str(getattr(module.program if isinstance(module, LoopModule) else module, "name", "program"))


def _inputs(module: Module) -> dict[str, str]:
    """The types of inputs by name."""
    if isinstance(module, SymbolModule):
        return {name: str(tensor) for name, tensor in module.types.items()}
    if isinstance(module, Graph):
        return {module.names[node]: str(node.tensor) for node in module.inputs}
    program: Program = module.program if isinstance(module, LoopModule) else module
    return {p.name: str(p.type) for p in program.params}

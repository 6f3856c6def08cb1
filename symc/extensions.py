"""Code from outside: files named on the command line, and packages that offer themselves, bring passes, operators and
primitives by registering them when they are imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symc.ir.errors import message_of


class ExtensionError(ImportError):
    """A file or package that brings passes, operators or primitives cannot be loaded."""


#: the group of entry points whose modules are imported by every command
GROUP = "symc.extensions"
#: where the code of this project is
_ROOT = Path(__file__).resolve().parents[1]
#: files that have been run: one that is named twice registers once
_files: dict[Path, Any] = {}
#: files and modules that --load has named
_loaded: dict[str, None] = {}


def import_file(where: str) -> Any:
    """The module of a Python file, run once; its folder is on the path meanwhile. ExtensionError where it fails."""
    path = Path(where).resolve()
    if path in _files:
        return _files[path]
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", where)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ExtensionError(f"{where} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        raise failed(where, path, problem, "when it was run") from None
    finally:
        sys.path.remove(str(path.parent))
    _files[path] = module
    return module


def is_own(file: str | Path) -> bool:
    """Whether a file is a part of the compiler."""
    found = Path(file).resolve()
    return any(found.is_relative_to(_ROOT / part) for part in ("ir", "passes", "symc"))


def files_of(passes: Sequence[object]) -> list[str]:
    """The files that passes are from, without those of this project: they have to be loaded for them to be known."""
    codes = [type(p).run.__code__ for p in passes]  # type: ignore[attr-defined]
    files = dict.fromkeys(Path(code.co_filename).resolve() for code in codes)
    return [str(file) for file in files if file.is_file() and not file.is_relative_to(_ROOT)]


def loaded_files() -> list[str]:
    """The files and modules that --load has named."""
    return list(_loaded)


def failed(where: str, path: Path | str, problem: BaseException, when: str) -> ExtensionError:
    """What the code of a file has raised, with its line in that."""
    what = problem.msg if isinstance(problem, SyntaxError) and problem.filename == str(path) else message_of(problem)
    return ExtensionError(f"{where}{_line_of(problem, path)} failed {when}: {type(problem).__name__}: {what}")


def _line_of(problem: BaseException, path: Path | str) -> str:
    """`:12`, where the file's own code was when it failed."""
    if isinstance(problem, SyntaxError) and problem.filename == str(path) and problem.lineno:
        return f":{problem.lineno}"
    found = ""
    trace = problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def import_module(name: str) -> Any:
    """A module by its dotted name, of this folder too. ExtensionError where there is none, or where it fails."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ExtensionError(f"{name!r} is neither FILE.py nor the name of a module")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:
        what = f"{problem}" if isinstance(problem, ModuleNotFoundError) else f"{type(problem).__name__}: {problem}"
        raise ExtensionError(f"cannot import {name}: {what}") from None
    finally:
        sys.path.remove(here)


def load_extensions(files: Sequence[str] = ()) -> None:
    """Import what installed packages offer as entry points `symc.extensions`, then the named files or modules."""
    import symc.passes.pipeline  # noqa: F401  (what extensions add to, and replace, is registered first)

    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as problem:
            raise ExtensionError(f"the extension {entry.name} ({entry.value}) fails: {problem}") from None
    for name in files:
        if name.endswith(".py"):
            import_file(name)
            name = str(Path(name).resolve())
        else:
            import_module(name)
        _loaded[name] = None

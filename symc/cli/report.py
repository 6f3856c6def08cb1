"""Errors as the user sees them: what, where, what to do, and the exit code."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

from symc.extensions import is_own
from symc.ir.errors import IRError, ParseError, VerifyError, message_of

FINE, BAD, USAGE, INPUT, VERIFIER, PASS, INTERNAL = range(7)


class CliError(Exception):
    """An error whose message is all there is to say."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        self.code = code
        super().__init__(message)


def some(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class StageError(Exception):
    """An error inside the compiler, with the reproducer that was written."""

    def __init__(self, error: Exception, stage: str, reproducer: Path | None) -> None:
        self.error, self.stage, self.reproducer = error, stage, reproducer
        super().__init__(message_of(error))


def explain(error: Exception) -> tuple[str, int]:
    """The text for standard error and the exit code."""
    text, code = _explain(error)
    return "\n  ".join([text, *getattr(error, "__notes__", ())]), code


def _explain(error: Exception) -> tuple[str, int]:
    from symc.base import UserCodeError
    from symc.codegen.errors import TargetError
    from symc.extensions import ExtensionError
    from symc.ops.base import MXNetError
    from symc.passes.manager.manager import PipelineError
    from symc.settings import SettingError

    if isinstance(error, StageError):
        text, code = explain(error.error)
        own = _raised_outside(error.error) if code == INTERNAL else ""
        text = f"symc: the pass raises {own}" if own else text
        # What a pass raises about a program is the pass's refusal, not a fault of the input's text.
        code = PASS if code in (USAGE, INPUT) else code
        lines = [text, f"  in pass {error.stage}"]
        if error.reproducer is not None:
            lines.append(f"  reproducer: {error.reproducer}")
        return "\n".join(lines), code
    if isinstance(error, CliError):
        return f"symc: {error}", error.code
    if isinstance(error, (SettingError, TargetError)):
        return f"symc: {error}", USAGE
    if isinstance(error, PipelineError):
        return f"symc: pipeline: {error}", USAGE
    if isinstance(error, (ParseError, ExtensionError)):
        return f"symc: {error}", INPUT
    if isinstance(error, VerifyError):
        return f"symc: the verifier rejects the program: {error}", VERIFIER
    if isinstance(error, UserCodeError):
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_own(f.filename)]
        where = f" ({frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
        return f"symc: {error.told()}{where}", PASS
    if isinstance(error, (IRError, MXNetError)):
        return f"symc: {error}", PASS
    if isinstance(error, MemoryError):
        return f"symc: there is not enough memory: {error}", PASS
    if isinstance(error, OSError):
        return f"symc: {error.filename or ''}: {error.strerror or error}".replace(": :", ":"), INPUT
    return _internal(error), INTERNAL


def _raised_outside(error: Exception) -> str:
    """What a pass raises that is not of this project, and where in its file; "" for others."""
    frames = traceback.extract_tb(error.__traceback__)
    run = next((at for at, frame in enumerate(frames) if frame.name == "_ran"), len(frames)) + 1
    outside = [f for f in frames[run:] if not is_own(f.filename)]
    if not outside or outside[0] is not frames[run]:
        return ""
    frame = outside[-1]
    return f"{type(error).__name__}: {message_of(error)} ({frame.filename}:{frame.lineno} in {frame.name})"


def _internal(error: Exception) -> str:
    """An error that nobody has foreseen: of a pass from outside, or of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"symc: internal error: {type(error).__name__}: {message_of(error)}{where}"

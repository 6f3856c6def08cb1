"""mx.log: loggers whose lines begin with level, date, process and place."""

from __future__ import annotations

import logging
import warnings
from logging import CRITICAL, DEBUG, ERROR, INFO, NOTSET, WARNING

__all__ = ["CRITICAL", "DEBUG", "ERROR", "INFO", "NOTSET", "WARNING", "getLogger", "get_logger"]

_LETTERS = {CRITICAL: "C", ERROR: "E", WARNING: "W", INFO: "I", DEBUG: "D"}


class _Formatter(logging.Formatter):
    """Lines for a terminal: the head is red from warnings on, green for information and blue below."""

    def __init__(self) -> None:
        super().__init__("%(head)s %(message)s", datefmt="%m%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelno
        colour = 31 if level >= WARNING else 32 if level >= INFO else 34
        where = f"{self.formatTime(record, self.datefmt)} {record.process} {record.pathname}:{record.funcName}"
        record.head = f"\x1b[{colour}m{_LETTERS.get(level, 'U')}{where}:{record.lineno}]\x1b[0m"
        return super().format(record)


def get_logger(
    name: str | None = None, filename: str | None = None, filemode: str | None = None, level: int = WARNING
) -> logging.Logger:
    """The logger `name`, which writes to `filename` (mode "a" by default), or to stderr. A logger that was made here
    before, and the root logger, stay as they are."""
    logger = logging.getLogger(name)
    if name is not None and not getattr(logger, "_init_done", None):
        logger._init_done = True  # type: ignore[attr-defined]
        handler: logging.Handler
        if filename:
            handler = logging.FileHandler(filename, filemode or "a")
        else:
            handler = logging.StreamHandler()
            handler.setFormatter(_Formatter())
        logger.addHandler(handler)
        logger.setLevel(level)
    return logger


def getLogger(
    name: str | None = None, filename: str | None = None, filemode: str | None = None, level: int = WARNING
) -> logging.Logger:
    """The older name of get_logger."""
    warnings.warn("getLogger is deprecated, Use get_logger instead.", DeprecationWarning, stacklevel=2)
    return get_logger(name, filename, filemode, level)

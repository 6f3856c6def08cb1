"""The family of errors the IR raises; each says what was wrong, what was expected, and where."""

from __future__ import annotations


def message_of(error: BaseException) -> str:
    """What an error says, whatever its class does when it is asked."""
    try:
        return str(error)
    except Exception:
        return "(the error has no text)"


class IRError(Exception):
    """Base of every error about a program."""

    def within(self, where: str) -> IRError:
        """The same error, with a line more that says where in the program it came up."""
        return type(self)(f"{self}\n  {where}")


class TypeMismatch(IRError, TypeError):
    """A primitive was given operands it has no type for."""


class ParseError(IRError):
    """Text that is not IR: `line` and `column` count from 1; the message carries the line and a caret."""

    def __init__(self, message: str, line: int = 0, column: int = 0, source: str = "") -> None:
        self.line, self.column, self.message, self.source = line, column, message, source
        where = f"line {line}, column {column}: " if line else ""
        caret = f"\n  {source}\n  {' ' * (column - 1)}^" if source and column else ""
        super().__init__(f"{where}{message}{caret}")

    def of_file(self, name: str) -> ParseError:
        """The same error of a file, whose name stands before line and column."""
        made = type(self)(self.message, self.line, self.column, self.source)
        made.args = (
            str(self).replace(f"line {self.line}, column {self.column}", f"{name}:{self.line}:{self.column}", 1),
        )
        return made


class VerifyError(IRError):
    """A program breaks a numbered invariant of its level."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule, self.message = rule, message
        super().__init__(f"{rule}: {message}")

    def within(self, where: str) -> VerifyError:
        return VerifyError(self.rule, f"{self.message}\n  {where}")


class MissingData(ParseError):
    """Text holds an elided constant whose data is not at hand, or calls what nobody has."""

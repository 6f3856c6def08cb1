"""What the whole package shares: the errors every refused program raises, and small type groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["MXNetError", "NotImplementedForSymbol", "ShapeError", "numeric_types", "string_types"]

numeric_types = (float, int)
string_types = (str,)


class MXNetError(RuntimeError):
    """What every refused program raises: the message names the Symbol, its operator, what was got and expected."""


class ShapeError(MXNetError):
    """Shapes (or types) that contradict each other."""


class NotImplementedForSymbol(MXNetError):
    """A method that only arrays have: a Symbol has no values before it is bound."""

    def __init__(self, function: Callable[..., Any] | str, alias: str = "", *args: Any) -> None:
        self.function = function if isinstance(function, str) else function.__name__
        self.alias = alias
        self.args_given = tuple(type(a).__name__ for a in args)
        shown = f"{self.function}({', '.join(self.args_given)})" if args else self.function
        name = f" (namely operator {alias!r})" if alias else ""
        super().__init__(
            f"Function {shown}{name} is not implemented for Symbol and only available in NDArray: "
            "a Symbol has no values before it is bound and run"
        )

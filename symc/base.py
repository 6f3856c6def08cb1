"""What the whole package shares: the errors every refused program raises, and small type groups."""

from __future__ import annotations

import ctypes
import difflib
import os
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from symc.aliases import standing_elsewhere
from symc.ir.errors import IRError

__all__ = [
    "MXNetError", "NDArrayHandle", "NotImplementedForSymbol", "ShapeError", "data_dir", "data_dir_default",
    "numeric_types", "py_str", "register_error", "string_types", "those",
]  # fmt: skip

numeric_types = (float, int)
string_types = (str,)
integer_types = (int,)


class _NullType:
    """Stands for an argument that was not given, where None is a value that can be given."""

    def __repr__(self) -> str:
        return "_Null"

    def __bool__(self) -> bool:
        return False


_Null = _NullType()


_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def user_line() -> tuple[str, int]:
    """File and line of the nearest caller outside the package."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)


class MXNetError(RuntimeError):
    """What every refused program raises: the message names the Symbol, its operator, what was got and expected."""


#: classes of errors by the names under which programs registered them
error_types: dict[str, type[BaseException]] = {}


def register_error(func_name: Any = None, cls: type[BaseException] | None = None) -> Any:
    """Note a class of errors under a name: `register_error("Name", cls)`, `@register_error` for the class's own name,
    or `@register_error("Name")`. Gives the class. What symc raises does not depend on these names."""
    if isinstance(func_name, type):
        error_types[func_name.__name__] = func_name
        return func_name

    def note(noted: type[BaseException]) -> type[BaseException]:
        error_types[func_name or noted.__name__] = noted
        return noted

    return note if cls is None else note(cls)


class LateError(MXNetError):
    """Values that an operator does not take. `mx.nd` raises it where the result is looked at, see symc.ndarray.late."""

    #: the symc.ndarray.late.Failure that is told
    failure: Any = None

    @classmethod
    def of(cls, problem: Exception, remark: str) -> LateError:
        """The same refusal in other words: an index outside stays one."""
        return (type(problem) if isinstance(problem, LateError) else cls)(remark)


class OutsideError(LateError, IndexError):
    """An index outside of the extents: programs catch the IndexError that MXNet raises."""


class UserCodeError(MXNetError):
    """What the code of an operator in Python has raised: its class is one of that, too. It knows the Symbol's name, and
    what the operator is registered as."""

    symbol: str = ""
    op_type: str = ""

    def told(self) -> str:
        """What was raised, of which operator."""
        raised = next(c for c in type(self).__mro__[1:] if c.__name__ == type(self).__name__)
        return f"Custom {self.symbol!r} (op_type={self.op_type}) raises {raised.__name__}: {self}"


class ShapeError(MXNetError, IRError):
    """Shapes (or types) that contradict each other. Where an operator's `build` finds that, the error says which Symbol
    it is of, as all errors about a program do."""


class NotSupportedForSparseNDArray(MXNetError):
    """The name under which MXNet's programs catch a refusal of sparse arrays; symc works on a dense copy instead."""


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


def py_str(x: bytes | str) -> str:
    """Bytes as text."""
    return x.decode("utf-8") if isinstance(x, bytes) else x


def data_dir() -> str:
    """Where data sets are kept: MXNET_HOME, or .mxnet in the user's folder."""
    return os.environ.get("MXNET_HOME", data_dir_default())


def data_dir_default() -> str:
    """The folder of `data_dir` when MXNET_HOME is not set."""
    if os.name == "nt":
        return os.path.join(os.environ.get("APPDATA", ""), "mxnet")
    return os.path.join(os.path.expanduser("~"), ".mxnet")


class NDArrayHandle(ctypes.c_void_p):
    """What MXNet gives a monitor's callback. Here that gets arrays; `ctypes.cast(array, NDArrayHandle)`, as callbacks
    for MXNet do, and `NDArray(handle)` give the array back. The address is a key of `HELD`, and is never followed."""


#: arrays whose handle was asked for, by that key
HELD: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def _as_list(obj: Any) -> Any:
    """A list or tuple as it is; anything else as the one element of a list. Programs import it from mxnet.base."""
    return obj if isinstance(obj, (list, tuple)) else [obj]


def near(wanted: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Names that somebody may have meant who wrote another: the shortest that begin with it, then those that differ by
    little, whatever the case of letters."""
    folded: dict[str, list[str]] = {}
    for name in known:
        folded.setdefault(name.lower(), []).append(name)
    word = wanted.lower()
    if not word:
        return []
    close = difflib.get_close_matches(word, folded, most)
    longer = sorted((key for key in folded if key.startswith(word)), key=len) if len(word) > 1 else []
    exact = [key for key in (word, f"{word}_output") if key in folded]
    keys = dict.fromkeys([*exact, *longer, *close])
    return [name for key in keys for name in folded[key]][:most]


def those(known: Iterable[str], wanted: str = "", most: int = 12) -> str:
    """Names for the text of an error: the first of them and how many more there are, and which is like `wanted`."""
    names = list(known)
    close = near(wanted, names)
    left = len(names) - most
    more = f" and {left} other{'s' * (left > 1)}" if left > 0 else ""
    return (", ".join(names[:most]) or "none") + more + (f"; did you mean {close[0]}?" if close else "")


_missing = standing_elsewhere(__name__)


def __getattr__(name: str) -> Any:
    if name == "mx_real_t":  # the element type of arrays when none is given; numpy takes long to import
        import numpy as np

        return np.float32
    return _missing(name)

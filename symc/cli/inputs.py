"""INPUT arguments: a Symbol (JSON or Python) or a program in text form, as a module the passes take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symc.base import MXNetError, those
from symc.cli.report import INPUT, CliError, some
from symc.cli.values import arrays_of, text_of
from symc.extensions import failed, import_file, import_module
from symc.ir.errors import IRError, ParseError, VerifyError
from symc.ir.types import Array, TensorType, dtype_of
from symc.passes.edits import active
from symc.passes.manager.manager import Module, Pass
from symc.passes.manager.properties import level

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Loaded:
    """A module, its level, and for a Symbol the arguments whose gradients a training program has."""

    module: Module
    level: str
    wrt: tuple[str, ...] = ()
    outputs: int = 0


def is_text(text: str) -> bool:
    """Whether INPUT is a program in text form."""
    return text == "-" or text.endswith(".sir")


def load(text: str, shapes: Shapes | None = None, needs_types: bool = True, verify: bool = True) -> Loaded:
    """What INPUT names. A Symbol is completed with `shapes`, unless only its structure is looked at."""
    if is_text(text):
        if shapes:
            raise CliError(f"--shapes is for models; a program in text form has its types: {text}")
        beside = Path(text).with_suffix(".npz")
        try:
            return load_text(text_of(text), arrays_of(str(beside)) if beside.exists() else {}, verify)
        except ParseError as problem:
            raise problem.of_file(spoken(text)) from None
        except VerifyError as problem:
            raise problem.within(f"in {spoken(text)}") from None
    symbol = load_symbol(text)
    if not hasattr(symbol, "list_arguments"):
        return Loaded(symbol, level_of(symbol, text))
    return symbol_input(symbol, shapes or {}, needs_types)


def spoken(text: str) -> str:
    """What a text's INPUT is called in an error."""
    return "<stdin>" if text == "-" else text


def load_symbol(text: str) -> Any:
    """The Symbol of NAME-symbol.json, FILE.py:NAME or package.module:NAME."""
    if text.endswith((".json", ".json.gz")):
        from symc import symbol

        if not Path(text).exists():
            raise FileNotFoundError(2, "no such file", text)
        try:
            return symbol.load(text)
        except MXNetError as problem:
            raise CliError(f"{text}: {problem}", INPUT) from None
    where, colon, name = text.rpartition(":")
    if not where or not name.isidentifier():
        raise CliError(f"cannot read {text!r}: {_expected(text)}")
    python = import_file(where) if where.endswith(".py") else import_module(where)
    try:
        found = getattr(python, name)
    except AttributeError:
        public = {n: v for n, v in vars(python).items() if not n.startswith("_")}
        known = [n for n, v in public.items() if callable(v) or hasattr(v, "list_arguments")]
        has = those(known, name, 6) if known else "nothing to compile"
        raise CliError(f"{where} has no {name!r}; it has {has}", INPUT) from None
    if callable(found) and not hasattr(found, "list_arguments"):
        found = _called(found, where, name, getattr(python, "__file__", where))
    return found


def _expected(text: str) -> str:
    """What INPUT may be, told to somebody who wrote something else."""
    if text.startswith("%"):
        return f"the value stands before the input, as in: symc why {text} net.py:net"
    if Path(text).is_dir():
        return "it is a folder; expected a -symbol.json or .sir file, FILE.py:NAME, or -"
    if text.rstrip(":").endswith(".py"):
        return f"give the name of a Symbol in it, too, as in {text.rstrip(':')}:net"
    return "expected a -symbol.json or .sir file, FILE.py:NAME, or -"


def _called(function: Any, where: str, name: str, file: str) -> Any:
    """What a function of a file returns. CliError where it takes arguments, ExtensionError where it fails."""
    taken = inspect.signature(function).parameters.values() if inspect.isfunction(function) else ()
    needed = [p.name for p in taken if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed:
        raise CliError(f"{where}:{name} is called without arguments, and needs {some(needed, 4)}", INPUT)
    try:
        return function()
    except (IRError, MXNetError):
        raise
    except Exception as problem:
        raise failed(where, file, problem, f"in {name}()") from None


def symbol_input(symbol: Any, shapes: Shapes, needs_types: bool = True) -> Loaded:
    """A Symbol with the types of its variables, completed from the given shapes."""
    from symc.typed import distinct, module_of, roles_of

    outputs = tuple(distinct(symbol.list_outputs()))
    if not needs_types:
        from symc.ir.modules import SymbolModule

        return Loaded(SymbolModule(symbol.name or "net", symbol.graph, {}, outputs), "symbol")
    types = _types(symbol, shapes)
    module = module_of(symbol, types, roles_of(types, shapes))
    return Loaded(module, "symbol", _parameters(module), len(outputs))


def typed_input(symbol: Any, arrays: Mapping[str, Array], data: Sequence[str]) -> Loaded:
    """A Symbol with the types of arrays for all of its variables; `data` are not trained."""
    from symc.typed import module_of, roles_of

    types = {name: TensorType(dtype_of(array.dtype), array.shape) for name, array in arrays.items()}
    module = module_of(symbol, types, roles_of(types, data))
    return Loaded(module, "symbol", _parameters(module), len(symbol.list_outputs()))


def _types(symbol: Any, shapes: Shapes) -> dict[str, TensorType]:
    from symc.typed import complete

    arguments = symbol.list_arguments()
    unknown = sorted(set(shapes) - set(arguments))
    if unknown:
        known = those(arguments, unknown[0], 6)
        raise CliError(f"--shapes: the Symbol has no argument {', '.join(unknown)}; it has {known}")
    types, missing = complete(symbol, shapes)
    if missing:
        raise CliError(f"the shape of {some(missing, 4)} is not known; give --shapes {missing[0]}=...")
    return types


def load_text(text: str, constants: Mapping[str, Any], verify: bool) -> Loaded:
    """A program in text form; `constants` is the data of those that the text elides."""
    from symc.ir.parse import parse
    from symc.ir.verify import verify as check

    module: Module = parse(text, constants, definition)
    if verify:
        check(module)
    level = level_of(module)
    if level != "symbol":
        return Loaded(module, level)
    return Loaded(module, level, _parameters(module), len(module.output_names))


def definition(op: str, attrs: Mapping[str, str]) -> Any:
    """The rules of an operator that a symbol graph's text names."""
    import symc.ops
    from symc.ops.base import OPERATORS, parse
    from symc.symbol.compose import split_attributes

    assert symc.ops
    if op not in OPERATORS:
        raise CliError(f"there is no operator {op!r}; see `symc ops`", INPUT)
    own, _ = split_attributes(OPERATORS[op], attrs)
    return parse(OPERATORS[op], own)


def _parameters(module: Any) -> tuple[str, ...]:
    """The arguments of a symbol module that are trained: neither data nor label (all if there are no others)."""
    arguments, _ = module.graph.variables()
    floats = [n.name for n in arguments if n.name in module.types and module.types[n.name].dtype.is_float]
    return tuple(n for n in floats if module.roles.get(n, "arg") == "arg") or tuple(floats)


def level_of(module: Any, text: str = "") -> str:
    """The level that passes take or give, by the type of a module; `text` is what a user called it."""
    try:
        return level(module)
    except TypeError:
        what = type(module).__name__
        whose = f"{text} gives {what}, which" if text else what
        raise CliError(f"{whose} is not a Symbol or a program", INPUT) from None


def passes_for(loaded: Loaded, train: bool) -> list[Pass]:
    """The compiler's passes from the level of the input on, as edited."""
    return active().apply(_default_passes(loaded, train), strict=True)


def _default_passes(loaded: Loaded, train: bool) -> list[Pass]:
    from symc.compile import has_backward, remaining

    if train and loaded.level != "symbol" and not has_backward(loaded.module):
        raise CliError(
            f"--train adds the gradients of a Symbol's parameters; this is {loaded.level} IR without any: take the "
            "Symbol, or leave --train out"
        )
    if loaded.level == "symbol":
        variables = [n.name for part in loaded.module.graph.variables() for n in part]
        untyped = [name for name in variables if name not in loaded.module.types]
        if untyped:
            raise CliError(f"the text gives no types for {', '.join(untyped)}; compile the Symbol itself")
        return remaining(loaded.module, train, loaded.wrt if train else ())
    return remaining(loaded.module, train)

"""INPUT arguments: a Symbol (JSON or Python) or a program in text form, as a module the passes take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symc.base import MXNetError, those
from symc.cli.loading import import_file, import_module
from symc.cli.report import INPUT, CliError, some
from symc.cli.values import arrays_of, text_of
from symc.ir.types import Array, TensorType, dtype_of
from symc.passes.edits import active
from symc.passes.manager.manager import Module, Pass
from symc.passes.manager.properties import held, level

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Loaded:
    """A module, its level, and for a Symbol the arguments whose gradients a training program has."""

    module: Module
    level: str
    wrt: tuple[str, ...] = ()
    outputs: int = 0


def load(text: str, shapes: Shapes | None = None, needs_types: bool = True, verify: bool = True) -> Loaded:
    """What INPUT names. A Symbol is completed with `shapes`, unless only its structure is looked at."""
    if text == "-":
        return load_text(text_of(text), {}, verify)
    if text.endswith(".sir"):
        beside = Path(text).with_suffix(".npz")
        return load_text(text_of(text), arrays_of(str(beside)) if beside.exists() else {}, verify)
    symbol = load_symbol(text)
    if not hasattr(symbol, "list_arguments"):
        return Loaded(symbol, level_of(symbol))
    return symbol_input(symbol, shapes or {}, needs_types)


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
    if not colon or not name.isidentifier():
        raise CliError(f"cannot read {text!r}: expected a -symbol.json or .sir file, FILE.py:NAME, or -")
    python = import_file(where) if where.endswith(".py") else import_module(where)
    try:
        found = getattr(python, name)
    except AttributeError:
        public = {n: v for n, v in vars(python).items() if not n.startswith("_")}
        known = [n for n, v in public.items() if callable(v) or hasattr(v, "list_arguments")]
        raise CliError(f"{where} has no {name!r}; it has {', '.join(known) or 'nothing to compile'}", INPUT) from None
    if callable(found) and not hasattr(found, "list_arguments"):
        found = found()
    return found


def symbol_input(symbol: Any, shapes: Shapes, needs_types: bool = True) -> Loaded:
    """A Symbol with the types of its variables, completed from the given shapes."""
    outputs = tuple(symbol.list_outputs())
    if not needs_types:
        from symc.ir.modules import SymbolModule

        return Loaded(SymbolModule(symbol.name or "net", symbol.graph, {}, outputs), "symbol")
    from symc.typed import module_of

    types = _types(symbol, shapes)
    module = module_of(symbol, types, _roles(types, list(shapes)))
    return Loaded(module, "symbol", _parameters(module), len(outputs))


def typed_input(symbol: Any, arrays: Mapping[str, Array], data: Sequence[str]) -> Loaded:
    """A Symbol with the types of arrays for all of its variables; `data` are not trained."""
    from symc.typed import module_of

    types = {name: TensorType(dtype_of(array.dtype), array.shape) for name, array in arrays.items()}
    module = module_of(symbol, types, _roles(types, data))
    return Loaded(module, "symbol", _parameters(module), len(symbol.list_outputs()))


def _roles(names: Iterable[str], data: Sequence[str]) -> dict[str, str]:
    return {n: "label" if n.endswith("label") else "data" for n in names if n in data or n.endswith("label")}


def _types(symbol: Any, shapes: Shapes) -> dict[str, Any]:
    from symc.inference import infer_shapes

    arguments, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    unknown = sorted(set(shapes) - set(arguments))
    if unknown:
        known = those(arguments, unknown[0], 6)
        raise CliError(f"--shapes: the Symbol has no argument {', '.join(unknown)}; it has {known}")
    argument_shapes, _, state_shapes = infer_shapes(symbol, True, (), shapes)
    # What was named on the command line is f32 unless the Symbol says otherwise; the rest follows.
    declared, _, _ = symbol.infer_type_partial()
    undeclared = [n for n, t in zip(arguments, declared or [None] * len(arguments)) if t is None and n in shapes]
    argument_types, _, state_types = symbol.infer_type_partial(**dict.fromkeys(undeclared, np.float32))
    types: dict[str, Any] = {}
    missing = []
    named = zip(
        [*arguments, *states],
        [*(argument_shapes or ()), *(state_shapes or ())],
        [*(argument_types or [None] * len(arguments)), *(state_types or [None] * len(states))],
    )
    for name, shape, dtype in named:
        if name not in shapes and (not shape or 0 in shape):  # () is how an unknown shape reads
            missing.append(name)
        else:
            types[name] = TensorType(dtype_of(dtype or "float32"), tuple(shape))
    if missing or len(types) < len(arguments) + len(states):
        first = missing[0] if missing else arguments[0]
        raise CliError(f"the shape of {some(missing, 4) or 'the arguments'} is not known; give --shapes {first}=...")
    return types


def load_text(text: str, constants: Mapping[str, Any], verify: bool) -> Loaded:
    """A program in text form; `constants` is the data of those that the text elides."""
    from symc.ir.parse import parse
    from symc.ir.verify import verify as check

    module: Module = parse(text, constants, _definition)
    if verify:
        check(module)
    level = level_of(module)
    if level != "symbol":
        return Loaded(module, level)
    return Loaded(module, level, _parameters(module), len(module.output_names))


def _definition(op: str, attrs: Mapping[str, str]) -> Any:
    """The rules of an operator that a symbol graph's text names."""
    import symc.ops
    from symc.ops.base import OPERATORS, parse

    assert symc.ops
    if op not in OPERATORS:
        raise CliError(f"there is no operator {op!r}; see `symc ops`", INPUT)
    return parse(OPERATORS[op], attrs)


def _parameters(module: Any) -> tuple[str, ...]:
    """The arguments of a symbol module that are trained: neither data nor label (all if there are no others)."""
    arguments, _ = module.graph.variables()
    floats = [n.name for n in arguments if n.name in module.types and module.types[n.name].dtype.is_float]
    return tuple(n for n in floats if module.roles.get(n, "arg") == "arg") or tuple(floats)


def level_of(module: Any) -> str:
    """The level that passes take or give, by the module's type."""
    try:
        return level(module)
    except TypeError:
        raise CliError(f"{type(module).__name__} is not a Symbol or a program", INPUT) from None


def passes_for(loaded: Loaded, train: bool) -> list[Pass]:
    """The compiler's passes from the level of the input on, as edited."""
    return active().apply(_default_passes(loaded, train), strict=True)


def _default_passes(loaded: Loaded, train: bool) -> list[Pass]:
    from symc.codegen.target import host_target
    from symc.compile import INFERENCE_BLOCK, TRAINING_BLOCK, loop_passes, pipeline, tensor_passes

    if loaded.level == "symbol":
        variables = [n.name for part in loaded.module.graph.variables() for n in part]
        untyped = [name for name in variables if name not in loaded.module.types]
        if untyped:
            raise CliError(f"the text gives no types for {', '.join(untyped)}; compile the Symbol itself")
        wrt: Sequence[str] = loaded.wrt if train else ()
        return pipeline(train, wrt)
    loops = loop_passes(host_target(), TRAINING_BLOCK if train or _has_backward(loaded.module) else INFERENCE_BLOCK)
    if loaded.level == "tensor":
        return [*tensor_passes(), *loops]
    if loaded.level == "loop":
        return [p for p in loops if p.takes == "loop"]
    plan = [] if "planned" in held(loaded.module) else [p for p in tensor_passes() if p.takes == "program"]
    return [*plan, *loops]


def _has_backward(module: Module) -> bool:
    """Whether a program has a backward half: it is compiled for training then."""
    program = getattr(module, "program", module)
    return "backward" in [end.phase for end in (*program.outputs, *program.updates)]

"""Making an operator's Symbol: inputs by position or name, missing ones as variables, attributes as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.attribute import AttrScope
from symc.base import MXNetError
from symc.ir.symbolic import SymNode
from symc.name import NameManager
from symc.ops.base import Operator, parameters, parse
from symc.symbol.symbol import HIDDEN_KEYS, Symbol, user_line


def attribute_text(value: Any) -> str:
    """A parameter as MXNet's text."""
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    if isinstance(value, (np.integer, np.floating)):
        return str(value.item())
    if isinstance(value, list):
        return str(tuple(value)) if all(not isinstance(v, (list, tuple)) for v in value) else str(value)
    return str(value)


def compose(
    cls: type[Operator], function: str, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None = None,
    attr: Mapping[str, str] | None = None,
) -> Symbol:  # fmt: skip
    """The Symbol of operator `cls`, called as `function` (which gives the hint of automatic names)."""
    named = {p.name for p in parameters(cls)}
    symbols: dict[str, Symbol] = {}
    given: dict[str, str] = {}
    extra: dict[str, str] = {}
    positional: list[Symbol] = []
    values = list(args)
    while values and isinstance(values[0], Symbol):
        positional.append(values.pop(0))
    if values and values[0] is None and not positional:
        values.pop(0)
    for p, value in zip(_free_parameters(cls, kwargs), values):
        if isinstance(value, Symbol):
            raise TypeError(f"{function}: inputs come before parameters; got a Symbol for parameter {p}")
        given[p] = attribute_text(value)
    if len(values) > len(_free_parameters(cls, kwargs)):
        raise TypeError(f"{function}: too many positional arguments")
    for key, value in kwargs.items():
        if isinstance(value, Symbol):
            symbols[key] = value
        elif value is None and key not in named:
            continue
        elif key.startswith("__") and key.endswith("__") or key in HIDDEN_KEYS:
            extra[f"__{key}__" if key in HIDDEN_KEYS else key] = str(value)
        elif value is not None or key not in named:
            given[key] = attribute_text(value)
    if cls.variadic and cls.variadic not in given:
        given[cls.variadic] = str(len(positional) + len(symbols))
    scope = {f"__{k}__" if k in HIDDEN_KEYS else k: v for k, v in AttrScope.current().get(dict(attr or {})).items()}
    try:
        definition = parse(cls, given)
    except MXNetError as problem:
        raise MXNetError(f"{problem}, in operator {cls.op_name}(name=\"{name or ''}\")") from None
    hint = function.lower()
    name = NameManager.current().get(name, hint)
    attrs = {**scope, **extra, **given}
    node = SymNode(cls.op_name, name, attrs, (), definition, user_line())
    node.inputs = _inputs(node, definition, positional, symbols, function)
    return Symbol([(node, i) for i in range(definition.num_visible_outputs())])


def _free_parameters(cls: type[Operator], kwargs: Mapping[str, Any]) -> list[str]:
    return [p.name for p in parameters(cls) if p.name not in kwargs and p.name != cls.variadic]


def _inputs(
    node: SymNode, definition: Operator, positional: Sequence[Symbol], symbols: dict[str, Symbol], function: str
) -> list[tuple[SymNode, int]]:
    """The inputs in the operator's order; what is not given becomes a variable named after the operator."""
    names = [*definition.list_inputs(), *definition.list_aux()]
    entries: list[tuple[SymNode, int]] = []
    flat: list[tuple[SymNode, int]] = []
    for s in positional:
        if len(s) != 1 and not (definition.variadic and len(positional) == 1):
            raise MXNetError(f"{function} {node.name!r}: an input has {len(s)} outputs {s.list_outputs()}; pick one")
        flat.extend(s._outputs)
    if len(flat) > len(names):
        raise MXNetError(
            f"{function} {node.name!r}: takes {len(names)} inputs ({', '.join(names)}), got {len(flat)}"
        )
    unknown = [k for k in symbols if k not in names]
    if unknown and not definition.variadic:
        raise MXNetError(f"{function} {node.name!r}: has no input {unknown[0]!r}; it has {', '.join(names)}")
    keyed = list(symbols.values()) if definition.variadic and unknown else None
    for i, input_name in enumerate(names):
        if i < len(flat):
            if input_name in symbols:
                raise MXNetError(f"{function} {node.name!r}: input {input_name!r} is given twice")
            entries.append(flat[i])
        elif keyed is not None:
            entries.append(keyed[i - len(flat)]._outputs[0])
        elif input_name in symbols:
            s = symbols[input_name]
            if len(s) != 1:
                raise MXNetError(f"{function} {node.name!r}: input {input_name!r} has {len(s)} outputs; pick one")
            entries.append(s._outputs[0])
        else:
            attrs = dict(node.attrs)
            attrs.update(getattr(definition, "variable_attrs", {}).get(input_name, {}))
            entries.append((SymNode("null", f"{node.name}_{input_name}", attrs, where=node.where), 0))
    return entries

"""Making an operator's Symbol: inputs by position or name, missing ones as variables, attributes as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symc import attribute
from symc import name as naming
from symc.base import MXNetError, those, user_line
from symc.ir.symbol.nodes import SymNode
from symc.ops.base import Operator, given_text, parameters, parse, takes_anything
from symc.symbol.symbol import Symbol, hidden_spelling, is_hidden

Entry = tuple[SymNode, int]


def split_attributes(cls: type[Operator], given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(parameters to parse, attributes that only ride along) of an operator's attributes."""
    loose = takes_anything(cls)
    own: dict[str, str] = {}
    other: dict[str, str] = {}
    for key, value in given.items():
        key = hidden_spelling(key)
        (other if loose or is_hidden(key) else own)[key] = value
    return own, other


def compose(
    cls: type[Operator], function: str, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None = None,
    attr: Mapping[str, str] | None = None,
) -> Symbol:  # fmt: skip
    """The Symbol of operator `cls`, called as `function` (which gives the hint of automatic names)."""
    if not cls.composable:
        raise MXNetError(f"{function}: Symbols cannot be made of it, since it changes arrays; call mx.nd.{function}")
    symbols, values = _arguments(cls, function, args, kwargs)
    given = {key: given_text(cls, key, value) for key, value in values.items()}
    given.update(attribute.current().get(dict(attr) if attr else None))
    positional = symbols.pop("", [])
    if cls.variadic and cls.counts_itself and cls.variadic not in given:
        given[cls.variadic] = str(len(positional) + len(symbols))
    # before anything may be refused: MXNet's counters count refused Symbols as well
    name = naming.current().get(name, function.lower())
    own, other = split_attributes(cls, given)
    graphs = [s.graph for s in positional[: cls.graphs]]
    try:
        definition = parse(cls, own).with_subgraphs(graphs)
    except MXNetError as problem:
        raise MXNetError(f'{problem}, in operator {cls.op_name}(name="{name}")') from None
    node = SymNode(cls.op_name, name, {**other, **own}, (), definition, user_line(), graphs)
    node.inputs = _inputs(node, definition, positional[cls.graphs :], symbols, function)
    initialise(node)
    return Symbol([(node, i) for i in range(definition.num_visible_outputs())])


def reparse(node: SymNode, attrs: Mapping[str, str]) -> Operator:
    """The operator of a node for other attributes. MXNetError if it refuses them or would take other inputs."""
    cls: type[Operator] = type(node.definition)  # type: ignore[assignment]
    definition = parse(cls, split_attributes(cls, attrs)[0])
    if len(definition.list_inputs()) + len(definition.list_aux()) != len(node.inputs):
        raise MXNetError(f"{node.op} {node.name!r}: {dict(attrs)} need other inputs than it has; compose it anew")
    return definition.with_subgraphs(node.subgraphs)


def give_inputs(node: SymNode, name: str, args: Sequence[Symbol], kwargs: Mapping[str, Symbol]) -> None:
    """Inputs and a name for an operator that has neither (Symbol._gen_atomic_symbol)."""
    definition: Operator = node.definition  # type: ignore[assignment]
    node.name = name
    node.inputs = _inputs(node, definition, args, kwargs, node.op)
    initialise(node)


def _arguments(
    cls: type[Operator], function: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(Symbols by input name, with a list of positional ones under "" where the operator is variadic; other values)."""
    symbols: dict[str, Any] = {}
    values: dict[str, Any] = {}
    if cls.variadic:
        for value in args:
            if not isinstance(value, Symbol):
                raise AssertionError(f"{function}: positional arguments must be Symbols, but got {value!r}")
        symbols[""] = list(args)
        slots: list[str] = []
        inputs: set[str] = set()
    else:
        slots = [*cls.positional_inputs(kwargs)]
        inputs = set(slots)
        slots += [p.name for p in parameters(cls)]
        if len(args) > len(slots):
            raise TypeError(
                f"{function}: takes {len(slots)} positional arguments ({', '.join(slots)}), got {len(args)}"
            )
    pairs = [*zip(slots, args), *kwargs.items()]
    if not cls.variadic and any(k in kwargs for k in slots[: len(args)]):
        twice = next(k for k in slots[: len(args)] if k in kwargs)
        raise TypeError(f"{function}: got multiple values for argument {twice!r}")
    for key, value in pairs:
        if isinstance(value, Symbol):
            symbols[key] = value
        elif key in inputs:
            if value is not None:
                raise AssertionError(f"{function}: argument {key} must be a Symbol, but got {value!r}")
        else:
            values[key] = value
    return symbols, values


def _inputs(
    node: SymNode, definition: Operator, positional: Sequence[Symbol], symbols: Mapping[str, Symbol], function: str
) -> tuple[Entry, ...]:
    """The inputs in the operator's order; what is not given becomes a variable named after the operator."""
    names = [*definition.list_inputs(), *definition.list_aux()]
    if positional and symbols:
        raise TypeError(f"{function} {node.name!r}: inputs go either by position or by name, not both")
    for s in (*positional, *symbols.values()):
        if len(s) != 1:
            outputs = ", ".join(s.list_outputs())
            raise MXNetError(f"{function} {node.name!r}: an input has {len(s)} outputs ({outputs}); pick one")
    if len(positional) > len(names):
        known = ", ".join(names)
        raise MXNetError(f"{function} {node.name!r}: takes {len(names)} inputs ({known}), got {len(positional)}")
    # an operator without inputs leaves Symbols alone that are given to it by name, as in MXNet
    unknown = [k for k in symbols if names and k not in names]
    if unknown:
        raise MXNetError(f"{function} {node.name!r}: has no input {unknown[0]!r}; it has {those(names, unknown[0])}")
    entries = [s._outputs[0] for s in positional]
    for input_name in names[len(entries) :]:
        if input_name in symbols:
            entries.append(symbols[input_name]._outputs[0])
        else:
            entries.append((missing_input(node, input_name), 0))
    return tuple(entries)


def missing_input(node: SymNode, input_name: str) -> SymNode:
    """The variable that stands for an input that was not given: it carries the operator's attributes, as in MXNet."""
    name = f"{node.name}_{input_name}" if node.name else input_name
    return SymNode("null", name, dict(node.attrs), where=node.where)


def initialise(node: SymNode) -> None:
    """Give the operator's variables the initializers it wants for them, where the user chose none."""
    definition: Any = node.definition
    wanted: Mapping[str, str] = type(definition).initializers
    if not wanted:
        return
    for input_name, (source, _) in zip([*definition.list_inputs(), *definition.list_aux()], node.inputs):
        if input_name in wanted and source.is_variable:
            source.attrs.setdefault("__init__", wanted[input_name])

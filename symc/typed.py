"""A Symbol with the types of its variables, in the form the compiler takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, Union

from symc.base import MXNetError
from symc.ir.modules import SymbolModule
from symc.ir.symbol.nodes import FALSE, STRICT, TRUE, SymGraph, SymNode
from symc.ir.types import TensorType, dtype_of
from symc.ops.shared.inferred import choosers, output_types
from symc.ops.shared.storage import ATTRIBUTE, CSR, DEFAULT, NUMBERS, ROW_SPARSE

#: what is known of a variable: its type, or its shape alone
Known = Union[TensorType, Sequence[int]]
#: storage types by the numbers that `Variable(stype=...)` writes
_NAMES = {str(number): stype for stype, number in NUMBERS.items()}


class HasGraph(Protocol):
    """What inference and the compiler need of a Symbol: its graph (and its name, to speak of it)."""

    @property
    def graph(self) -> SymGraph: ...


def module_of(
    symbol: Any,
    types: Mapping[str, TensorType],
    roles: Mapping[str, str] | None = None,
    rows: Mapping[str, int] | None = None,
) -> SymbolModule:
    """A Symbol with the types of its variables, as the compiler takes it. `rows`: how many rows the outputs of
    operators have whose inputs' values decide it (Operator.row_chooser), by the nodes' names."""
    graph: SymGraph = symbol.graph
    check_words(graph)
    known = {(n, 0): types[n.name] for part in graph.variables() for n in part}
    inferred = output_types(graph, known, rows)
    shapes = {
        node.name: tuple(t.shape for t in found if t is not None)
        for node, found in inferred.items()
        if (not node.inputs or node.name in (rows or {})) and None not in found
    }
    outputs = tuple(distinct(symbol.list_outputs()))
    return SymbolModule(symbol.name or "net", graph, types, outputs, roles or {}, shapes, inferred)


def check_words(graph: SymGraph) -> None:
    """MXNetError for an operator whose attribute `__strict__` says neither yes nor no."""
    for node in graph.nodes():
        word = node.attrs.get(STRICT, "")
        if word and word not in TRUE and word not in FALSE:
            raise MXNetError(f"{node.op} {node.name!r}{_where(node)}: {STRICT} is {word!r}; it can be True or False")


def _where(node: SymNode) -> str:
    return f" ({node.where[0]}:{node.where[1]})" if node.where[0] else ""


def with_inferred(module: SymbolModule) -> SymbolModule:
    """The module with the types of its operators' outputs, which its text does not have."""
    if module.inferred:
        return module
    known = {(n, 0): module.types[n.name] for part in module.graph.variables() for n in part if n.name in module.types}
    rows = {node.name: module.shapes[node.name][0][0] for node in choosers(module.graph) if node.name in module.shapes}
    return replace(module, inferred=output_types(module.graph, known, rows))


def complete(symbol: Any, known: Mapping[str, Known]) -> tuple[dict[str, TensorType], list[str]]:
    """The types of a Symbol's variables, and the names of those whose shape does not follow from what is known. A
    variable of which only the shape is known is f32 unless the Symbol says otherwise."""
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    shapes = {n: t.shape if isinstance(t, TensorType) else tuple(t) for n, t in known.items()}
    argument_shapes, _, state_shapes = symbol.infer_shape_partial(**shapes)
    stated = {n: t.dtype.numpy for n, t in known.items() if isinstance(t, TensorType)}
    declared = dict(zip(names, symbol.infer_type_partial(**stated)[0] or ()))
    stated |= {n: dtype_of("float32").numpy for n in known if declared.get(n) is None and n not in stated}
    argument_types, _, state_types = symbol.infer_type_partial(**stated)
    found = zip(names, [*(argument_shapes or ()), *(state_shapes or ())], [*argument_types, *state_types])
    types: dict[str, TensorType] = {}
    for name, shape, dtype in found:
        if name in known or (shape and 0 not in shape):  # () is how an unknown shape reads
            types[name] = TensorType(dtype_of(dtype or "float32"), tuple(shape))
    return types, [name for name in names if name not in types]


def roles_of(names: Iterable[str], data: Iterable[str]) -> dict[str, str]:
    """The roles of variables that are no parameters: what is `data`, and labels by their names."""
    given = set(data)
    return {n: "label" if n.endswith("label") else "data" for n in names if n in given or n.endswith("label")}


#: what operators, and so initializers, call inputs that are learned
_LEARNED = ("weight", "bias", "gamma", "beta", "parameters", "moving_mean", "moving_var")


def roles_of_parameters(symbol: Any) -> dict[str, str]:
    """The roles of a Symbol's arguments where a net predicts, of which nobody says which are new in every call: those
    that operators take as parameters, or that are named as such, are not."""
    learned: set[str] = set()
    for node in symbol.graph.nodes():
        if node.definition is not None:
            for (source, _), word in zip(node.inputs, node.definition.list_inputs()):
                if source.is_variable and word in _LEARNED:
                    learned.add(source.name)
    names = symbol.list_arguments()
    return roles_of(names, [n for n in names if n not in learned and not n.endswith(_LEARNED)])


def check_names(symbol: Any, label: str) -> None:
    """MXNetError if several variables of the Symbol have one name; `label` says who asks."""
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    if len(set(names)) < len(names):
        name = next(n for n in names if names.count(n) > 1)
        raise MXNetError(f"{label}: {name!r} is the name of several variables; give each its own, or use one Variable")


def distinct(names: Sequence[str]) -> list[str]:
    """The names, told apart by a number where several outputs of a Group have the same."""
    taken, made = set(names), []
    for name in names:
        found, count = name, 0
        while found in made or (found != name and found in taken):
            count += 1
            found = f"{name}_{count}"
        made.append(found)
    return made


def refuse_gradients(symbol: Any, wanted: set[str]) -> None:
    """MXNetError for an operator that has no gradient where one arrives at it that is wanted for these arguments: told
    when the Symbol is bound, before anything runs."""
    if not wanted:
        return
    nodes = symbol.graph.nodes()
    arrives = {node for node, _ in symbol.graph.outputs}
    for node in reversed(nodes):
        if node in arrives and not node.is_variable and node.definition.gradient != "zero":
            arrives.update(source for source, _ in node.inputs)
    reached: set[Any] = set()
    for node in nodes:
        if node.is_variable:
            if node.name in wanted:
                reached.add(node)
        elif any(source in reached for source, _ in node.inputs):
            if node.definition.gradient == "none" and node in arrives:
                raise MXNetError(
                    f"operator {node.op} {node.name!r} has no gradient, but one is wanted through it; "
                    f"bind with grad_req='null' for its inputs, or put BlockGrad before it or after it"
                )
            if node.definition.gradient == "yes":
                reached.add(node)


def overwritten(symbol: Any) -> set[str]:
    """Arguments whose only reader overwrites their gradient whatever was asked (Operator.overwritten_gradients)."""
    readers: dict[str, list[bool]] = {}
    for node in symbol.graph.nodes():
        for at, (source, _) in enumerate(node.inputs):
            if source.is_variable:
                readers.setdefault(source.name, []).append(at in node.definition.overwritten_gradients())
    return {name for name, found in readers.items() if found == [True]}


def declared(symbol: Any, given: Mapping[str, str] | None) -> dict[str, str]:
    """The storage types of variables that are not dense: given by name, or declared by `Variable(stype=...)`."""
    found = {}
    for node in symbol.graph.nodes():
        if node.is_variable:
            stype = (given or {}).get(node.name) or _NAMES.get(node.attrs.get(ATTRIBUTE, ""), DEFAULT)
            if stype in (CSR, ROW_SPARSE):
                found[node.name] = stype
    return found


def output_stypes(symbol: Any, arguments: Mapping[str, str]) -> list[str]:
    """The storage types of a Symbol's outputs, given those of variables that are not dense."""
    if not arguments and not any(not n.is_variable and n.definition.sparse_of_dense for n in symbol.graph.nodes()):
        return [DEFAULT] * len(symbol.graph.outputs)
    known: dict[tuple[Any, int], str] = {}
    for node in symbol.graph.nodes():
        if node.is_variable:
            known[node, 0] = arguments.get(node.name, DEFAULT)
        else:
            known[node, 0] = node.definition.storage_of([known.get(e, DEFAULT) for e in node.inputs])
    return [known.get(entry, DEFAULT) for entry in symbol.graph.outputs]


def variables_stored(node: Any, given: Mapping[str, str]) -> list[str]:
    """The storage types of a node's inputs that are variables; the others count as dense."""
    return [given.get(n.name, DEFAULT) if n.is_variable else DEFAULT for n, _ in node.inputs]


def gradient_stypes(symbol: Any, arguments: Mapping[str, str]) -> dict[str, str]:
    """The variables whose gradient is row_sparse: all that read them give such gradients."""
    kinds: dict[str, set[bool]] = {}
    for node in symbol.graph.nodes():
        stypes = variables_stored(node, arguments)
        for at, (source, _) in enumerate(node.inputs):
            if source.is_variable:
                kinds.setdefault(source.name, set()).add(node.definition.rows_in_gradient(at, stypes))
    return {name: ROW_SPARSE for name, found in kinds.items() if found == {True}}

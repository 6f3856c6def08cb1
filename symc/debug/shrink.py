"""Smaller programs for the reducer: without outputs, updates or nodes, and with shorter axes.

They are made without asking whether they still make sense: what does not, does not fail the same way and is dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.debug.reading import inputs_of
from symc.debug.trial import Trial
from symc.ir.errors import IRError
from symc.ir.modules import SymbolModule
from symc.ir.op import Input, Node, input_node, parameter
from symc.ir.origins import SymOrigin
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph, Output, Update, finish
from symc.ir.tensor.interp import values_of
from symc.ir.types import BOOL, Array, TensorType, dtype_of
from symc.passes.manager.manager import Manager

#: nodes of a graph of which parts are tried before single nodes
MANY = 12

# --------------------------------------------------------------------------------------------- graphs


def shrunk_graphs(trial: Trial) -> Iterator[Trial]:
    """Trials of a tensor graph with less in it, the largest steps first."""
    graph = trial.module
    assert isinstance(graph, Graph)
    yield from _bodies(trial)
    yield from _smaller_regions(trial)
    yield from _without_roles(trial)
    yield from parts(trial)
    count = len(graph.outputs)
    if count > 1:
        for half in (graph.outputs[: count // 2], graph.outputs[count // 2 :]):
            yield _with(trial, half, ())
            if graph.updates:
                yield _with(trial, half, graph.updates)
        for at in range(count):
            yield _with(trial, graph.outputs[at : at + 1], ())
        for at in range(count):
            yield _with(trial, [*graph.outputs[:at], *graph.outputs[at + 1 :]], graph.updates)
    inner = [n for n in graph.nodes() if n.inputs and hasattr(n.type, "shape")]
    if len(inner) > 3:
        done = graph.output_nodes if not graph.updates else []
        for node in inner:  # what it takes to compute one value
            if done != [node]:
                yield _with(trial, [Output(graph.names.get(node, "value"), node)], ())
    for at in range(len(graph.updates)):
        yield _with(trial, graph.outputs, [*graph.updates[:at], *graph.updates[at + 1 :]])
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    nodes = [n for n in graph.nodes() if n.inputs and getattr(n.type, "shape", None) is not None]
    try:
        values = values_of(graph, arrays, nodes)
    except (IRError, MXNetError, ArithmeticError, IndexError):
        return
    ends = set(graph.roots)
    for node in nodes:
        if node not in ends:
            yield _with(trial, [Output("out", node)], ())
            if graph.updates:
                yield _with(trial, [Output("out", node)], graph.updates)
    for node in reversed(nodes):
        for operand in node.inputs:
            if operand.type == node.type:
                yield _replaced(trial, {node: operand}, {})
        name = f"cut.{graph.names.get(node, node.op.name)}"
        yield _replaced(trial, {node: input_node(name, node.tensor)}, {name: values[node]})
    extents = sorted({e for n in graph.inputs for e in n.shape if e > 1}, reverse=True)
    for extent in extents:
        for less in dict.fromkeys((1, 2, extent // 2, extent - 1)):
            if 0 < less < extent:
                yield from _resized(trial, extent, less)
    for name in trial.given:
        rest = {n: a for n, a in trial.given.items() if n != name}
        yield dataclasses.replace(trial, given=rest)


def parts(trial: Trial) -> Iterator[Trial]:
    """The last or the first nodes of a large tensor graph alone, the fewest first: what they read of the others is
    given, and what the others read of them is an output."""
    graph = trial.module
    assert isinstance(graph, Graph)
    nodes = [n for n in graph.nodes() if n.inputs]
    if len(nodes) < MANY:
        return
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    try:
        values = values_of(graph, arrays, [n for n in nodes if hasattr(n.type, "shape")])
    except (IRError, MXNetError, ArithmeticError, IndexError):
        return
    for eighths in (7, 6, 4, 2, 1):
        at = len(nodes) * eighths // 8
        first, last = set(nodes[:at]), set(nodes[at:])
        read = dict.fromkeys(i for n in nodes[at:] for i in n.inputs if i in first and i in values)
        cut = {n: input_node(f"cut.{graph.names.get(n, n.op.name)}", n.tensor) for n in read}
        small = _replaced(trial, cut, {_name(made): values[n] for n, made in cut.items()})
        made = small.module
        assert isinstance(made, Graph)
        outputs = [new for old, new in zip(graph.outputs, made.outputs) if old.node in last]
        yield _with(small, outputs, [new for old, new in zip(graph.updates, made.updates) if old.value in last])
        first = set(nodes[: len(nodes) - at])
        read = dict.fromkeys(i for n in nodes[len(nodes) - at :] for i in n.inputs)
        ends = [o for o in graph.outputs if o.node in first]
        known = {o.node for o in ends}
        ends += [Output(f"cut.{graph.names.get(n, n.op.name)}", n) for n in read if n in first and n not in known]
        yield _with(trial, ends, [u for u in graph.updates if u.value in first])


def halves(trial: Trial) -> Iterator[Trial]:
    """The updates of a tensor graph alone, or its outputs."""
    graph = trial.module
    assert isinstance(graph, Graph)
    if graph.outputs and graph.updates:
        yield _with(trial, (), graph.updates)
        yield _with(trial, graph.outputs, ())


def neighbourhoods(trial: Trial) -> Iterator[Trial]:
    """One value of a tensor graph with the operators just before it, on the values that they have there: the smallest
    first. An output or update stays what it is."""
    graph = trial.module
    assert isinstance(graph, Graph)
    nodes = [n for n in graph.nodes() if n.inputs and getattr(n.type, "shape", None) is not None]
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    try:
        values = values_of(graph, arrays, nodes)
    except (IRError, MXNetError, ArithmeticError, IndexError):
        return
    for depth in (1, 2, 3):
        for ends in (graph.roots, *([node] for node in reversed(nodes))):
            yield from _around(trial, ends, depth, values)


def around(trial: Trial, node: Node, depth: int) -> Trial | None:
    """A value with so many operators before it, on operands of any values; None where it has none of tensors."""
    graph = trial.module
    assert isinstance(graph, Graph)
    border = _border([node], depth)
    names = {n: f"cut.{graph.names.get(n, n.op.name)}" for n in border}
    cut = {n: input_node(name, n.tensor) for n, name in names.items() if isinstance(n.type, TensorType)}
    if len(cut) != len(border):
        return None
    small = _replaced(trial, cut, {_name(made): np.zeros(()) for made in cut.values()})
    made = small.module
    assert isinstance(made, Graph)
    at = next((n for n, name in made.names.items() if name == graph.names.get(node)), None)
    return None if at is None else dataclasses.replace(_with(small, [Output("out", at)], ()), given={})


def _border(ends: Sequence[Node], depth: int) -> list[Node]:
    """What the ends, with so many operators before them, read."""
    inside = set(ends)
    for _ in range(depth - 1):
        inside |= {i for n in inside for i in n.inputs}
    border = dict.fromkeys(i for n in inside for i in n.inputs if i not in inside)
    return [n for n in border if not n.op.is_literal(n)]


def _around(trial: Trial, ends: Sequence[Node], depth: int, values: Mapping[Node, Array]) -> Iterator[Trial]:
    graph = trial.module
    assert isinstance(graph, Graph)
    border = _border(ends, depth)
    cut = {n: input_node(f"cut.{graph.names.get(n, n.op.name)}", n.tensor) for n in border if n in values}
    if not cut:
        return
    small = _replaced(trial, cut, {_name(made): values[n] for n, made in cut.items()})
    made = small.module
    assert isinstance(made, Graph)
    outputs = [new for old, new in zip(graph.outputs, made.outputs) if old.node in ends]
    updates = [new for old, new in zip(graph.updates, made.updates) if old.value in ends]
    if not outputs and not updates:
        at = next((n for n, name in made.names.items() if name == graph.names.get(ends[0])), None)
        if at is None:
            return
        outputs = [Output("out", at)]
    yield _with(small, outputs, updates)


def _bodies(trial: Trial) -> Iterator[Trial]:
    """The body of a loop, or a side of a branch, alone, on other values."""
    graph = trial.module
    assert isinstance(graph, Graph)
    for node in graph.nodes():
        for name, body in regions_of(node.op):
            outputs = [Output(f"{name}.{at}", output.node) for at, output in enumerate(body.outputs)]
            origins = dict.fromkeys(body.nodes(), SymOrigin(name, node.op.name))
            made = finish(graph.name, body.inputs, outputs, (), body.names, {**origins, **body.origins})
            truths = [i for i in body.inputs if i.dtype == BOOL]
            for answer in (True, False):
                given = {_name(i): np.full(i.shape, answer) for i in truths}
                yield dataclasses.replace(trial, module=made, given=given)


def _smaller_regions(trial: Trial) -> Iterator[Trial]:
    """With an operand in the place of a value in a loop or branch."""
    graph = trial.module
    assert isinstance(graph, Graph)
    for node in graph.nodes():
        for name, body in regions_of(node.op):
            for inner in reversed([n for n in body.nodes() if n.inputs]):
                for operand in inner.inputs:
                    if operand.type == inner.type and operand in body.names:
                        part = _replaced(dataclasses.replace(trial, module=body, given={}), {inner: operand}, {}, True)
                        op = dataclasses.replace(node.op, **{name: part.module})  # type: ignore[type-var]
                        yield _replaced(trial, {node: Node.make(op, node.inputs)}, {})


def _without_roles(trial: Trial) -> Iterator[Trial]:
    """Where inputs and outputs are there for each other (a head, a gradient): as arguments and results."""
    graph = trial.module
    assert isinstance(graph, Graph)
    special = [i for i in graph.inputs if parameter(i).role != "arg"]
    if not special and all(o.role == "result" for o in graph.outputs):
        return
    given = {_name(i): trial.value(_name(i), parameter(i).role, i.tensor) for i in special}
    plain = _replaced(trial, {i: input_node(_name(i), i.tensor) for i in special}, given)
    made = plain.module
    assert isinstance(made, Graph)
    outputs = [Output(o.name, o.node, phase=o.phase) for o in made.outputs]
    yield dataclasses.replace(plain, module=dataclasses.replace(made, outputs=tuple(outputs)))


def _finished(
    graph: Graph, inputs: Sequence[Node], outputs: Any, updates: Sequence[Update], new: Mapping[Node, Node]
) -> Graph:
    names = {new.get(n, n): name for n, name in graph.names.items()}
    origins = {new.get(n, n): origin for n, origin in graph.origins.items()}
    made = finish(graph.name, inputs, outputs, updates, names, origins)
    used = (
        {i for n in made.nodes() for i in n.inputs}
        | set(made.roots)
        | {i for i in inputs if _name(i) in {u.input for u in updates}}
    )
    return finish(graph.name, [i for i in inputs if i in used], outputs, updates, names, origins)


def _name(node: Node) -> str:
    return node.op.input_name if isinstance(node.op, Input) else ""


def _with(trial: Trial, outputs: Sequence[Output], updates: Sequence[Update]) -> Trial:
    """With these outputs and updates."""
    graph = trial.module
    assert isinstance(graph, Graph)
    return _on(trial, _finished(graph, graph.inputs, list(outputs), list(updates), {}))


def _on(trial: Trial, graph: Graph, given: Mapping[str, Array] | None = None) -> Trial:
    """The trial of another graph, with options of passes that fit its inputs."""
    names = [_name(i) for i in graph.inputs]
    passes = tuple(_fitting(p, names) for p in trial.passes)
    return dataclasses.replace(trial, module=graph, passes=passes, given=trial.given if given is None else given)


def _replaced(trial: Trial, first: Mapping[Node, Node], given: Mapping[str, Array], inputs_stay: bool = False) -> Trial:
    """With other nodes in the place of some; `given` are the values of those that are new inputs. Inputs that nobody
    reads go, unless they have to stay."""
    graph = trial.module
    assert isinstance(graph, Graph)
    new = dict(first)
    for node in graph.nodes():
        if node not in new and any(i in new for i in node.inputs):
            new[node] = node.on([new.get(i, i) for i in node.inputs])
    inputs = [*graph.inputs, *(n for n in first.values() if _name(n) in given)]
    outputs = [dataclasses.replace(o, node=new.get(o.node, o.node)) for o in graph.outputs]
    updates = [dataclasses.replace(u, value=new.get(u.value, u.value)) for u in graph.updates]
    made = _finished(graph, inputs, outputs, updates, new)
    if inputs_stay:
        made = finish(graph.name, inputs, outputs, updates, made.names, made.origins)
    return _on(trial, made, {**trial.given, **given})


def _resized(trial: Trial, extent: int, less: int) -> Iterator[Trial]:
    """With another extent wherever there is this one; nothing where that gives no program."""
    graph = trial.module
    assert isinstance(graph, Graph)

    def smaller(value: Any) -> Any:
        if isinstance(value, TensorType):
            return value.with_shape(tuple(smaller(e) for e in value.shape))
        if isinstance(value, tuple):
            return tuple(smaller(v) for v in value)
        return less if isinstance(value, int) and not isinstance(value, bool) and value == extent else value

    new: dict[Node, Node] = {}
    given = dict(trial.given)
    try:
        for node in graph.nodes():
            if node.op.is_literal(node):
                continue
            changed = {f.name: smaller(getattr(node.op, f.name)) for f in dataclasses.fields(node.op)}
            new[node] = Node.make(type(node.op)(**changed), [new.get(i, i) for i in node.inputs])
            name = _name(node)
            if name in given:
                given[name] = np.resize(given[name], new[node].shape)
    except (IRError, ValueError, AssertionError, IndexError):
        return
    outputs = [dataclasses.replace(o, node=new.get(o.node, o.node)) for o in graph.outputs]
    updates = [dataclasses.replace(u, value=new.get(u.value, u.value)) for u in graph.updates]
    made = _finished(graph, [new[i] for i in graph.inputs], outputs, updates, new)
    yield dataclasses.replace(trial, module=made, given=given)


# --------------------------------------------------------------------------------------------- Symbols


def smaller_symbols(trial: Trial) -> Iterator[Trial]:
    """Trials of a Symbol with fewer outputs, or without one of its nodes (one of its inputs in its place)."""
    module = trial.module
    assert isinstance(module, SymbolModule)
    named = list(zip(module.output_names, module.graph.outputs))
    if len(named) > 1:
        for at in range(len(named)):
            yield _symbols(trial, named[at : at + 1], {})
        for at in range(len(named)):
            yield _symbols(trial, [*named[:at], *named[at + 1 :]], {})
    for node in reversed(module.graph.nodes()):
        if not node.is_variable:
            for entry in dict.fromkeys(node.inputs):
                yield _symbols(trial, named, {node: entry})


Entry = tuple[SymNode, int]


def single_operators(trial: Trial) -> Iterator[Trial]:
    """Trials of one operator of a Symbol, of variables that have the values that it has in the whole."""
    module = trial.module
    assert isinstance(module, SymbolModule)
    made_by = [p for p in trial.passes if p.takes == "symbol" and p.gives == "tensor"]
    if not made_by or len([n for n in module.graph.nodes() if not n.is_variable]) < 2:
        return
    try:
        graph = Manager(verify=False).step(made_by[0], module)
        found = list(operands_in(trial, module, graph, lambda _: True))
    except (IRError, MXNetError, ArithmeticError, IndexError):
        found = list(_drawn(trial, module))  # a Symbol that cannot be decomposed has no values
    for node, given in found:
        yield operator_alone(trial, module, node, given)
        if len(node.inputs) > 1:
            yield operator_alone(trial, module, node, given, in_order=True)


def _drawn(trial: Trial, module: SymbolModule) -> Iterator[tuple[SymNode, list[Array]]]:
    """Operators, and values of the types that their operands have."""
    for node in module.graph.nodes():
        if not node.is_variable and not node.subgraphs:
            types = [_type_of(module, entry) for entry in node.inputs]
            if all(types):
                yield node, [trial.value(f"in{at}", "arg", t) for at, t in enumerate(types) if t is not None]


def _type_of(module: SymbolModule, entry: Entry) -> TensorType | None:
    node, at = entry
    known = module.inferred.get(node) or ()
    return module.types.get(node.name) if node.is_variable else known[at] if at < len(known) else None


def operands_in(
    trial: Trial, module: SymbolModule, graph: Graph, wanted: Callable[[SymNode], bool]
) -> Iterator[tuple[SymNode, list[Array]]]:
    """Operators of a Symbol, and the values of their operands in the graph that was made of it; those whose operands
    are not all called as the Symbol calls them, and those that hold graphs, are left out."""
    nodes = [n for n in module.graph.nodes() if not n.is_variable and not n.subgraphs and wanted(n)]
    if not nodes:
        return
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    inner = [n for n in graph.nodes() if isinstance(n.type, TensorType)]
    values = {graph.names[n]: v for n, v in values_of(graph, arrays, inner).items() if n in graph.names}
    for node in nodes:
        names = [n.name if n.num_outputs == 1 else f"{n.name}.{at}" for n, at in node.inputs]
        if all(name in values for name in names):
            yield node, [values[name] for name in names]


def operator_alone(
    trial: Trial, module: SymbolModule, node: SymNode, values: Sequence[Array], in_order: bool = False
) -> Trial:
    """A trial of a Symbol of one operator, whose operands are variables that have these values. They are outputs, too,
    where they shall keep their order whatever a pass makes of the operator."""
    variables: dict[str, SymNode] = {}
    given: dict[str, Array] = {}
    inputs = []
    for at, ((operand, _), value) in enumerate(zip(node.inputs, values)):
        name = operand.name if operand.is_variable else f"in{at}"
        variables.setdefault(name, operand if operand.is_variable else SymNode("null", name, where=operand.where))
        given[name] = value
        inputs.append((variables[name], 0))
    alone = SymNode(node.op, node.name, node.attrs, inputs, node.definition, node.where)
    types = {name: TensorType(dtype_of(v.dtype), v.shape) for name, v in given.items()}
    numbers = range(node.definition.num_visible_outputs() if node.definition is not None else 1)
    ends = {f"{node.name}_output{at or ''}": (alone, at) for at in numbers}
    if in_order:
        ends = {**{f"{name}.kept": (variable, 0) for name, variable in variables.items()}, **ends}
    roles = {name: role for name, role in module.roles.items() if name in variables}
    shapes = {name: shape for name, shape in module.shapes.items() if name == node.name}
    made = SymbolModule(node.name, SymGraph(tuple(ends.values())), types, tuple(ends), roles, shapes)
    floats = tuple(name for name, t in types.items() if t.dtype.is_float)
    passes = tuple(_asking(p, floats) for p in trial.passes)
    return dataclasses.replace(trial, module=made, passes=passes, given=given, requests={})


def _symbols(trial: Trial, named: Sequence[tuple[str, Entry]], without: Mapping[SymNode, Entry]) -> Trial:
    """With these outputs; the nodes in `without` are replaced by the entries there."""
    module = trial.module
    assert isinstance(module, SymbolModule)
    new: dict[SymNode, SymNode] = {}
    instead: dict[SymNode, Entry] = {}

    def moved(entry: Entry) -> Entry:
        node, at = entry
        return instead[node] if node in instead else (new[node], at)

    for node in SymGraph(tuple(entry for _, entry in named)).nodes():
        if node in without:
            instead[node] = moved(without[node])
        elif node.is_variable:
            new[node] = node
        else:
            new[node] = SymNode(
                node.op,
                node.name,
                node.attrs,
                [moved(e) for e in node.inputs],
                node.definition,
                node.where,
                node.subgraphs,
            )
    graph = SymGraph(tuple(moved(entry) for _, entry in named))
    names = [n.name for part in graph.variables() for n in part]
    made = SymbolModule(
        module.name,
        graph,
        {n: module.types[n] for n in names},
        tuple(name for name, _ in named),
        module.roles,
        module.shapes,
    )
    passes = tuple(_fitting(p, names) for p in trial.passes)
    requests = {n: r for n, r in trial.requests.items() if n in names}
    return dataclasses.replace(trial, module=made, passes=passes, requests=requests)


def _fitting(pass_: Any, names: Sequence[str]) -> Any:
    """A pass with options that fit what is left."""
    fits: dict[str, Callable[[Any], Any]] = {
        "wrt": lambda v: tuple(n for n in v if n in names),
        "add": lambda v: tuple(n for n in v if n in names),
    }
    changed = {f.name: fits[f.name](getattr(pass_, f.name)) for f in dataclasses.fields(pass_) if f.name in fits}
    return dataclasses.replace(pass_, **changed) if changed else pass_


def _asking(pass_: Any, names: Sequence[str]) -> Any:
    """A pass that is asked for gradients asked for these."""
    plain = _fitting(pass_, ())
    return dataclasses.replace(plain, wrt=tuple(names)) if getattr(pass_, "wrt", ()) else plain

"""Rules T of symc.ir.verify: tensor graphs; and what rules of other levels share: origins and roles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from symc.ir.errors import IRError, VerifyError
from symc.ir.op import Input, Node, tensor_type
from symc.ir.origins import Origin, SymOrigin
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph, topological
from symc.ir.types import TensorType, Type

PHASES = ("forward", "backward")


class Checked:
    """What has been found right. Nodes, bodies, kernels, programs and origins do not change, so what one holds is
    looked at once, however many passes hand it on. (Things are known by their ids, and held so that these stay.)"""

    def __init__(self) -> None:
        #: nodes whose types are those of their primitives, and whose graphs follow the rules
        self.typed: set[Node] = set()
        #: the type that a primitive gives for operands of these types
        self.given: dict[tuple[object, ...], Type] = {}
        self._known: dict[int, object] = {}
        self._reaches: dict[int, bool] = {}
        self._origins: list[Origin] = []

    def knows(self, thing: object) -> bool:
        """Whether a body, kernel or program has been found right before."""
        return id(thing) in self._known

    def add(self, thing: object) -> None:
        """A body, kernel or program is right."""
        self._known[id(thing)] = thing

    def reaches(self, origin: Origin | None) -> bool:
        """Whether an origin reaches a Symbol. No recursion: chains of passes may be deep."""
        if origin is None:
            return False
        if isinstance(origin, SymOrigin):
            return True
        known = self._reaches
        found = known.get(id(origin))
        if found is not None:
            return found
        self._origins.append(origin)  # and with it its parents
        stack: list[Origin] = [origin]
        while stack:
            here = stack[-1]
            if isinstance(here, SymOrigin) or id(here) in known:
                known.setdefault(id(here), True)
                stack.pop()
                continue
            waiting = [p for p in here.parents if id(p) not in known and not isinstance(p, SymOrigin)]
            if waiting:
                stack.extend(waiting)
                continue
            known[id(here)] = any(isinstance(p, SymOrigin) or known[id(p)] for p in here.parents)
            stack.pop()
        return known[id(origin)]


def verify_graph(
    graph: Graph, origins: bool = True, check: Checked | None = None, where: str = "", body: bool = False
) -> None:
    """Check a tensor graph (rules T). `where` names the enclosing step or primitive for messages; `body`: it is
    that of a step."""
    where = where or f"graph {graph.name}"
    check = check or Checked()
    nodes = graph.nodes()
    _inputs(graph, nodes, where)
    _types(graph, nodes, where, origins, check)
    _names(graph, nodes, where, body)
    if origins:
        inputs = set(graph.inputs)
        found = graph.origins
        for node in nodes:
            origin = found.get(node)
            if origin.__class__ is SymOrigin or node in inputs or node.op.is_literal(node) or check.reaches(origin):
                continue
            what = "has no origin" if origin is None else "has an origin that reaches no Symbol"
            raise VerifyError("T3", f"{where}: %{graph.names.get(node)} = {node.op.name} {what}")
    _results(graph, where)


def _inputs(graph: Graph, nodes: Iterable[Node], where: str) -> None:
    names: set[str] = set()
    for node in graph.inputs:
        if not isinstance(node.op, Input):
            raise VerifyError("T4", f"{where}: {node.op.name} stands among the inputs")
        if node.op.input_name in names:
            raise VerifyError("T4", f"{where}: two inputs are named %{node.op.input_name}")
        names.add(node.op.input_name)
    inputs = set(graph.inputs)
    for node in nodes:
        if node.op.__class__ is Input and node not in inputs:
            raise VerifyError("T4", f"{where}: %{node.op.input_name} is used, but is none of the inputs")


def _types(graph: Graph, nodes: Iterable[Node], where: str, origins: bool, check: Checked) -> None:
    seen: set[Node] = set()
    regions: dict[type, bool] = {}
    for node in nodes:
        if node in check.typed:
            seen.add(node)
            continue
        for source in node.inputs:
            if source not in seen:
                raise VerifyError("T1", f"{where}: {_called(graph, node)} reads a value that comes after it")
        seen.add(node)
        try:
            if node.op.takes_tensors:
                # equal operations on equal types are many: those of kernels' bodies are the graph's, layers repeat
                key = (node.op, *[i.type for i in node.inputs])
                found = check.given.get(key)
                if found is None:
                    found = check.given[key] = node.op.type([tensor_type(i, node.op) for i in node.inputs])
                right = found
            else:
                right = node.op.type_of_nodes(node.inputs)
        except IRError as problem:
            raise VerifyError("T1", f"{where}: {_called(graph, node)}: {problem}") from None
        if right != node.type:
            raise VerifyError("T1", f"{where}: {_called(graph, node)} is {node.type}, but its operands give {right}")
        cls = node.op.__class__
        if cls not in regions:
            regions[cls] = bool(regions_of(node.op))
        if regions[cls]:
            for name, region in regions_of(node.op):
                try:
                    verify_graph(
                        region, origins and node.op.is_control, check, where=f"{name} of {_called(graph, node)}"
                    )
                except VerifyError as problem:
                    raise VerifyError("T7", str(problem)) from None
        check.typed.add(node)


def _called(graph: Graph, node: Node) -> str:
    return f"%{graph.names.get(node, '?')} = {node.op.name}"


def _names(graph: Graph, nodes: Iterable[Node], where: str, body: bool) -> None:
    used: dict[str, Node] = {}
    names = graph.names
    for node in nodes:
        name = names.get(node)
        if node.op.__class__ is Input:
            if body and name is None:  # its operands go by the names the step gives them
                continue
            if name != node.op.input_name:
                raise VerifyError("T2", f"{where}: input %{node.op.input_name} is named %{name}")
        if not name:
            if node.op.is_literal(node):
                continue
            raise VerifyError("T2", f"{where}: a value has no name: {node.op.name} {node.type}")
        if used.setdefault(name, node) is not node:
            raise VerifyError("T2", f"{where}: two values are named %{name}: {used[name].op.name} and {node.op.name}")


def _results(graph: Graph, where: str) -> None:
    inputs = {getattr(i.op, "input_name", ""): i for i in graph.inputs}
    targets: set[tuple[str, str]] = set()
    for update in graph.updates:
        target = inputs.get(update.input)
        if target is None:
            raise VerifyError("T5", f"{where}: update of %{update.input}, which is no input")
        if update.value.type != target.type:
            raise VerifyError("T5", f"{where}: %{update.input} is {target.type}, its update {update.value.type}")
        if update.phase not in PHASES:
            raise VerifyError("T5", f"{where}: update of %{update.input} in phase {update.phase!r}")
        if (update.input, update.phase) in targets:
            raise VerifyError("T5", f"{where}: %{update.input} is updated twice in the {update.phase} half")
        targets.add((update.input, update.phase))
    names: set[str] = set()
    for output in graph.outputs:
        name, given = output.name, output.node.type
        if name in names:
            raise VerifyError("T6", f"{where}: two outputs are named {name}")
        names.add(name)
        if not isinstance(given, TensorType):
            raise VerifyError("T6", f"{where}: output {name} has several results {given}; take one with get")
        if output.phase not in PHASES:
            raise VerifyError("T6", f"{where}: output {name} in phase {output.phase!r}")
    verify_roles(
        "T8",
        where,
        [(i.op.input_name, i.tensor, i.op) for i in graph.inputs if isinstance(i.op, Input)],
        [(output.name, output.node.tensor, output) for output in graph.outputs],
    )
    if graph.halved:
        early = [o.node for o in graph.outputs if o.phase == "forward"]
        early += [u.value for u in graph.updates if u.phase == "forward"]
        for node in topological(early):
            if isinstance(node.op, Input) and node.op.role == "head":
                raise VerifyError("T8", f"{where}: the forward half needs the head %{node.op.input_name}")


class HasRole(Protocol):
    """An input or output of a graph or program."""

    @property
    def role(self) -> str: ...

    @property
    def of(self) -> str: ...

    @property
    def order(self) -> int: ...


#: a name, its type, and what it is
End = tuple[str, TensorType, HasRole]


def verify_roles(rule: str, where: str, inputs: Sequence[End], outputs: Sequence[End]) -> None:
    """What inputs and outputs are (T8): those that belong to another one have its type."""
    taken, given = ({name: tensor for name, tensor, _ in ends} for ends in (inputs, outputs))
    seen: set[tuple[str, str, int]] = set()
    for name, tensor, end in [*inputs, *outputs]:
        owners = {"gradient": taken, "grad": taken, "head": given}.get(end.role)
        if owners is None:
            continue
        what = f"{where}: {name} is the {end.role} of {end.of or 'nothing'}"
        if end.of not in owners:
            raise VerifyError(rule, f"{what}, which is no {'output' if end.role == 'head' else 'input'}")
        if owners[end.of] != tensor:
            raise VerifyError(rule, f"{what}, and {tensor}, not {owners[end.of]}")
        if (key := (end.role, end.of, end.order)) in seen:
            raise VerifyError(rule, f"{what} of order {end.order}, as another is")
        seen.add(key)

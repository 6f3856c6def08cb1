"""The rewriter: the only way a pass changes a tensor graph.

A rule looks at one node (its inputs already rewritten) and returns its replacement or None. Every accepted
replacement is an action with a number; the new nodes' origin is `pass#number(origins of what was matched)`.
Names and origins of everything that stays are carried over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from symc.ir.changed import replace
from symc.ir.errors import IRError, TypeMismatch, VerifyError
from symc.ir.op import Node, Primitive, Recorder
from symc.ir.origins import DerivedOrigin, Origin, first_symbol, symbols_of
from symc.ir.syntax.printing import regions_of, value_name
from symc.ir.tensor.graph import Graph, finish
from symc.passes.manager.watching import Action, Miss, Refused, Watcher, definition, expression

Match = Callable[[Node], "Node | Refused | None"]
#: of a change: what is there, and what takes its place
Shown = Callable[..., "tuple[str, str]"]
#: rules applied one after the other at one node; more mean that two undo each other
CHAIN = 100


@dataclass(frozen=True)
class Rule:
    """A named local rewrite: `match(node)` gives an equal node, or None; or Refused where the node is of the kind the
    rule is for and a condition fails. `roots` are the primitives it looks at."""

    name: str
    match: Match
    roots: tuple[type[Primitive], ...] = (Primitive,)


class Rewriter:
    """Numbers the actions of one pass and asks whether each may happen. `watcher` is told of every action, and of what
    did not become one. `strict`: the pass may change how values are rounded, and the program has regions where none
    may (symc.passes.manager.strict): no action takes part in them."""

    def __init__(
        self,
        pass_name: str,
        may_act: Callable[[str, int, str], bool] | None = None,
        watcher: Watcher | None = None,
        strict: bool = False,
    ) -> None:
        self.pass_name = pass_name
        self.strict = strict
        self.actions = 0
        self.hits: dict[str, int] = {}
        self.watcher = watcher
        self._may_act = may_act

    def act(
        self, rule: str, parents: Sequence[Origin], shown: Shown | None = None, *about: Any, exact: bool = False
    ) -> Origin | None:
        """The origin for what this action makes, or None if it is vetoed. `shown(*about)`, called if somebody watches,
        says what becomes of what. `exact`: it changes no rounding, though others of the pass do."""
        if self.strict and not exact and any(p.strict for p in parents):
            names = [s.name for p in parents for s in symbols_of(p) if s.strict]
            self.miss(rule, names[0], f"{names[0]} is in a strict region, and {self.pass_name} may change rounding")
            return None
        number = self.actions
        self.actions += 1
        if self.watcher is not None:
            before, made = shown(*about) if shown is not None else ("", "")
            symbol = first_symbol(parents[0]) if parents else None
            self.watcher.proposed(Action(self.pass_name, number, rule, before, made, symbol))
        if self._may_act is not None and not self._may_act(self.pass_name, number, rule):
            return None
        self.hits[rule] = self.hits.get(rule, 0) + 1
        unique = tuple({id(p): p for p in parents}.values())
        return DerivedOrigin(self.pass_name, number, unique)

    def miss(self, rule: str, value: str, reason: str, other: str = "") -> None:
        """Tell who watches that a rule does not apply to a value (with another one), and why."""
        if self.watcher is not None:
            self.watcher.missed(Miss(self.pass_name, rule, value, reason, other))


def same_type(by: str, graph: Graph, old: Node, made: Node) -> None:
    """Refuse (rule M1) a replacement that has another type than the value it replaces; `by` names who made it. Found
    later, the error would blame the value's reader."""
    if made.type is not old.type and made.type != old.type:
        value = _called(graph, old)
        raise VerifyError("M1", f"{by} replaces {value}, which is {old.type}, by {made.op.name}, which is {made.type}")


def _called(graph: Graph, node: Node) -> str:
    return f"%{graph.names[node]} = {node.op.name}" if node in graph.names else node.op.name


def rebuild(
    graph: Graph, new: Mapping[Node, Node], made_by: Mapping[Node, Origin] = MappingProxyType({}), by: str = "rebuild"
) -> Graph:
    """`graph` with nodes replaced: `new` maps every node that changed (roots included) to its replacement, which has
    its type (VerifyError M1 that names the pass `by`); `made_by` are the origins of nodes that came into being."""
    for old, made in new.items():
        same_type(by, graph, old, made)
    names: dict[Node, str] = {}
    origins: dict[Node, Origin] = dict(made_by)
    for old, name in graph.names.items():
        made = new.get(old, old)
        if made is old or made not in names:
            names[made] = name
    for old, origin in graph.origins.items():
        made = new.get(old, old)
        if made is old:
            origins[made] = origin
        else:
            origins.setdefault(made, origin)
            origins.setdefault(old, origin)  # a replacement may read what it replaces
    outputs = [replace(output, node=new.get(output.node, output.node)) for output in graph.outputs]
    updates = [replace(update, value=new.get(update.value, update.value)) for update in graph.updates]
    return finish(graph.name, graph.inputs, outputs, updates, names, origins)


def follow(node: Node, new: dict[Node, Node], graph: Graph, recorder: Recorder) -> None:
    """The node on what its operands have become (`new`), with its origin, where any of them has become another."""
    if any(i in new for i in node.inputs):
        with recorder.at(graph.origins.get(node)):
            new[node] = node.on([new.get(i, i) for i in node.inputs])


def in_regions(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """`graph` with the graphs that its loops and branches hold changed (to graphs of the same operands and results):
    how passes go down into them."""
    if not any(node.op.is_control for node in graph.nodes()):
        return graph
    new: dict[Node, Node] = {}
    with Recorder() as recorder:
        for node in graph.nodes():
            op = node.op
            if op.is_control:
                held = {name: (region, change(region)) for name, region in regions_of(op)}
                changed: Any = {name: after for name, (before, after) in held.items() if after is not before}
                op = replace(op, **changed) if changed else op
            inputs = [new.get(i, i) for i in node.inputs]
            if op is not node.op or any(a is not b for a, b in zip(inputs, node.inputs)):
                with recorder.at(graph.origins.get(node)):
                    new[node] = Node.make(op, inputs) if op is not node.op else node.on(inputs)
    return rebuild(graph, new, recorder.origins) if new else graph


def rewrite(graph: Graph, rules: Sequence[Rule], rw: Rewriter, rounds: int = 10) -> Graph:
    """Apply the rules bottom-up until nothing changes, in the bodies of loops and branches first. IRError if that takes
    more than `rounds` sweeps (two rules undo each other). A rule may depend on nothing but the node it is given."""
    return _rewrite(graph, _State(rules, rw), rounds)


def _rewrite(graph: Graph, state: _State, rounds: int) -> Graph:
    graph = in_regions(graph, lambda region: _rewrite(region, state, rounds))
    rw = state.rw
    for _ in range(rounds):
        before = dict(rw.hits)
        after = _sweep(graph, state)
        if after is graph:
            return graph
        graph = after
    last = [name for name, hits in rw.hits.items() if hits != before.get(name, 0)]
    raise IRError(f"{rw.pass_name}: no fixed point after {rounds} rounds; rules still acting: {', '.join(last)}")


class _State:
    """What is kept between sweeps."""

    def __init__(self, rules: Sequence[Rule], rw: Rewriter) -> None:
        self.rules, self.rw = rules, rw
        self._by_op: dict[type[Primitive], list[Rule]] = {}
        #: nodes that no rule matches: nodes do not change, so none ever will
        self.settled: set[Node] = set()

    def rules_for(self, op: Primitive) -> list[Rule]:
        """The rules that look at this primitive, in order."""
        found = self._by_op.get(type(op))
        if found is None:
            found = self._by_op[type(op)] = [rule for rule in self.rules if isinstance(op, rule.roots)]
        return found


def _sweep(graph: Graph, state: _State) -> Graph:
    new: dict[Node, Node] = {}
    origins: dict[Node, Origin] = {}
    # notes what a rule makes, until it is known whether the rule may act
    trial = Recorder()
    trial.origin = DerivedOrigin(state.rw.pass_name, -1, ())
    with trial:
        for node in graph.nodes():
            made = node
            for source in node.inputs:
                if source in new:
                    made = node.on([new.get(i, i) for i in node.inputs])
                    if node in graph.origins:
                        origins.setdefault(made, graph.origins[node])
                    break
            if state.rules_for(made.op) and made not in state.settled:
                made = _at_node(made, node, graph, trial.origins, origins, state)
            if made is not node:
                new[node] = made
    return rebuild(graph, new, origins, state.rw.pass_name) if new else graph


def _at_node(
    made: Node, old: Node, graph: Graph, trial: dict[Node, Origin], origins: dict[Node, Origin], state: _State
) -> Node:
    """What the rules, one after the other, make of one node."""
    watcher = state.rw.watcher
    for _ in range(CHAIN):
        for rule in state.rules_for(made.op):
            trial.clear()
            if watcher is not None:
                watcher.tried(state.rw.pass_name, rule.name)
            try:
                replaced = rule.match(made)
            except TypeMismatch as problem:
                where = f"{state.rw.pass_name}: rule {rule.name} at {_called(graph, old)}"
                raise TypeMismatch(f"{where}: {problem}") from None
            if isinstance(replaced, Refused):
                state.rw.miss(rule.name, graph.names.get(old, ""), replaced.reason)
                continue
            if replaced is None or replaced is made:
                continue
            if not isinstance(replaced, Node):
                where = f"{state.rw.pass_name}: rule {rule.name} replaces {_called(graph, old)}"
                raise VerifyError("M1", f"{where} by {replaced!r}, which is no node")
            matched = [old, *(i for i in old.inputs if i.inputs)]
            parents = [graph.origins[n] for n in matched if n in graph.origins]
            if state.rw.strict:
                gone = _given_up(made, replaced, trial)
                parents += [o for o in map({**graph.origins, **origins}.get, gone) if o is not None and o.strict]
            origin = state.rw.act(rule.name, parents, _shown, made, replaced, old, graph)
            if origin is not None:
                same_type(f"{state.rw.pass_name}: rule {rule.name}", graph, old, replaced)
                for node in trial:
                    origins.setdefault(node, origin)
                made = replaced
                break
        else:
            state.settled.add(made)
            return made
    name = old.op.name
    raise IRError(f"{state.rw.pass_name}: {CHAIN} rules in a row apply to one {name}; two of them undo each other")


def _given_up(made: Node, replaced: Node, trial: Mapping[Node, Origin]) -> list[Node]:
    """The values below a node that its replacement is not made of."""
    kept = {replaced, *(i for node in trial for i in node.inputs)}.difference(trial)
    found: dict[Node, None] = {}
    stack = [made]
    while stack:
        node = stack.pop()
        if node not in kept and node not in found:
            found[node] = None
            stack += node.inputs
    return list(found)


def _shown(made: Node, replaced: Node, old: Node, graph: Graph) -> tuple[str, str]:
    """The node that a rule looks at, by the name of the value it stands for, and its replacement."""
    names = graph.names if made is old else {**graph.names, made: graph.names.get(old, made.op.name)}
    known = graph.names.get(replaced)
    return definition(made, names), expression(replaced, graph.names) if known is None else value_name(known)

"""Protects the propagation of shapes and types through symbol graphs: both ways, to a fixpoint, told by a Conflict."""

import pytest

from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.passes.tensor.infer_shape import Conflict, propagate


class Row:
    """A table row whose values unify."""

    def __init__(self, ins, outs, names):
        self.ins, self.outs, self.names = list(ins), list(outs), names


class Same:
    """An operator whose inputs and output have one value."""

    gradient = "yes"

    def __init__(self, inputs):
        self.inputs = inputs

    def list_inputs(self):
        return tuple(f"in{i}" for i in range(self.inputs))

    def list_aux(self):
        return ()

    def list_outputs(self):
        return ("output",)

    def complete(self, row):
        known = {v for v in (*row.ins, *row.outs) if v is not None}
        if len(known) > 1:
            raise ValueError(f"{sorted(known)} differ")
        for value in known:
            row.ins, row.outs = [value] * len(row.ins), [value] * len(row.outs)


def variable(name):
    return SymNode("null", name)


def same(name, *inputs):
    return SymNode("same", name, {}, [(n, 0) for n in inputs], Same(len(inputs)))


def run(known, *outputs):
    graph = SymGraph(tuple((n, 0) for n in outputs))
    given = {(n, 0): v for n, v in known.items()}
    found = propagate(graph, given, Row, lambda node, row: node.definition.complete(row))
    return {n.name: found.get((n, 0)) for n in graph.nodes()}


def test_forward_and_backward():
    a, b, c = variable("a"), variable("b"), variable("c")
    net = same("y", same("x", a, b), c)
    assert run({c: 7}, net) == dict.fromkeys("abxcy", 7)
    assert run({a: 7}, net) == dict.fromkeys("abxcy", 7)


def test_unknown_stays_unknown():
    a, b = variable("a"), variable("b")
    assert run({a: 7}, same("x", a), same("y", b)) == {"a": 7, "x": 7, "b": None, "y": None}


def test_zigzag_needs_many_sweeps():
    """Every link turns the direction of the information, so it takes one sweep each."""
    ends = [variable(f"v{i}") for i in range(40)]
    links = [same(f"l{i}", ends[i], ends[i + 1]) for i in reversed(range(39))]
    assert set(run({ends[0]: 3}, *links).values()) == {3}


def test_conflict_names_the_node():
    a, b = variable("a"), variable("b")
    with pytest.raises(Conflict, match=r"\[1, 2\] differ") as caught:
        run({a: 1, b: 2}, same("z", same("x", a), b))
    assert caught.value.node.name == "z"


def test_deep_chain():
    node = start = variable("a")
    for i in range(30_000):
        node = same(f"n{i}", node)
    assert run({start: 1}, node)[node.name] == 1
    top = variable("t")
    assert run({top: 2}, same("join", node, top))["a"] == 2

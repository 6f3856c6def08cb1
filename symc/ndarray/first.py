"""First calls of `mx.nd` with new types: how many of them numpy answers, in the interpreter of the tensor level.

Compiling an operator takes as long as numpy takes for millions of elements, and programs that call operators on ever
new shapes (a batch's last rows, sequences of many lengths, tests) call each a few times. So calls are interpreted until
that has cost about what a program costs. Answers of numpy and of the program agree as two orders of the same sums do;
where only that they agree to the bit makes sense, as for draws of random numbers, numpy answers only what has one
rounding at most.
"""

from __future__ import annotations

import math

from symc.ir.op import Input, Node
from symc.ir.prims.control import CustomGrad
from symc.ir.prims.elementwise import Elementwise
from symc.ir.prims.flow import Branch, Loop
from symc.ir.prims.linear import Contraction
from symc.ir.prims.window import Window
from symc.ir.tensor.graph import Graph
from symc.ir.types import F32, F64, I32, I64, TensorType, TupleType

#: calls that numpy answers at most, and on how many elements in all where it gives the bits of the program
FIRST, EXACT = 16, 1 << 13
#: nanoseconds of numpy, about, before there is a program; and those of a step without elements
BUDGET, STEP = 8_000_000, 3_000
#: what an element of exp and its like costs at least
FUNCTION = 10
#: the modules of the primitives that numpy has functions for
_KNOWN = frozenset(
    f"symc.ir.prims.{m}" for m in ("elementwise", "indexing", "linear", "movement", "reduce", "tuples", "window")
)
#: nanoseconds of an element, where numpy is slower than the primitive's cost says
_SLOW = {
    "scatter_add": 20, "scatter_along_add": 20, "scatter_nd": 20, "sort": 60, "gather": 5, "gather_along": 8,
    "gather_nd": 8, "digamma": 500, "trigamma": 500, "gamma": 500, "gammaln": 500, "erf": 100, "erfinv": 200,
}  # fmt: skip
#: primitives that move, choose, compare and convert values
_MOVED = frozenset((
    "input", "const", "reshape", "transpose", "slice", "pad", "concat", "broadcast", "iota", "gather", "gather_along",
    "gather_nd", "select", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "cast",
))  # fmt: skip
#: those that are exact of whole numbers, and those that round once, as IEEE 754 says
_WHOLE = frozenset(("add", "sub", "mul", "neg", "abs", "maximum", "minimum"))
_ROUNDED = frozenset(("add", "sub", "mul", "div", "neg", "abs", "sqrt", "floor", "ceil", "trunc"))


def first_calls(graph: Graph) -> int:
    """How many calls of a graph numpy answers before it is compiled."""
    if _exact(graph.nodes()) and elements_of(graph) <= EXACT:
        return FIRST
    work = nanoseconds(graph)
    return 0 if work is None else min(FIRST, BUDGET // max(work, 1))


def nanoseconds(graph: Graph) -> int | None:
    """How long numpy takes for a graph, about. None where its answer may be another than the program's."""
    total = 0
    for node in graph.nodes():
        if isinstance(node.op, Input):
            continue
        work = _nanoseconds(node)
        if work is None:
            return None
        total += work
    return total


def elements_of(graph: Graph) -> int:
    """How many elements all values of a graph have."""
    return sum(math.prod(t.shape) for n in graph.nodes() for t in _types(n))


def _single(node: Node) -> bool:
    return any(t.dtype == F32 for t in _types(node))


def _types(node: Node) -> tuple[TensorType, ...]:
    return node.type.items if isinstance(node.type, TupleType) else (node.type,)


def _nanoseconds(node: Node) -> int | None:
    op = node.op
    if isinstance(op, CustomGrad):
        return nanoseconds(op.body)
    if isinstance(op, (Loop, Branch)):
        held = (op.body, op.cond) if isinstance(op, Loop) else (op.then, op.other)
        parts = [nanoseconds(graph) for graph in held if graph is not None]
        turns = op.trips if isinstance(op, Loop) else 1
        return None if None in parts else STEP + turns * sum(part for part in parts if part is not None)
    # numpy's functions of single precision are units off where those of programs are not
    if type(op).__module__ not in _KNOWN or (isinstance(op, Elementwise) and op.cost >= FUNCTION and _single(node)):
        return None
    if isinstance(op, Contraction):
        return STEP + op.multiply_adds(node)
    elements = sum(t.size for t in _types(node)) + sum(t.size for i in node.inputs for t in _types(i))
    if isinstance(op, Window):
        return (STEP + elements) * math.prod(op.size)
    return STEP + elements * _SLOW.get(op.name, max(op.cost, 1))


def _exact(nodes: list[Node]) -> bool:
    """Whether numpy gives the very bits that a program would: values are moved, chosen, compared and converted, or
    rounded by one operation, so that no pass can round in another order."""
    rounded = [n for n in nodes if n.op.name not in _MOVED and not (n.op.name in _WHOLE and n.dtype in (I32, I64))]
    if not rounded:
        return True
    once = len(rounded) == 1 and rounded[0].op.name in _ROUNDED and rounded[0].dtype in (F32, F64)
    # a conversion before or after the operation may be computed in another type
    return once and not any(n.op.name == "cast" for n in nodes)

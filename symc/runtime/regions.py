"""Loops and branches as entries of a table: their bodies are programs of their own, compiled with the step, on buffers
of their own; a native kernel (symc.runtime.control) moves rows and carries between them and the step's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symc.ir.op import parameter
from symc.ir.prims.control import Get
from symc.ir.prims.flow import Branch, Loop
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.graph import Graph, Node, Origin, finish
from symc.ir.types import Array
from symc.runtime.control import Move, Words, branch_kernel, branch_record, loop_kernel, loop_record
from symc.runtime.memory import address_of, constant, empty
from symc.runtime.table import Entry


def control_entry(step: KernelStep, values: Mapping[str, Array]) -> tuple[Entry, list[object]] | None:
    """The table entry of a step that is a loop or a branch over these values, and what must live as long as it; None
    for other steps."""
    node = next((n for n in step.body.nodes() if isinstance(n.op, (Loop, Branch))), None)
    if node is None:
        return None
    held = {i: values[name] for i, name in zip(step.body.inputs, step.operands)}
    operands = [held[i] if i in held else constant(i) for i in node.inputs]
    results: dict[int, list[Array]] = {}
    for result, (_, made) in zip(step.results, step.body.outputs):
        assert isinstance(made.op, Get) and made.inputs[0] is node, (
            f"{node.op.name} shares its step with {made.op.name}"
        )
        results.setdefault(made.op.index, []).append(values[result.name])
    build = _loop if isinstance(node.op, Loop) else _branch
    kernel, record, keep = build(node, operands, results, step.origin)
    return Entry(kernel, [int(record.ctypes.data)]), [record, operands, results, *keep]


class _Region:
    """A compiled graph on buffers of its own: `inputs` and `outputs` in its order."""

    def __init__(self, graph: Graph, origin: Origin) -> None:
        from symc.compile import compile_graph

        buffers = {parameter(n).input_name: empty(n.shape, n.dtype.numpy) for n in graph.inputs}
        placed = finish("body", graph.inputs, graph.outputs, (), {}, dict.fromkeys(graph.nodes(), origin))
        self.instance = compile_graph(placed).bind(buffers)
        self.inputs = list(buffers.values())
        self.outputs = self.instance.outputs


def _copy(target: Array, source: Array) -> Move:
    return Move(address_of(target), address_of(source), target.nbytes)


def _all(targets: Sequence[Array], sources: Sequence[Array]) -> list[Move]:
    return [_copy(target, source) for target, source in zip(targets, sources)]


#: a kernel's address, its record, and what must live as long
Built = tuple[int, Words, list[object]]


def _loop(node: Node, operands: Sequence[Array], results: Mapping[int, list[Array]], origin: Origin) -> Built:
    op = node.op
    assert isinstance(op, Loop)
    body = _Region(op.body, origin)
    cond = _Region(op.cond, origin) if op.cond is not None else None
    readers = [region for region in (body, cond) if region is not None]
    first, last, head = op.carries, op.carries + op.xs, int(cond is not None)
    fixed = [*operands[:first], *operands[last:]]
    once = [move for r in readers for move in _all([*r.inputs[:first], *r.inputs[last:]], fixed)]
    rows = [
        Move(address_of(row), address_of(x), row.nbytes, 0, row.nbytes)
        for r in readers
        for row, x in zip(r.inputs[first:last], operands[first:last])
    ]
    after = [move for r in readers for move in _all(r.inputs[:first], body.outputs)]
    for at, y in enumerate(body.outputs[first:]):
        for stacked in results.get(head + first + at, ()):
            after.append(Move(address_of(stacked), address_of(y), y.nbytes, y.nbytes))
            if cond is not None:  # rows of turns that are not taken are zero
                once.append(Move(address_of(stacked), 0, stacked.nbytes))
    ends = [_copy(result, body.inputs[at]) for at in range(first) for result in results.get(head + at, ())]
    counts = results.get(0, []) if cond is not None else []
    ends += _all(counts[1:], counts[:1] * len(counts[1:]))
    truth = address_of(cond.outputs[0]) if cond is not None else 0
    record, keep = loop_record(
        op.trips, body.instance.table, cond.instance.table if cond is not None else None, truth,
        address_of(counts[0]) if counts else 0, (once, rows, after, ends),
    )  # fmt: skip
    return loop_kernel(), record, [*keep, *readers]


def _branch(node: Node, operands: Sequence[Array], results: Mapping[int, list[Array]], origin: Origin) -> Built:
    op = node.op
    assert isinstance(op, Branch)
    sides = []
    regions: list[object] = []
    for graph in (op.then, op.other):
        region = _Region(graph, origin)
        regions.append(region)
        after = [_copy(result, region.outputs[at]) for at, given in results.items() for result in given]
        sides.append((region.instance.table, _all(region.inputs, operands[1:]), after))
    record, keep = branch_record(address_of(operands[0]), sides)
    return branch_kernel(), record, [*keep, *regions]

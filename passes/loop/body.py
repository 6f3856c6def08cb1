"""The loops of one kernel: by its form those of a space, of rows, or of a primitive with a loop nest of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symc.ir.index import Affine
from symc.ir.loop.nodes import Buffer, LoopKernel
from symc.ir.op import Index, Node, Ref, parameter
from symc.ir.prims.movement import Broadcast
from symc.ir.prims.reduce import Reduction, reduction_of
from symc.ir.program.form import Form
from symc.ir.tensor.graph import Graph
from symc.passes.loop.build import Builder
from symc.passes.loop.coalesce import coalesce
from symc.passes.loop.nests import NESTS

#: an elementwise value this dear is kept for later passes over the same row instead of being computed again
DEAR = 10


def lower_body(body: Graph, form: Form, name: str) -> LoopKernel:
    """The loop kernel of a (canonical) body: its buffers are the inputs, then the outputs."""
    body, form = coalesce(body, form)
    outs = [Buffer(out.name, out.node.tensor, "out") for out in body.outputs]
    kernel = _Kernel(body, outs)
    if form.kind == "nest":
        # others whose results it reads element by element stand before it
        nest = next(node for node in reversed(body.nodes()) if node.op.nest)
        reads = [kernel.reader(i) for i in nest.inputs]
        with kernel.b.at(body.origins.get(nest), nest.op.name):
            NESTS[type(nest.op)](kernel.b, nest, reads, kernel.finisher(nest))
    else:
        first = body.outputs[0].node
        with kernel.b.at(body.origins.get(first), first.op.name):
            if form.kind == "map":
                kernel.b.nest(form.space, lambda index: kernel.store_all(kernel.results(), index))
            else:
                _Rows(kernel, form).loops()
    return LoopKernel(name, (*kernel.ins.values(), *outs), kernel.b.body())


Result = tuple[Buffer, Node]


class _Kernel:
    """The state of lowering one body: buffers, and the element at an index of any node."""

    def __init__(self, body: Graph, outs: list[Buffer]) -> None:
        self.body, self.outs, self.b = body, outs, Builder()
        self.ins = {i: Buffer(parameter(i).input_name, i.tensor, "in") for i in body.inputs}
        self.stored: dict[Node, Callable[[Index], Ref]] = {}

    def value(self, node: Node, index: Index) -> Ref:
        """The scalar of `node` at `index`, computed here and now."""
        b = self.b
        known = b.remembered((node, index))
        if known is not None:
            return known
        with b.at(self.body.origins.get(node), node.op.name):
            if node in self.ins:
                made = b.load(self.ins[node], index)
            elif node in self.stored:
                made = self.stored[node](index)
            else:
                element = node.op.element(b, node, index, [self.reader(i) for i in node.inputs])
                assert element is not None, f"{node.op.name} has no element here"
                made = element
        if not b.is_guarded:
            b.remember((node, index), made)
        return made

    def reader(self, node: Node) -> Callable[[Index], Ref]:
        return lambda index: self.value(node, index)

    def results(self) -> list[Result]:
        """The buffers of the outputs, and what they hold."""
        return [(buffer, node) for node, buffer in zip(self.body.output_nodes, self.outs)]

    def finisher(self, nest: Node) -> Callable[[Index, Ref], None]:
        """Stores the nest's result at an index, after the epilogue."""

        def store(index: Index, value: Ref) -> None:
            self.b.remember((nest, index), value)
            self.store_all(self.results(), index)

        return store

    def store_all(self, results: list[Result], index: Index) -> None:
        """Compute every result at an index, then store them: a result may lie where another one's operand does."""
        self.put_all(results, [self.value(node, index) for _, node in results], index)

    def put_all(self, results: list[Result], values: list[Ref], index: Index) -> None:
        """Store the values of results at an index."""
        for (buffer, node), value in zip(results, values):
            with self.b.at(self.body.origins.get(node), node.op.name):
                self.b.store(value, buffer, index)


class _Rows:
    """The loops of a row kernel: over the axes that stay; inside, one pass over the reduced axes for each level of
    reductions (a stage), and one that stores the values of the whole row."""

    def __init__(self, kernel: _Kernel, form: Form) -> None:
        self.kernel, self.form, self.b = kernel, form, kernel.b
        self.row = tuple(form.space[a] for a in form.axes)
        level: dict[Node, int] = {}
        self.stages: list[list[Node]] = []
        for node in kernel.body.nodes():
            level[node] = max((level[i] for i in node.inputs), default=0)
            if isinstance(node.op, Reduction):
                if level[node] == len(self.stages):
                    self.stages.append([])
                self.stages[level[node]].append(node)
                level[node] += 1
        results = list(zip(kernel.results(), form.results))
        self.finals = [result for result, access in results if access == form.element]
        self.singles = [result for result, access in results if access != form.element]
        #: what every pass computes at an index
        self.cones = [_cone([r.inputs[0] for r in stage]) for stage in self.stages]
        if self.finals:
            self.cones.append(_cone([node for _, node in self.finals]))
        self.dear = self._dear_values()

    def loops(self) -> None:
        """All rows."""
        self.b.nest(tuple(self.form.space[a] for a in self.form.row), self._one_row)

    def _one_row(self, outside: Index) -> None:
        kernel, b = self.kernel, self.b
        holders = {node: b.alloc(node.op.name, node.tensor.with_shape(self.row)) for node in self.dear}
        for stage in range(len(self.stages)):
            self._start(stage, outside, holders)
            self._fold(stage, outside, holders)
        totals = [kernel.value(node, outside) for _, node in self.singles]
        if self.finals:
            self._start(len(self.stages), outside, holders)
            b.nest(self.row, lambda inside: kernel.store_all(self.finals, self._index(outside, inside)))
        # last of all: a value of a row may lie where an operand of the whole row does
        kernel.put_all(self.singles, totals, outside)
        kernel.stored.clear()

    def _fold(self, stage: int, outside: Index, holders: dict[Node, Buffer]) -> None:
        """The reductions of a stage, in one pass."""
        kernel, b, group = self.kernel, self.b, self.stages[stage]
        inits = [b.const(reduction_of(r).identity(r.dtype), r.dtype.wide) for r in group]

        def step(inside: Index, carried: list[Ref]) -> list[Ref]:
            self._keep(stage, outside, inside, holders)
            made = []
            for r, held in zip(group, carried):
                with b.at(kernel.body.origins.get(r), r.op.name):
                    value = b.cast(kernel.value(r.inputs[0], self._index(outside, inside)), held.dtype)
                    made.append(b.apply(reduction_of(r).combine, [held, value]))
            return made

        with b.at(kernel.body.origins.get(group[0]), group[0].op.name):
            sums = b.reduce(self.row, inits, step, [reduction_of(r).combine for r in group])
        for r, total in zip(group, sums):
            b.remember((r, outside), b.cast(total, r.dtype))

    def _index(self, outside: Index, inside: Index) -> Index:
        """The index of the space at a row and a place in it."""
        index: list[Affine] = [Affine()] * len(self.form.space)
        for axes, part in ((self.form.row, outside), (self.form.axes, inside)):
            for a, i in zip(axes, part):
                index[a] = i
        return tuple(index)

    # -- values that outlive a pass

    def _dear_values(self) -> dict[Node, int]:
        """Values that several passes over a row need and that cost more than a load: {value: first pass}."""
        kept: dict[Node, int] = {}
        for node in self.kernel.body.nodes():
            stages = [s for s, nodes in enumerate(self.cones) if node in nodes]
            if len(stages) > 1 and node.op.cost >= DEAR:
                kept[node] = stages[0]
        return kept

    def _keep(self, stage: int, outside: Index, inside: Index, holders: dict[Node, Buffer]) -> None:
        """Store the dear values that are computed in this pass first."""
        for node, first in self.dear.items():
            if first == stage:
                value = self.kernel.value(node, self._index(outside, inside))
                with self.b.at(self.kernel.body.origins.get(node), node.op.name):
                    self.b.store(value, holders[node], inside)

    def _start(self, stage: int, outside: Index, holders: dict[Node, Buffer]) -> None:
        """What a pass finds: dear values of earlier ones in memory, and values of the row computed."""
        for node, first in self.dear.items():
            if first < stage:
                self.kernel.stored[node] = self._reader(holders[node])
        rows = tuple(self.form.space[a] for a in self.form.row)
        for node in self.kernel.body.nodes():
            if node in self.cones[stage] and isinstance(node.op, Broadcast) and self.form.axes:
                (source,) = node.inputs
                if node.op.dims == self.form.row and source.shape == rows:
                    self.kernel.value(source, outside)

    def _reader(self, holder: Buffer) -> Callable[[Index], Ref]:
        return lambda index: self.b.load_fresh(holder, tuple(index[a] for a in self.form.axes))


def _cone(roots: Sequence[Node]) -> set[Node]:
    """The values computed element by element for these roots."""
    found: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found and node.inputs:
            found.add(node)
            if node.op.elementwise:
                stack.extend(i for i in node.inputs if i.shape == node.shape)
    return found

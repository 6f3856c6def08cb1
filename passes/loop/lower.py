"""lower: every kernel of a program becomes a loop nest, written plainly.

Row kernels follow from the primitives' element rules; contractions and the other nests have theirs in
symc.passes.loop.nests. The loops say which turns are independent; how they run (threads, vectors, register tiles)
is the next pass's decision. Equal kernels are lowered once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Union

from symc.ir.index import Affine
from symc.ir.loop.nodes import Buffer, LoopKernel, Ref
from symc.ir.modules import LoopModule
from symc.ir.op import Index, Input, Primitive, has_element, parameter
from symc.ir.prims.elementwise import Const
from symc.ir.prims.movement import Slice
from symc.ir.prims.reduce import Reduction, reduction_of
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.tensor.graph import Graph, Node, Recorder, finish, users_of
from symc.ir.types import Shape, strides_of
from symc.passes.loop.build import Builder
from symc.passes.loop.coalesce import coalesce
from symc.passes.loop.nests import NESTS, accumulator
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter
from symc.passes.program.units import is_pointwise

__all__ = ["LoopModule", "Lower"]

#: an elementwise value this dear is kept for later passes over the same row instead of being computed again
DEAR = 10


@register_pass("lower", takes="program", gives="loop", numerics="reassoc")
class Lower(Pass):
    """Write every kernel as loops."""

    def run(self, program: Program, rw: Rewriter) -> LoopModule:
        kernels = _Kernels()
        calls = [kernels.call(step) if isinstance(step, KernelStep) else (None, ()) for step in program.steps]
        shifts = tuple(moved for _, moved in calls)
        return LoopModule(program, tuple(kernels.made), tuple(at for at, _ in calls), shifts if any(shifts) else ())


#: a step's kernel (None: it runs in the host), and the elements by which its operands' addresses are moved on
Call = tuple[Union[int, None], tuple[int, ...]]


class _Kernels:
    """The kernels that steps have in common."""

    def __init__(self) -> None:
        self.made: list[LoopKernel] = []
        self._known: dict[tuple[Node, ...], int] = {}
        self._calls: dict[tuple[Node, ...], Call] = {}

    def call(self, step: KernelStep) -> Call:
        """What runs a step."""
        key = step.key()
        found = self._calls.get(key)
        if found is None:
            found = self._calls[key] = self._new(step)
        return found

    def _new(self, step: KernelStep) -> Call:
        if runs_on_host(step.body.nodes()):
            return None, ()
        low = first_slices(step.body)
        new = from_first_slices(step.body, low)
        key = tuple(new.get(node, node) for node in step.key())
        if key not in self._known:
            self._known[key] = len(self.made)
            name = f"k{len(self.made)}.{step.label}"
            self.made.append(replace(lower_body(canonical_body(step.body, new), name), origin=step.origin))
        moved = tuple(sum(b * s for b, s in zip(low.get(i, ()), strides_of(i.shape))) for i in step.body.inputs)
        return self._known[key], moved if any(moved) else ()


def runs_on_host(nodes: Sequence[Node]) -> bool:
    """Whether a body has no loop nest and is evaluated by the interpreter: calls of Python functions, and primitives
    without a nest (sorting, control flow)."""
    return any(
        type(n.op) not in NESTS and not isinstance(n.op, Reduction)
        if n.inputs
        else not isinstance(n.op, (Input, Const))
        for n in nodes
        if not is_pointwise(n.op)
    )


def first_slices(body: Graph) -> dict[Node, tuple[int, ...]]:
    """Where each input of the body is read from: an input that is only read through slices from where the first of
    them begins, so that the steps of an unrolled recurrence, each with a slice of its own, share their kernels."""
    if not any(isinstance(node.op, Slice) for node in body.nodes()):
        return {}
    users = users_of(body.nodes())
    return {node: _first_slice(users.get(node, ())) for node in body.inputs}


def from_first_slices(body: Graph, low: Mapping[Node, tuple[int, ...]]) -> dict[Node, Node]:
    """What the body's nodes are when slices count from the first."""
    new: dict[Node, Node] = {}
    if any(low.values()):
        with Recorder():
            for node in body.nodes():
                new[node] = Node.make(_moved(node, low), [new[i] for i in node.inputs]) if node.inputs else node
    return new


def canonical_body(body: Graph, new: Mapping[Node, Node]) -> Graph:
    """The body with nodes replaced and outputs named by position."""
    origins = {new.get(node, node): origin for node, origin in body.origins.items()}
    outputs = [(f"out{at}", new.get(node, node)) for at, (_, node) in enumerate(body.outputs)]
    return finish("body", body.inputs, outputs, (), {}, origins)


def _first_slice(users: Sequence[Node]) -> tuple[int, ...]:
    """Where the slices of a value begin, if slices with positive steps are all that reads it; else nothing."""
    slices = [u.op for u in users if isinstance(u.op, Slice) and min(u.op.step, default=1) > 0 and u.tensor.size]
    if not slices or len(slices) != len(users):
        return ()
    return tuple(min(begins) for begins in zip(*(s.begin for s in slices)))


def _moved(node: Node, low: Mapping[Node, tuple[int, ...]]) -> Primitive:
    """The node's operation, counting from where its operand's first slice begins."""
    first = low.get(node.inputs[0], ())
    if not first or not isinstance(node.op, Slice):
        return node.op
    begin = tuple(b - f for b, f in zip(node.op.begin, first))
    return replace(node.op, begin=begin, end=tuple(e - f for e, f in zip(node.op.end, first)))


def lower_body(body: Graph, name: str) -> LoopKernel:
    """The loop kernel of a (canonical) body: its buffers are the inputs, then the outputs."""
    nests = [n for n in body.nodes() if n.inputs and not is_pointwise(n.op) and not isinstance(n.op, Reduction)]
    body, space, axes = (body, (), ()) if nests else coalesce(body)
    outs = [Buffer(out, node.tensor, "out") for out, node in body.outputs]
    kernel = _Kernel(body, outs)
    if nests:
        nest = nests[0]
        reads = [kernel.reader(i) for i in nest.inputs]
        with kernel.b.at(body.origins.get(nest), nest.op.name):
            NESTS[type(nest.op)](kernel.b, nest, reads, kernel.finisher(nest))
    else:
        _lower_rows(kernel, space, axes)
    return LoopKernel(name, (*kernel.ins.values(), *outs), kernel.b.body())


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
        if not b._guard:
            b.remember((node, index), made)
        return made

    def reader(self, node: Node) -> Callable[[Index], Ref]:
        return lambda index: self.value(node, index)

    def finisher(self, nest: Node) -> Callable[[Index, Ref], None]:
        """Stores the nest's result at an index, after the epilogue."""

        def store(index: Index, value: Ref) -> None:
            self.b.remember((nest, index), value)
            self.store_all([(buffer, node) for (_, node), buffer in zip(self.body.outputs, self.outs)], index)

        return store

    def store_all(self, results: list[tuple[Buffer, Node]], index: Index) -> None:
        """Compute every result at an index, then store them: a result may lie where another one's operand does."""
        self.put_all(results, [self.value(node, index) for _, node in results], index)

    def put_all(self, results: list[tuple[Buffer, Node]], values: list[Ref], index: Index) -> None:
        """Store the values of results at an index."""
        for (buffer, node), value in zip(results, values):
            with self.b.at(self.body.origins.get(node), node.op.name):
                self.b.store(value, buffer, index)


def _lower_rows(kernel: _Kernel, space: Shape, axes: tuple[int, ...]) -> None:
    """Loops over the axes that stay; inside, one pass over the reduced axes for each level of reductions, and one
    that stores the values of the whole row."""
    body, b = kernel.body, kernel.b
    outer = tuple(a for a in range(len(space)) if a not in axes)
    nodes = body.nodes()
    reductions = [n for n in nodes if isinstance(n.op, Reduction)]
    is_full = _full_nodes(body, reductions, bool(axes))
    level: dict[Node, int] = {}
    for node in nodes:
        below = max((level[i] for i in node.inputs), default=0)
        level[node] = below + 1 if isinstance(node.op, Reduction) else below
    finals = [(buffer, node) for buffer, (_, node) in zip(kernel.outs, body.outputs) if is_full(node)]
    singles = [(buffer, node) for buffer, (_, node) in zip(kernel.outs, body.outputs) if not is_full(node)]
    passes: list[list[Node]] = [
        [r for r in reductions if level[r] == at] for at in range(1, max((level[r] for r in reductions), default=0) + 1)
    ]
    needed = [_full_cone([r.inputs[0] for r in group], is_full) for group in passes]
    if finals:
        needed.append(_full_cone([n for _, n in finals], is_full))
    row = tuple(space[a] for a in axes)

    def at_full(outside: Index, inside: Index) -> Index:
        index: list[Affine] = [Affine()] * len(space)
        for a, i in zip(outer, outside):
            index[a] = i
        for a, i in zip(axes, inside):
            index[a] = i
        return tuple(index)

    def one_row(outside: Index) -> None:
        kept = _dear_values(needed, kernel, row) if axes else {}
        holders = {node: b.alloc(node.op.name, node.tensor.with_shape(row)) for node in kept}

        def row_of(holder: Buffer) -> Callable[[Index], Ref]:
            return lambda index: b.load_fresh(holder, tuple(index[a] for a in axes))

        def keep(stage: int, inside: Index) -> None:
            for node, first in kept.items():
                if first == stage:
                    value = kernel.value(node, at_full(outside, inside))
                    with b.at(body.origins.get(node), node.op.name):
                        b.store(value, holders[node], inside)

        def use(stage: int) -> None:
            for node, first in kept.items():
                if first < stage:
                    kernel.stored[node] = row_of(holders[node])

        for stage, group in enumerate(passes):
            use(stage)
            _hoist(kernel, needed[stage], outer, outside, is_full)
            inits = [b.const(reduction_of(r).identity(r.dtype), accumulator(r.dtype)) for r in group]

            def step(inside: Index, carried: list[Ref], group: list[Node] = group, stage: int = stage) -> list[Ref]:
                keep(stage, inside)
                made = []
                for r, held in zip(group, carried):
                    with b.at(body.origins.get(r), r.op.name):
                        value = b.cast(kernel.value(r.inputs[0], at_full(outside, inside)), held.dtype)
                        made.append(b.apply(reduction_of(r).combine, [held, value]))
                return made

            with b.at(body.origins.get(group[0]), group[0].op.name):
                sums = b.reduce(row, inits, step, [reduction_of(r).combine for r in group])
            for r, total in zip(group, sums):
                b.remember((r, outside), b.cast(total, r.dtype))
        totals = [kernel.value(node, outside) for _, node in singles]
        if finals:
            use(len(passes))
            _hoist(kernel, needed[-1], outer, outside, is_full)

            b.nest(row, lambda inside: kernel.store_all(finals, at_full(outside, inside)))
        # last of all: a value of a row may lie where an operand of the whole row does
        kernel.put_all(singles, totals, outside)
        kernel.stored.clear()

    with b.at(body.origins.get(body.outputs[0][1]), body.outputs[0][1].op.name):
        b.nest(tuple(space[a] for a in outer), one_row)


def _full_nodes(body: Graph, reductions: list[Node], rows: bool) -> Callable[[Node], bool]:
    """Tells the values of the whole space from those of a row."""
    if not rows:
        return lambda node: True
    full: set[Node] = set()
    stack = [r.inputs[0] for r in reductions]
    while stack:
        node = stack.pop()
        if node in full or not node.shape:
            continue
        full.add(node)
        if node.op.elementwise:
            stack.extend(i for i in node.inputs if i.shape == node.shape)
    # upwards: what is elementwise on a full value is full
    for node in body.nodes():
        if node.op.elementwise and any(i in full and i.shape == node.shape for i in node.inputs):
            full.add(node)
    space = reductions[0].inputs[0].shape
    outer_rank = len(space) - len(reduction_of(reductions[0]).axes)
    for node in body.nodes():
        if node.rank == len(space) and node.shape == space and node.rank != outer_rank:
            full.add(node)
    return full.__contains__


def _full_cone(roots: list[Node], is_full: Callable[[Node], bool]) -> set[Node]:
    """The values computed per element for these roots."""
    found: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found and node.inputs:
            found.add(node)
            if node.op.elementwise:
                stack.extend(i for i in node.inputs if is_full(i))
    return found


def _dear_values(needed: list[set[Node]], kernel: _Kernel, row: Shape) -> dict[Node, int]:
    """Values that several passes over a row need and that cost more than a load: {value: first pass}."""
    kept: dict[Node, int] = {}
    for node in kernel.body.nodes():
        stages = [s for s, nodes in enumerate(needed) if node in nodes]
        if len(stages) > 1 and node.op.cost >= DEAR:
            kept[node] = stages[0]
    return kept


def _hoist(
    kernel: _Kernel, cone: set[Node], outer: tuple[int, ...], outside: Index, is_full: Callable[[Node], bool]
) -> None:
    """Compute what a pass reads per row (values broadcast from the axes `outer`) once, before its loop."""
    for node in kernel.body.nodes():
        if node in cone and not node.op.elementwise and len(node.inputs) == 1:
            source = node.inputs[0]
            if not is_full(source) and getattr(node.op, "dims", None) == outer and has_element(node.op):
                kernel.value(source, outside)

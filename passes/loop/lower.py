"""lower: every kernel of a program becomes a loop nest, written plainly.

Row kernels follow from the primitives' element rules; contractions and the other nests have theirs in
symc.passes.loop.nests. The loops say which turns are independent; how they run (threads, vectors, register tiles)
is the next pass's decision. Equal kernels are lowered once; their parameters have the names of the values of the step
that calls them first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.loop.nodes import Alloc, Load, LoopKernel, Stmt, Store, map_body, walk
from symc.ir.modules import Calls, LoopModule
from symc.ir.op import Node, Primitive, Recorder
from symc.ir.prims.movement import Slice
from symc.ir.program.form import Form
from symc.ir.program.nodes import KernelStep, Program, regions_of_step
from symc.ir.tensor.graph import Graph, finish, fresh_name, users_of
from symc.ir.types import strides_of
from symc.passes.loop.body import lower_body
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter

__all__ = ["LoopModule", "Lower"]


@register_pass("lower", "program", "loop", numerics="reassoc", requires=("planned",), breaks=("chosen", "scheduled"))
class Lower(Pass):
    """Write every kernel as loops."""

    def run(self, program: Program, rw: Rewriter) -> LoopModule:
        found = Kernels(program)
        called = found.calls
        return LoopModule(program, found.written(), called.calls, called.shifts, called.regions)


#: a step's kernel (None: it runs in the host), and the elements by which its operands' addresses are moved on
Call = tuple[Union[int, None], tuple[int, ...]]


class KernelKey(NamedTuple):
    """All that a kernel's loops follow from, but for what its values are called: nodes are interned. A kernel in a
    strict region is scheduled in another way than its like elsewhere."""

    nodes: tuple[Node, ...]
    form: Form
    strict: bool = False


class Kernels:
    """The kernels that the steps of a program, and of those inside of its steps, have in common. Which kernels there
    are is known at once (`keys`); their loops are `written` for whoever needs them."""

    def __init__(self, program: Program) -> None:
        #: by number: what each kernel follows from, and the step that calls it first with what its nodes are then
        self.keys: list[KernelKey] = []
        self._firsts: list[tuple[KernelStep, dict[Node, Node]]] = []
        self._known: dict[KernelKey, int] = {}
        self._found: dict[tuple[tuple[Node, ...], bool], Call] = {}
        #: operands whose memory a result of a kernel takes over, in some call
        self._over: dict[tuple[int, int], set[int]] = {}
        self.calls = self._calls(program)

    def _calls(self, program: Program) -> Calls:
        """What runs the steps of a program."""
        found = [self._call(step) if isinstance(step, KernelStep) else (None, ()) for step in program.steps]
        shifts = tuple(moved for _, moved in found)
        regions = tuple(
            tuple(self._calls(region.program) for region in regions_of_step(step)) for step in program.steps
        )
        for step, (number, _) in zip(program.steps, found):
            if number is not None and isinstance(step, KernelStep):
                self._overwrite(number, step)
        return Calls(tuple(at for at, _ in found), shifts if any(shifts) else (), regions if any(regions) else ())

    def _overwrite(self, number: int, step: KernelStep) -> None:
        for at, result in enumerate(step.results):
            if result.inplace:
                self._over.setdefault((number, at), set()).add(step.operands.index(result.inplace))

    def _call(self, step: KernelStep) -> Call:
        """What runs a step."""
        key = step.key(), step.origin.strict
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._new(step)
        return found

    def _new(self, step: KernelStep) -> Call:
        if not step.form.kind:
            names = ", ".join(f"%{r.name}" for r in step.results)
            raise IRError(f"lower: the kernel of {names} says no form, by which its loops are written")
        if step.form.kind == "host":
            return None, ()
        low = first_slices(step.body)
        new = from_first_slices(step.body, low)
        key = KernelKey(tuple(new.get(node, node) for node in step.key()), step.form, step.origin.strict)
        if key not in self._known:
            self._known[key] = len(self.keys)
            self.keys.append(key)
            self._firsts.append((step, new))
        moved = tuple(sum(b * s for b, s in zip(low.get(i, ()), strides_of(i.shape))) for i in step.body.inputs)
        return self._known[key], moved if any(moved) else ()

    def written(self) -> tuple[LoopKernel, ...]:
        """The loops of all kernels, with the memory that their buffers may share."""
        made: list[LoopKernel] = []
        for number, (step, new) in enumerate(self._firsts):
            name = f"k{number}.{step.label}"
            kernel = named_buffers(lower_body(canonical_body(step.body, new), step.form, name), step)
            made.append(replace(kernel, origin=step.origin))
        for (number, at), operands in self._over.items():
            kernel = made[number]
            buffers = list(kernel.buffers)
            out = next(i for i, b in enumerate(buffers) if b.mode == "out") + at
            buffers[out] = replace(buffers[out], alias=tuple(buffers[i].name for i in sorted(operands)))
            made[number] = replace(kernel, buffers=tuple(buffers))
        return tuple(made)


def named_buffers(kernel: LoopKernel, step: KernelStep) -> LoopKernel:
    """The kernel with its parameters named as the values of a step that calls it."""
    return with_buffers(kernel, [*step.operands, *(result.name for result in step.results)])


def with_buffers(kernel: LoopKernel, wanted: Sequence[str]) -> LoopKernel:
    """The kernel with its parameters named so, as far as no scratch buffer is."""
    taken = {stmt.buffer.name for stmt in walk(kernel.body) if isinstance(stmt, Alloc)}
    names: dict[str, str] = {}
    for buffer, value in zip(kernel.buffers, wanted):
        name = fresh_name(value, taken)
        taken.add(name)
        names[buffer.name] = name

    def renamed(stmt: Stmt) -> Stmt:
        if isinstance(stmt, (Load, Store)) and stmt.buffer in names:
            return replace(stmt, buffer=names[stmt.buffer])
        return stmt

    buffers = tuple(replace(buffer, name=names[buffer.name]) for buffer in kernel.buffers)
    return replace(kernel, buffers=buffers, body=map_body(kernel.body, renamed))


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
    outputs = [(f"out{at}", new.get(node, node)) for at, node in enumerate(body.output_nodes)]
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

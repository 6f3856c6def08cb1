"""Passes that are wrong on purpose, as someone outside of the project would write them. Loaded with --load."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from symc.ir.loop.nodes import Carry, For, Let, Load, LoopKernel, Store, map_body
from symc.ir.modules import LoopModule
from symc.ir.op import Node, Primitive, Recorder, Ref, primitive
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Dot
from symc.ir.prims.movement import Broadcast, Pad, Slice
from symc.ir.prims.reduce import Max, Sum, reduce_sum
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.tensor.graph import Graph
from symc.ir.types import F16, F32, F64
from symc.passes.manager.rewrite import Rule, rebuild, rewrite
from symc.passes.pipeline import Pass, register_pass

# --------------------------------------------------------------------------------------------- rules of tensor graphs


def ruled(name: str, match: Any, numerics: str = "exact") -> None:
    """Register a pass of one rule that acts once at a node."""

    @register_pass(name, numerics=numerics)
    class Broken(Pass):
        def run(self, graph, rw):
            made = set()

            def once(node):
                found = None if node in made else match(node)
                if found is not None:
                    made.update((node, found))
                return found

            return rewrite(graph, [Rule(name.replace("_", "-"), once)], rw)


def wrong_axis(node: Node) -> Node | None:
    """The bias along the rows."""
    if isinstance(node.op, Broadcast) and node.op.dims == (1,) and node.shape == (3, 3):
        return Node.make(replace(node.op, dims=(0,)), node.inputs)
    return None


def missing_broadcast(node: Node) -> Node | None:
    """No bias."""
    return node.inputs[0] if node.op == ew.add and isinstance(node.inputs[1].op, Broadcast) else None


def swapped_operands(node: Node) -> Node | None:
    return node.on(node.inputs[::-1]) if node.op == ew.sub else None


def sign_error(node: Node) -> Node | None:
    return ew.add(*node.inputs) if node.op == ew.sub else None


def dropped_cast(node: Node) -> Node | None:
    """cast(cast(x, f16), f32) -> x."""
    inner = node.inputs[0] if node.inputs else None
    if inner is not None and node.op.name == inner.op.name == "cast" and inner.inputs[0].type == node.type:
        return inner.inputs[0]
    return None


def narrowed_type(node: Node) -> Node | None:
    """tanh in half precision."""
    return ew.cast(ew.tanh(ew.cast(node.inputs[0], F16)), F32) if node.op == ew.tanh and node.dtype == F32 else None


def other_type(node: Node) -> Node | None:
    """tanh in double precision, left so."""
    return ew.tanh(ew.cast(node.inputs[0], F64)) if node.op == ew.tanh and node.dtype == F32 else None


def sum_in_parts(node: Node) -> Node | None:
    """Another order of the terms, though the pass promises every bit."""
    if isinstance(node.op, Sum) and len(node.op.axes) == 3:
        return reduce_sum(reduce_sum(node.inputs[0], (0,)), (1, 2))
    return None


def wrong_reduction_axes(node: Node) -> Node | None:
    if isinstance(node.op, Max) and node.inputs[0].shape == (3, 3):
        return Node.make(replace(node.op, axes=(0,)), node.inputs)
    return None


def off_by_one_window(node: Node) -> Node | None:
    """The windows begin one element later."""
    if isinstance(node.op, Slice) and node.op.begin[-1] == 0:
        begin, end = (tuple(v[:-1]) for v in (node.op.begin, node.op.end))
        return Node.make(replace(node.op, begin=(*begin, 1), end=(*end, node.op.end[-1] + 1)), node.inputs)
    return None


def shifted_pad(node: Node) -> Node | None:
    if isinstance(node.op, Pad) and node.op.low[-1] == node.op.high[-1] == 1:
        op = replace(node.op, low=(*node.op.low[:-1], 0), high=(*node.op.high[:-1], 2))
        return Node.make(op, node.inputs)
    return None


def wrong_pad_value(node: Node) -> Node | None:
    return Node.make(replace(node.op, fill=1.0), node.inputs) if isinstance(node.op, Pad) and not node.op.fill else None


def stale_constant(node: Node) -> Node | None:
    """The number of elements is that of another batch."""
    divided = node.op == ew.div and isinstance(node.inputs[0].op, Sum)
    return ew.div(node.inputs[0], 49.0) if divided else None


def dropped_guard(node: Node) -> Node | None:
    """exp(x - max) -> exp(x), and no more infinities than before: equal, but not bit for bit."""
    return ew.exp(node.inputs[0].inputs[0]) if node.op == ew.exp and node.inputs[0].op == ew.sub else None


def missing_clip(node: Node) -> Node | None:
    """select(x > 1, 1, y) -> y."""
    return node.inputs[2] if node.op.name == "select" and node.inputs[1].op.is_literal(node.inputs[1]) else None


def select_swapped(node: Node) -> Node | None:
    if node.op.name == "select":
        return ew.select(node.inputs[0], node.inputs[2], node.inputs[1])
    return None


def relu_of_wrong_value(node: Node) -> Node | None:
    """The bias is added behind it."""
    if node.op == ew.relu and node.inputs[0].op == ew.add:
        return ew.add(ew.relu(node.inputs[0].inputs[0]), node.inputs[0].inputs[1])
    return None


def transposed(node: Node) -> Node | None:
    """A square weight, the other way round."""
    if isinstance(node.op, Dot) and node.inputs[1].shape == (3, 3) and node.op.tb and not node.op.ta:
        return Node.make(replace(node.op, tb=False), node.inputs)
    return None


def wrong_gradient(node: Node) -> Node | None:
    """Where relu has a gradient."""
    return ew.ge(*node.inputs) if node.op == ew.gt else None


@primitive("fast_relu")
class FastRelu(Primitive):
    """relu, with the gradient of x."""

    def type(self, ins):
        return ins[0]

    def value(self, args, out):
        return np.maximum(args[0], 0)

    def grad(self, node, ct):
        return [ct[0]]


def wrong_gradient_rule(node: Node) -> Node | None:
    return Node.make(FastRelu(), node.inputs) if node.op == ew.relu else None


def nan_forgotten(node: Node) -> Node | None:
    """x * 0 -> 0 and the like: only infinities and nan show that it is wrong."""
    if node.op == ew.tanh:
        return ew.select(ew.eq(node.inputs[0], node.inputs[0]), node, ew.zeros_like(node))
    return None


for _name, _match in list(globals().items()):
    if callable(_match) and getattr(_match, "__annotations__", {}).get("node") == "Node":
        ruled(_name, _match)
ruled(
    "sum_of_wrong_terms",
    lambda n: n.on([ew.mul(n.inputs[0], 1.01)]) if isinstance(n.op, Sum) else None,
    "reassoc",
)


# --------------------------------------------------------------------------------------------- whole graphs


@register_pass("lost_update")
class LostUpdate(Pass):
    def run(self, graph, rw):
        return Graph(graph.name, graph.inputs, graph.outputs, (), graph.names, graph.origins)


@register_pass("dropped_output")
class DroppedOutput(Pass):
    def run(self, graph, rw):
        return Graph(graph.name, graph.inputs, graph.outputs[:1], graph.updates, graph.names, graph.origins)


@register_pass("state_after_update")
class StateAfterUpdate(Pass):
    """The average goes on from what the state has become."""

    def run(self, graph, rw):
        new: dict[Node, Node] = {}
        with Recorder() as recorder:
            for update in graph.updates:
                state = next(i for i in graph.inputs if graph.names[i] == update.input)
                origin = rw.act("late-read", [graph.origins[update.value]])
                with recorder.at(origin):
                    later = {
                        n: n.on([update.value if i is state else i for i in n.inputs]) for n in update.value.inputs
                    }
                    new[update.value] = update.value.on([later[n] if state in n.inputs else n for n in later])
        return rebuild(graph, new, recorder.origins, "state_after_update")


@register_pass("no_origins")
class NoOrigins(Pass):
    def run(self, graph, rw):
        outputs = [replace(o, node=ew.neg(ew.neg(o.node))) for o in graph.outputs]
        return Graph(graph.name, graph.inputs, tuple(outputs), graph.updates, graph.names, graph.origins)


@register_pass("outputs_exchanged")
class OutputsExchanged(Pass):
    """By hand, without the rewriter: two gradients of one type."""

    def run(self, graph, rw):
        first, *rest = graph.outputs
        twin = next((o for o in rest if o.node.type == first.node.type), None)
        if twin is None:
            return graph
        swap = {first.name: twin.node, twin.name: first.node}
        outputs = tuple(replace(o, node=swap.get(o.name, o.node)) for o in graph.outputs)
        return Graph(graph.name, graph.inputs, outputs, graph.updates, graph.names, graph.origins)


@register_pass("raising")
class Raising(Pass):
    def run(self, graph, rw):
        return graph.nodes()[10**6]


@register_pass("nothing")
class Nothing(Pass):
    def run(self, graph, rw):
        return None


@register_pass("endless")
class Endless(Pass):
    def run(self, graph, rw):
        while True:
            time.sleep(0.01)


@register_pass("fighting")
class Fighting(Pass):
    """Two rules that undo each other."""

    def run(self, graph, rw):
        there = Rule("there", lambda n: ew.sub(n.inputs[0], ew.neg(n.inputs[1])) if n.op == ew.add else None)
        back = Rule("back", lambda n: ew.add(n.inputs[0], n.inputs[1].inputs[0]) if n.op == ew.sub else None)
        return rewrite(graph, [there, back], rw)


# --------------------------------------------------------------------------------------------- programs


def kernels(name: str, change: Any) -> None:
    """Register a pass that changes the first kernel that `change` accepts."""

    @register_pass(name, takes="program", gives="program")
    class Broken(Pass):
        def run(self, program, rw):
            steps = list(program.steps)
            for at, step in enumerate(steps):
                new = change(step) if isinstance(step, KernelStep) else None
                if new is not None and rw.act(name.replace("_", "-"), [step.origin]) is not None:
                    steps[at] = new
                    break
            return replace(program, steps=tuple(steps))


def other_operand(step: KernelStep) -> KernelStep | None:
    """Two operands of one type, exchanged."""
    types = [i.tensor for i in step.body.inputs]
    for a in range(len(types)):
        for b in range(a + 1, len(types)):
            if types[a] == types[b]:
                operands = list(step.operands)
                operands[a], operands[b] = operands[b], operands[a]
                return replace(step, operands=tuple(operands))
    return None


kernels("fusion_reads_wrong_operand", other_operand)


@register_pass("shared_place", takes="program", gives="program")
class SharedPlace(Pass):
    """Two values that live at once, in one place."""

    def run(self, program: Program, rw):
        places = [
            (at, r.place)
            for at, s in enumerate(program.steps)
            if isinstance(s, KernelStep)
            for r in s.results
            if r.place.kind == "arena"
        ]
        if len(places) < 2 or rw.act("share", [program.steps[0].origin]) is None:
            return program
        (_, place), (at, _) = places[0], places[1]
        step = program.steps[at]
        results = (replace(step.results[0], place=place), *step.results[1:])
        return replace(program, steps=(*program.steps[:at], replace(step, results=results), *program.steps[at + 1 :]))


@register_pass("too_early", takes="program", gives="program")
class TooEarly(Pass):
    """The last kernel runs first."""

    def run(self, program: Program, rw):
        return replace(program, steps=(program.steps[-1], *program.steps[:-1]))


@register_pass("lost_kernel", takes="program", gives="program")
class LostKernel(Pass):
    def run(self, program: Program, rw):
        return replace(program, steps=program.steps[1:])


@register_pass("wrong_output", takes="program", gives="program")
class WrongOutput(Pass):
    """An output is another value of its type."""

    def run(self, program: Program, rw):
        types = program.value_types()
        first = program.outputs[0]
        other = next(n for n, t in types.items() if n != first.value and t == types[first.value])
        return replace(program, outputs=(replace(first, value=other), *program.outputs[1:]))


# --------------------------------------------------------------------------------------------- loops


def loops(name: str, change: Any) -> None:
    """Register a pass that changes the first statement that `change` accepts, of every kernel."""

    @register_pass(name, takes="loop", gives="loop")
    class Broken(Pass):
        def run(self, module: LoopModule, rw):
            return replace(module, kernels=tuple(self.changed(kernel, rw) for kernel in module.kernels))

        @staticmethod
        def changed(kernel: LoopKernel, rw) -> LoopKernel:
            done = False

            def one(stmt):
                nonlocal done
                new = None if done else change(stmt)
                if new is None or rw.act(name.replace("_", "-"), [kernel.origin]) is None:
                    return stmt
                done = True
                return new

            return replace(kernel, body=map_body(kernel.body, one))


def with_carry(stmt: Any, **changes: Any) -> Any:
    if isinstance(stmt, For) and stmt.carries:
        first: Carry = stmt.carries[0]
        return replace(stmt, carries=(replace(first, **changes), *stmt.carries[1:]))
    return None


loops("bound_off_by_one", lambda s: replace(s, hi=s.hi - s.step) if isinstance(s, For) and s.trips > 1 else None)
loops(
    "sum_begins_at_one",
    lambda s: (
        with_carry(s, init=Ref("", F32, 1.0))
        if isinstance(s, For) and s.carries and s.carries[0].init.value == 0.0
        else None
    ),
)
loops("wrong_combine", lambda s: with_carry(s, combine=ew.maximum))
loops(
    "wrong_tail_mask",
    lambda s: (
        replace(s, args=(s.args[0], replace(s.args[1], value=s.args[1].value - 1)))
        if isinstance(s, Let) and s.op == ew.lt and s.args[1].is_literal
        else None
    ),
)
loops("dropped_mask", lambda s: replace(s, guard=()) if isinstance(s, Load) and s.guard else None)
loops(
    "parallel_sum", lambda s: replace(s, kind="parallel") if isinstance(s, For) and s.carries and s.trips > 1 else None
)
loops(
    "swapped_index",
    lambda s: replace(s, index=s.index[::-1]) if isinstance(s, Load) and len(s.index) == 2 else None,
)
loops("unchecked_index", lambda s: replace(s, index=(*s.index[:-1], s.index[-1] + 1)) if isinstance(s, Load) else None)
loops(
    "wrong_order_of_sub",
    lambda s: replace(s, args=s.args[::-1]) if isinstance(s, Let) and s.op in (ew.sub, ew.div) else None,
)
loops("lost_store", lambda s: replace(s, guard=((s.index[0], 0, 0),)) if isinstance(s, Store) and s.index else None)
loops("other_function", lambda s: replace(s, op=ew.abs_) if isinstance(s, Let) and s.op == ew.relu else None)

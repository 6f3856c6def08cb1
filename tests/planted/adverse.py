"""More passes that are wrong on purpose: of what rounds, overflows, is nan, is whole, is random or is kept between
runs, and of memory and loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from planted.broken import kernels, loops, ruled, with_carry

import symc.compile as compiler
from symc.ir.loop.nodes import Alloc, For, Let, Load, LoopKernel, Store, map_body, walk
from symc.ir.modules import LoopModule
from symc.ir.op import Node, Recorder, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import Loop
from symc.ir.prims.movement import Broadcast, Concat, Pad, Slice, broadcast, reshape
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.types import F32, I8, I32, U8
from symc.ops.base import OPERATORS, parse
from symc.passes.manager.rewrite import rebuild
from symc.passes.pipeline import Pass, register_pass


def is_number(node: Node) -> bool:
    return bool(node.op.is_literal(node))


# --------------------------------------------------------------------------------------------- Symbols


@register_pass("other_activation", takes="symbol", gives="symbol")
class OtherActivation(Pass):
    """tanh for relu, before anything is decomposed."""

    def run(self, module, rw):
        new: dict[SymNode, SymNode] = {}
        for node in module.graph.nodes():
            attrs, definition = dict(node.attrs), node.definition
            if node.op == "Activation" and rw.act("tanh", [node.origin()]) is not None:
                attrs["act_type"] = "tanh"
                definition = parse(OPERATORS[node.op], attrs)
            inputs = [(new[source], at) for source, at in node.inputs]
            new[node] = SymNode(node.op, node.name, attrs, inputs, definition, node.where) if node.inputs else node
        return replace(module, graph=SymGraph(tuple((new[node], at) for node, at in module.graph.outputs)))


# --------------------------------------------------------------------------------------------- rules of tensor graphs


def swapped_pieces(node: Node) -> Node | None:
    same = isinstance(node.op, Concat) and node.inputs[0].shape == node.inputs[1].shape
    return node.on(node.inputs[::-1]) if same else None


def lost_keepdims(node: Node) -> Node | None:
    """What is one a row becomes one a column."""
    if isinstance(node.op, Broadcast) and node.inputs[0].shape == (3, 1):
        return broadcast(reshape(node.inputs[0], (1, 3)), (3, 3), (0, 1))
    return None


def pad_and_slice(node: Node) -> Node | None:
    """One element more behind, and one less in front."""
    if isinstance(node.op, Pad) and node.op.low[-1] == node.op.high[-1] == 1:
        wide = Node.make(replace(node.op, high=(*node.op.high[:-1], 2)), node.inputs)
        return Node.make(Slice((0, 0, 0, 1), wide.shape, (1, 1, 1, 1)), [wide])
    return None


def times_zero(node: Node) -> Node | None:
    return node.inputs[1] if node.op == ew.mul and isinstance(node.inputs[1].op, Broadcast) else None


def round_to_even(node: Node) -> Node | None:
    return ew.rint(node.inputs[0]) if node.op == ew.round_ else None


def maximum_by_select(node: Node) -> Node | None:
    """nan in the first is lost."""
    return ew.select(ew.gt(*node.inputs), *node.inputs) if node.op == ew.maximum and node.dtype == F32 else None


def rounded_constant(node: Node) -> Node | None:
    """A third in half precision."""
    if node.op == ew.mul and is_number(node.inputs[1]) and not 1 <= abs(number(node)):
        return ew.mul(node.inputs[0], float(np.float16(number(node))))
    return None


def number(node: Node) -> float:
    return float(node.inputs[1].op.array())  # type: ignore[attr-defined]


def integer_floor(node: Node) -> Node | None:
    """What is truncated is rounded down."""
    if node.op == ew.div and node.dtype == I32:
        return ew.cast(ew.floor(ew.div(*(ew.cast(i, F32) for i in node.inputs))), I32)
    return None


def integer_overflow(node: Node) -> Node | None:
    return ew.cast(ew.cast(node, I8), I32) if node.op == ew.mul and node.dtype == I32 else None


def signed_compare(node: Node) -> Node | None:
    if node.op == ew.lt and node.inputs[0].dtype == U8:
        return ew.lt(*(ew.cast(i, I8) for i in node.inputs))
    return None


def same_random_bits(node: Node) -> Node | None:
    """Two Dropouts drop the same."""
    second = node.op.name == "fold_key" and node.op.number == 2  # type: ignore[attr-defined]
    return Node.make(replace(node.op, number=1), node.inputs) if second else None  # type: ignore[type-var]


def last_turn_first(node: Node) -> Node | None:
    if isinstance(node.op, Loop) and not node.op.backwards:
        return Node.make(replace(node.op, backwards=True), node.inputs)
    return None


def rough_tanh(node: Node) -> Node | None:
    """Right near zero."""
    x = node.inputs[0] if node.inputs else node
    return ew.mul(x, ew.sub(1.0, ew.mul(ew.mul(x, x), 0.33))) if node.op == ew.tanh else None


for _name, _match in list(globals().items()):
    if callable(_match) and getattr(_match, "__annotations__", {}) == {"node": "Node", "return": "Node | None"}:
        ruled(_name, _match)


def log_of_exp(node: Node) -> Node | None:
    """exp may overflow."""
    return node.inputs[0].inputs[0] if node.op == ew.log and node.inputs[0].op == ew.exp else None


def root_of_square(node: Node) -> Node | None:
    """The sign is lost, next to what is nan in any case."""
    square = node.op == ew.sqrt and node.inputs[0].op == ew.mul and node.inputs[0].inputs[0] is node.inputs[0].inputs[1]
    return node.inputs[0].inputs[0] if square else None


ruled("log_of_exp", log_of_exp, "reassoc")
ruled("root_of_square", root_of_square, "reassoc")
ruled("rough_exp", lambda n: ew.mul(n, 1.003) if n.op == ew.exp else None, "approx(1e-3)")


# --------------------------------------------------------------------------------------------- gradients and states


@register_pass("scaled_gradients")
class ScaledGradients(Pass):
    """Divided by the batch once more."""

    def run(self, graph, rw):
        new: dict[Node, Node] = {}
        with Recorder() as recorder:
            for output in graph.outputs:
                if output.role == "gradient":
                    origin = rw.act("scale", [graph.origins[output.node]])
                    if origin is not None:
                        with recorder.at(origin):
                            new[output.node] = ew.mul(output.node, 0.5)
        return rebuild(graph, new, recorder.origins, "scaled_gradients")


@register_pass("kept_state")
class KeptState(Pass):
    """A state stays what it was."""

    def run(self, graph, rw):
        update = graph.updates[0]
        state = next(i for i in graph.inputs if graph.names[i] == update.input)
        if rw.act("keep", [graph.origins[update.value]]) is None:
            return graph
        return rebuild(graph, {update.value: state}, {}, "kept_state")


@register_pass("exchanged_states")
class ExchangedStates(Pass):
    """The average becomes the variance."""

    def run(self, graph, rw):
        one, other, *rest = graph.updates
        updates = (replace(one, value=other.value), replace(other, value=one.value), *rest)
        return replace(graph, updates=updates)


# --------------------------------------------------------------------------------------------- programs


def other_body(step: KernelStep) -> KernelStep | None:
    """tanh in the place of exp, in a kernel."""
    new: dict[Node, Node] = {}
    for node in step.body.nodes():
        if node.op == ew.exp:
            new[node] = ew.tanh(node.inputs[0])
        elif any(i in new for i in node.inputs):
            new[node] = node.on([new.get(i, i) for i in node.inputs])
    made = {new[n]: step.body.origins[n] for n in new if n in step.body.origins}
    return replace(step, body=rebuild(step.body, new, made)) if new else None


kernels("other_body", other_body)


@register_pass("small_arena", takes="program", gives="program")
class SmallArena(Pass):
    def run(self, program: Program, rw):
        return replace(program, arena=program.arena - 64)


@register_pass("overlap_in_part", takes="program", gives="program")
class OverlapInPart(Pass):
    """The end of one value is the beginning of the next."""

    def run(self, program: Program, rw):
        steps = list(program.steps)
        for at, step in enumerate(steps):
            place = step.results[0].place if isinstance(step, KernelStep) else None
            if place is not None and place.kind == "arena" and place.offset:
                first = replace(step.results[0], place=replace(place, offset=place.offset - 64))
                steps[at] = replace(step, results=(first, *step.results[1:]))
                break
        return replace(program, steps=tuple(steps))


@register_pass("taken_too_early", takes="program", gives="program")
class TakenTooEarly(Pass):
    """A result in place of an operand that is read later."""

    def run(self, program: Program, rw):
        steps, places = list(program.steps), {}
        for at, step in enumerate(steps):
            for operand in step.operands:
                later = any(operand in other.operands for other in steps[at + 1 :])
                if later and places.get(operand) and step.results[0].place.kind == "arena":
                    first = replace(step.results[0], place=places[operand], inplace=operand)
                    steps[at] = replace(step, results=(first, *step.results[1:]))
                    return replace(program, steps=tuple(steps))
            places |= {r.name: r.place for r in step.results if r.place.kind == "arena"}
        return program


# --------------------------------------------------------------------------------------------- loops

loops(
    "stale_carry",
    lambda s: (
        with_carry(s, yields=Ref(s.carries[0].name, s.carries[0].yields.dtype), combine=None)
        if isinstance(s, For) and s.carries
        else None
    ),
)
loops("first_turn_lost", lambda s: replace(s, lo=s.lo + s.step) if isinstance(s, For) and s.carries else None)
loops("added_store", lambda s: replace(s, add=True) if isinstance(s, Store) else None)


def narrower(stmt):
    """A guard that leaves the last element out."""
    if isinstance(stmt, (Load, Store)) and stmt.guard:
        (index, low, high), *rest = stmt.guard
        return replace(stmt, guard=((index, low, high - 1), *rest))
    return None


loops("narrower_guard", narrower)


@register_pass("shared_scratch", takes="loop", gives="loop")
class SharedScratch(Pass):
    """Memory of a turn becomes that of all turns, which run at once."""

    def run(self, module: LoopModule, rw):
        return replace(module, kernels=tuple(map(self.hoisted, module.kernels)))

    @staticmethod
    def hoisted(kernel: LoopKernel) -> LoopKernel:
        found = [s for s in walk(kernel.body) if isinstance(s, Alloc)]

        def without(stmt):
            if isinstance(stmt, For):
                return replace(stmt, body=tuple(s for s in stmt.body if not isinstance(s, Alloc)))
            return stmt

        return replace(kernel, body=(*found, *map_body(kernel.body, without))) if found else kernel


@register_pass("calls_exchanged", takes="loop", gives="loop")
class CallsExchanged(Pass):
    """The kernels of the first and the last step."""

    def run(self, module: LoopModule, rw):
        first, *rest, last = module.calls
        return replace(module, calls=(last, *rest, first))


# --------------------------------------------------------------------------------------------- machine code


@register_pass("unrolled_wrong", takes="loop", gives="loop")
class UnrolledWrong(Pass):
    """Its loops are right, and what wrong_code makes of them is not."""

    def run(self, module: LoopModule, rw):
        def unrolled(stmt):
            if isinstance(stmt, For) and stmt.kind == "vector" and rw.act("unroll", [stmt.origin]) is not None:
                return replace(stmt, unroll=7)
            return stmt

        return replace(module, kernels=tuple(replace(k, body=map_body(k.body, unrolled)) for k in module.kernels))


def wrong_code(always: bool):
    """Code generation that takes relu for abs, always or where loops are unrolled seven times."""
    right = compiler.emit_kernel

    def emit_kernel(kernel, target):
        if always or any(isinstance(s, For) and s.unroll == 7 for s in walk(kernel.body)):
            relus = (s for s in walk(kernel.body) if isinstance(s, Let) and s.op == ew.relu)
            new = {s: replace(s, op=ew.abs_) for s in relus}
            kernel = replace(kernel, body=map_body(kernel.body, lambda s: new.get(s, s) if isinstance(s, Let) else s))
        return right(kernel, target)

    return emit_kernel

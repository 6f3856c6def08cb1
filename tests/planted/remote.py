"""Passes that are wrong far from where numbers usually are: at the ends of types, in precision nobody looks at, and in
the regions and memory of loops and branches."""

from __future__ import annotations

from dataclasses import replace

from planted.broken import loops, ruled

from symc.ir.loop.nodes import For, Let, Store, walk
from symc.ir.op import Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import Branch, Loop
from symc.ir.prims.movement import Slice
from symc.ir.prims.reduce import Sum
from symc.ir.program.nodes import BranchStep, Program
from symc.ir.types import F32, F64, I32, I64, U8
from symc.passes.pipeline import Pass, register_pass

# --------------------------------------------------------------------------------------------- the ends of types


def int_by_float(node: Node) -> Node | None:
    """Whole numbers of more than 24 bits are rounded."""
    if node.op == ew.add and node.dtype == I32:
        return ew.cast(ew.add(*(ew.cast(i, F32) for i in node.inputs)), I32)
    return None


def long_by_int(node: Node) -> Node | None:
    return ew.cast(ew.abs_(ew.cast(node.inputs[0], I32)), I64) if node.op == ew.abs_ and node.dtype == I64 else None


def saturated_bytes(node: Node) -> Node | None:
    """255 + 1 stays 255."""
    if node.op == ew.add and node.dtype == U8:
        wide = ew.add(*(ew.cast(i, I32) for i in node.inputs))
        return ew.cast(ew.minimum(wide, ew.zeros_like(wide) + 255), U8)
    return None


def flushed_denormals(node: Node) -> Node | None:
    if node.op == ew.abs_ and node.dtype == F32:
        return ew.select(ew.lt(node, 1.17549435e-38), ew.zeros_like(node), node)
    return None


def saturated_tanh(node: Node) -> Node | None:
    """1 from 5 on."""
    if node.op == ew.tanh:
        return ew.select(ew.gt(ew.abs_(node.inputs[0]), 5.0), ew.sign(node.inputs[0]), node)
    return None


def divided_by_reciprocal(node: Node) -> Node | None:
    """Two roundings for one."""
    scale = node.op == ew.div and not node.inputs[1].op.is_literal(node.inputs[1])
    return ew.mul(node.inputs[0], ew.div(1.0, node.inputs[1])) if scale else None


def forgotten_reversal(node: Node) -> Node | None:
    return node.inputs[0] if isinstance(node.op, Slice) and node.op.step[-1] == -1 else None


def sides_swapped(node: Node) -> Node | None:
    op = node.op
    return Node.make(replace(op, then=op.other, other=op.then), node.inputs) if isinstance(op, Branch) else None


def first_state_lost(node: Node) -> Node | None:
    first, *rest = node.inputs or [node]
    return node.on([ew.mul(first, 0.0), *rest]) if isinstance(node.op, Loop) else None


for _name, _match in list(globals().items()):
    if callable(_match) and getattr(_match, "__annotations__", {}) == {"node": "Node", "return": "Node | None"}:
        ruled(_name, _match)


def narrow_sum(node: Node) -> Node | None:
    """Double precision in single."""
    if isinstance(node.op, Sum) and node.dtype == F64:
        return ew.cast(Node.make(node.op, [ew.cast(node.inputs[0], F32)]), F64)
    return None


ruled("narrow_sum", narrow_sum, "reassoc")

# --------------------------------------------------------------------------------------------- regions and memory


@register_pass("other_side", takes="program", gives="program")
class OtherSide(Pass):
    def run(self, program: Program, rw):
        steps = (replace(s, then=s.other, other=s.then) if isinstance(s, BranchStep) else s for s in program.steps)
        return replace(program, steps=tuple(steps))


@register_pass("stale_average", takes="program", gives="program")
class StaleAverage(Pass):
    """A state becomes another value of its type."""

    def run(self, program: Program, rw):
        types = program.value_types()
        first, *rest = program.updates
        params = {p.name for p in program.params}
        other = next(n for n in types if n not in params and n != first.value and types[n] == types[first.value])
        return replace(program, updates=(replace(first, value=other), *rest))


def lanes(stmt):
    """A sum in order becomes one in lanes, though the pass promises every bit."""
    inner = isinstance(stmt, For) and stmt.kind == "serial" and not any(isinstance(s, For) for s in stmt.body)
    return replace(stmt, kind="vector", width=8) if inner and stmt.carries and stmt.trips > 2 else None


loops("lanes", lanes)


@register_pass("rough_kernels", takes="loop", gives="loop", numerics="approx(1e-6)")
class RoughKernels(Pass):
    """What is stored is off by a ten-thousandth: no class that is found is another one for it."""

    def run(self, module, rw):
        def scaled(kernel):
            stores = [s for s in walk(kernel.body) if isinstance(s, Store) and s.value.dtype == F32 and s.value.name]
            if not stores or "fc1" not in [b.name for b in kernel.buffers if b.mode == "out"]:
                return kernel
            if rw.act("scale", [kernel.origin]) is None:
                return kernel
            return replace(kernel, body=_scaled(kernel.body, stores[0]), key="")

        return replace(module, kernels=tuple(map(scaled, module.kernels)))


def _scaled(body, store):
    made = []
    for stmt in body:
        if isinstance(stmt, For):
            stmt = replace(stmt, body=_scaled(stmt.body, store))
        if stmt is store:
            made.append(Let("off", F32, ew.mul, (store.value, Ref("", F32, 1.0001)), store.origin))
            stmt = replace(store, value=Ref("off", F32))
        made.append(stmt)
    return tuple(made)

"""Which operands a kernel's result may take over: those of the same shape and size that the whole kernel reads only at
the index it writes."""

from __future__ import annotations

from symc.ir.graph import Graph, Node
from symc.ir.prims.reduce import Reduction
from symc.ir.program import KernelStep
from symc.passes.coalesce import space_of
from symc.passes.units import Access, access_through, is_pointwise


class InplaceOperands:
    """For every result of a step the positions of the operands whose memory it may take over: operands of the same
    shape and size that the whole kernel reads only at the index being written. Equal kernels are looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Node, ...], list[list[int]]] = {}

    def __call__(self, step: KernelStep) -> list[list[int]]:
        key = step.key()
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _inplace_operands(step.body)
        return found


def _inplace_operands(body: Graph) -> list[list[int]]:
    space, _ = space_of(body)
    reads: dict[Node, set[Access]] = {}
    stack: list[tuple[Node, Access]] = []
    for _, node in body.outputs:
        stack.append((node, "same" if node.shape == space else "row"))
    seen = set(stack)
    while stack:
        node, access = stack.pop()
        if not node.inputs:
            reads.setdefault(node, set()).add(access)
            continue
        for source in node.inputs:
            through: Access
            if isinstance(node.op, Reduction):
                through = "same" if source.shape == space else "other"
            elif not is_pointwise(node.op):
                through = "other"
            else:
                through = access_through(node, source, access)
                through = "other" if through == () and source.rank else through
            if (source, through) not in seen:
                seen.add((source, through))
                stack.append((source, through))
    return [
        [
            at
            for at, i in enumerate(body.inputs)
            if reads.get(i) == ({"same"} if node.shape == space else {"row"})
            and (i.shape, i.tensor.nbytes) == (node.shape, node.tensor.nbytes)
        ]
        for _, node in body.outputs
    ]

"""The bodies of loops and branches as native code.

Loops and branches are steps that Python runs; what they repeat is compiled as a program of its own, with its own
buffers, when it runs for the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from symc.ir.graph import Graph, Origin, finish
from symc.ir.op import Input
from symc.ir.types import Array
from symc.memory import empty

if TYPE_CHECKING:
    from symc.compile import Instance


class Regions:
    """Runs the graphs that one step's primitives hold. `origin`: where the step comes from; `stable`: arrays that
    nothing writes while it runs."""

    def __init__(self, origin: Origin, stable: Iterable[Array]) -> None:
        self._origin = origin
        self._stable = {id(a) for a in stable}
        self._held: dict[int, _Region] = {}

    def start(self) -> None:
        """The step begins anew: the stable arrays may have other values than before."""
        for region in self._held.values():
            region.forget()

    def __call__(self, graph: Graph, args: Sequence[Array]) -> list[Array]:
        # a graph lives as long as the step that holds it, so that its id stays its own
        region = self._held.get(id(graph))
        if region is None:
            region = self._held[id(graph)] = _Region(graph, self._origin)
        return region.run(args, self._stable)


class _Region:
    """A compiled graph on buffers of its own."""

    def __init__(self, graph: Graph, origin: Origin) -> None:
        self._buffers = {
            n.op.input_name: empty(n.shape, n.dtype.numpy) for n in graph.inputs if isinstance(n.op, Input)
        }
        self._instance = _compiled(graph, origin, self._buffers)
        self._seen: list[int] = []
        self.forget()

    def forget(self) -> None:
        self._seen = [0] * len(self._buffers)

    def run(self, args: Sequence[Array], stable: set[int]) -> list[Array]:
        for at, (buffer, value) in enumerate(zip(self._buffers.values(), args)):
            if self._seen[at] != id(value) or id(value) not in stable:
                buffer[...] = value
                self._seen[at] = id(value)
        self._instance.run()
        return self._instance.outputs


def _compiled(graph: Graph, origin: Origin, buffers: dict[str, Array]) -> Instance:
    from symc.codegen.target import host_target
    from symc.compile import emit, loop_passes, tensor_passes
    from symc.passes.pipeline import Manager

    target = host_target()
    passes = [*tensor_passes(), *loop_passes(target)]
    placed = finish("body", graph.inputs, graph.outputs, (), {}, dict.fromkeys(graph.nodes(), origin))
    return emit(Manager(verify=False).run(passes, placed), target).bind(buffers)

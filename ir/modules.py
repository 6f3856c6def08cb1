"""What passes hand on where a level needs more than one structure: a symbol graph with its types, and a program with
the loop kernels it calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from symc.ir.display import Described, Drawn
from symc.ir.loop.nodes import LoopKernel
from symc.ir.program.nodes import Program, regions_of_step
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.types import TensorType


@dataclass(frozen=True, repr=False)
class SymbolModule(Drawn):
    """A symbol graph, the types of its variables, and its outputs' names. `roles` overrides "arg" per variable;
    `shapes` are the outputs' shapes of operators without inputs, by node name: theirs follow from their use alone.
    `inferred` are the types of every node's outputs as far as inference knows them: what its program must give."""

    name: str
    graph: SymGraph
    types: Mapping[str, TensorType] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    inferred: Mapping[SymNode, tuple[TensorType | None, ...]] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        """`<SymbolModule mlp: 12 nodes, 5 variables with types>`."""
        nodes = len(self.graph.nodes())
        return f"<SymbolModule {self.name}: {nodes} nodes, {len(self.types)} variables with types>"


@dataclass(frozen=True)
class Calls:
    """The kernels that the steps of a region call; the fields are those of LoopModule."""

    calls: tuple[int | None, ...]
    shifts: tuple[tuple[int, ...], ...] = ()
    regions: tuple[tuple[Calls, ...], ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class LoopModule(Described):
    """A planned program whose fused steps call loop kernels: `calls[i]` is the kernel of step i (None for a view, for
    a step that runs in the host, and for a loop or branch, whose regions' calls are `regions[i]`)."""

    program: Program
    kernels: tuple[LoopKernel, ...]
    calls: tuple[int | None, ...]
    #: per step, elements by which each operand's address is moved on for the kernel (empty: none is), so that steps
    #: that read different slices of their operands call one kernel
    shifts: tuple[tuple[int, ...], ...] = ()
    #: per step, the calls of its regions (empty: there are no regions)
    regions: tuple[tuple[Calls, ...], ...] = ()

    def __repr__(self) -> str:
        """`<LoopModule mlp: 3 kernels for 4 steps>`."""
        return f"<LoopModule {self.program.name}: {len(self.kernels)} kernels for {len(self.calls)} steps>"

    def inside(self, step: int) -> list[LoopModule]:
        """The regions of a step as modules, with the same kernels."""
        held = self.regions[step] if step < len(self.regions) else ()
        programs = [region.program for region in regions_of_step(self.program.steps[step])]
        return [LoopModule(p, self.kernels, c.calls, c.shifts, c.regions) for p, c in zip(programs, held, strict=True)]

    def shift_of(self, step: int) -> tuple[int, ...]:
        """The operand shifts of a step; empty where there are none."""
        return self.shifts[step] if step < len(self.shifts) else ()

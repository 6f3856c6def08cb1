"""Shared by the tests that compile: small graphs from functions over primitives, and all ways to run them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from symc.codegen.target import host_target
from symc.compile import Executable, emit
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph, finish
from symc.ir.types import Array, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager, Pass
from symc.passes.program.fuse import Fuse
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.layout import Layout
from symc.passes.tensor.simplify import Simplify
from symc.runtime.memory import empty

#: every pass is verified in the tests
VERIFY = True
#: what programs may go without or do otherwise: optional passes, fusion turned off ("fuse"), no planning in place
#: ("noinplace"), scheduled loops ("tile")
SWITCHES = ("simplify", "layout", "fuse", "schedule", "noinplace", "tile")
SUBSETS = [s for n in range(len(SWITCHES) + 1) for s in itertools.combinations(SWITCHES, n)]


def graph_of(function: Callable[..., Node | Sequence[Node]], **types: TensorType) -> Graph:
    """The tensor graph of a function of nodes; outputs are out0, out1, ..."""
    origin = SymOrigin("net", "Test", "test.py", 1)
    inputs = {name: input_node(name, t) for name, t in types.items()}
    with Recorder() as recorder, recorder.at(origin):
        made = function(**inputs)
    outs = [made] if isinstance(made, Node) else list(made)
    origins = {**recorder.origins, **{i: origin for i in inputs.values()}}
    return finish("net", list(inputs.values()), [(f"out{i}", o) for i, o in enumerate(outs)], (), {}, origins)


def arrays_for(graph: Graph, seed: int = 0, kind: str = "normal") -> dict[str, Array]:
    """Input arrays; kind "int" gives small whole numbers, which sums and products of floats represent exactly."""
    rs = np.random.RandomState(seed)
    made: dict[str, Array] = {}
    for node in graph.inputs:
        t = node.tensor
        array = empty(t.shape, t.dtype.numpy)
        if kind == "int" or not t.dtype.is_float:
            array[...] = rs.randint(-4 if t.dtype.kind != "u" and t.dtype.is_float else 0, 5, t.shape)
        else:
            array[...] = rs.randn(*t.shape)
        made[node.op.input_name] = array
    return made


def program_passes(optional: Sequence[str] = ("simplify", "layout", "schedule")) -> list[Pass]:
    """From a tensor graph to a planned program, with these optional passes."""
    chosen: list[Pass] = [Inline()]
    chosen += [Simplify()] if "simplify" in optional else []
    chosen += [Layout()] if "layout" in optional else []
    fuse = Fuse() if "fuse" not in optional else Fuse(limit=0, epilogues=False, rows=False)
    order = [Schedule()] if "schedule" in optional else []
    return [*chosen, fuse, *order, OwnResults(), PlanMemory(inplace="noinplace" not in optional)]


def to_program(
    graph: Graph, optional: Sequence[str] = ("simplify", "layout", "schedule"), verify: bool = VERIFY
) -> Program:
    """The planned program of a graph."""
    program: Program = Manager(verify=verify).run(program_passes(optional), graph)
    return program


def to_executable(program: Program, tiled: bool = True, verify: bool = VERIFY) -> Executable:
    """Native code of a planned program."""
    target = host_target()
    passes: list[Pass] = [Lower()]
    if tiled:
        passes += [Choose(vector_bytes=target.vector_bytes, registers=target.registers), Tile()]
    return emit(Manager(verify=verify).run(passes, program), target)


def run_native(
    program: Program, arrays: Mapping[str, Array], tiled: bool = True, verify: bool = VERIFY
) -> dict[str, Array]:
    """Outputs by name of the compiled program on copies of the arrays."""
    buffers = {}
    for name, array in arrays.items():
        buffers[name] = empty(array.shape, array.dtype)
        buffers[name][...] = array
    instance = to_executable(program, tiled, verify).bind(buffers)
    instance.run()
    return {o.name: out for o, out in zip(program.outputs, instance.outputs)}


def assert_close(got: Array, want: Array, tolerance: float = 2e-5) -> None:
    """Equal up to `tolerance` of the largest magnitude; nan and inf in the same places."""
    got64, want64 = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want64)
    np.testing.assert_array_equal(np.isnan(got64), np.isnan(want64))
    np.testing.assert_array_equal(got64[~finite & ~np.isnan(want64)], want64[~finite & ~np.isnan(want64)])
    scale = np.abs(want64[finite]).max() if finite.any() else 1.0
    worst = np.abs(got64 - want64)[finite].max() if finite.any() else 0.0
    assert worst <= tolerance * max(scale, 1e-6), f"error {worst:.3g} of magnitude {scale:.3g}"

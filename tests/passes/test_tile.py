"""tile: what it has scheduled stays as it is; protects texts of scheduled kernels that go through the passes again."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import For, Load, walk
from symc.ir.modules import LoopModule
from symc.ir.parse import parse
from symc.ir.prims import add, conv, dot, reduce_sum, transpose
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.ir.types import F32, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager


def _lowered() -> tuple[dict, LoopModule]:
    graph = graph_of(
        lambda x, w: [dot(x, w), reduce_sum(x, (1,))], x=TensorType(F32, (12, 70)), w=TensorType(F32, (70, 33))
    )
    module = Manager().run([Lower()], to_program(graph))
    assert isinstance(module, LoopModule)
    return arrays_for(graph), module


def test_scheduled_kernels_stay() -> None:
    arrays, plain = _lowered()
    assert not any(k.is_scheduled for k in plain.kernels)
    once = Manager(verify=True).run([Choose(), Tile()], plain)
    assert all(k.scheduled for k in once.kernels)
    for other in (Choose(), Choose(vector_bytes=64, registers=32, block=8)):
        again = Manager(verify=True).run([other], parse(print_module(once)))
        assert print_module(again) == print_module(once)
    want, got = run_loop_module(plain, arrays).outputs, run_loop_module(again, arrays).outputs
    for name in want:
        assert abs(want[name] - got[name]).max() < 1e-4


def test_a_kernel_with_lanes_is_scheduled_whether_it_says_so_or_not() -> None:
    once = Manager().run([Choose(), Tile()], _lowered()[1])
    silent = parse(print_module(once).replace(" scheduled {", " {"))
    assert not any(k.scheduled for k in silent.kernels)
    again = Manager().run([Choose(), Tile()], silent)
    assert [k.body for k in again.kernels] == [k.body for k in silent.kernels]


@pytest.mark.parametrize("registers", [3, 4, 5, 7])
@pytest.mark.parametrize("groups", [1, 6])
def test_few_registers_hold_a_tile_of_a_window(registers: int, groups: int) -> None:
    """Sums that are written out leave part of the registers to their operands, but never too few for one vector."""
    graph = graph_of(
        lambda x, w: conv(x, w, (1, 1), (1, 1), groups),
        x=TensorType(F32, (1, 6, 9, 19)), w=TensorType(F32, (6, 6 // groups, 3, 3)),
    )  # fmt: skip
    arrays, program = arrays_for(graph, kind="int"), to_program(graph)
    made = Manager(verify=True).run([Lower(), Choose(vector_bytes=16, registers=registers), Tile()], program)
    want, got = evaluate(graph, arrays).outputs, run_loop_module(made, arrays).outputs
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


@pytest.mark.parametrize(
    "shape, perm",
    [
        ((16, 64), (1, 0)),
        ((17, 33), (1, 0)),
        ((9, 15), (1, 0)),
        ((2, 7, 14), (0, 2, 1)),
        ((2, 3, 16, 14), (3, 0, 1, 2)),
    ],
)
def test_what_lies_across_is_transposed_in_registers(shape: tuple[int, ...], perm: tuple[int, ...]) -> None:
    """Some neighbours in memory are loaded (or stored) together, whether they fill registers or not."""
    graph = graph_of(lambda x: add(transpose(x, perm), 1.0), x=TensorType(F32, shape))
    program = to_program(graph)
    loops = Manager(verify=True).run([Lower(), Choose(), Tile()], program)
    found = [s for k in loops.kernels for s in walk(k.body) if isinstance(s, For)]
    assert {s.kind for s in found} >= {"jam", "vector"}
    arrays = arrays_for(graph)
    np.testing.assert_array_equal(run_native(program, arrays)["out0"], arrays["x"].transpose(perm) + 1)


def _tile_of(left: tuple[int, ...], right: tuple[int, ...], form: dict[str, bool], ports: int) -> tuple[int, int]:
    """(rows, vectors) of the register tile of a product of 32 registers of 16 lanes."""
    graph = graph_of(lambda x, w: [dot(x, w, **form)], x=TensorType(F32, left), w=TensorType(F32, right))
    made = Manager().run([Lower(), Choose(vector_bytes=64, registers=32, ports=ports), Tile()], to_program(graph))
    loops = [s for s in walk(made.kernels[0].body) if isinstance(s, For)]
    at = next(i for i, s in enumerate(loops) if s.kind == "jam" and s.body[0].kind == "vector" and s.body[0].body)
    while not any(isinstance(s, For) for s in loops[at + 1].body):  # the copy of a panel
        at = next(i for i, s in enumerate(loops) if i > at and s.kind == "jam")
    return loops[at].trips, loops[at + 1].unroll


@pytest.mark.parametrize(
    ("left", "right", "form"), [((700, 650), (650, 2600), {}), ((700, 650), (2600, 650), {"tb": True})]
)
def test_tiles_leave_registers_to_the_sums_of_blocks(left: tuple, right: tuple, form: dict) -> None:
    """Sums in progress and sums of blocks in registers at once: in memory, they cost a tenth of the time."""
    for ports in (1, 2):
        rows, vectors = _tile_of(left, right, form, ports)
        assert 2 * rows * vectors + vectors + 1 <= 32


def test_rows_that_share_a_set_of_the_cache_are_few() -> None:
    rows, _ = _tile_of((700, 1024), (2600, 1024), {"tb": True}, 1)
    assert rows <= 7
    assert _tile_of((700, 1040), (2600, 1040), {"tb": True}, 1)[0] > 7


def test_a_tile_reuses_its_vectors() -> None:
    """A tile has turns of a loop that leaves the operand in its lanes as it is, not only turns of loops that move it:
    every product would read a vector of its own."""
    graph = graph_of(
        lambda ct, w: conv(ct, transpose(w, (1, 0, 2, 3)), (1, 1), (1, 1), 1),
        ct=TensorType(F32, (8, 64, 20, 20)), w=TensorType(F32, (64, 32, 1, 1)),
    )  # fmt: skip
    loops = Manager(verify=True).run([Lower(), Choose(vector_bytes=64, registers=32), Tile()], to_program(graph))
    (kernel,) = (k for k in loops.kernels if "conv" in k.name)
    found = list(walk(kernel.body))
    lanes = {s.var for s in found if isinstance(s, For) and s.kind == "vector"}
    jams = {s.var for s in found if isinstance(s, For) and s.kind == "jam" and s.trips >= 4}
    for load in (s for s in found if isinstance(s, Load)):
        moved = {v.name for i in load.index for v in i.variables()}
        assert not moved & lanes or jams - moved


@pytest.mark.parametrize(("rows", "terms", "folded"), [(24, 64, False), (64, 64, False), (17, 1024, True)])
def test_lanes_are_not_folded_after_a_few_turns(rows: int, terms: int, folded: bool) -> None:
    """Folding the lanes of every result takes as long as some turns: short sums pack an operand instead."""
    types = {"x": TensorType(F32, (rows, terms)), "w": TensorType(F32, (64, terms))}
    graph = graph_of(lambda x, w: [dot(x, w, tb=True)], **types)
    made = Manager(verify=True).run([Lower(), Choose(vector_bytes=64, registers=32), Tile()], to_program(graph))
    assert any(isinstance(s, For) and s.kind == "vector" and s.carries for s in walk(made.kernels[0].body)) == folded

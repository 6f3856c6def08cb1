"""Schedules: what choose writes stands in the kernel's text and is read back, tile goes by nothing else, and one that
does not fit is refused with what it names. Protects schedules that are given by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from compiling import arrays_for, assert_close, graph_of, to_program

from symc.codegen.target import host_target
from symc.compile import emit
from symc.ir.errors import IRError, ParseError, VerifyError
from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import For, walk
from symc.ir.loop.schedule import Nest, Schedule, Split
from symc.ir.loop.schedule_text import parse_schedule, parse_schedules, schedule_text, schedules_text
from symc.ir.modules import LoopModule
from symc.ir.parse import parse
from symc.ir.prims import conv, dot, exp, reduce_sum
from symc.ir.tensor.graph import Graph
from symc.ir.text import print_module
from symc.ir.types import F32, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.loop.tiling.tuned import key_of_kernel
from symc.passes.manager.manager import Manager
from symc.passes.pipeline import PipelineError, parse_pipeline


def f32(*shape: int) -> TensorType:
    return TensorType(F32, shape)


def product() -> Graph:
    return graph_of(lambda x, w: dot(x, w), x=f32(20, 100), w=f32(100, 40))


def turned_product() -> Graph:
    return graph_of(lambda x, w: dot(x, w, tb=True), x=f32(20, 100), w=f32(40, 100))


def rows() -> Graph:
    return graph_of(lambda x: reduce_sum(exp(x), (1,)), x=f32(6, 50))


def window() -> Graph:
    return graph_of(lambda x, w: conv(x, w, (1, 1), (1, 1), 1), x=f32(1, 4, 9, 19), w=f32(8, 4, 3, 3))


def lowered(graph: Graph) -> LoopModule:
    module: LoopModule = Manager().run([Lower()], to_program(graph))
    return module


def given(module: LoopModule, text: str) -> LoopModule:
    """The module with this schedule for its only kernel."""
    (kernel,) = module.kernels
    return replace(module, kernels=(replace(kernel, schedule=parse_schedule(text)),))


def loops_of(module: LoopModule, kind: str) -> dict[str, int]:
    return {s.var: s.trips for k in module.kernels for s in walk(k.body) if isinstance(s, For) and s.kind == kind}


TEXTS = [
    "",
    "sums=24",
    "%i: %i, %j/8*4",
    "sums=256; %i: %j*24/8, %i*6, pack=%input.1, panel=393216; %r: fold=%r/8*4",
    '%"a b": %"a b"*2, unroll=%k+%l, abreast=16',
    "%i: %i*4, %j*3, fold=%k/16",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_schedule_is_what_its_text_says(text: str) -> None:
    assert schedule_text(parse_schedule(text)) == text
    assert parse_schedule(text.replace(" ", "") if '"' not in text else text) == parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%i: %i*0", "0 is too small: at least 1"),
        ("%i: %i/1", "1 is too small: at least 2"),
        ("sums=1", "1 is too small: at least 2"),
        ("%i: %i, %j; %i: %i", "the schedule says twice what becomes of %i"),
        ("%i: pack=%a, pack=%b", "pack is given twice"),
        ("%i: jam=3", "expected a loop like %i, or one of fold, unroll, pack, panel, abreast"),
        ("%i", "expected ':'"),
        ("%i: %i %j", "expected ';' and a nest, or the end of the schedule"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_schedule(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("graph", [product, turned_product, rows, window])
@pytest.mark.parametrize(("width", "registers"), [(16, 16), (64, 32)])
def test_what_is_chosen_is_in_the_text_and_tile_goes_by_it(graph, width: int, registers: int) -> None:
    """A text between the two passes leads to the same loops; without choices there are none."""
    module = lowered(graph())
    chosen = Manager(verify=True).run([Choose(vector_bytes=width, registers=registers)], module)
    assert [k.body for k in chosen.kernels] == [k.body for k in module.kernels]
    assert all(k.schedule is not None and k.schedule.nests for k in chosen.kernels)
    again = parse(print_module(chosen))
    assert print_module(again) == print_module(chosen)
    made, from_text = (Manager(verify=True).run([Tile()], m) for m in (chosen, again))
    assert print_module(made) == print_module(from_text) and loops_of(made, "vector")
    assert [k.schedule for k in made.kernels] == [k.schedule for k in chosen.kernels]
    assert parse(print_module(made)).kernels[0].schedule == made.kernels[0].schedule


GIVEN = [
    (product, "sums=24; %i: %i*5, %j*16/8", {"i": 5}),
    (product, "%i: %j*24/8, %i*3", {"i": 2}),
    (product, "sums=10; %i: %j*16/4, %i*7, pack=%input.1", {"i": 6}),
    (product, "%i: %j*16/8, %i*4, pack=%input.1, panel=640", {"i": 4}),
    (product, "%i: %i, %j", {}),
    (product, "sums=24; %i: %j, %i*3, fold=%k/8*2", {"i": 2}),
    (product, "sums=5; %i: %i, %j*32/8, abreast=4", {}),
    (turned_product, "%i: %j*8/8, %i*4, pack=%input.1", {"i": 4}),
    (turned_product, "%i: %i*2, %j*5, fold=%k/16", {"i": 2, "j": 5}),
    (rows, "%i: %i/2", {}),
    (rows, "%r: fold=%r/4*3", {}),
    (window, "%j: %k, %j*4, %l*16/8, unroll=%k.1+%k.2+%k.3", {"j": 4}),
]


@pytest.mark.parametrize(("graph", "text", "jams"), GIVEN)
def test_a_schedule_given_by_hand_takes_effect(graph, text: str, jams: dict[str, int]) -> None:
    """Its tiles are there, and the kernel computes what it did, in the interpreter and as machine code."""
    module = lowered(graph())
    made = Manager(verify=True).run([Choose(), Tile()], given(module, text))
    for var, turns in jams.items():
        assert loops_of(made, "jam")[var] == turns
    assert bool(loops_of(made, "vector")) == ("/" in text)
    arrays = arrays_for(graph())
    want = run_loop_module(module, arrays).outputs["out0"]
    assert_close(run_loop_module(made, arrays).outputs["out0"], want)
    assert_close(emit(made, host_target())(**arrays)["out0"], want)


WRONG = [
    (product, "%q: %q*2", "there is no loop %q; its loops are %i, %j, %k"),
    (product, "%i: %i*21, %j", "%i has 20 turns: there is no tile of 21"),
    (product, "%i: %i*4", "the nest of %i has to name each of its loops once: %i, %j"),
    (product, "%i: %i, %i, %j", "the nest of %i has to name each of its loops once: %i, %j"),
    (product, "%i: %i, %j, %k*2", "%k is no loop of the nest of %i, %j"),
    (product, "%i: %i, %j*12/6", "%j has 6 lanes: there are 2, 4, 8 and so on to 128"),
    (product, "%i: %i*8/8, %j*8/8", "the nest of %i has lanes in two loops"),
    (product, "%i: %i, %j*8/8, fold=%k/8", "the nest of %i has lanes in two loops"),
    (product, "%i: %i, %j, fold=%j/8", "%j is no reduction in the nest of %i"),
    (product, "%i: %i, %j, fold=%k*8", "fold says lanes, and vectors in a turn: fold=%k/8*4"),
    (product, "%i: %i, %j, unroll=%k", "%k has 100 turns: 64 are written out at the most"),
    (product, "%i: %j*8/8, %i*4, pack=%w", "the reduction loads no %w that could be packed; it loads %input, %input.1"),
    (product, "%i: %j*8/8, %i*4, pack=%input", "%input is the same in all lanes of %j: nothing is gained"),
    (product, "%i: %i, %j/8, pack=%input.1", "pack, panel and abreast are for a reduction under tiles"),
    (product, "%i: %i*8/8, %j*4, pack=%input.1", "%input.1 is the same in all lanes of %i"),
    (product, "%i: %j*8/8, %i*4, panel=100", "panel says how large a packed operand may be, but none is packed"),
    (product, "%i: %i, %j*8/8, abreast=4", "abreast is for a sum over one loop in blocks (sums=24)"),
    (product, "%k: fold=%k/8; %i: %i, %j, fold=%k/8", "the nests %k and %i both say what becomes of %k"),
    (product, "%j: %j*8/8; %i: %i, %j", "the nests %j and %i both say what becomes of %j"),
    (rows, "%r: %r*2", "the turns of %r are not independent"),
]


@pytest.mark.parametrize(("graph", "text", "message"), WRONG)
def test_a_schedule_that_does_not_fit_is_refused(graph, text: str, message: str) -> None:
    """By the verifier and, where nobody asks it, by tile: with what does not exist, or is not possible."""
    module = given(lowered(graph()), text)
    with pytest.raises(IRError) as caught:
        Manager(verify=False).run([Tile()], module)
    assert f"does not fit: {message}" in str(caught.value)
    with pytest.raises(VerifyError, match="L13"):
        Manager(verify=True).run([Choose()], module)


def test_tile_needs_a_schedule() -> None:
    with pytest.raises(PipelineError, match="pass tile requires that the loop IR is chosen"):
        parse_pipeline("lower,tile")
    with pytest.raises(PipelineError, match=r"kernel @k0.* has no schedule; choose establishes"):
        Manager().run([Tile()], lowered(product()))


def test_kernels_whose_loops_share_a_name_stay_plain() -> None:
    """A schedule could not say which one it means."""
    loop = """  for %i in 0..16 {parallel} !1 {
    %a: f32 = load %x[%i] !1
    store %a, %AT[%i] !1
  }
"""
    text = f"""symc ir 1 level=loop
kernel @two(%x: in f32[16], %y: out f32[16], %z: out f32[16]) {{
{loop.replace("AT", "y")}{loop.replace("AT", "z")}}} !1
arena @A size=0 lower_bound=0
func @f(%x: f32[16] data) -> (y: f32[16], z: f32[16]) {{
  (%y: f32[16] @out.0, %z: f32[16] @out.1) = call map[16] @two(%x: element) !1
  return %y, %z
}}
!1 = sym "s" Op at "net.py":3
"""
    made = Manager(verify=True).run([Choose(), Tile()], parse(text))
    assert made.kernels[0].schedule == Schedule() and loops_of(made, "parallel") == {"i": 16}


def test_splits_are_said_by_what_they_are() -> None:
    nest = Nest("i", (Split("i", 6), Split("j", 24, 8)), pack="w", panel=4096)
    assert schedule_text(Schedule((nest,), 24)) == "sums=24; %i: %i*6, %j*24/8, pack=%w, panel=4096"
    assert nest.vector == Split("j", 24, 8)


# --------------------------------------------------------------------------------------------- schedules from outside


def test_a_pipeline_gives_schedules_and_a_wrong_one_is_refused() -> None:
    """What the text of all schedules says may be given back, without its blanks."""
    module = lowered(product())
    chosen = Manager().run([Choose(vector_bytes=16)], module)
    text = schedules_text(chosen.kernels)
    assert parse_schedules(text) == {k.name: k.schedule for k in chosen.kernels}
    again = Manager().run(parse_pipeline(f"choose{{schedules={''.join(text.split())} vector-bytes=64}}"), module)
    assert print_module(again) == print_module(chosen)
    for given, message in [
        ("@k9.dot(%i:%i,%j)", r"a schedule is given for @k9\.dot; open kernels are @k0\.dot"),
        ("@k0.dot(%i:%i*21,%j)", r"the schedule given for @k0\.dot does not fit: %i has 20 turns"),
    ]:
        with pytest.raises(PipelineError, match=message):
            Manager().run(parse_pipeline(f"choose{{schedules={given}}}"), module)
    with pytest.raises(ParseError, match="has two schedules"):
        Manager().run(parse_pipeline("choose{schedules=@k0.dot(%i:%i,%j)@k0.dot(%i:%i,%j)}"), module)


def test_measured_schedules_are_taken_by_what_a_kernel_computes(tmp_path: Path, caplog) -> None:
    """Whatever its buffers are called; not for sums of other blocks. Damaged lines, and what does not fit, are none."""
    module = lowered(product())
    renamed = lowered(graph_of(lambda left, right: dot(left, right), left=f32(20, 100), right=f32(100, 40)))
    key = key_of_kernel(module.kernels[0], 24)
    assert key == key_of_kernel(renamed.kernels[0], 24) != key_of_kernel(module.kernels[0], 256)
    text = "sums=24; %i: %j*16/8, %i*5"

    def chosen(lines: str, at: LoopModule = module, **options: int) -> str:
        path = tmp_path / f"file {len(list(tmp_path.iterdir()))}.txt"  # a path with a blank
        path.write_text(lines)
        made = Manager().run([Choose(tuned=quote(str(path)), **options)], at)
        return schedule_text(made.kernels[0].schedule)

    plain = schedule_text(Manager().run([Choose()], module).kernels[0].schedule)
    for at in (module, renamed):
        assert chosen(f"{key}({text})\n", at) == text != plain
    assert chosen(f"{key}({text})\n", block=256) != text and not caplog.records
    for damaged in (f"{key}({text}", f"{key}(%i: %i*", "\x00\x01", f"{key[1:]}({text})", f"{key}(%i: %i*21, %j)"):
        caplog.clear()
        assert chosen(damaged) == plain and len(caplog.records) == 1
    caplog.clear()
    assert schedule_text(Manager().run([Choose(tuned="/no/such/file")], module).kernels[0].schedule) == plain
    assert "No such file" in caplog.text

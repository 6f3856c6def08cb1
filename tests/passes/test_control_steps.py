"""Protects loops and branches below the tensor level: they are steps that hold programs, which are planned, verified,
printed, interpreted and linked with the program around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiling import arrays_for, assert_close, graph_of, to_executable, to_program

from symc.ir.errors import ParseError, VerifyError
from symc.ir.loop.interp import run_loop_module
from symc.ir.parse import parse
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import host_call, register_host
from symc.ir.prims.flow import branch, loop
from symc.ir.prims.indexing import sort
from symc.ir.prims.linear import dot
from symc.ir.prims.reduce import reduce_sum
from symc.ir.prims.tuples import get
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import BranchStep, LoopStep, Place, Program, programs_of
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.ir.types import BOOL, F32, TensorType
from symc.ir.verify import verify
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager
from symc.passes.program.fuse import Fuse
from symc.passes.tensor.inline import Inline
from symc.runtime.memory import empty

F = TensorType(F32, ())


def t(*shape: int) -> TensorType:
    return TensorType(F32, shape)


def recurrence() -> Graph:
    """States from turn to turn, rows read and written, a matrix read as a whole."""

    def net(x, h, w):
        def turn(c, r, k):
            new = ew.tanh(ew.add(dot(r[0], k[0]), c[0]))
            return [new], [dot(dot(new, k[0], tb=True), k[0])]

        last, ys, _ = loop(turn, [h], [x], [w])
        return [*last, *ys]

    return graph_of(net, x=t(5, 2, 3), h=t(2, 4), w=t(3, 4))


def exchange() -> Graph:
    """Carries that change places, one that stays, one that becomes a number; nobody reads some of the results."""

    def net(a, b):
        def turn(c, _, __):
            return [c[1], c[0], c[2], ew.full(7.0, t(3)), ew.add(c[4], c[0])], [c[0]]

        last, _, _ = loop(turn, [a, b, a, b, b], trips=3)
        return [*last[:3], last[4]]

    return graph_of(net, a=t(3), b=t(3))


def fibonacci() -> Graph:
    """The next carry is another one; the number of turns is a result."""

    def net(a, b):
        last, ys, count = loop(
            lambda c, _, __: ([c[1], ew.add(c[0], c[1])], [c[0]]), [a, b], trips=9, cond=lambda c, *_: ew.lt(c[0], 10.0)
        )
        return [*last, *ys, count]

    return graph_of(net, a=F, b=F)


def no_turns() -> Graph:
    def net(h):
        last, ys, _ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], [c[0]]), [h], [ew.full(1.0, t(0, 2))])
        return [*last, *ys]

    return graph_of(net, h=t(2))


def rows_of_rows() -> Graph:
    """Loops in loops in a loop, with a branch inside: rows of rows of rows are read and written where they lie."""

    def net(x, s):
        def innermost(c, r, k):
            (picked,) = branch(
                ew.gt(reduce_sum(r[0], (0,)), 0.0),
                lambda a, b: [ew.mul(a, b)],
                lambda a, b: [ew.sub(a, b)],
                [r[0], k[0]],
            )
            return [ew.add(c[0], picked)], [picked]

        def middle(c, r, k):
            last, ys, _ = loop(innermost, [c[0]], [r[0]], k)
            return last, [ys[0], c[0]]

        def outer(c, r, k):
            last, ys, _ = loop(middle, [c[0]], [r[0]], k)
            return last, [ys[0], ys[1], r[0]]

        last, ys, _ = loop(outer, [s], [x], [s])
        return [*last, *ys]

    return graph_of(net, x=t(2, 3, 4, 5), s=t(5))


def from_the_end() -> Graph:
    """The last row first, with a loop inside that goes on from it."""

    def net(x, h):
        def turn(c, r, _):
            inner, ys, _ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], [c[0]]), [c[0]], [r[0]])
            return inner, [ys[0], c[0]]

        last, ys, _ = loop(turn, [h], [x], backwards=True)
        return [*last, *ys]

    return graph_of(net, x=t(3, 2, 4), h=t(4))


def from_nothing() -> Graph:
    """A loop and a call that read nothing."""
    register_host("seven", lambda: np.full(3, 7, np.float32))

    def net(x):
        turn = lambda c, r, _: ([], [ew.add(ew.full(2.0, t(3)), host_call("seven", [], [t(3)]))])
        _, (ys,), _ = loop(turn, [], trips=4)
        return [ew.add(ys, x), ys, host_call("seven", [], [t(3)])]

    return graph_of(net, x=t(4, 3))


def in_the_host() -> Graph:
    """Steps that numpy and Python run, on rows."""
    register_host("twice", lambda a: a * 2)

    def net(x, s):
        def turn(c, r, _):
            doubled = host_call("twice", [r[0]], [t(4)])
            return [ew.add(c[0], get(sort(r[0], 0), 0))], [doubled, get(sort(doubled, 0), 0)]

        last, ys, _ = loop(turn, [s], [x])
        return [*last, *ys]

    return graph_of(net, x=t(3, 4), s=t(4))


GRAPHS = [recurrence, exchange, fibonacci, no_turns, rows_of_rows, from_the_end, from_nothing, in_the_host]


@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.parametrize("subset", [(), ("simplify", "fuse", "noinplace")])
def test_every_level_computes_the_same(make, subset) -> None:
    graph = make()
    arrays = arrays_for(graph, kind="int")
    want = evaluate(graph, arrays, "f64").outputs
    fused = Manager().run([Inline(), Fuse()], graph)
    program = to_program(graph, subset)
    module = Manager().run([Lower()], program)
    for made in (
        evaluate(graph, arrays).outputs,
        run_program(fused, arrays).outputs,
        run_program(program, arrays).outputs,
        run_program(program, arrays, "f64").outputs,
        run_loop_module(module, arrays).outputs,
        run_loop_module(module, arrays, serial=True).outputs,
    ):
        for name, array in want.items():
            assert_close(made[name], array)
    instance = to_executable(program).bind({n: _aligned(a) for n, a in arrays.items()})
    for _ in range(2):  # the second run begins where the first began
        instance.run()
        for output, array in zip(program.outputs, instance.outputs):
            assert_close(array, want[output.name])


def _aligned(array):
    made = empty(array.shape, array.dtype)
    made[...] = array
    return made


@pytest.mark.parametrize("make", GRAPHS)
def test_the_text_holds_the_regions_and_reads_back(make) -> None:
    graph = make()
    fused = Manager().run([Inline(), Fuse()], graph)
    planned = to_program(graph)
    module = Manager().run([Lower()], planned)
    for level in (graph, fused, planned, module):
        text = print_module(level)
        assert print_module(parse(text)) == text
        verify(parse(text))
        assert "body" in text


def step_of(program: Program) -> LoopStep:
    return next(s for s in program.steps if isinstance(s, LoopStep))


def with_step(program: Program, **changes) -> Program:
    steps = [replace(s, **changes) if isinstance(s, LoopStep) else s for s in program.steps]
    return replace(program, steps=tuple(steps))


def test_regions_lie_in_the_arena_around_them() -> None:
    program = to_program(rows_of_rows())
    parts = programs_of(program)
    assert len(parts) == 6 and all(part.arena <= program.arena for part in parts)
    verify(program)


def test_a_number_that_has_a_name_is_in_memory_where_a_loop_reads_it() -> None:
    """simplify makes a number of a named value, which keeps its name."""

    def net(x):
        zero = ew.select(ew.full(True, TensorType(BOOL, ())), ew.full(0.0, F), ew.full(1.0, F))
        last, _, _ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], []), [zero], [x])
        return last

    graph = graph_of(net, x=t(4))
    program = to_program(graph)
    arrays = arrays_for(graph, kind="int")
    assert_close(run_program(program, arrays).outputs["out0"], arrays["x"].sum())


def test_equal_kernels_of_regions_are_one() -> None:
    def net(x, y):
        (first,), _, _ = loop(lambda c, _, __: ([ew.tanh(c[0])], []), [x], trips=3)
        (second,), _, _ = loop(lambda c, _, __: ([ew.tanh(c[0])], []), [y], trips=4)
        return [first, second, ew.tanh(y)]

    module = Manager().run([Lower()], to_program(graph_of(net, x=t(8), y=t(8))))
    assert len(module.kernels) == 1


def test_kernels_of_regions_follow_the_options_of_the_program() -> None:
    def net(x, w):
        return loop(lambda c, r, k: ([], [dot(r[0], k[0])]), [], [x], [w])[1]

    program = to_program(graph_of(net, x=t(3, 4, 300), w=t(300, 8)))
    few, many = (Manager().run([Lower(), Choose(block=block), Tile()], program).kernels for block in (24, 256))
    assert few != many


def breaks(rule: str, program: Program) -> None:
    with pytest.raises(VerifyError) as refused:
        verify(program)
    assert refused.value.rule == rule


def test_regions_that_do_not_fit_are_refused() -> None:
    program = to_program(recurrence())
    step = step_of(program)
    body = step.body
    other = (replace(body.updates[0], input="in1"),)
    breaks("P13", with_step(program, trips=4))
    breaks("P13", with_step(program, carries=0, xs=1))
    breaks("P13", with_step(program, body=replace(body, updates=other)))
    breaks("P13", with_step(program, body=replace(body, outputs=())))
    breaks("P13", with_step(program, cond=body))
    breaks("P6", with_step(program, frame=Place("arena", 1 << 20)))
    breaks("P6", with_step(program, frame=Place("arena", 2)))
    breaks("P6", with_step(program, frame=Place()))
    breaks("P3", with_step(program, body=replace(body, steps=_wrong(step))))


def _wrong(step: LoopStep):
    """The steps, the last with its operands the other way round."""
    *others, last = step.body.steps
    return (*others, replace(last, operands=last.operands[::-1]))


def test_a_frame_over_a_value_that_is_needed_is_refused() -> None:
    def net(x, h):
        kept = ew.exp(x)
        last, _, _ = loop(lambda c, _, k: ([ew.sin(dot(c[0], dot(c[0], k[0])))], []), [h], [], [kept], 2)
        return [dot(kept, last[0])]

    program = to_program(graph_of(net, x=t(4, 4), h=t(4, 4)))
    step = step_of(program)
    place = next(r.place for s in program.steps for r in s.results if r.name in step.operands)
    assert place.kind == "arena" and step.frame_size
    with pytest.raises(VerifyError, match="P7.*frame"):
        verify(with_step(program, frame=place))


def test_a_carry_takes_over_only_what_the_loop_reads_no_other_way() -> None:
    def once(x):
        (last,), _, _ = loop(lambda c, _, __: ([ew.sin(c[0])], []), [ew.exp(x)], trips=2)
        return [ew.exp(last)]

    def twice(x):
        begin = ew.exp(x)
        (last,), _, _ = loop(lambda c, _, k: ([ew.add(c[0], k[0])], []), [begin], [], [begin], 2)
        return [ew.exp(last)]

    (result,) = step_of(to_program(graph_of(once, x=t(8)))).results
    assert result.inplace
    program = to_program(graph_of(twice, x=t(8)))
    step = step_of(program)
    assert not step.results[0].inplace
    place = next(r.place for s in program.steps for r in s.results if r.name == step.operands[0])
    stolen = (replace(step.results[0], place=place, inplace=step.operands[0]),)
    with pytest.raises(VerifyError, match="P8"):
        verify(with_step(program, results=stolen))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (": row", ": rows", "row"),
        ("%h: carry, %x: row", "%x: row, %h: carry", "order"),
        ("trips=5", "turns=5", "trips"),
        ("body(", "then(", "body"),
    ],
)
def test_errors_in_the_text_say_what_is_expected(old, new, message) -> None:
    text = print_module(to_program(recurrence()))
    assert old in text
    with pytest.raises(ParseError, match=message):
        parse(text.replace(old, new))


def test_a_branch_needs_both_sides() -> None:
    def net(p, a):
        return branch(ew.gt(p, 0.0), lambda a: [ew.neg(a)], lambda a: [ew.exp(a)], [a])

    program = to_program(graph_of(net, p=F, a=t(4)))
    (step,) = [s for s in program.steps if isinstance(s, BranchStep)]
    text = print_module(program)
    cut = text.index("      arena", text.index("then(")) if "      arena" in text else text.index("    other(")
    end = text.index("\n  } !", cut)
    with pytest.raises(ParseError, match="other"):
        parse(text[:cut] + text[end + 1 :])
    assert [r.name for r in step.regions] == ["then", "other"]


def test_rows_are_where_they_were_after_an_error_inside() -> None:
    """Nor does it matter where a run stopped of which a forked child has but a part."""
    calls = []

    def moody(a):
        calls.append(a.copy())
        if len(calls) == 3:
            raise KeyError("in the third turn")
        return a + 1

    register_host("moody", moody)

    def net(x):
        def turn(c, r, _):
            _, ys, _ = loop(lambda c, r, _: ([], [host_call("moody", [r[0]], [t(2)])]), [], [r[0]])
            return [], ys

        return loop(turn, [], [x])[1]

    graph = graph_of(net, x=t(3, 2, 2))
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    instance = to_executable(to_program(graph)).bind({"x": _aligned(x)})
    with pytest.raises(KeyError, match="third turn"):
        instance.run()
    instance.run()
    np.testing.assert_array_equal(instance.outputs[0], x + 1)
    assert [c.tolist() for c in calls[3:]] == x.reshape(6, 2).tolist()

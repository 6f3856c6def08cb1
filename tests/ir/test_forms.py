"""A kernel's form: its text, its proof from the body (P12), and what may be overwritten (P8). Protects from kernels
that are planned, lowered or explained by what somebody guessed of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from symc.ir.errors import IRError, ParseError, VerifyError
from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import KernelStep, Place, Program
from symc.ir.text import print_module
from symc.ir.verify import verify
from symc.passes.loop.lower import Lower
from symc.passes.manager.rewrite import Rewriter

PARAMS = "%x: f32[4,4] data, %b: f32[4] arg, %i: i32[4] arg, %s: f32[] arg"


def program(steps: str, output: str = "%y: f32[4,4]", arena: int = 0) -> Program:
    """A program of steps written without origins."""
    value, _, tensor = output.partition(": ")
    head = f"arena @A size={arena} lower_bound={arena}\n" if arena else ""
    body = "\n".join(line if line.endswith("{") or " yield %" in line else f"{line} !1" for line in steps.split("\n"))
    text = f"{head}func @f({PARAMS}) -> (out: {tensor}) {{\n{body}\n  return {value}\n}}\n"
    level = "planned" if arena else "fused"
    made = parse(f'symc ir 1 level={level}\n{text}!1 = sym "s" S\n')
    assert isinstance(made, Program)
    return made


def kernel(head: str, *body: str, result: str = "%y: f32[4,4]") -> Program:
    """A program of one kernel."""
    lines = "\n".join(f"    {line}" for line in body)
    name = result.partition(":")[0]
    return program(f"  {result} = fuse {head} {{\n{lines}\n    yield {name}\n  }}", result)


def refused(rule: str, made: Any, message: str, origins: bool = True) -> None:
    """The verifier says so, with the rule's number."""
    with pytest.raises(VerifyError, match=f"^{rule}: .*{message}"):
        verify(made, origins)


SOFTMAX = (
    "%m: f32[4] = max(%x) {axes=[1]}",
    "%n: f32[4,4] = broadcast(%m) {dims=[0]}",
    "%d: f32[4,4] = sub(%x, %n)",
    "%y: f32[4,4] = exp(%d)",
)
BIAS = ("%c: f32[4,4] = broadcast(%b) {dims=[1]}", "%y: f32[4,4] = add(%x, %c)")

GOOD = {
    "map": kernel('map[4,4] "add"(%x: element, %b: along[1])', *BIAS),
    "map, scalar": kernel('map[4,4] "mul"(%x: element, %s: along[])', "%y: f32[4,4] = mul(%x, %s)"),
    "map, whole": kernel('map[4,4] "transpose"(%x: whole)', "%y: f32[4,4] = transpose(%x) {perm=[1, 0]}"),
    "map, gathered": kernel('map[4,4] "gather"(%x: whole, %i: along[0])', "%y: f32[4,4] = gather(%x, %i) {axis=0}"),
    "less than is true": kernel('map[4,4] "add"(%x: whole, %b: whole)', *BIAS),
    "row": kernel('row[4,4 | 1] "max_exp"(%x: element) -> element', *SOFTMAX),
    "row, summed": kernel(
        'row[4,4 | 0] "sum"(%x: element) -> row', "%y: f32[4] = sum(%x) {axes=[0]}", result="%y: f32[4]"
    ),
    "nest": kernel(
        'nest[4,4] "dot_add"(%x: whole, %b: along[1])',
        "%p: f32[4,4] = dot(%x, %x)",
        BIAS[0],
        "%y: f32[4,4] = add(%p, %c)",
    ),
    "nest that stores twice": kernel(
        'nest[6,4] stores twice "pad"(%x: whole)',
        "%y: f32[6,4] = pad(%x) {low=[1, 0], high=[1, 0], interior=[0, 0]}",
        result="%y: f32[6,4]",
    ),
    "host": kernel('host "sort"(%x: whole)', "%t: (f32[4,4], i64[4,4]) = sort(%x) {axis=1}", "%y: f32[4,4] = get(%t)"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_form_is_text_and_proved(name: str) -> None:
    text = print_module(GOOD[name])
    assert print_module(parse(text)) == text
    verify(GOOD[name])


BAD = {
    "a map of a reduction": (
        'map[4,4] "max_exp"(%x: element)', SOFTMAX, "a body with no reduction and no loop nest; this one holds max",
    ),
    "a row without one": ('row[4,4 | 1] "add"(%x: element, %b: along[1]) -> element', BIAS, "holds neither"),
    "other axes": ('row[4,4 | 0] "max_exp"(%x: element) -> element', SOFTMAX, r"max reduces axes \[1\] of f32\[4,4\]"),
    "another space": (
        'row[4,5 | 1] "max_exp"(%x: whole) -> element', SOFTMAX, "%y is f32.*said to be stored by element in row.4,5",
    ),
    "a space that is not the result's": ('map[16] "add"(%x: whole, %b: whole)', BIAS, r"%y is f32\[4,4\]"),
    "a result by row": ('row[4,4 | 1] "max_exp"(%x: element) -> row', SOFTMAX, "%y is f32.* said to be stored by row"),
    "a transpose by element": (
        'map[4,4] "transpose"(%x: element)', ("%y: f32[4,4] = transpose(%x) {perm=[1, 0]}",),
        "%x is said to be read by element .* but is also read elsewhere",
    ),
    "a reversal by element": (
        'map[4,4] "slice"(%x: element)', ("%y: f32[4,4] = slice(%x) {begin=[3, 0], end=[-1, 4], step=[-1, 1]}",),
        "%x is said to be read by element",
    ),
    "a gather by element": (
        'map[4,4] "gather"(%x: element, %i: along[0])', ("%y: f32[4,4] = gather(%x, %i) {axis=0}",),
        "%x is said to be read by element",
    ),
    "other axes of an operand": ('map[4,4] "add"(%x: element, %b: along[0])', BIAS, "%b is said to be read by along"),
    "an operand by element and otherwise": (
        'map[4,4] "transpose_add"(%x: element)',
        ("%t: f32[4,4] = transpose(%x) {perm=[1, 0]}", "%y: f32[4,4] = add(%x, %t)"),
        "%x is said to be read by element",
    ),
    "an operand of another shape": ('map[4,4] "add"(%x: element, %b: element)', BIAS, r"%b is f32\[4\], which cannot"),
    "an axis beyond the space": ('map[4,4] "add"(%x: element, %b: along[2])', BIAS, "%b is along.* beyond the space"),
    "the operand of a nest by element": (
        'nest[4,4] "dot"(%x: element)', ("%y: f32[4,4] = dot(%x, %x)",), "%x is said to be read by element",
    ),
    "an operand of nest and epilogue": (
        'nest[4,4] "dot_add"(%x: element)', ("%p: f32[4,4] = dot(%x, %x)", "%y: f32[4,4] = add(%p, %x)"),
        "%x is said to be read by element",
    ),
    "a nest's result at another index": (
        'nest[4,4] "dot_transpose"(%x: whole)',
        ("%p: f32[4,4] = dot(%x, %x)", "%y: f32[4,4] = transpose(%p) {perm=[1, 0]}"),
        "reads the result of dot at another index",
    ),
    "two nests": (
        'nest[4,4] "dot"(%x: whole)', ("%p: f32[4,4] = dot(%x, %x)", "%y: f32[4,4] = dot(%p, %x)"), "one loop nest",
    ),
    "a nest said to store twice": (
        'nest[4,4] stores twice "dot"(%x: whole)', ("%y: f32[4,4] = dot(%x, %x)",), "but dot stores once",
    ),
    "the row of another": (
        'row[4,4 | 1] "max"(%x: element) -> element',
        ("%m: f32[4] = max(%x) {axes=[1]}", "%n: f32[4,4] = broadcast(%m) {dims=[1]}", "%y: f32[4,4] = sub(%x, %n)"),
        "reads the max of another row",
    ),
    "a host step with loops": ('host "add"(%x: whole, %b: whole)', BIAS, "every primitive of the body has loops"),
    "loops with a host step": (
        'map[4,4] "sort"(%x: element)',
        ("%t: (f32[4,4], i64[4,4]) = sort(%x) {axis=1}", "%y: f32[4,4] = get(%t)"), "sort, which only the host",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_p12_a_form_that_the_body_does_not_have(name: str) -> None:
    head, body, message = BAD[name]
    refused("P12", kernel(head, *body), message)


@pytest.mark.parametrize(
    "head, message",
    [
        ('maps[4,4] "add"(%x: element)', "expected the kernel's form"),
        ('map[4,4] "add"(%x, %b)', "expected ':'"),
        ('map[4,4] "add"(%x: elements)', "unknown access 'elements'; did you mean 'element'"),
        ('row[4,4] "add"(%x: element)', "expected ',' or '|'"),
        ('row[4,4 | 1] "add"(%x: element)', "expected '->'"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(head: str, message: str) -> None:
    with pytest.raises(ParseError, match=message.replace("|", r"\|")):
        kernel(head, *BIAS)


def test_a_kernel_without_a_form_is_refused_where_its_body_is() -> None:
    made = kernel('"add"(%x, %b)', *BIAS)
    assert print_module(parse(print_module(made))) == print_module(made)
    refused("P12", made, r"step 0 \(%y\): the kernel says no form: map\[extents\]")
    with pytest.raises(IRError, match="the kernel of %y says no form, by which"):
        Lower().run(made, Rewriter("lower"))


# --------------------------------------------------------------------------------------------- in place


def over(head: str, *body: str, result: str = "%y: f32[4,4]", first: str = "f32[4,4]") -> Program:
    """A kernel whose result takes over the memory of %a, which one before it made."""
    name, _, tensor = result.partition(": ")
    source, form = ("%x", "map[4,4]") if first == "f32[4,4]" else ("%b", "map[4]")
    lines = "\n".join(f"    {line}" for line in body)
    last = "map" + tensor[3:]
    return program(
        f"""  %a: {first} @A+0 = fuse {form} "exp"({source}: element) {{
    %a: {first} = exp({source})
    yield %a
  }}
  {result} @A+0 inplace(%a) = fuse {head} {{
{lines}
    yield {name}
  }}
  %z: {tensor} @out.0 = fuse {last} "neg"({name}: element) {{
    %z: {tensor} = neg({name})
    yield %z
  }}""",
        f"%z: {tensor}",
        64,
    )


LEGAL = {
    "by element": over('map[4,4] "tanh"(%a: element)', "%y: f32[4,4] = tanh(%a)"),
    "by element of a row kernel": over(
        'row[4,4 | 1] "max_exp"(%a: element) -> element', *(line.replace("%x", "%a") for line in SOFTMAX)
    ),
    "in an epilogue": over(
        'nest[4,4] "dot_add"(%x: whole, %a: element)', "%p: f32[4,4] = dot(%x, %x)", "%y: f32[4,4] = add(%p, %a)"
    ),
    "by row": over(
        'row[4,4 | 1] "sum_add"(%x: element, %a: row) -> row',
        "%t: f32[4] = sum(%x) {axes=[1]}",
        "%y: f32[4] = add(%t, %a)",
        result="%y: f32[4]",
        first="f32[4]",
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_read_where_it_is_stored_may_be_overwritten(name: str) -> None:
    verify(LEGAL[name])


ILLEGAL = {
    "a transpose": (
        over('map[4,4] "transpose"(%a: whole)', "%y: f32[4,4] = transpose(%a) {perm=[1, 0]}"),
        "reads that operand whole",
    ),
    "a transpose without a form": (
        over('"transpose"(%a)', "%y: f32[4,4] = transpose(%a) {perm=[1, 0]}"), "says no form",
    ),
    "a reversal": (
        over('map[4,4] "slice"(%a: whole)', "%y: f32[4,4] = slice(%a) {begin=[3, 0], end=[-1, 4], step=[-1, 1]}"),
        "reads that operand whole",
    ),
    "a gather": (
        over('map[4,4] "gather"(%a: whole, %i: along[0])', "%y: f32[4,4] = gather(%a, %i) {axis=0}"),
        "reads that operand whole",
    ),
    "an operand of a product": (
        over('nest[4,4] "dot"(%a: whole)', "%y: f32[4,4] = dot(%a, %a)"), "reads that operand whole",
    ),
    "an operand along other axes": (
        over(
            'row[4,4 | 1] "sum"(%x: element, %a: along[1]) -> row', "%c: f32[4,4] = broadcast(%a) {dims=[1]}",
            "%d: f32[4,4] = mul(%x, %c)", "%y: f32[4] = sum(%d) {axes=[1]}", result="%y: f32[4]", first="f32[4]",
        ),
        "by along.*, while the result is stored by row",
    ),
    "an epilogue of a nest that stores twice": (
        over(
            'nest[4,4] stores twice "pad_add"(%b: whole, %a: element)', "%r: f32[1,4] = reshape(%b)",
            "%p: f32[4,4] = pad(%r) {low=[1, 0], high=[2, 0], interior=[0, 0]}", "%y: f32[4,4] = add(%p, %a)",
        ),
        "stores elements of its results twice",
    ),
    "what the host sorts": (
        over('host "sort"(%a: whole)', "%t: (f32[4,4], i64[4,4]) = sort(%a) {axis=1}", "%y: f32[4,4] = get(%t)"),
        "reads that operand whole",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ILLEGAL)
def test_p8_what_is_read_elsewhere_may_not_be_overwritten(name: str) -> None:
    made, message = ILLEGAL[name]
    refused("P8", made, rf"step 1: %y inplace\(%a\): .*{message}")


def run(made: Program, precision: str = "declared") -> np.ndarray:
    """The output of a program on certain numbers."""
    rng = np.random.default_rng(0)
    given = {p.name: rng.normal(size=p.type.shape).astype(p.type.dtype.numpy) for p in made.params}
    return run_program(made, {**given, "i": np.array([3, 0, 1, 2], np.int32)}, precision).outputs["out"]


def unplanned(made: Program) -> Program:
    """The same program with memory of its own for every value."""
    steps = [s for s in made.steps if isinstance(s, KernelStep)]
    alone = [replace(s, results=tuple(replace(r, place=Place(), inplace="") for r in s.results)) for s in steps]
    return replace(made, steps=tuple(alone), arena=0, lower_bound=0)


@pytest.mark.parametrize("precision", ["declared", "f64"])
def test_the_interpreter_stores_where_the_plan_says(precision: str) -> None:
    """A result over what its kernel still reads is wrong there, as it would be on the machine."""
    for name, made in LEGAL.items():
        np.testing.assert_array_equal(run(made, precision), run(unplanned(made), precision), err_msg=name)
    for name, (made, _) in ILLEGAL.items():
        same = np.array_equal(run(made, precision), run(unplanned(made), precision))
        assert same == name.startswith("what the host"), name  # it stores when it has read everything


def test_a_form_that_is_not_true_does_not_deceive_the_interpreter() -> None:
    made = ILLEGAL["a transpose"][0]
    step = made.steps[1]
    assert isinstance(step, KernelStep)
    said = replace(step, form=replace(step.form, operands=((0, 1),)))
    lying = replace(made, steps=(made.steps[0], said, made.steps[2]))
    assert np.array_equal(run(lying), run(made)) and not np.array_equal(run(lying), run(unplanned(made)))


def test_p8_holds_for_loop_programs_too() -> None:
    """Where the bodies are no more, the forms are."""
    legal = """symc ir 1 level=loop
kernel @k0.neg(%x: in f32[4,4], %y: out f32[4,4] alias(%x)) {
  for %i in 0..4 {parallel} !1 {
    for %j in 0..4 {parallel} !1 {
      %a: f32 = load %x[%i, %j] !1
      %b: f32 = neg(%a) !1
      store %b, %y[%i, %j] !1
    }
  }
} !1
arena @A size=64 lower_bound=64
func @f(%x: f32[4,4] data) -> (out: f32[4,4]) {
  %a: f32[4,4] @A+0 = call map[4,4] @k0.neg(%x: element) !1
  %b: f32[4,4] @A+0 inplace(%a) = call map[4,4] @k0.neg(%a: element) !1
  %c: f32[4,4] @out.0 = call map[4,4] @k0.neg(%b: element) !1
  return %c
}
!1 = sym "s" S
"""
    made = parse(legal)
    verify(made)
    assert print_module(made) == legal
    refused("L9", parse(legal.replace(" alias(%x)", "")), r"step 1: %b inplace\(%a\), but @k0.neg does not say")
    refused("P8", parse(legal.replace("(%a: element)", "(%a: whole)")), "step 1")
    unsaid = legal.replace("call map[4,4] @k0.neg(%a: element)", "call @k0.neg(%a)")
    assert print_module(parse(unsaid)) == unsaid
    refused("P8", parse(unsaid), "step 1.* says no form")
    verify(parse(unsaid.replace("@A+0 inplace(%a)", "@A+64").replace("size=64", "size=128")))


# --------------------------------------------------------------------------------------------- loops


def loops(body: str) -> Any:
    """A kernel whose results may take over its operands' memory: %y that of %x, %r that of %s."""
    buffers = "%x: in f32[4,4], %s: in f32[4], %y: out f32[4,4] alias(%x), %r: out f32[4] alias(%s)"
    return parse(f"symc ir 1 level=loop\nkernel @k({buffers}) {{\n{body}\n}}\nfunc @f() -> () {{\n  return\n}}\n")


KEEPS = {
    "element by element": """for %i in 0..4 {parallel} { for %j in 0..4 {vector=4} {
      %a: f32 = load %x[%i, %j]
      store %a, %y[%i, %j]
    } }""",
    "a row after its sum": """for %i in 0..4 {parallel} {
      %t: f32 = for %k in 0..4 carry(%h: f32 = 0.0 combine=add) {
        %a: f32 = load %x[%i, %k]
        %n: f32 = add(%h, %a)
        yield %n
      }
      for %j in 0..4 {parallel} {
        %b: f32 = load %x[%i, %j]
        %c: f32 = load %s[%i]
        %d: f32 = add(%b, %c)
        store %d, %y[%i, %j]
      }
      store %t, %r[%i]
    }""",
    "backwards, turn by turn": """for %i in 0..3 {
      %a: f32 = load %s[%i + 1]
      store %a, %r[%i]
    }""",
}

TRANSPOSE = "%a: f32 = load %x[%j, %i] store %a, %y[%i, %j]"
LOSES = {
    "a transpose": f"for %i in 0..4 {{ for %j in 0..4 {{ {TRANSPOSE} }} }}",
    "a value of a row before its elements": """for %i in 0..4 {parallel} {
      store 0.0, %r[%i]
      for %j in 0..4 { %b: f32 = load %s[%i] store %b, %y[%i, %j] }
    }""",
    "places cleared before some are computed": """for %i in 0..4 {parallel} {
      for %j in 0..4 {parallel} { %a: f32 = load %x[%i, %j] %b: f32 = mul(%a, 0.0) store %b, %y[%i, %j] }
      for %k in 0..2 {parallel} { %c: f32 = load %x[%i, 2*%k] store %c, %y[%i, 2*%k] }
    }""",
    "forwards, turn by turn": "for %i in 0..3 { %a: f32 = load %s[%i] store %a, %r[%i + 1] }",
}


@pytest.mark.parametrize("name", KEEPS)
def test_loops_that_read_before_they_store(name: str) -> None:
    verify(loops(KEEPS[name]), origins=False)


@pytest.mark.parametrize("name", LOSES)
def test_l12_loops_that_read_what_they_have_overwritten(name: str) -> None:
    made = loops(LOSES[name])
    refused("L12", made, "kernel @k: load of .* may come after store to", origins=False)
    verify(parse(print_module(made).replace(" alias(%x)", "").replace(" alias(%s)", "")), origins=False)


def test_l6_loops_whose_turns_read_what_others_overwrite() -> None:
    made = loops(f"for %i in 0..4 {{parallel}} {{ for %j in 0..4 {{parallel}} {{ {TRANSPOSE} }} }}")
    refused("L6", made, "kernel @k: .* may touch the same element", origins=False)

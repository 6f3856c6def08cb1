"""Protects the proofs about loops: indices inside of their buffers (L4), stores of different turns apart (L6), carries
that combine what they say (L10, L11). Every bad kernel here is one that a slip in a pass or an operator would make."""

from __future__ import annotations

import pytest

from symc.ir.errors import VerifyError
from symc.ir.loop.verify import verify_kernel
from symc.ir.modules import LoopModule
from symc.ir.parse import parse

TEXT = """symc ir 1 level=loop
kernel @k(%x: in f32[16], %y: out f32[16], %z: out f32[4,8], %at: in i32[16], %q: in f32[16], %w: in u8[16]) {
{body}
}
func @f(%x: f32[16] data) -> (y: f32[16]) {
  return %x
}
"""


def check(body: str) -> None:
    module = parse(TEXT.replace("{body}", body))
    assert isinstance(module, LoopModule)
    verify_kernel(module.kernels[0], origins=False)


def refused(rule: str, body: str) -> str:
    with pytest.raises(VerifyError) as caught:
        check(body)
    assert caught.value.rule == rule, caught.value
    return str(caught.value)


def copied(load: str, kind: str = "parallel", store: str = "%y[%i]") -> str:
    return f"for %i in 0..16 {{{kind}}} {{ %a: f32 = load {load} store %a, {store} }}"


# --------------------------------------------------------------------------------------------- L4


@pytest.mark.parametrize(
    "load",
    [
        "%x[15 - %i]",
        "%x[floordiv(2*%i + 1, 2)]",
        "%x[mod(%i + 5, 16)]",
        "%x[%i + 3] if 0 <= %i < 13 else 0.0",
        "%x[%i - 1] if 1 <= %i < 20 else 0.0",
        "%x[floordiv(%i + 20, 2)] if 0 <= %i + 20 < 32 else 0.0",
        "%x[2*%i - 16] if 8 <= %i < 99 else 0.0",
        "%x[%i + 100] if 20 <= %i < 99 else 0.0",  # never happens
        "%x[%i - 4*floordiv(%i, 4)]",
    ],
)
def test_indices_that_follow_to_be_inside(load: str) -> None:
    check(copied(load))


@pytest.mark.parametrize("index", ["%i - 3*%b - %k", "%i - 3*%b - %k + 2", "5*%i - 3*%b + 7*%k"])
@pytest.mark.parametrize("extent", [1, 2, 16])
def test_a_guard_of_the_index_itself_is_a_proof(index: str, extent: int) -> None:
    """Whatever its terms: no interval of any of them follows from it (pooling whose window is the whole image)."""
    load = f"%a: f32 = load %x[{index}] if 0 <= {index} < {extent} else 0.0"
    nest = "for %i in 0..7 {parallel} { for %b in 0..3 { for %k in 0..3 { LOAD store %a, %y[%i] } } }"
    check(nest.replace("LOAD", load))
    refused("L4", nest.replace("LOAD", load.replace(f"x[{index}]", f"x[{index} - 1]")))


@pytest.mark.parametrize(
    "load",
    [
        "%x[%i + 1]",
        "%x[%i - 1]",
        "%x[2*%i]",
        "%x[floordiv(%i, 2) + 9]",
        "%x[mod(%i, 17)  + 1]",
        "%x[%i + 3] if 0 <= %i < 14 else 0.0",
        "%x[%i - 1] if 0 <= %i < 16 else 0.0",
        "%x[%i + 3] if 0 <= %i - 3 < 13 else 0.0",
    ],
)
def test_l4_an_index_that_may_leave_its_buffer(load: str) -> None:
    message = refused("L4", copied(load))
    assert "@k" in message and "%x: f32[16] may be" in message


def test_l4_stores_and_dropped_guards() -> None:
    check("for %i in 0..20 {parallel} { store 0.0, %y[%i] if 0 <= %i < 16 }")
    refused("L4", "for %i in 0..20 {parallel} { store 0.0, %y[%i] }")
    refused("L4", "for %i in 0..20 {parallel} { store 0.0, %y[%i] if 0 <= %i < 17 }")


def test_l4_loops_that_skip_numbers_and_loops_without_turns() -> None:
    body = "for %i in 0..STOP step 4 { for %j in 0..4 { store 0.0, %y[%i + %j] } }"
    check(body.replace("STOP", "14"))
    refused("L4", body.replace("STOP", "17"))
    check("for %i in 5..5 { store 0.0, %y[%i + 99] }")


def clipped(made: str, kind: str = "parallel") -> str:
    """%y[i] = %x[%p], where `made` computes %p from %d = %at[i]."""
    return f"""for %i in 0..16 {{{kind}}} {{
      %d: i32 = load %at[%i]
      {made}
      %a: f32 = load %x[%p]
      store %a, %y[%i]
    }}"""


COMPUTED = {
    "clip": "%m: i32 = maximum(%d, 0) %p: i32 = minimum(%m, 15)",
    "clip, the other way round": "%m: i32 = minimum(%d, 15) %p: i32 = maximum(%m, 0)",
    "modulo": "%p: i32 = mod(%d, 16)",
    "modulo of a smaller number": "%m: i32 = mod(%d, 4) %n: i32 = mul(%m, 5) %p: i64 = cast(%n)",
    "wrapped where negative": """%m: i32 = maximum(%d, -16) %n: i32 = minimum(%m, 15) %s: i1 = lt(%n, 0)
        %t: i32 = add(%n, 16) %p: i32 = select(%s, %t, %n)""",
    "chosen where inside": """%s: i1 = ge(%d, 0) %t: i1 = lt(%d, 16) %u: i1 = and(%s, %t)
        %p: i32 = select(%u, %d, 0:i32)""",
    "a truth value": "%s: i1 = ge(%d, 7) %p: i32 = cast(%s)",
    "bits": "%p: i32 = and(%d, 15)",
    "half a byte": "%b: u8 = load %w[%i] %h: u8 = shr(%b, 4) %p: i64 = cast(%h)",
    "a float, clipped as an integer": """%f: f32 = load %q[%i] %n: i32 = cast(%f) %m: i32 = maximum(%n, 0)
        %p: i32 = minimum(%m, 15)""",
    "a float without nan": """%f: f32 = load %q[%i] %e: i1 = isnan(%f) %g: f32 = select(%e, 0.0:f32, %f)
        %m: f32 = maximum(%g, 0.0) %n: f32 = minimum(%m, 15.5) %p: i32 = cast(%n)""",
    "an index of the loop": "%n: i64 = index(15 - %i) %p: i64 = maximum(%n, 0)",
    "a position found in a loop": """(%top: f32, %p: i64) = for %k in 0..16 carry(%m: f32 = 0.0, %o: i64 = 3) {
        %v: f32 = load %x[%k] %s: i1 = gt(%v, %m) %t: f32 = select(%s, %v, %m) %e: i64 = index(%k)
        %n: i64 = select(%s, %e, %o) yield %t, %n }""",
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_indices_that_follow_to_be_inside(name: str) -> None:
    check(clipped(COMPUTED[name]))


GUARDED = ["%p: i32 = index(%i)", "%n: i32 = index(%i) %p: i64 = cast(%n)",
    "%n: i32 = index(%i + 4) %m: i32 = mul(%n, 2) %p: i32 = sub(%m, 8)",
    "%n: i32 = index(%i - 1) %p: i32 = maximum(%n, 0)"]  # fmt: skip


@pytest.mark.parametrize("made", GUARDED)
def test_a_guard_bounds_what_is_computed_of_its_variable(made: str) -> None:
    """Turns beyond the end of a sum that is spread over lanes."""
    inside = (
        clipped(made, "vector=8")
        .replace("0..16", "0..24")
        .replace("load %at[%i]", "load %at[%i] if 0 <= %i < 16 else 0")
    )
    inside = inside.replace("store %a, %y[%i]", "store %a, %y[%i] if 0 <= %i < 16")
    check(inside.replace("load %x[%p]", "load %x[%p] if 0 <= %i < 8 else 0.0"))
    refused("L4", inside.replace("load %x[%p]", "load %x[%p] if 0 <= %i < 18 else 0.0"))


def test_l4_a_guard_says_nothing_of_another_loop_of_that_variable() -> None:
    body = """%p: i64 = for %i in 0..16 carry(%o: i64 = 0) { %n: i64 = index(%i) yield %n }
    for %i in 0..16 { %a: f32 = load %x[%p SHIFT] if 0 <= %i < 4 else 0.0 store %a, %y[%i] }"""
    check(body.replace("SHIFT", ""))
    refused("L4", body.replace("SHIFT", "+ 12"))


UNPROVEN = {
    "as it is": "%p: i32 = add(%d, 0)",
    "below only": "%p: i32 = maximum(%d, 0)",
    "above only": "%p: i32 = minimum(%d, 15)",
    "one too far": "%m: i32 = maximum(%d, 0) %p: i32 = minimum(%m, 16)",
    "absolute": "%m: i32 = abs(%d) %p: i32 = minimum(%m, 15)",  # of the least number is the least number
    "after the clip": "%m: i32 = maximum(%d, 0) %n: i32 = minimum(%m, 15) %p: i32 = add(%n, 1)",
    "modulo of a negative number": "%p: i32 = mod(%d, -16)",
    "a narrow type that wraps": "%m: i32 = maximum(%d, 0) %n: i32 = minimum(%m, 200) %p: i8 = cast(%n)",
    "a product that wraps": """%m: i32 = maximum(%d, 0) %n: i32 = mul(%m, 2147483647)
        %p: i32 = minimum(%n, 15)""",
    "the wrong answer of the condition": """%s: i1 = lt(%d, 16) %p: i32 = select(%s, 0:i32, %d)""",
    "one side of the condition": "%s: i1 = lt(%d, 16) %p: i32 = select(%s, %d, 0:i32)",
    "either of two conditions": """%s: i1 = ge(%d, 0) %t: i1 = lt(%d, 16) %u: i1 = or(%s, %t)
        %p: i32 = select(%u, %d, 0:i32)""",
    "a float clipped as a float: nan is left": """%f: f32 = load %q[%i] %m: f32 = maximum(%f, 0.0)
        %n: f32 = minimum(%m, 15.0) %p: i32 = cast(%n)""",
    "a float rounded up to the end": """%f: f32 = load %q[%i] %e: i1 = isnan(%f) %g: f32 = select(%e, 0.0:f32, %f)
        %m: f32 = maximum(%g, 0.0) %n: f32 = minimum(%m, 15.5) %r: f32 = round(%n) %p: i32 = cast(%r)""",
    "a sum of a loop": """%p: i64 = for %k in 0..16 carry(%o: i64 = 0) { %n: i64 = add(%o, 1) yield %n }""",
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_l4_a_computed_index_without_a_proof(name: str) -> None:
    assert "may be" in refused("L4", clipped(UNPROVEN[name]))


def test_l4_conditions_around() -> None:
    body = """for %i in 0..20 {parallel} {
      %n: i64 = index(%i)
      %s: i1 = lt(%n, LIMIT)
      if %s { store 0.0, %y[%i] }
    }"""
    check(body.replace("LIMIT", "16"))
    refused("L4", body.replace("LIMIT", "17"))
    narrow = body.replace("%y[%i]", "%y[%i:0..16]")
    check(narrow.replace("LIMIT", "16"))
    refused("L8", narrow.replace("LIMIT", "17"))
    held = """for %i in 0..16 {parallel} {
      %d: i32 = load %at[%i]
      %s: i1 = ge(%d, 0)
      %t: i1 = lt(%d, 16)
      %u: i1 = COMBINED(%s, %t)
      if %u { %a: f32 = load %x[%d] store %a, %y[%i] }
    }"""
    check(held.replace("COMBINED", "and"))
    refused("L4", held.replace("COMBINED", "or"))


# --------------------------------------------------------------------------------------------- L6


def nest(kinds: str, index: str, extents: str = "4 8", target: str = "%z") -> str:
    """Loops %i and %j around one store."""
    (one, two), (m, n) = kinds.split(), extents.split()
    hint = {"serial": "", "vector": " {vector=8}"}
    heads = [f"for %{v} in 0..{e}{hint.get(k, f' {{{k}}}')} {{" for v, e, k in (("i", m, one), ("j", n, two))]
    return f"{heads[0]} {heads[1]} store 0.0, {target}[{index}] }} }}"


@pytest.mark.parametrize("kind", ["parallel", "jam", "vector"])
@pytest.mark.parametrize(
    ("index", "extents", "target"),
    [
        ("%i, %j", "4 8", "%z"),
        ("3 - %i, %j", "4 8", "%z"),
        ("4*%i + %j", "4 4", "%y"),
        ("5*%i + %j", "3 5", "%y"),
        ("%i + 4*%j", "4 4", "%y"),
        ("%j, floordiv(%i, 2) + 4*mod(%i, 2)", "8 4", "%z"),
        ("floordiv(%i, 2), 4*mod(%i, 2) + %j", "8 4", "%z"),
        ("mod(%i, 4), %j + 4*floordiv(%i, 4)", "8 4", "%z"),
    ],
)
def test_turns_that_store_apart(kind: str, index: str, extents: str, target: str) -> None:
    check(nest(f"{kind} serial", index, extents, target))
    check(nest(f"{kind} parallel", index, extents, target))


@pytest.mark.parametrize("kind", ["parallel", "jam", "vector"])
@pytest.mark.parametrize(
    ("index", "extents", "target"),
    [
        ("0, %j", "4 8", "%z"),
        ("floordiv(%i, 2), %j", "4 8", "%z"),
        ("mod(%i, 2), %j", "4 8", "%z"),
        ("%i + %j", "4 8", "%y"),
        ("3*%i + %j", "4 4", "%y"),
        ("4*%i + %j", "3 5", "%y"),
        ("%i + 3*%j", "4 4", "%y"),
        ("mod(%i + %j, 4), 0", "4 8", "%z"),
        ("floordiv(%i, 2), 4*mod(%j, 2)", "8 4", "%z"),
    ],
)
def test_l6_turns_that_store_to_one_element(kind: str, index: str, extents: str, target: str) -> None:
    message = refused("L6", nest(f"{kind} serial", index, extents, target))
    assert f"{kind} loop over %i" in message and f"store to {target}" in message
    check(nest("serial serial", index, extents, target))


def test_l6_added_stores_and_computed_places() -> None:
    body = """for %i in 0..16KIND {
      %d: i32 = load %at[%i]
      %p: i32 = mod(%d, 16)
      store ADD1.0, %y[%p]
    }"""
    for add in ("", "add "):
        check(body.replace("KIND", "").replace("ADD", add))
        refused("L6", body.replace("KIND", " {parallel}").replace("ADD", add))
    own = """for %i in 0..4 {parallel} {
      alloc %s: f32[8]
      for %j in 0..8 { store 0.0, %s[%j] }
      for %j in 0..8 { %d: i32 = load %at[%j] %p: i32 = mod(%d, 8) store add 1.0, %s[%p] }
      for %j in 0..8 {vector=8} { %v: f32 = load %s[%j] store %v, %z[%i, %j] }
    }"""
    check(own)
    shared = own.replace("      alloc %s: f32[8]\n", "").replace("for %i", "alloc %s: f32[8] for %i")
    refused("L6", shared)


def test_l6_two_stores() -> None:
    body = "for %i in 0..8 {jam} { store 0.0, %y[2*%i] store 1.0, %y[2*%i + OFFSET] }"
    check(body.replace("OFFSET", "1"))
    refused("L6", body.replace("OFFSET", "2").replace("0..8", "0..7"))
    pieces = """for %i in 0..3 {parallel} {
      for %j in 0..4 {vector=4} { store 0.0, %y[4*%i + %j] }
      for %j in 0..4 {vector=4} { store 0.0, %y[%j + LAST] }
    }"""
    refused("L6", pieces.replace("LAST", "12"))  # every turn stores the last piece
    once = """for %i in 0..4 {parallel} {
      %n: i64 = index(%i)
      %s: i1 = lt(%n, 3)
      %t: i1 = ge(%n, REST)
      if %s { for %j in 0..4 {vector=4} { store 0.0, %y[4*%i:0..3 + %j] } }
      if %t { for %j in 0..4 {vector=4} { store 0.0, %y[%j + 12] } }
    }"""
    check(once.replace("REST", "3"))
    refused("L6", once.replace("REST", "2"))


def test_l6_a_turn_reads_what_another_stores() -> None:
    shift = "for %i in 0..15 {KIND} { %a: f32 = load %y[%i + OFFSET] store %a, %y[%i] }"
    for kind in ("parallel", "jam", "vector=8"):
        check(shift.replace("KIND", kind).replace("OFFSET", "0"))
        refused("L6", shift.replace("KIND", kind).replace("OFFSET", "1"))
    check(shift.replace(" {KIND}", "").replace("OFFSET", "1"))


def test_l6_memory_taken_over_is_one_memory() -> None:
    turned = TEXT.replace("%y: out f32[16]", "%y: out f32[16] alias(%x)")
    for index, fits in (("%i", True), ("15 - %i", False)):
        module = parse(turned.replace("{body}", copied(f"%x[{index}]")))
        assert isinstance(module, LoopModule)
        if fits:
            verify_kernel(module.kernels[0], origins=False)
        else:
            with pytest.raises(VerifyError, match="L6"):
                verify_kernel(module.kernels[0], origins=False)


def test_l6_guards_count() -> None:
    check("for %i in 0..16 {parallel} { store 0.0, %y[0] if 0 <= %i < 1 }")
    refused("L6", "for %i in 0..16 {parallel} { store 0.0, %y[0] if 0 <= %i < 2 }")


# --------------------------------------------------------------------------------------------- L10, L11


def running(turn: str, carry: str = "%c: f32 = 0.0 combine=add", kind: str = " {vector=8}", yields: str = "%n") -> str:
    return f"""%s: f32 = for %i in 0..16 carry({carry}){kind} {{
      %a: f32 = load %x[%i]
      {turn}
      yield {yields}
    }}
    store %s, %y[0]"""


GOOD = {
    "sum": ("%n: f32 = add(%c, %a)", "add"),
    "sum, turned round": ("%n: f32 = add(%a, %c)", "add"),
    "products": ("%n: f32 = fma(%a, %a, %c)", "add"),
    "largest": ("%n: f32 = maximum(%c, %a)", "maximum"),
    "product": ("%n: f32 = mul(%a, %c)", "mul"),
    "two terms": ("%m: f32 = add(%c, %a) %n: f32 = add(%m, %a)", "add"),
    "a turn left out": ("%t: i1 = gt(%a, 0.0) %m: f32 = add(%c, %a) %n: f32 = select(%t, %m, %c)", "add"),
    "nothing": ("%m: f32 = exp(%a) %n: f32 = add(%c, %m)", "add"),
    "an inner loop": (
        "%n: f32 = for %j in 0..4 carry(%d: f32 = %c combine=add) { %m: f32 = add(%d, %a) yield %m }", "add",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_carries_that_combine(name: str) -> None:
    turn, combine = GOOD[name]
    for kind in (" {vector=8}", " {jam}", " {parallel}", ""):
        check(running(turn, f"%c: f32 = 0.0 combine={combine}", kind))


BAD = {
    "a prefix sum": ("%n: f32 = add(%c, %a) store %n, %y[%i]", "add"),
    "a prefix sum, before the turn": ("store %c, %y[%i] %n: f32 = add(%c, %a)", "add"),
    "another operation": ("%n: f32 = sub(%a, %c)", "add"),
    "a product for a sum": ("%n: f32 = mul(%c, %a)", "add"),
    "a smallest for a largest": ("%n: f32 = minimum(%c, %a)", "maximum"),
    "a factor of a product": ("%n: f32 = fma(%c, %a, %a)", "add"),
    "the running value twice": ("%n: f32 = add(%c, %c)", "add"),
    "a term that depends on it": ("%m: f32 = exp(%c) %n: f32 = add(%c, %m)", "add"),
    "a condition on it": ("%t: i1 = gt(%c, 0.0) %m: f32 = add(%c, %a) %n: f32 = select(%t, %m, %c)", "add"),
    "another value chosen": ("%t: i1 = gt(%a, 0.0) %m: f32 = add(%c, %a) %n: f32 = select(%t, %m, %a)", "add"),
    "a scaled sum": ("%m: f32 = add(%c, %a) %n: f32 = mul(%m, 0.5)", "add"),
    "a value that does not go on": ("%n: f32 = exp(%a)", "add"),
    "an inner loop in order": (
        "%n: f32 = for %j in 0..4 carry(%d: f32 = %c) { %m: f32 = add(%d, %a) yield %m }", "add",
    ),
    "an inner loop of another combination": (
        "%n: f32 = for %j in 0..4 carry(%d: f32 = %c combine=mul) { %m: f32 = mul(%d, %a) yield %m }", "add",
    ),
    "an inner loop that reads it": (
        "%n: f32 = for %j in 0..4 carry(%d: f32 = %c combine=add) { %m: f32 = add(%d, %c) yield %m }", "add",
    ),
    "a load beside": ("%b: f32 = load %x[%i] if 0 <= %i < 3 else %c %n: f32 = add(%c, %b)", "add"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_l10_a_carry_that_does_not_combine_what_it_says(name: str) -> None:
    turn, combine = BAD[name]
    for kind in (" {vector=8}", " {jam}", ""):  # passes regroup serial loops by what they say, too
        message = refused("L10", running(turn, f"%c: f32 = 0.0 combine={combine}", kind))
        assert "%c" in message


def test_l10_carries_that_meet() -> None:
    swapped = """(%s: f32, %t: f32) = for %i in 0..16 carry(%c: f32 = 0.0 combine=add, %d: f32 = 1.0 combine=add) {
      %a: f32 = load %x[%i]
      %m: f32 = add(%c, %a)
      %n: f32 = add(%d, %a)
      yield LEFT, RIGHT
    }"""
    check(swapped.replace("LEFT", "%m").replace("RIGHT", "%n"))
    refused("L10", swapped.replace("LEFT", "%n").replace("RIGHT", "%m"))
    refused("L10", swapped.replace("LEFT", "%m").replace("RIGHT", "%n").replace("add(%d, %a)", "add(%d, %m)"))


def test_l11_turns_at_once_need_a_combination() -> None:
    prefix = "%n: f32 = add(%c, %a) store %n, %y[%i]"
    for kind in (" {vector=8}", " {jam}", " {parallel}"):
        for turn in (prefix, "%n: f32 = add(%c, %a)", "%n: f32 = sub(%a, %c)"):
            assert "combine" in refused("L11", running(turn, "%c: f32 = 0.0", kind))
    check(running(prefix, "%c: f32 = 0.0", ""))
    check(running(prefix, "%c: f32 = 0.0", " {unroll}"))

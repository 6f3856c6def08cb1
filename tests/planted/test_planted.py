"""Protects the debugging tools: every pass that is wrong on purpose (broken.py) is caught, by the verifier or by its
values, and named with the value it made wrong; what is left after reducing is a few operators."""

from __future__ import annotations

import importlib
import re

import pytest
from planted import nets

import symc
from symc.cli.inputs import Loaded, passes_for, symbol_input
from symc.cli.numdiff import verdict_of
from symc.codegen.jit import compile as jit
from symc.debug import numdiff
from symc.debug.numdiff import CODE, KINDS, Search, trials
from symc.debug.reading import operators_of
from symc.ir.loop.nodes import walk
from symc.passes.edits import Edits, insertion
from symc.passes.pipeline import PASSES, Manager
from symc.runtime import known

#: the net, the pass behind which the broken one runs, the verdict, and the value (or "" where nobody can tell)
PLANTED = {
    "wrong_axis": ("mlp", "inline", "differs", "fc1.broadcast"),
    "missing_broadcast": ("mlp", "inline", "differs", "fc1"),
    "swapped_operands": ("mlp", "inline", "differs", "softmax.sub.1"),
    "sign_error": ("mlp", "inline", "differs", "softmax.sub.1"),
    "dropped_cast": ("parts", "inline", "differs", "back"),
    "narrowed_type": ("parts", "inline", "differs", "tanh"),
    "other_type": ("parts", "inline", "verifier", "tanh"),
    "sum_in_parts": ("conv", "inline", "differs", "bn.sum.1"),
    "sum_of_wrong_terms": ("mlp", "inline", "differs", "softmax.sum"),
    "wrong_reduction_axes": ("mlp", "inline", "differs", "softmax.max"),
    "off_by_one_window": ("conv", "inline", "differs", "pool.slice"),
    "shifted_pad": ("conv", "inline", "differs", "conv.pad"),
    "wrong_pad_value": ("conv", "inline", "differs", "conv.pad"),
    "stale_constant": ("conv", "inline", "differs", "bn.get"),
    "dropped_guard": ("mlp", "inline", "differs", "softmax.sub.1"),
    "missing_clip": ("parts", "inline", "differs", "clip"),
    "select_swapped": ("mlp", "inline", "differs", "relu1.select"),
    "relu_of_wrong_value": ("mlp", "inline", "differs", "relu1"),
    "transposed": ("mlp", "inline", "differs", "fc1.dot"),
    "wrong_gradient": ("mlp", "inline", "differs", "relu1.gt"),
    "nan_forgotten": ("parts", "inline", "differs", "tanh"),
    "lost_update": ("conv", "inline", "verifier", "bn_moving_mean"),
    "dropped_output": ("mlp", "inline", "verifier", "fc1_weight.grad"),
    "state_after_update": ("conv", "inline", "differs", "bn.add"),
    "no_origins": ("mlp", "inline", "verifier", ""),
    "outputs_exchanged": ("mlp", "inline", "differs", "softmax"),
    "raising": ("mlp", "simplify", "crash", ""),
    "nothing": ("mlp", "simplify", "verifier", ""),
    "endless": ("mlp", "simplify", "crash", ""),
    "fighting": ("mlp", "simplify", "crash", ""),
    "fusion_reads_wrong_operand": ("mlp", "fuse", "differs", "relu1"),
    "shared_place": ("mlp", "plan_memory", "verifier", "fc2.dot"),
    "too_early": ("mlp", "plan_memory", "verifier", "relu1"),
    "lost_kernel": ("mlp", "schedule", "verifier", "relu1"),
    "wrong_output": ("mlp", "plan_memory", "verifier", "softmax_output"),
    "bound_off_by_one": ("mlp", "lower", "differs", "relu1"),
    "sum_begins_at_one": ("mlp", "tile", "differs", "relu1"),
    "wrong_combine": ("mlp", "tile", "verifier", "relu1"),
    "wrong_tail_mask": ("mlp", "tile", "differs", "relu1"),
    "dropped_mask": ("mlp", "tile", "verifier", "relu1"),
    "parallel_sum": ("mlp", "tile", "differs", "relu1"),
    "swapped_index": ("mlp", "lower", "differs", "relu1"),
    "unchecked_index": ("mlp", "lower", "verifier", "relu1"),
    "wrong_order_of_sub": ("mlp", "lower", "differs", "softmax"),
    "lost_store": ("mlp", "lower", "differs", "relu1"),
    "other_function": ("mlp", "lower", "differs", "relu1"),
}
#: the same of adverse.py
ADVERSE = {
    "other_activation": ("mlp", "", "differs", "relu1"),
    "swapped_pieces": ("mixed", "inline", "differs", "both"),
    "lost_keepdims": ("mixed", "inline", "differs", "centred.broadcast"),
    "pad_and_slice": ("mixed", "inline", "differs", "pad"),
    "times_zero": ("mixed", "inline", "differs", "zero"),
    "round_to_even": ("mixed", "inline", "differs", "rnd"),
    "maximum_by_select": ("mixed", "inline", "differs", "big"),
    "rounded_constant": ("mixed", "inline", "differs", "mean.mul"),
    "log_of_exp": ("mixed", "inline", "differs", "lg"),
    "root_of_square": ("mixed", "inline", "differs", "root"),
    "rough_exp": ("mixed", "inline", "differs", "e"),
    "integer_floor": ("whole", "inline", "differs", "q"),
    "integer_overflow": ("whole", "inline", "differs", "p"),
    "signed_compare": ("whole", "inline", "differs", "less.lt"),
    "same_random_bits": ("dropping", "inline", "differs", "d2.mul.1"),
    "last_turn_first": ("steps", "inline", "differs", "_foreach.0"),
    "rough_tanh": ("steps", "inline", "differs", "new"),
    "scaled_gradients": ("mlp", "autodiff", "differs", "fc1_weight.grad"),
    "kept_state": ("conv", "inline", "differs", "bn.add"),
    "exchanged_states": ("conv", "inline", "differs", "bn.add"),
    "other_body": ("mlp", "fuse", "differs", "softmax"),
    "small_arena": ("mlp", "plan_memory", "verifier", "relu1.select"),
    "overlap_in_part": ("mlp", "plan_memory", "verifier", "fc2.dot"),
    "taken_too_early": ("mlp", "plan_memory", "verifier", "fc2.dot"),
    "stale_carry": ("mlp", "tile", "verifier", "relu1"),
    "first_turn_lost": ("mlp", "lower", "differs", "relu1"),
    "added_store": ("mlp", "tile", "differs", "relu1"),
    "narrower_guard": ("mlp", "tile", "differs", "relu1"),
    "shared_scratch": ("mlp", "tile", "verifier", "softmax"),
    "calls_exchanged": ("mlp", "tile", "verifier", "relu1"),
}
#: the same of remote.py
REMOTE = {
    "int_by_float": ("typed", "inline", "differs", "twice"),
    "long_by_int": ("typed", "inline", "differs", "size"),
    "saturated_bytes": ("typed", "inline", "differs", "bytes"),
    "flushed_denormals": ("typed", "inline", "differs", "least"),
    "divided_by_reciprocal": ("typed", "inline", "differs", "share"),
    "forgotten_reversal": ("typed", "inline", "differs", "back"),
    "narrow_sum": ("typed", "inline", "differs", "rows"),
    "saturated_tanh": ("steps", "inline", "differs", "new"),
    "first_state_lost": ("steps", "inline", "differs", "_foreach.0"),
    "sides_swapped": ("choice", "inline", "differs", "yes"),
    "other_side": ("choice", "fuse", "differs", "_cond"),
    "stale_average": ("conv", "own_results", "differs", "bn_moving_mean"),
    "rough_kernels": ("decided", "lower", "differs", "fc1"),
    "lanes": ("mlp", "lower", "differs", "relu1"),
}
TRAINED = ("mlp", "conv", "dropping")
#: those that are made small here
REDUCED = (
    "last_turn_first",
    "exchanged_states",
    "shared_scratch",
    "narrower_guard",
    "sum_in_parts",
    "off_by_one_window",
    "stale_constant",
    "wrong_gradient",
    "shared_place",
    "wrong_tail_mask",
    "stale_average",
    "int_by_float",
)


@pytest.fixture(scope="module", autouse=True)
def broken():
    """The passes are known as long as these tests run."""
    before = dict(PASSES)
    for name in ("planted.broken", "planted.adverse", "planted.remote"):
        importlib.import_module(name)
    made = {name: cls for name, cls in PASSES.items() if name not in before}
    yield made
    for name in made:
        PASSES.pop(name, None)


def loaded(net: str) -> Loaded:
    shapes = {
        "mlp": {"data": (3, 3), "softmax_label": (3,)},
        "conv": {"data": (2, 1, 5, 5), "softmax_label": (2,)},
        "parts": {"x": (3, 3), "y": (3, 3)},
        "mixed": {"x": (3, 3), "y": (3, 3)},
        "whole": {"a": (3, 3), "b": (3, 3)},
        "steps": {"data": (4, 2, 3), "h": (2, 3), "w": (3, 3)},
        "dropping": {"x": (3, 3)},
        "typed": dict.fromkeys("inbdx", (3, 7)),
        "decided": {"data": (3, 3)},
        "choice": {"a": (3,), "b": (3,)},
    }
    return symbol_input(getattr(nets, net)(), shapes[net])


def search_for(name: str, net: str, after: str) -> Search:
    """What numdiff does with the broken pass in the compiler's own pipeline."""
    given = loaded(net)
    train = net in TRAINED
    passes = passes_for(given, train)
    passes = Edits(insertion(f"{after}+{name}")).apply(passes) if after else [PASSES[name](), *passes]
    return Search(trials(given.module, passes, KINDS, train=train))


@pytest.mark.parametrize("name", [*PLANTED, *ADVERSE, *REMOTE])
def test_a_broken_pass_is_named_with_the_value(name, monkeypatch) -> None:
    net, after, verdict, value = {**PLANTED, **ADVERSE, **REMOTE}[name]
    monkeypatch.setattr(numdiff, "PASS_LIMIT", 0.5 if name == "endless" else 20.0)
    search = search_for(name, net, after)
    failure = search.check()
    assert failure is not None and (search.place, verdict_of(failure)) == (name, verdict), failure
    # loops are counted through the whole process
    assert re.sub(r"^(_foreach|_cond)\d+", r"\1", search.blame.value) == value, failure
    if value:
        assert search.blame.symbol and search.blame.value.startswith(search.blame.symbol)
        assert "nets.py:" in search.blame.source
    if name in REDUCED:
        operators, _ = search.reduce(20.0)
        assert operators <= 3 and search.shown is not None and search.shown.where == name


def test_a_wrong_gradient_rule_is_a_fault_of_who_put_the_primitive_there() -> None:
    """autodiff shows it; the value is the primitive's."""
    search = search_for("wrong_gradient_rule", "mlp", "batch")
    failure = search.check()
    assert failure is not None and (failure.where, failure.check) == ("autodiff", "gradient")
    assert (search.place, search.blame.value, search.blame.symbol) == ("wrong_gradient_rule", "relu1", "relu1")
    assert "fast_relu is no derivative" in search.blame.detail
    assert search.reduce(20.0)[0] <= 3


@pytest.mark.parametrize(
    ("name", "last", "most"), [("wrong_order_of_sub", "tile", 6), ("other_body", "plan_memory", 3)]
)
def test_what_comes_as_kernels_is_made_small_inside(name: str, last: str, most: int) -> None:
    """To a few statements of one kernel, or operators of one step."""
    given = loaded("mlp")
    passes = passes_for(given, False)
    until = next(at for at, p in enumerate(passes) if p.name == last)
    module = Manager(verify=False).run(passes[: until + 1], given.module)
    search = Search(trials(module, [PASSES[name]()], KINDS, train=False))
    assert search.check() is not None and search.reduce(20.0)[0] == 1
    small = search.small.module
    if last == "tile":
        assert sum(1 for kernel in small.kernels for _ in walk(kernel.body)) <= most
    else:
        assert sum(operators_of(step.body) for step in small.steps) <= most


def test_every_broken_pass_is_planted(broken) -> None:
    assert len(PLANTED) + len(ADVERSE) + len(REMOTE) >= 85
    assert set(broken) - {"unrolled_wrong", "wrong_gradient_rule"} == {*PLANTED, *ADVERSE, *REMOTE}


@pytest.mark.parametrize(("always", "place"), [(True, CODE), (False, "unrolled_wrong")])
def test_what_only_machine_code_shows_is_traced(monkeypatch, always: bool, place: str) -> None:
    """To code generation, or to the pass whose loops it takes for others; with the value, and made small."""
    wrong_code = importlib.import_module("planted.adverse").wrong_code
    monkeypatch.setenv("SYMC_CACHE", "0")
    monkeypatch.setattr(jit, "_addresses", {})  # no other test meets the wrong code
    monkeypatch.setattr(known, "_known", {})
    monkeypatch.setattr(symc.compile, "emit_kernel", wrong_code(always))
    x = symc.sym.Variable("x")
    act = symc.sym.relu(symc.sym.FullyConnected(x, num_hidden=4, name="fc"), name="act")
    net = symc.sym.Group([act, symc.sym.sum(symc.sym.relu(x * 2), axis=1, name="rows")])
    given = symbol_input(net, {"x": (3, 40)})
    passes = Edits(insertion("tile+unrolled_wrong")).apply(passes_for(given, False))
    search = Search(trials(given.module, passes, ("seed",), train=False))
    failure = search.check()
    assert failure is not None and (search.place, failure.check) == (place, "native")
    assert search.blame.value == search.blame.symbol == "act"
    assert (search.blame.action is None) == always
    assert search.reduce(20.0)[0] <= 3


@pytest.mark.parametrize("net", ["mlp", "conv", "parts", "mixed", "whole", "steps", "dropping", "typed", "choice"])
def test_the_passes_themselves_are_fine(net) -> None:
    given = loaded(net)
    search = Search(trials(given.module, passes_for(given, net in TRAINED), KINDS, train=net in TRAINED))
    assert search.check() is None

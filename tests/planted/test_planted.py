"""Protects the debugging tools: every pass that is wrong on purpose (broken.py) is caught, by the verifier or by its
values, and named with the value it made wrong; what is left after reducing is a few operators."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import nets

from symc.cli.inputs import Loaded, passes_for, symbol_input
from symc.cli.numdiff import verdict_of
from symc.debug import numdiff
from symc.debug.numdiff import KINDS, Search, trials
from symc.extensions import import_file
from symc.passes.edits import Edits, insertion
from symc.passes.pipeline import PASSES

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
    "nothing": ("mlp", "simplify", "crash", ""),
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
#: those that are made small here
REDUCED = ("sum_in_parts", "off_by_one_window", "stale_constant", "wrong_gradient", "shared_place", "wrong_tail_mask")


@pytest.fixture(scope="module", autouse=True)
def broken():
    """The passes are known as long as these tests run."""
    before = dict(PASSES)
    import_file(str(Path(__file__).with_name("broken.py")))
    made = {name: cls for name, cls in PASSES.items() if name not in before}
    yield
    for name in made:
        PASSES.pop(name, None)


def loaded(net: str) -> Loaded:
    shapes = {
        "mlp": {"data": (3, 3), "softmax_label": (3,)},
        "conv": {"data": (2, 1, 5, 5), "softmax_label": (2,)},
        "parts": {"x": (3, 3), "y": (3, 3)},
    }
    return symbol_input(getattr(nets, net)(), shapes[net])


def search_for(name: str, net: str, after: str) -> Search:
    """What numdiff does with the broken pass in the compiler's own pipeline."""
    given = loaded(net)
    train = net != "parts"
    passes = Edits(insertion(f"{after}+{name}")).apply(passes_for(given, train))
    return Search(trials(given.module, passes, KINDS, train=train))


@pytest.mark.parametrize("name", PLANTED)
def test_a_broken_pass_is_named_with_the_value(name, monkeypatch) -> None:
    net, after, verdict, value = PLANTED[name]
    monkeypatch.setattr(numdiff, "PASS_LIMIT", 0.5 if name == "endless" else 20.0)
    search = search_for(name, net, after)
    failure = search.check()
    assert failure is not None and (search.place, verdict_of(failure)) == (name, verdict), failure
    assert search.blame.value == value, failure
    if value:
        assert search.blame.symbol and value.startswith(search.blame.symbol)
        assert "nets.py:" in search.blame.source
    if name in REDUCED:
        operators, _ = search.reduce(20.0)
        assert operators <= 3 and search.shown is not None and search.shown.where == name


def test_a_wrong_gradient_rule_is_a_fault_of_autodiff() -> None:
    search = search_for("wrong_gradient_rule", "mlp", "batch")
    failure = search.check()
    assert failure is not None and (search.place, failure.check) == ("autodiff", "gradient")


def test_every_broken_pass_is_planted() -> None:
    assert len(PLANTED) >= 25
    text = Path(__file__).with_name("broken.py").read_text(encoding="utf-8")
    assert all(name in text for name in PLANTED)


@pytest.mark.parametrize("net", ["mlp", "conv", "parts"])
def test_the_passes_themselves_are_fine(net) -> None:
    given = loaded(net)
    search = Search(trials(given.module, passes_for(given, net != "parts"), KINDS, train=net != "parts"))
    assert search.check() is None

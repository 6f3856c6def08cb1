"""Long float32 sums are taken in blocks: their error stays that of short ones, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import symc as mx
from symc.ir.loop.nodes import Carry, For, Let, Store
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import F32
from symc.passes.loop.tiling.sums import blocked_sums

BLOCK = 32


def _relative_error(sym: mx.sym.Symbol, arrays: dict[str, np.ndarray]) -> float:
    results = []
    for dtype in ("float32", "float64"):
        executor = sym.bind(mx.cpu(), {k: mx.nd.array(v, dtype=dtype) for k, v in arrays.items()}, grad_req="null")
        executor.forward()
        results.append(executor.outputs[0].asnumpy().astype(np.float64))
    got, exact = results
    return float(np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2)))


@pytest.mark.parametrize("channels", [512, 509])
def test_a_long_convolution_is_as_exact_as_a_short_one(channels: int) -> None:
    rng = np.random.RandomState(0)
    x = mx.sym.Variable("x")
    net = mx.sym.Convolution(x, kernel=(3, 3), num_filter=32, no_bias=True, name="c")
    arrays = {"x": rng.normal(size=(1, channels, 8, 8)), "c_weight": rng.normal(size=(32, channels, 3, 3))}
    assert _relative_error(net, arrays) < 6e-7  # 1.2e-6 in one running sum


def _sum(turns: int, stored: str = "total") -> tuple[For, Store]:
    running = Ref("acc", F32)
    add = Let("next", F32, ew.add, (running, Ref("", F32, 1.0)))
    loop = For("k", 0, turns, (add,), (Carry("acc", Ref("", F32, 0.0), add.ref, "total", ew.add),))
    return loop, Store(Ref(stored, F32), "out", ())


def test_a_sum_that_blocks_do_not_divide_keeps_its_last_turns() -> None:
    first, last, _ = blocked_sums(_sum(3 * BLOCK + 7), BLOCK)
    assert isinstance(first, For) and isinstance(last, For)
    (inner, _) = first.body
    assert isinstance(inner, For)
    assert first.trips * inner.trips + last.trips == 3 * BLOCK + 7
    assert last.carries[0].init.name == first.carries[0].result


def test_short_sums_and_prefix_sums_stay() -> None:
    short = _sum(BLOCK)
    assert blocked_sums(short, BLOCK) == short
    loop, store = _sum(4 * BLOCK)
    running = (replace(loop.carries[0], combine=None),)
    prefix = (For(loop.var, 0, loop.hi, (*loop.body, Store(Ref("next", F32), "out", ())), running), store)
    assert blocked_sums(prefix, BLOCK) == prefix


def test_the_sums_of_many_blocks_are_a_sum_in_blocks_too() -> None:
    """No running value takes more than two blocks' terms, and together they take every term once."""
    terms = 5 * BLOCK * BLOCK + 3
    made = blocked_sums(_sum(terms), BLOCK)

    def turns(body: tuple[object, ...]) -> int:
        loops = [s for s in body if isinstance(s, For)]
        assert all(loop.trips < 2 * BLOCK for loop in loops)
        return sum(loop.trips * (turns(loop.body) or 1) for loop in loops)

    assert turns(made) == terms

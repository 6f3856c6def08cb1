"""What the verifier of loops relies on: contradictions of equations, and intervals, compared with trying everything."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from symc.ir.index import Affine, Quotient, Remainder, Var
from symc.ir.loop.integers import System
from symc.ir.loop.nodes import IndexValue, Let, Load
from symc.ir.loop.ranges import Ranges, index_range, whole
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims import numeric
from symc.ir.types import BOOL, F32, I8, I32, U8, DType, TensorType


@pytest.mark.parametrize("seed", range(40))
def test_no_contradiction_is_claimed_of_equations_that_have_a_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(40):
        count = int(rng.integers(1, 5))
        bounds = [tuple(sorted(rng.integers(-6, 7, 2))) for _ in range(count)]
        rows = [(rng.integers(-6, 7, count), int(rng.integers(-12, 13))) for _ in range(int(rng.integers(1, 4)))]
        system = System()
        for at, (low, high) in enumerate(bounds):
            system.unknown(at, int(low), int(high))
        for factors, constant in rows:
            system.equation({at: int(f) for at, f in enumerate(factors)}, constant)
        points = np.array(list(itertools.product(*(range(low, high + 1) for low, high in bounds))))
        holds = np.all([points @ factors + constant == 0 for factors, constant in rows], axis=0)
        if system.contradicts():
            found += 1
            assert not holds.any(), (bounds, rows)
        else:
            for at in range(count):  # what is left of the bounds has every solution
                ours = points[holds][:, at]
                assert ((system.low[at] <= ours) & (ours <= system.high[at])).all(), (bounds, rows)
    assert found


def test_digits_of_a_mixed_radix_are_told_apart() -> None:
    system = System()
    for name, most in (("u", 7), ("v", 3), ("w", 99)):
        system.unknown(name, -most, most)
    system.equation({"u": 1, "v": 8, "w": 32}, 0)
    assert not system.contradicts()
    assert all(map(system.is_zero, "uvw"))
    system.unknown("v", 1, 3)
    assert system.contradicts()


@pytest.mark.parametrize("seed", range(20))
def test_bounds_of_index_expressions_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    i, d = Var("i", -3, 9), Var("d", dynamic=True)

    def expression(depth: int) -> Affine:
        made = (
            Affine.of(i) * int(rng.integers(-4, 5)) + Affine.of(d) * int(rng.integers(-4, 5)) + int(rng.integers(-9, 9))
        )
        if depth:
            atom = (Quotient, Remainder)[int(rng.integers(2))](expression(depth - 1), int(rng.integers(2, 9)))
            made = made + Affine(((atom, int(rng.integers(-3, 4)) or 1),))
        return made

    def value(index: Affine, at: dict[str, int]) -> int:
        total = index.const
        for atom, factor in index.terms:
            if isinstance(atom, Var):
                total += at[atom.name] * factor
            else:
                inner = value(atom.expr, at)
                total += factor * (inner // atom.divisor if isinstance(atom, Quotient) else inner % atom.divisor)
        return total

    for _ in range(20):
        index = expression(int(rng.integers(0, 3)))
        low, high = index_range(index, lambda _: (-5, 6))
        values = [value(index, {"i": a, "d": b}) for a in range(-3, 9) for b in range(-5, 7)]
        assert low <= min(values) and max(values) <= high


NAN, INF = np.nan, np.inf
FLOATS = [NAN, INF, -INF, 0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, 3e9, -3e9, 1e30, 255.5, 127.9, -128.9, 7.0, 1e-40]
ARITHMETIC = [ew.add, ew.sub, ew.mul, ew.div, ew.mod, ew.maximum, ew.minimum]
BITS = [ew.and_, ew.or_, ew.xor]
ONE, ROUNDING = [ew.neg, ew.abs_, ew.sign, ew.relu], [ew.floor, ew.ceil, ew.trunc, ew.round_, ew.rint]
COMPARE = [ew.lt, ew.le, ew.gt, ew.ge, ew.eq]


class Straight:
    """Straight code on 64 values at once: what every scalar is, and what its interval says."""

    def __init__(self) -> None:
        self.ranges, self.values = Ranges(), dict[str, np.ndarray]()
        self.refs: list[Ref] = []
        self.truths: list[Ref] = []

    def define(self, stmt: Let | Load | IndexValue, value: np.ndarray) -> None:
        self.ranges.enter(stmt)
        self.values[stmt.name] = value
        (self.truths if stmt.dtype == BOOL else self.refs).append(stmt.ref)

    def value(self, ref: Ref) -> np.ndarray:
        return self.values[ref.name] if ref.name else np.asarray(ref.value, ref.dtype.numpy)

    def apply(self, op: ew.Elementwise, args: list[Ref], to: DType) -> None:
        with np.errstate(all="ignore"):
            made = np.broadcast_to(op.value([self.value(a) for a in args], [TensorType(to, ())]), (64,))
        self.define(Let(f"v{len(self.values)}", to, op, tuple(args)), made)

    def check(self, ref: Ref) -> None:
        found, value = self.ranges.of(ref), self.values[ref.name]
        nan = np.isnan(value) if ref.dtype.is_float else np.zeros(64, bool)
        assert found.nan or not nan.any(), (ref, found)
        rest = value[~nan]
        assert (found.lo <= rest).all() and (rest <= found.hi).all(), (ref, found, rest)


@pytest.mark.parametrize("dtype", [F32, I32, I8, U8], ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_every_value_lies_in_its_interval(dtype: DType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = np.array(FLOATS) if dtype.is_float else np.array([-128, -1, 0, 1, 5, 127, 255, 2**31 - 1, -(2**31)])
    literals = [0.0, 1.5, 7.0, 15.0] if dtype.is_float else [0, 1, 3, 15, 100]
    told = 0

    def any_of(items: list) -> Any:
        return items[int(rng.integers(len(items)))]

    for _ in range(30):
        code = Straight()
        chosen = rng.choice(source, 64)
        code.define(Load("x", "b", dtype, ()), chosen.astype("f4") if dtype.is_float else numeric.cast(chosen, dtype))
        turns = rng.integers(0, 9, 64)
        code.define(IndexValue("n", dtype, Affine.of(Var("i", 0, 9)) * 3 + 2), numeric.cast(turns * 3 + 2, dtype))
        for _ in range(12):
            one, other = (Ref("", dtype, any_of(literals)) if rng.random() < 0.3 else any_of(code.refs) for _ in "ab")
            kind = rng.random()
            if kind < 0.4:
                code.apply(any_of(ARITHMETIC + ([] if dtype.is_float else BITS)), [one, other], dtype)
            elif kind < 0.5:
                code.apply(any_of(ONE + (ROUNDING if dtype.is_float else [])), [one], dtype)
            elif kind < 0.65:
                code.apply(any_of(COMPARE), [any_of(code.refs), other], BOOL)
            elif kind < 0.7:
                code.apply(ew.isnan, [one], BOOL)
            elif kind < 0.78 and code.truths:
                code.apply(any_of([ew.and_, ew.or_]), [code.truths[-1], any_of(code.truths)], BOOL)
            elif kind < 0.9 and code.truths:
                code.apply(ew.Select(), [any_of(code.truths), one, other], dtype)
            else:
                to = any_of([I32, I8, U8])
                code.ranges.enter(Let("c", to, ew.Cast(to), (one,)))
                made, found = numeric.cast(code.value(one), to), code.ranges.of(Ref("c", to))
                assert found.lo <= made.min() and made.max() <= found.hi, (one, found)
        for ref in code.refs:
            code.check(ref)
            told += code.ranges.of(ref) != whole(dtype)
    assert told > 50

"""The proofs about loops never claim what is not so: random nests that pass are compared with trying every turn."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest

from symc.ir.errors import VerifyError
from symc.ir.index import Affine, Quotient, Remainder, Var
from symc.ir.loop.nodes import LOCKSTEP, Buffer, For, Load, LoopKernel, Stmt, Store
from symc.ir.loop.verify import verify_kernel
from symc.ir.op import Ref
from symc.ir.types import F32, TensorType

Guard = tuple[tuple[Affine, int, int], ...]
Place = tuple[tuple[Affine, ...], Guard, bool]


class Nest:
    """A nest of two or three loops around one or two pieces, each of one access or two, and a loop of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.loops = [self.loop("ijk"[at], at == 0) for at in range(int(rng.integers(1, 4)))]
        self.shape = tuple(int(n) for n in rng.integers(2, 9, int(rng.integers(1, 3))))
        self.pieces: list[tuple[list[For], list[Place]]] = []
        for at in range(int(rng.integers(1, 3))):
            inner = [self.loop("pq"[at], False)] if rng.random() < 0.5 else []
            self.pieces.append((inner, [self.place(inner, at == 0) for _ in range(int(rng.integers(1, 3)))]))

    def loop(self, var: str, first: bool) -> For:
        rng = self.rng
        kind = str(rng.choice([*LOCKSTEP, "serial"], p=[0.4, 0.2, 0.2, 0.2] if first else [0.2, 0.2, 0.1, 0.5]))
        lo, step = int(rng.integers(0, 3)), int(rng.choice([1, 1, 1, 2, 3]))
        hi = lo + int(rng.integers(1, 5)) * step
        return For(var, lo, hi, (), (), kind, 4 if kind == "vector" else 0, step)

    def index(self, loops: list[For], deep: bool = True) -> Affine:
        rng = self.rng
        made = Affine.of(int(rng.integers(0, 3)))
        for loop in loops:
            if rng.random() < 0.6:
                made = made + Affine.of(Var(loop.var, loop.lo, loop.hi)) * int(rng.choice([1, 1, 2, 3, 4, -1]))
        if deep and rng.random() < 0.3:
            inner = self.index(loops, False)
            divisor = int(rng.integers(2, 5))
            made = made + Affine(((rng.choice([Quotient, Remainder])(inner, divisor), int(rng.choice([1, 2, 4]))),))
        return made

    def place(self, inner: list[For], store: bool) -> Place:
        rng, loops = self.rng, [*self.loops, *inner]
        index = tuple(self.index(loops) for _ in self.shape)
        guard: list[tuple[Affine, int, int]] = []
        for e, extent in zip(index, self.shape):
            if rng.random() < 0.7:
                guard.append((e, 0, extent))
        if rng.random() < 0.3:
            guard.append((self.index(loops, False), 0, int(rng.integers(1, 6))))
        return index, tuple(guard), store or rng.random() < 0.5

    def kernel(self) -> LoopKernel:
        body: list[Stmt] = []
        for number, (inner, places) in enumerate(self.pieces):
            made: list[Stmt] = []
            for at, (index, guard, is_store) in enumerate(places):
                if is_store:
                    made.append(Store(Ref("", F32, 0.0), "y", index, guard))
                else:
                    made.append(Load(f"v{number}{at}", "y", F32, index, guard, Ref("", F32, 0.0)))
            body += _around(inner, made)
        return LoopKernel("k", (Buffer("y", TensorType(F32, self.shape), "inout"),), tuple(_around(self.loops, body)))

    def wrong(self) -> str:
        """What goes wrong when every turn is tried: an index outside, or two turns that meet."""
        #: by position of the loop and the turns around it: by element, the turns that touch it, and whether by a store
        touched: dict[tuple[int, tuple[int, ...]], dict[tuple[int, ...], set[tuple[int, bool]]]]
        touched = defaultdict(lambda: defaultdict(set))
        for number, (inner, places) in enumerate(self.pieces):
            loops = [*self.loops, *inner]
            for turn in itertools.product(*(range(x.lo, x.hi, x.step) for x in loops)):
                at = {x.var: v for x, v in zip(loops, turn)}
                for index, guard, is_store in places:
                    if not all(lo <= _value(e, at) < hi for e, lo, hi in guard):
                        continue
                    element = tuple(_value(e, at) for e in index)
                    if not all(0 <= i < extent for i, extent in zip(element, self.shape)):
                        return "L4"
                    for position, loop in enumerate(loops):
                        if loop.kind in LOCKSTEP:
                            own = number if position >= len(self.loops) else -1
                            touched[position, (own, *turn[:position])][element].add((turn[position], is_store))
        for elements in touched.values():
            for found in elements.values():
                if any(s for _, s in found) and len({t for t, _ in found}) > 1:
                    return "L6"
        return ""


def _around(loops: list[For], body: list[Stmt]) -> list[Stmt]:
    for x in reversed(loops):
        body = [For(x.var, x.lo, x.hi, tuple(body), (), x.kind, x.width, x.step)]
    return body


def _value(index: Affine, at: dict[str, int]) -> int:
    total = index.const
    for atom, factor in index.terms:
        if isinstance(atom, Var):
            total += at[atom.name] * factor
        else:
            inner = _value(atom.expr, at)
            total += factor * (inner // atom.divisor if isinstance(atom, Quotient) else inner % atom.divisor)
    return total


@pytest.mark.parametrize("seed", range(12))
def test_what_passes_is_so(seed: int) -> None:
    rng = np.random.default_rng(seed)
    passed = unproven = 0
    for _ in range(60):
        nest = Nest(rng)
        wrong = nest.wrong()
        try:
            verify_kernel(nest.kernel(), origins=False)
        except VerifyError as problem:
            assert problem.rule in ("L4", "L6")
            unproven += not wrong
            continue
        passed += 1
        assert not wrong, (wrong, nest.kernel())
    assert passed > 10 and unproven < passed / 4

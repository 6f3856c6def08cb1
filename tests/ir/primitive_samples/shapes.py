"""Samples of movement, reductions, indexing and sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from primitive_samples.sample import Sample, floats, ints
from symc.ir import prims as p
from symc.ir.op import Node
from symc.ir.types import F32, I32, TensorType


def movement_samples() -> list[Sample]:
    x = floats(10, 3, 4)
    t = floats(11, 2, 3, 4)

    def padded(a: np.ndarray) -> np.ndarray:
        made = np.full((1 + 3 + 4 + 2, 4 + 1), 7.5)
        made[1:8:3, :4] = a
        return made

    return [
        Sample("broadcast", lambda a: p.broadcast(a, (3, 5, 4), (0, 2)), (x,), lambda a: np.stack([a] * 5, 1)),
        Sample(
            "broadcast",
            lambda a: p.broadcast(a, (2, 3, 4), (0, 1, 2)),
            (t[:1, :, :1],),
            lambda a: a + np.zeros((2, 3, 4)),
            note="extent-1",
        ),
        Sample("reshape", lambda a: p.reshape(a, (2, 6)), (x,), lambda a: np.array([a.ravel()[:6], a.ravel()[6:]])),
        Sample("reshape", lambda a: p.reshape(a, (1, 3, 1, 4)), (x,), lambda a: a[None, :, None], note="trivial"),
        Sample("transpose", lambda a: p.transpose(a, (2, 0, 1)), (t,), lambda a: np.einsum("abc->cab", a)),
        Sample("slice", lambda a: p.slice_(a, (2, 0), (0, 4), (-1, 3)), (x,), lambda a: a[[2, 1]][:, [0, 3]]),
        Sample(
            "slice", lambda a: p.slice_(a, (2, 1), (-1, 3), (-2, 1)), (x,), lambda a: a[[2, 0]][:, 1:3], note="to-0"
        ),
        Sample("slice", lambda a: p.slice_(a, (1, 1), (1, 3), (1, 1)), (x,), lambda a: a[:0, 1:3], note="empty"),
        Sample("pad", lambda a: p.pad(a, (1, 0), (2, 1), (2, 0), 7.5), (x,), padded),
        Sample("concat", lambda a, b, c: p.concat([a, b, c], 1), (x, x[:, :1], -x), lambda *a: np.hstack(a)),
        Sample("iota", lambda: p.iota(TensorType(I32, (2, 3)), 1), (), lambda: np.array([[0, 1, 2]] * 2), False),
        Sample("iota", lambda: p.iota(TensorType(F32, (3, 2)), 0), (), lambda: [[0, 0], [1, 1], [2, 2]], note="float"),
    ]


def reduce_samples() -> list[Sample]:
    x = floats(12, 2, 3, 4, low=0.3, high=2)
    whole = ints(13, -9, 9, 3, 4, dtype=np.int32)
    made = []
    folds = {"sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "max": max, "min": min}
    for name, fold in folds.items():
        build = getattr(p, f"reduce_{name}")

        def rows(a: np.ndarray, fold: Any = fold) -> np.ndarray:
            return np.array([reduce(fold, a[:, j].ravel()) for j in range(a.shape[1])])

        made.append(Sample(name, lambda a, build=build: build(a, (0, 2)), (x,), rows))
        made.append(
            Sample(
                name, lambda a, build=build: build(a, (0, 1)), (whole,),
                lambda a, fold=fold: np.int32((reduce(fold, a.ravel().tolist()) + 2**31) % 2**32 - 2**31),
                grad=False, note="int",
            )
        )  # fmt: skip
    return [
        *made,
        Sample("argmax", lambda a: p.argmax(a, 1), (whole,), lambda a: [r.index(max(r)) for r in a.tolist()], False),
        Sample("argmin", lambda a: p.argmin(a, 0), (whole,), lambda a: [r.index(min(r)) for r in a.T.tolist()], False),
        Sample(
            "cumsum", lambda a: p.cumsum(a, 1), (x,), lambda a: np.stack([a[:, : i + 1].sum(1) for i in range(3)], 1)
        ),
        Sample(
            "cumsum",
            lambda a: p.cumsum(a, 2, reversed=True),
            (x,),
            lambda a: np.stack([a[..., i:].sum(-1) for i in range(4)], -1),
            note="reversed",
        ),
    ]


def _added(base: np.ndarray, rows: Sequence[tuple[Any, Any]]) -> np.ndarray:
    made = base.copy()
    for where, value in rows:
        made[where] += value
    return made


def indexing_samples() -> list[Sample]:
    x = floats(14, 3, 4)
    idx = np.array([[2, 0], [2, 2]])
    along = np.array([[1, 1, 3], [0, 2, 2], [3, 0, 1]], np.int32)
    nd = np.array([[0, 2, 0], [1, 3, 1]])
    u, v, w = floats(15, 2, 2, 4), floats(16, 3, 3), floats(17, 3)
    spots = list(product(range(3), range(3)))

    def put(b: np.ndarray, i: np.ndarray, value: np.ndarray) -> np.ndarray:
        made = b.copy()
        for k in range(3):
            made[i[0, k], i[1, k]] = value[k]
        return made

    def ordered(a: np.ndarray, down: bool) -> tuple[np.ndarray, np.ndarray]:
        order = [sorted(range(4), key=lambda j: -r[j] if down else r[j]) for r in a.tolist()]
        return np.array([r[o] for r, o in zip(a, order)]), np.array(order)

    def parts(down: bool) -> Callable[[Node], list[Node]]:
        return lambda a: [p.get(p.sort(a, 1, down), i) for i in (0, 1)]

    ties = np.array([[1.0, 0, 1, 0], [2, 2, 2, 1]])
    far = np.array([[-7, 10**8], [3, -(2**31)]], np.int32)  # positions outside are the nearest
    wide = np.array([[1, 10**12, 3], [-1, 2, 2], [2**63 - 1, 0, -(2**63)]])
    spread = np.array([[-9, 2, 5], [1, 99, -1]])
    return [
        Sample("gather", lambda a, i: p.gather(a, i, 0), (x, far), lambda a, i: a[[[0, 2], [2, 0]]], note="outside"),
        Sample(
            "gather_along", lambda a, i: p.gather_along(a, i, 1), (x, wide),
            lambda a, i: np.array([r[j] for r, j in zip(a, [[1, 3, 3], [0, 2, 2], [3, 0, 0]])]), note="outside",
        ),
        Sample("gather_nd", p.gather_nd, (x, spread), lambda a, i: a[[0, 2, 2], [1, 3, 0]], note="outside"),
        Sample(
            "scatter_add", lambda b, i, c: p.scatter_add(b, i, c, 0), (x, far, u),
            lambda b, i, c: _added(b, [(0, c[0, 0]), (2, c[0, 1]), (2, c[1, 0]), (0, c[1, 1])]), note="outside",
        ),
        Sample(
            "scatter_along_add", lambda b, i, c: p.scatter_along_add(b, i, c, 1), (x, wide, v),
            lambda b, i, c: _added(b, [((r, min(max(int(i[r, j]), 0), 3)), c[r, j]) for r, j in spots]), note="outside",
        ),
        Sample(
            "scatter_nd", p.scatter_nd, (x, spread, w),
            lambda b, i, c: _added(b, [((0, 1), c[0]), ((2, 3), c[1]), ((2, 0), c[2])]), note="outside",
        ),
        Sample("gather", lambda a, i: p.gather(a, i, 0), (x, idx), lambda a, i: a[i]),
        Sample("gather", lambda a, i: p.gather(a, i, 1), (x, idx), lambda a, i: a[:, i], note="axis1"),
        Sample(
            "gather_along", lambda a, i: p.gather_along(a, i, 1), (x, along),
            lambda a, i: np.array([r[j] for r, j in zip(a, i)]),
        ),
        Sample("gather_nd", p.gather_nd, (x, nd), lambda a, i: np.array([a[0, 1], a[2, 3], a[0, 1]])),
        Sample("gather_nd", p.gather_nd, (x, nd[:1]), lambda a, i: a[i[0]], note="rows"),
        Sample(
            "scatter_add", lambda b, i, c: p.scatter_add(b, i, c, 0), (x, idx, u),
            lambda b, i, c: _added(b, [(i[j], c[j]) for j in product(range(2), range(2))]),
        ),
        Sample(
            "scatter_add", lambda b, i, c: p.scatter_add(b, i, c, 1), (x, idx[0], u[0, :, :3].T.copy()),
            lambda b, i, c: _added(b, [((slice(None), i[j]), c[:, j]) for j in range(2)]), note="axis1",
        ),
        Sample(
            "scatter_along_add", lambda b, i, c: p.scatter_along_add(b, i, c, 1), (x, along, v),
            lambda b, i, c: _added(b, [((r, i[r, j]), c[r, j]) for r, j in spots]),
        ),
        Sample(
            "scatter_nd", p.scatter_nd, (x, nd, w),
            lambda b, i, c: _added(b, [((i[0, k], i[1, k]), c[k]) for k in range(3)]),
        ),
        Sample("scatter_nd", lambda b, i, c: p.scatter_nd(b, i, c, "set"), (x, nd[:, :2], w[:2]),
               lambda b, i, c: put(b, np.c_[i, i[:, :1]], np.r_[c, c[:1]]), note="set"),
        Sample("scatter_nd", lambda b, i, c: p.scatter_nd(b, i, c, "set"), (x, nd, w), put, False, note="last-wins"),
        Sample("sort", parts(False), (x,), lambda a: ordered(a, False)),
        Sample("sort", parts(True), (x,), lambda a: ordered(a, True), note="down"),
        Sample("sort", parts(True), (ties,), lambda a: ordered(a, True), False, note="down-stable"),
        Sample("sort", parts(False), (ties,), lambda a: ordered(a, False), False, note="stable"),
    ]  # fmt: skip

"""Samples of contractions and windows, against their definitions one product at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from primitive_samples.sample import Sample, floats
from symc.ir import prims as p
from symc.ir.op import Node
from symc.ir.prims.linear import Conv, ConvDx, packed
from symc.ir.prims.winograd import matrices


def convolution(x: np.ndarray, w: np.ndarray, stride: Sequence[int], dilate: Sequence[int], groups: int) -> np.ndarray:
    """The definition, one product at a time."""
    n, _, *s = x.shape
    o, cg, *k = w.shape
    out = [(a - (b - 1) * d - 1) // t + 1 for a, b, t, d in zip(s, k, stride, dilate)]
    y = np.zeros((n, o, *out))
    for b, oc, *place in product(range(n), range(o), *map(range, out)):
        for c, *tap in product(range(cg), *map(range, k)):
            at = [q * t + r * d for q, t, r, d in zip(place, stride, tap, dilate)]
            y[(b, oc, *place)] += x[(b, oc // (o // groups) * cg + c, *at)] * w[(oc, c, *tap)]
    return y


def adjoint(function: Callable[[np.ndarray], np.ndarray], shape: Sequence[int], ct: np.ndarray) -> np.ndarray:
    """The transposed linear map, by its columns."""
    made = np.zeros(shape)
    for at in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[at] = 1
        made[at] = (function(unit) * ct).sum()
    return made


def haloed(ct: Node, w: Node, rule: tuple[Any, ...], spatial: Sequence[int]) -> Node:
    """conv_dx of an operand that has one zero more on every side than it needs."""
    around = (1,) * len(spatial)
    wide = p.pad(ct, (0, 0, *around), (0, 0, *around))
    return Node.make(ConvDx(*rule, tuple(spatial), around, around), [wide, w])


def linear_samples() -> list[Sample]:
    made = []
    for ta, tb in product((False, True), repeat=2):
        a, b = floats(18, *((2, 4, 3) if ta else (2, 3, 4))), floats(19, *((2, 2, 4) if tb else (2, 4, 2)))
        spec = f"b{'km' if ta else 'mk'},b{'nk' if tb else 'kn'}->bmn"
        made.append(
            Sample(
                "dot", lambda x, y, ta=ta, tb=tb: p.dot(x, y, ta, tb), (a, b),
                lambda x, y, spec=spec: np.einsum(spec, x, y), note=f"{ta:d}{tb:d}",
            )
        )  # fmt: skip
    cases: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int]] = [
        ("1d", (2, 2, 6), (3, 2, 3), (1,), (1,), 1),
        ("2d", (1, 2, 4, 5), (2, 1, 2, 2), (2, 1), (1, 2), 2),
        ("3d", (1, 1, 3, 2, 3), (1, 1, 2, 1, 2), (1, 1, 1), (1, 1, 1), 1),
        ("rest", (1, 1, 6), (1, 1, 2), (3,), (1,), 1),
    ]
    w, x = floats(26, 4, 3, 2, 1), floats(27, 2, 3, 3, 2)
    side_by_side = w.reshape(2, 2, 3, 2, 1).transpose(0, 2, 3, 4, 1)
    made += [
        Sample(
            "packed", lambda a: packed(a, 2), (w,),
            lambda a: np.stack([a[0::2], a[1::2]], -1),
        ),
        Sample(
            "conv", lambda a, b: Node.make(Conv((1, 1), (1, 1), 1, 2), [a, b]), (x, side_by_side),
            lambda a, b: convolution(a, np.moveaxis(b, -1, 1).reshape(4, 3, 2, 1), (1, 1), (1, 1), 1), note="packed",
        ),
    ]  # fmt: skip
    for note, xs, ws, stride, dilate, groups in cases:
        x, w = floats(20, *xs), floats(21, *ws)
        rule = (stride, dilate, groups)
        ct = floats(22, *convolution(x, w, *rule).shape)
        made += [
            Sample(
                "conv", lambda a, b, r=rule: p.conv(a, b, *r), (x, w),
                lambda a, b, r=rule: convolution(a, b, *r), note=note,
            ),
            Sample(
                "conv_dx", lambda c, b, r=rule, s=xs[2:]: p.conv_dx(c, b, *r, s), (ct, w),
                lambda c, b, r=rule, s=xs: adjoint(lambda a: convolution(a, b, *r), s, c), note=note,
            ),
            Sample(
                "conv_dx", lambda c, b, r=rule, s=xs[2:]: haloed(c, b, r, s), (ct, w),
                lambda c, b, r=rule, s=xs: adjoint(lambda a: convolution(a, b, *r), s, c), note=f"{note} halo",
            ),
            Sample(
                "conv_dw", lambda a, c, r=rule, k=ws[2:]: p.conv_dw(a, c, *r, k), (x, ct),
                lambda a, c, r=rule, s=ws: adjoint(lambda b: convolution(a, b, *r), s, c), note=note,
            ),
        ]  # fmt: skip
    return made


#: tile, images, channels, output channels, lanes, size of the maps, zeros around them, block: maps that tiles divide
#: and others, all of a map at once and rows of it
FILTERED = [
    (2, 2, 2, 4, 2, (4, 5), (1, 0), (0, 1), (2, 2, 2)), (4, 1, 2, 2, 2, (6, 3), (1, 1), (1, 1), (1, 1, 1)),
    (4, 2, 1, 2, 1, (3, 6), (0, 2), (1, 0), (1, 1, 2)),
]  # fmt: skip


def winograd_samples() -> list[Sample]:
    made = []
    for tile, images, channels, outs, lanes, size, low, high, block in FILTERED:
        x, w = floats(40, images, channels, *size), floats(41, outs, channels, 3, 3)
        m = matrices(tile)

        def at_points(a: np.ndarray, g: np.ndarray = m.taps, lanes: int = lanes) -> np.ndarray:
            both = np.einsum("pi,ocij,qj->pqoc", g, a, g).reshape(-1, a.shape[0] // lanes, lanes, a.shape[1])
            return both.transpose(0, 1, 3, 2)

        def filtered(a: np.ndarray, b: np.ndarray, low: Sequence[int] = low, high: Sequence[int] = high) -> np.ndarray:
            return convolution(np.pad(a, ((0, 0), (0, 0), *zip(low, high))), b, (1, 1), (1, 1), 1)

        note, rule = f"{tile} of {'x'.join(map(str, size))}", (tile, low, high, block)
        made += [
            Sample(
                "winograd_weights", lambda a, t=tile, n=lanes: p.winograd_weights(a, t, n), (w,), at_points,
                note=note,
            ),
            Sample(
                "winograd", lambda a, b, r=rule, n=lanes: p.winograd(a, p.winograd_weights(b, r[0], n), *r), (x, w),
                filtered, tolerance=1e-11, note=note,
            ),
        ]  # fmt: skip
    return made


def _windows(x: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Windows of 2x3 every (1, 2) of a (2, 4, 5) array."""
    return {(n, i, j): x[n, i : i + 2, 2 * j : 2 * j + 3] for n, i, j in product(range(2), range(3), range(2))}


def _folded(x: np.ndarray, fold: Callable[[np.ndarray], float]) -> np.ndarray:
    made = np.zeros((2, 3, 2))
    for at, part in _windows(x).items():
        made[at] = fold(part)
    return made


def _first(part: np.ndarray) -> tuple[int, int]:
    return divmod(part.ravel().tolist().index(part.max()), 3)


def window_samples() -> list[Sample]:
    x, v, ct = floats(23, 2, 4, 5), floats(24, 2, 4, 5), floats(25, 2, 3, 2)
    rule = ((2, 3), (1, 2))
    ties = np.trunc(x)

    def spread(c: np.ndarray, shares: Callable[[np.ndarray, float], Any], over: np.ndarray) -> np.ndarray:
        made = np.zeros((2, 4, 5))
        for at, part in _windows(made).items():
            n, i, j = at
            part += shares(over[n, i : i + 2, 2 * j : 2 * j + 3], c[at])
        return made

    def winner(part: np.ndarray, value: float) -> np.ndarray:
        made = np.zeros((2, 3))
        made[_first(part)] = value
        return made

    def picked(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        made = np.zeros((2, 3, 2))
        for (at, part), source in zip(_windows(a).items(), _windows(b).values()):
            made[at] = source[_first(part)]
        return made

    return [
        Sample("window_max", lambda a: p.window_max(a, *rule), (x,), lambda a: _folded(a, np.max)),
        Sample("window_sum", lambda a: p.window_sum(a, *rule), (x,), lambda a: _folded(a, np.sum)),
        Sample(
            "window_spread", lambda c: p.window_spread(c, *rule, (4, 5)), (ct,), lambda c: spread(c, lambda _, g: g, x)
        ),
        Sample(
            "window_max_grad", lambda a, c: p.window_max_grad(a, c, *rule), (x, ct),
            lambda a, c: spread(c, winner, a),
        ),
        Sample(
            "window_max_grad", lambda a, c: p.window_max_grad(a, c, *rule), (ties, ct),
            lambda a, c: spread(c, winner, a), False, note="first",
        ),
        Sample("window_pick", lambda a, b: p.window_pick(a, b, *rule), (x, v), picked),
        Sample("window_pick", lambda a, b: p.window_pick(a, b, *rule), (ties, v), picked, False, note="first"),
    ]  # fmt: skip

"""Greedy choices: suppression of boxes in order of score, and matching of pairs by score.

Which box stays depends on every choice before it, and the number of choices is not known beforehand. As a loop of
primitives that is one turn a box, each turn a native call on all the others; so these are host functions that settle a
block of boxes at a time with whole-array arithmetic, and hold a block's overlaps at most, never those of all pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from symc.ir.types import Array

Hits = Callable[[Array, Array], Array]

#: boxes settled at a time, and how many others they are held against at once: what is computed of these pairs stays in
#: a core's cache
_BLOCK, _OTHERS = 64, 2048


def extents(boxes: Array, centred: bool) -> Array:
    """Boxes (n, 4) as four rows: low x, low y, high x, high y. `centred`: they are given as middle and size."""
    a, b, c, d = boxes.T
    if centred:
        c, d = c / 2, d / 2
        a, b, c, d = a - c, b - d, a + c, b + d
    return np.ascontiguousarray([a, b, c, d])


def intersections(a: Array, b: Array, grow: float = 0) -> Array:
    """The area that each box of a shares with each of b, both as `extents` has them: (n, m). `grow`: 1 where sides
    count whole pixels, both ends included."""

    def shared(low: int, high: int) -> Array:
        side = np.minimum(a[high][:, None], b[high])
        side -= np.maximum(a[low][:, None], b[low])
        if grow:
            side += side.dtype.type(grow)
        return np.asarray(np.maximum(side, 0, out=side))

    area = shared(0, 2)
    area *= shared(1, 3)
    return area


def overlaps(a: Array, b: Array, area_a: Array, area_b: Array, grow: float = 0) -> Array:
    """Intersection over union (n, m) of boxes as `extents` has them; NaN where both areas are 0."""
    shared = intersections(a, b, grow)
    union = area_a[:, None] + area_b
    union -= shared
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(shared, union, out=shared))


def best_first(scores: Array, most: int | None = None) -> Array:
    """The places of the `most` (None: all) highest scores, highest first, equal ones in order."""
    if most is None or most >= len(scores):
        return np.argsort(-scores, kind="stable")
    # only what can be among them is sorted
    least = np.partition(scores, len(scores) - most)[len(scores) - most]
    able = np.flatnonzero(scores >= least)
    return np.asarray(able[np.argsort(-scores[able], kind="stable")][:most])


def survivors(count: int, hits: Hits, groups: Array | None = None, most: int | None = None) -> Array:
    """Of boxes 0 .. count-1, in order: those that no kept one before them hits, ascending; with `most`, the first so
    many. hits(a, b) says for every pair of places whether the first removes the second: (len(a), len(b)) booleans.
    With `groups`, boxes of different numbers never hit each other."""
    everything = np.arange(count)
    if groups is None:
        return _survivors(everything, hits, count if most is None else most)
    if count <= _OTHERS:

        def own_hits(a: Array, b: Array) -> Array:
            return np.asarray(hits(a, b) & (groups[a][:, None] == groups[b]))

        return _survivors(everything, own_hits, count if most is None else most)
    # group by group: far fewer pairs
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    kept = [_survivors(own, hits, count) for own in np.split(order, starts)]
    return np.sort(np.concatenate(kept))[:most]


def _survivors(rest: Array, hits: Hits, most: int) -> Array:
    kept: list[Array] = [rest[:0]]
    found = 0
    while len(rest) and found < most:
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        near = hits(block, block)
        stays = np.ones(len(block), bool)
        for at in range(len(block)):
            if stays[at]:
                stays[at + 1 :] &= ~near[at, at + 1 :]
        block = block[stays]
        kept.append(block)
        found += len(block)
        if len(rest) and found < most:
            others = [rest[at : at + _OTHERS] for at in range(0, len(rest), _OTHERS)]
            rest = np.concatenate([part[~hits(block, part).any(0)] for part in others])
    return np.concatenate(kept)[:most]


def greedy_pairs(scores: Array, least: float, most: int | None = None) -> list[tuple[int, int]]:
    """(row, column) pairs in order of score: the highest of scores (rows, columns) that is above `least`, among the
    rows and columns that are still free; equal ones by row, then column."""
    turned = scores.shape[1] > scores.shape[0]
    lines = np.array(scores if turned else scores.T)  # the shorter axis first; taken places become NaN
    if not lines.size:
        return []
    partner, best = lines.argmax(1), lines.max(1)
    free = best > least
    pairs: list[tuple[int, int]] = []
    while free.any() and len(pairs) != most:
        able = np.flatnonzero(free & (best == best[free].max()))
        line = int(able[0] if turned else min(able, key=lambda at: (partner[at], at)))
        place = int(partner[line])
        pairs.append((line, place) if turned else (place, line))
        lines[:, place] = -np.inf
        free[line] = False
        for other in np.flatnonzero(free & (partner == place)):
            partner[other], best[other] = lines[other].argmax(), lines[other].max()
        free &= best > least
    return pairs

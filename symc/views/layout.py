"""Where boxes and edges of a picture lie: in layers, operands above users, edges around boxes.

After Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures", 1981): layers,
an empty place on every layer that a long edge passes, layers ordered by the mean position of neighbours. Then each
layer is moved as near to its neighbours as the order allows, which is a regression with order constraints and is solved
exactly in one sweep (pool adjacent violators). Users of one value share its places. All of it takes time linear in
boxes, edges and places, but for sorting; edges so long that there would be more than PLACES of them become references
by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from symc.views.picture import Picture, labels_of

CHARACTER, LINE, MARGIN, GAP = 7.3, 16.0, 10.0, 46.0
#: width of a character of a value's type, and how far right of the edge it stands
SMALL, ASIDE = 6.1, 6.0
#: room an edge takes beside boxes
LANE = 10.0
#: empty places for long edges that a picture may have, and the length up to which every edge is drawn
PLACES, SHORT = 20000, 12
#: how much stronger a straight line is wanted than a box below its operands
STRAIGHT = 4.0


@dataclass
class Rect:
    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    """`boxes` by key, and where across the type of each one's value stands (`asides`); `paths` are SVG path data with
    their edge (number in the picture); `references` are edges too long to draw, by target: the names that its box
    reads."""

    width: float = 0.0
    height: float = 0.0
    boxes: dict[str, Rect] = field(default_factory=dict)
    asides: dict[str, float] = field(default_factory=dict)
    paths: list[tuple[int, str]] = field(default_factory=list)
    references: dict[str, list[str]] = field(default_factory=dict)


def lay_out(picture: Picture) -> Layout:
    """Places for everything in a picture."""
    return _Layers(picture).laid_out()


def size_of(lines: Sequence[str]) -> tuple[float, float]:
    """Width and height of a box with these lines."""
    return max(map(len, lines), default=1) * CHARACTER + 2 * MARGIN, len(lines) * LINE + MARGIN


class _Layers:
    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.keys = list(picture.boxes)
        number = {key: at for at, key in enumerate(self.keys)}
        self.edges = [(number[s], number[t]) for s, t, _ in picture.edges]
        self.level = self._levels()
        longest = self._longest()
        self.sizes = [size_of(box.lines) for box in picture.boxes.values()]
        #: per edge its places from source to target; empty where it is a reference
        self.chains: list[list[int]] = []
        shared: dict[tuple[int, int], int] = {}
        for s, t in self.edges:
            if self.level[t] - self.level[s] > longest:
                self.chains.append([])
                continue
            chain = [s]
            for level in range(self.level[s] + 1, self.level[t]):
                place = shared.get((s, level))
                if place is None:
                    place = shared[s, level] = len(self.level)
                    self.level.append(level)
                    self.sizes.append((LANE, 0.0))
                chain.append(place)
            self.chains.append([*chain, t])
        links = dict.fromkeys(pair for chain in self.chains for pair in zip(chain, chain[1:]))
        count = len(self.level)
        self.above: list[list[int]] = [[] for _ in range(count)]
        self.below: list[list[int]] = [[] for _ in range(count)]
        for a, b in links:
            self.above[b].append(a)
            self.below[a].append(b)
        labels = labels_of(picture)
        #: from the middle of a box (or place) to where the type of its value stands, and to the end of both
        self.aside = [self._last_port(item) + ASIDE for item in range(count)]
        #: of a side of a box, by item and whether it is the upper one: which edge from the left goes to whom
        self.ports: dict[tuple[int, bool], dict[int, int]] = {}
        self.reach = [width / 2 for width, _ in self.sizes]
        for item, key in enumerate(self.keys):
            if key in labels:
                self.reach[item] = max(self.reach[item], self.aside[item] + SMALL * max(map(len, labels[key])))
        self.layers: list[list[int]] = [[] for _ in range(max(self.level, default=-1) + 1)]
        for item, level in enumerate(self.level):
            self.layers[level].append(item)

    def _last_port(self, item: int) -> float:
        """From the middle of a box to the last edge that leaves it."""
        ends = len(self.below[item])
        return (ends - 1) / 2 * _port_step(self.sizes[item][0], ends) if ends else 0.0

    def _levels(self) -> list[int]:
        """The longest way from a box without operands. Those, and what is computed of parameters alone, stand just
        above their first user."""
        level = [0] * len(self.keys)
        users: list[list[int]] = [[] for _ in self.keys]
        #: needs no input of the program
        loose = [box.kind != "input" for box in self.picture.boxes.values()]
        read = [False] * len(self.keys)
        for s, t in self.edges:
            users[s].append(t)
            read[t] = True
        for at in range(len(self.keys)):  # boxes are in topological order
            for user in users[at]:
                level[user] = max(level[user], level[at] + 1)
                loose[user] = loose[user] and loose[at]
        for at in reversed(range(len(self.keys))):
            if users[at] and (loose[at] or not read[at]):
                level[at] = max(0, min(level[user] for user in users[at]) - 1)
        return level

    def _longest(self) -> int:
        """How many layers an edge may span, so that there are at most PLACES places."""
        longest: dict[int, int] = {}
        for s, t in self.edges:
            longest[s] = max(longest.get(s, 0), self.level[t] - self.level[s])
        spans = sorted(longest.values())
        used = 0
        for at, span in enumerate(spans):
            if span > SHORT and used + (span - 1) * (len(spans) - at) > PLACES:
                return max(SHORT, spans[at - 1] if at else SHORT)
            used += span - 1
        return spans[-1] if spans else 1

    # -- order and positions

    def laid_out(self) -> Layout:
        self._order()
        x = self._positions()
        made = Layout()
        top: list[float] = []
        y = MARGIN
        for layer in self.layers:
            top.append(y)
            height = max((self.sizes[item][1] for item in layer), default=0.0)
            y += height + GAP
        top.append(y)
        left = min((x[i] - self.sizes[i][0] / 2 for i in range(len(x))), default=0.0) - MARGIN
        x = [at - left for at in x]
        made.width = max((x[i] + self.reach[i] for i in range(len(x))), default=0.0) + MARGIN
        made.height = y - GAP + MARGIN
        for item, key in enumerate(self.keys):
            width, height = self.sizes[item]
            made.asides[key] = x[item] + self.aside[item]
            made.boxes[key] = Rect(x[item] - width / 2, top[self.level[item]], width, height)
        for at, chain in enumerate(self.chains):
            if chain:
                made.paths.append((at, self._path(chain, x, top)))
            else:
                source, target, _ = self.picture.edges[at]
                made.references.setdefault(target, []).append(source)
        return made

    def _order(self) -> None:
        """Each layer by the mean position of its operands, then upwards by that of its users: fewer crossings."""
        position = [0.0] * len(self.level)
        for layer in self.layers:
            for at, item in enumerate(layer):
                position[item] = at / len(layer)
        for sweep in range(6 if len(position) < 5000 else 4):
            down = sweep % 2 == 0
            near = self.above if down else self.below
            for layer in self.layers if down else reversed(self.layers):
                means = {i: sum(position[n] for n in near[i]) / len(near[i]) if near[i] else position[i] for i in layer}
                layer.sort(key=means.__getitem__)
                for at, item in enumerate(layer):
                    position[item] = (at + 0.5) / len(layer)

    def _positions(self) -> list[float]:
        """The middle of every box and place."""
        x = [0.0] * len(self.level)
        apart: list[list[float]] = []
        for layer in self.layers:
            gaps = [self.reach[a] + self.sizes[b][0] / 2 + MARGIN for a, b in zip(layer, layer[1:])]
            apart.append(gaps)
            at = -sum(gaps) / 2
            for item, gap in zip(layer, [*gaps, 0.0]):
                x[item] = at
                at += gap
        boxes = len(self.keys)
        for sweep in range(6 if len(x) < 5000 else 4):
            down = sweep % 2 == 0
            near = self.above if down else self.below
            for number in range(len(self.layers)) if down else reversed(range(len(self.layers))):
                layer = self.layers[number]
                wanted, weights = [], []
                for item in layer:
                    others = near[item]
                    wanted.append(sum(x[o] for o in others) / len(others) if others else x[item])
                    straight = item >= boxes and any(o >= boxes for o in others)
                    weights.append(STRAIGHT if straight else 1.0 if others else 0.1)
                for item, at in zip(layer, _spread(wanted, weights, apart[number])):
                    x[item] = at
        return x

    def _path(self, chain: Sequence[int], x: Sequence[float], top: Sequence[float]) -> str:
        """Straight down through layers, a curve in the gap between two: no box is in either."""
        source, target = chain[0], chain[-1]
        start = x[source] + self._port(source, chain[1], self.below, x)
        parts = [f"M{start:.1f},{top[self.level[source]] + self.sizes[source][1]:.1f}"]
        here = start
        for item in chain[1:]:
            last = item == target
            there = x[item] + (self._port(item, chain[-2], self.above, x) if last else 0.0)
            edge = top[self.level[item]]
            leave = edge - GAP
            middle = edge - GAP / 2
            parts.append(f"V{leave:.1f}C{here:.1f},{middle:.1f} {there:.1f},{middle:.1f} {there:.1f},{edge:.1f}")
            here = there
        return "".join(parts)

    def _port(self, item: int, other: int, near: Sequence[Sequence[int]], x: Sequence[float]) -> float:
        """Where on the side of a box an edge leaves or arrives, from its middle: edges stand in the order of their
        ends."""
        key = (item, near is self.above)
        if key not in self.ports:
            ends = sorted(set(near[item]), key=lambda end: (x[end], end))
            self.ports[key] = {end: at for at, end in enumerate(ends)}
        places = self.ports[key]
        return (places[other] - (len(places) - 1) / 2) * _port_step(self.sizes[item][0], len(places))


def _port_step(width: float, ends: int) -> float:
    """How far apart edges stand on a side of a box."""
    return min(2 * LANE, width * 0.8 / ends)


def _spread(wanted: Sequence[float], weights: Sequence[float], apart: Sequence[float]) -> list[float]:
    """The positions nearest to the wanted ones (least squares) that keep their order and distances."""
    offsets = [0.0]
    for gap in apart:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, items
    for want, weight, offset in zip(wanted, weights, offsets):
        mean, total, count = want - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, more, items = blocks.pop()
            mean, total, count = (mean * total + other * more) / (total + more), total + more, count + items
        blocks.append((mean, total, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets)]

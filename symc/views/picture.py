"""Boxes and edges of a program, before anything is drawn: what is folded into one box, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

#: colours by what a box is
COLOURS = {
    "input": "#dbe9f6", "heavy": "#fde2c8", "plain": "#eef2e6", "output": "#e6dff2", "fold": "#e3e3e3",
    "new": "#bfe5bf", "gone": "#f2c4c4",
}  # fmt: skip

#: Symbols that a prefix needs to be folded unasked
GROUP = 4


@dataclass
class Box:
    """A node: its lines of text and its kind (a key of COLOURS). `values` are the names it can be found by, `symbol` is
    the Symbol it was made for, `half` that of the program it runs in."""

    lines: list[str]
    kind: str = "plain"
    values: tuple[str, ...] = ()
    symbol: str = ""
    half: str = "forward"


@dataclass
class Picture:
    """Boxes by key, in topological order, and edges with a label (the type of the value, where it is known)."""

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)

    def box(self, key: str, lines: Sequence[str], kind: str = "plain", **found_by: object) -> None:
        self.boxes[key] = Box([line for line in lines if line], kind, **found_by)  # type: ignore[arg-type]

    def edge(self, source: str, target: str, label: str = "") -> None:
        """An edge between two boxes that are there; others are not drawn."""
        if source in self.boxes and target in self.boxes and source != target:
            self.edges.append((source, target, label))


def labels_of(picture: Picture) -> dict[str, list[str]]:
    """What stands where values leave their boxes: the types that the boxes themselves do not say."""
    found: dict[str, list[str]] = {}
    for source, label in dict.fromkeys((source, label) for source, _, label in picture.edges):
        if label and not any(label in line for line in picture.boxes[source].lines):
            found.setdefault(source, []).append(label)
    return found


def keys_of(picture: Picture, name: str) -> list[str]:
    """The boxes of a value (`%fc1` or `fc1`), or of all values of a Symbol of that name."""
    name = name.lstrip("%")
    exact = [key for key, box in picture.boxes.items() if key == name or name in box.values]
    return exact or [key for key, box in picture.boxes.items() if box.symbol == name]


def changed(before: Picture, after: Picture) -> Picture:
    """What became of a picture: boxes that are new, or say or read something else, are of the kind "new", and those
    that are gone of the kind "gone", with their edges."""
    made = Picture({**after.boxes}, [*after.edges])
    reads = [{key: sorted(e for e in p.edges if e[1] == key) for key in p.boxes} for p in (before, after)]
    for key, box in after.boxes.items():
        had = before.boxes.get(key)
        if had is None or had.lines != box.lines or reads[0][key] != reads[1][key]:
            made.boxes[key] = replace(box, kind="new")
    gone = [key for key in before.boxes if key not in after.boxes]
    for key in gone:
        made.boxes[key] = replace(before.boxes[key], kind="gone")
    for source, target, label in before.edges:
        if source in gone or target in gone:
            made.edge(source, target, label)
    return made


def focused(picture: Picture, keys: Iterable[str], radius: int) -> Picture:
    """What is at most `radius` edges away from the boxes, up or down."""
    near: dict[str, list[str]] = {key: [] for key in picture.boxes}
    for source, target, _ in picture.edges:
        near[source].append(target)
        near[target].append(source)
    kept = set(keys)
    rim = list(kept)
    for _ in range(radius):
        rim = [n for n in dict.fromkeys(n for key in rim for n in near[key]) if n not in kept]
        kept.update(rim)
    boxes = {key: box for key, box in picture.boxes.items() if key in kept}
    return Picture(boxes, [edge for edge in picture.edges if edge[0] in kept and edge[1] in kept])


def common_prefixes(picture: Picture) -> list[str]:
    """Beginnings of names, up to a `_`, that GROUP Symbols or more share: what a user would fold."""
    symbols = list(dict.fromkeys(box.symbol for box in picture.boxes.values()))
    count = Counter(name[: name.index("_", 1) + 1] for name in symbols if "_" in name[1:])
    shared = max(count, key=count.__getitem__, default="")
    if count[shared] > len(symbols) / 2:  # most begin alike: the next part tells them apart
        rests = [name[len(shared) :] for name in symbols if name.startswith(shared)]
        del count[shared]
        count.update(f"{shared}{rest[: rest.index('_', 1) + 1]}" for rest in rests if "_" in rest[1:])
    return [prefix for prefix, number in count.items() if number >= GROUP]


def folded(picture: Picture, prefixes: Sequence[str]) -> Picture:
    """The boxes of all Symbols whose names begin with one of the prefixes as one box per prefix and half; so is what
    lies on a path from one of them to another, as the box would stand above and below it otherwise."""
    import networkx as nx

    group: dict[str, str] = {}
    for key, box in picture.boxes.items():
        prefix = max((p for p in prefixes if box.symbol.startswith(p)), key=len, default=None)
        group[key] = key if prefix is None else f"fold {prefix} {box.half}"
    graph = nx.DiGraph()
    graph.add_nodes_from(group.values())
    graph.add_edges_from((group[s], group[t]) for s, t, _ in picture.edges)
    for part in nx.strongly_connected_components(graph):
        if len(part) > 1:
            into = min(part, key=lambda name: (not name.startswith("fold "), name))
            group.update((key, into) for key, at in group.items() if at in part)
    members: dict[str, list[str]] = {}
    for key, into in group.items():
        members.setdefault(into, []).append(key)
    made = Picture()
    for into in _in_order(picture, group):
        inside = members[into]
        if inside == [into]:
            made.boxes[into] = picture.boxes[into]
            continue
        boxes = [picture.boxes[key] for key in inside]
        half = boxes[0].half
        own = sum(1 for key in inside if any(picture.boxes[key].symbol.startswith(p) for p in prefixes))
        between = f", {len(inside) - own} between them" if own < len(inside) else ""
        title = into.split(" ")[1] + "*"
        lines = [title, f"{len(inside)} boxes{between}", half if half != "forward" else ""]
        values = tuple(v for box in boxes for v in box.values)
        made.box(into, lines, "fold", values=values, symbol=title[:-1], half=half)
    for source, target, label in dict.fromkeys((group[s], group[t], label) for s, t, label in picture.edges):
        made.edge(source, target, label)
    return made


def _in_order(picture: Picture, group: dict[str, str]) -> list[str]:
    """The boxes after folding, operands before users."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(dict.fromkeys(group.values()))
    graph.add_edges_from((group[s], group[t]) for s, t, _ in picture.edges if group[s] != group[t])
    place = {name: at for at, name in enumerate(graph)}
    return list(nx.lexicographical_topological_sort(graph, key=place.__getitem__))

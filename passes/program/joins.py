"""The rules by which a unit joins a kernel: a table, so that whoever asks why two values are not one kernel is told.

Every rule looks at a unit and a kernel (a cluster of units) and returns the reason why they do not join, or nothing.
The first reason stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Optional

from symc.ir.op import Node
from symc.ir.program.form import Axes
from symc.ir.types import Shape
from symc.passes.program.units import Unit


class Cluster:
    """Units computed by one kernel. `before` is the set of clusters (as bits) that must run earlier."""

    def __init__(self, number: int, unit: Unit, half: int) -> None:
        self.number, self.half = number, half
        self.kind, self.space, self.axes = unit.kind, unit.space, unit.axes
        #: in the order they joined, and by their values
        self.units, self.members = [unit], {unit.root: unit}
        #: nodes of all cones
        self.size = len(unit.cone)
        self.before = 0

    def add(self, unit: Unit) -> None:
        """Take a unit in; the first reduction makes the kernel one of rows."""
        if unit.kind == "row" and not self.axes:
            self.axes, self.kind = unit.axes, "row"
        self.units.append(unit)
        self.members[unit.root] = unit
        self.size += len(unit.cone)


@dataclass(frozen=True)
class Limits:
    """What the user lets kernels be; see the options of fuse."""

    max_ops: int
    epilogues: bool
    rows: bool


@dataclass
class Join:
    """A question: may `unit`, of a half and with operands made by `sources`, join `cluster`?"""

    unit: Unit
    half: int
    sources: set[Cluster]
    cluster: Cluster
    limits: Limits
    names: Mapping[Node, str]

    @property
    def row(self) -> Axes:
        """The axes of the cluster's space that would not be reduced."""
        axes = self.cluster.axes or self.unit.axes
        return tuple(a for a in range(len(self.cluster.space)) if a not in axes)

    @property
    def row_shape(self) -> Shape:
        return tuple(self.cluster.space[a] for a in self.row)

    @property
    def of_element(self) -> bool:
        """Whether the unit is computed at every index of the cluster's space, not once a row."""
        return self.unit.space == self.cluster.space


#: the reason against a join, or None
Answer = Optional[str]


@dataclass(frozen=True)
class JoinRule:
    """`refuses` answers for clusters and units of these kinds ((cluster, unit), none: all)."""

    name: str
    refuses: Callable[[Join], Answer]
    kinds: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A rule's reason."""

    rule: str
    reason: str


EPILOGUE = (("nest", "map"),)
ROWS = (("map", "map"), ("map", "row"), ("row", "map"), ("row", "row"))


def _kinds(join: Join) -> Answer:
    kinds = join.cluster.kind, join.unit.kind
    if kinds in EPILOGUE or kinds in ROWS:
        return None
    what = {"nest": "a loop nest", "view": "a view", "host": "a step of the host"}
    if join.unit.kind in what:
        return f"{what[join.unit.kind]} begins a kernel of its own"
    if join.cluster.kind != "nest":
        return f"nothing joins {what[join.cluster.kind]}"
    return f"a reduction does not join {what['nest']}"


def _ready(join: Join) -> Answer:
    """Of a unit that reads parameters only, the result would just be kept longer."""
    if not join.sources:
        return "it reads parameters only: computed where it is needed, its result is not kept as long"
    late = [s for s in join.sources if s is not join.cluster and not join.cluster.before >> s.number & 1]
    if late:
        return f"the kernel would have to wait for the one of %{_first(late[0], join)}, whose result it does not need"
    return None


def _half(join: Join) -> Answer:
    if join.cluster.half != join.half:
        return "one belongs to the forward half, the other to the backward half"
    return None


def _size(join: Join) -> Answer:
    count = join.cluster.size + len(join.unit.cone)
    if count > join.limits.max_ops:
        return f"together they would be {count} nodes, more than max-ops={join.limits.max_ops}"
    return None


def _epilogue(join: Join) -> Answer:
    unit, cluster = join.unit, join.cluster
    nest = cluster.units[0].root
    if not join.limits.epilogues:
        return "epilogues=false"
    if not nest.op.epilogue:
        return f"the loop nest of {nest.op.name} takes no epilogue"
    if not join.of_element:
        return f"it has shape {list(unit.space)}, the loop nest's result {list(cluster.space)}"
    return _elsewhere(join, [leaf for leaf in unit.reads if leaf in cluster.members], _all(unit.space))


def _space(join: Join) -> Answer:
    unit, cluster = join.unit, join.cluster
    if not join.limits.rows:
        return "rows=false"
    if unit.kind == "row":
        if not join.of_element:
            return f"it reduces {list(unit.space)}, the kernel runs over {list(cluster.space)}"
        if cluster.kind == "row" and cluster.axes != unit.axes:
            return f"it reduces axes {list(unit.axes)}, the kernel axes {list(cluster.axes)}"
    elif not join.of_element and not (cluster.axes and unit.space == join.row_shape):
        rows = f" and rows of {list(join.row_shape)}" if cluster.axes else ""
        return f"it has shape {list(unit.space)}, the kernel runs over {list(cluster.space)}{rows}"
    return None


def _reads(join: Join) -> Answer:
    """What the unit reads of the cluster must be there in the same turn of the loops."""
    unit, cluster = join.unit, join.cluster
    element: list[Node] = []
    row: list[Node] = []
    for leaf in unit.reads:
        if leaf in cluster.members:
            whole = cluster.members[leaf].kind == "map" and leaf.shape == cluster.space
            (element if whole else row).append(leaf)
    if join.of_element:
        return _elsewhere(join, element, _all(unit.space)) or _elsewhere(join, row, join.row)
    if element:
        return f"it is one value a row and reads %{join.names.get(element[0])}, which the row is not done with"
    return _elsewhere(join, row, _all(unit.space))


def _elsewhere(join: Join, leaves: list[Node], axes: Axes) -> Answer:
    """Whether a value of the cluster is read at another index than the loops are at."""
    for leaf in leaves:
        if join.unit.reads[leaf] != {axes}:
            return f"it reads %{join.names.get(leaf)} at another index than the one the kernel is at"
    return None


def _cycle(join: Join) -> Answer:
    bit = 1 << join.cluster.number
    for source in join.sources:
        if source is not join.cluster and source.before & bit:
            return f"%{_first(source, join)}, which it reads, is computed from what the kernel makes"
    return None


def _all(space: Shape) -> Axes:
    return tuple(range(len(space)))


def _first(cluster: Cluster, join: Join) -> str:
    return str(join.names.get(cluster.units[0].root))


RULES = (
    JoinRule("kinds", _kinds),
    JoinRule("ready", _ready, (("map", "map"),)),
    JoinRule("half", _half),
    JoinRule("size", _size),
    JoinRule("epilogue", _epilogue, EPILOGUE),
    JoinRule("space", _space, ROWS),
    JoinRule("reads", _reads, ROWS),
    JoinRule("cycle", _cycle),
)


def refusal(join: Join) -> Refusal | None:
    """The first rule that refuses a join."""
    kinds = join.cluster.kind, join.unit.kind
    for rule in RULES:
        if not rule.kinds or kinds in rule.kinds:
            reason = rule.refuses(join)
            if reason is not None:
                return Refusal(rule.name, reason)
    return None

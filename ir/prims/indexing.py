"""Reading and writing at computed positions. Indices are integers; one that lies outside is the nearest there is.

So nothing that is computed at run time can touch memory of others. Operators that wrap, or give an error, do so before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.index import Affine
from symc.ir.op import Index, Node, Primitive, Read, Ref, Scalars, primitive, require
from symc.ir.prims import elementwise as ew
from symc.ir.types import I64, Array, Shape, TensorType, TupleType, Type


def nearest(idx: Array, extent: int) -> Array:
    """Positions inside of an axis."""
    found: Array = np.clip(idx, 0, extent - 1).astype(np.int64) if idx.size else idx.astype(np.int64)
    return found


def _nearest_nd(idx: Array, shape: Shape) -> tuple[Array, ...]:
    """Coordinates inside of the first axes of a shape."""
    return tuple(nearest(at, extent) for at, extent in zip(idx, shape))


def _places(op: Primitive, at: int, ins: Sequence[TensorType]) -> None:
    """Refuse positions in an axis that has none."""
    require(ins[0].shape[at] > 0 or not ins[1].size, op, f"axis {at} has no positions", *ins)


@primitive("gather")
class Gather(Primitive):
    """x at positions idx along `axis`: shape x[:axis] + idx + x[axis+1:]."""

    axis: int = 0
    cost: ClassVar[int] = 3

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(
            len(ins) == 2 and ins[1].dtype.is_int and 0 <= self.axis < ins[0].rank, self, "takes x and integers", *ins
        )
        _places(self, self.axis, ins)
        return ins[0].with_shape(ins[0].shape[: self.axis] + ins[1].shape + ins[0].shape[self.axis + 1 :])

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.take(args[0], nearest(args[1], args[0].shape[self.axis]), axis=self.axis)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x, idx = node.inputs
        return [None if ct[0] is None else scatter_add(ew.zeros_like(x), idx, ct[0], self.axis), None]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        r = node.inputs[1].rank
        at = k.to_index(reads[1](index[self.axis : self.axis + r]), node.inputs[0].shape[self.axis])
        return reads[0]((*index[: self.axis], at, *index[self.axis + r :]))


@primitive("gather_along")
class GatherAlong(Primitive):
    """x[..., idx[...], ...] along `axis`, the other axes kept in step (numpy's take_along_axis)."""

    axis: int = 0
    cost: ClassVar[int] = 3

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(
            len(ins) == 2 and ins[1].dtype.is_int and ins[0].rank == ins[1].rank, self, "takes x and integers", *ins
        )
        same = all(a == b for d, (a, b) in enumerate(zip(ins[0].shape, ins[1].shape)) if d != self.axis)
        require(same, self, "other axes differ", *ins)
        _places(self, self.axis, ins)
        return ins[0].with_shape(ins[1].shape)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.take_along_axis(args[0], nearest(args[1], args[0].shape[self.axis]), axis=self.axis)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x, idx = node.inputs
        return [None if ct[0] is None else scatter_along_add(ew.zeros_like(x), idx, ct[0], self.axis), None]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        at = k.to_index(reads[1](index), node.inputs[0].shape[self.axis])
        return reads[0]((*index[: self.axis], at, *index[self.axis + 1 :]))


@primitive("gather_nd")
class GatherNd(Primitive):
    """idx (m, ...) holds coordinates in its first axis: result shape idx.shape[1:] + x.shape[m:]."""

    cost: ClassVar[int] = 4

    def type(self, ins: Sequence[TensorType]) -> Type:
        ok = len(ins) == 2 and ins[1].dtype.is_int and ins[1].rank >= 1 and ins[1].shape[0] <= ins[0].rank
        require(ok, self, "takes x and integer coordinates", *ins)
        for at in range(ins[1].shape[0]):
            _places(self, at, ins)
        return ins[0].with_shape(ins[1].shape[1:] + ins[0].shape[ins[1].shape[0] :])

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.asarray(args[0][_nearest_nd(args[1], args[0].shape)])

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x, idx = node.inputs
        return [None if ct[0] is None else scatter_nd(ew.zeros_like(x), idx, ct[0], "add"), None]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        x, idx = node.inputs
        r = idx.rank - 1
        at = tuple(k.to_index(reads[1]((Affine.of(i), *index[:r])), x.shape[i]) for i in range(idx.shape[0]))
        return reads[0]((*at, *index[r:]))


@primitive("scatter_add")
class ScatterAdd(Primitive):
    """base with upd added at positions idx along `axis` (repeats accumulate, in order); the adjoint of gather."""

    axis: int = 0
    nest: ClassVar[str] = "once"

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(
            len(ins) == 3 and ins[1].dtype.is_int and ins[0].dtype == ins[2].dtype,
            self,
            "takes base, integers, updates",
            *ins,
        )
        shape = ins[0].shape[: self.axis] + ins[1].shape + ins[0].shape[self.axis + 1 :]
        require(ins[2].shape == shape, self, f"updates need shape {shape}", *ins)
        return ins[0]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        base, idx, upd = args
        result = np.moveaxis(base, self.axis, 0).copy()
        moved = np.moveaxis(upd, range(self.axis, self.axis + idx.ndim), range(idx.ndim))
        np.add.at(result, nearest(idx, base.shape[self.axis]), moved)
        return np.ascontiguousarray(np.moveaxis(result, 0, self.axis))

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [ct[0], None, None if ct[0] is None else gather(ct[0], node.inputs[1], self.axis)]


@primitive("scatter_along_add")
class ScatterAlongAdd(Primitive):
    """The adjoint of gather_along: upd added at idx along `axis`."""

    axis: int = 0
    nest: ClassVar[str] = "once"

    def type(self, ins: Sequence[TensorType]) -> Type:
        ok = len(ins) == 3 and ins[1].dtype.is_int and ins[1].shape == ins[2].shape and ins[0].dtype == ins[2].dtype
        require(ok and ins[0].rank == ins[1].rank, self, "takes base, integers, updates", *ins)
        return ins[0]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        base, idx, upd = args
        result: Array = base.copy()
        where: list[Array] = list(np.indices(idx.shape, sparse=True))
        where[self.axis] = nearest(idx, base.shape[self.axis])
        np.add.at(result, tuple(where), upd)
        return result

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [ct[0], None, None if ct[0] is None else gather_along(ct[0], node.inputs[1], self.axis)]


@primitive("scatter_nd")
class ScatterNd(Primitive):
    """base with upd added ("add") or put ("set": the last wins) at coordinates idx (m, ...)."""

    mode: str = "add"

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(
            len(ins) == 3 and ins[1].dtype.is_int and ins[0].dtype == ins[2].dtype,
            self,
            "takes base, integers, updates",
            *ins,
        )
        shape = ins[1].shape[1:] + ins[0].shape[ins[1].shape[0] :]
        require(ins[2].shape == shape and self.mode in ("add", "set"), self, f"updates need shape {shape}", *ins)
        return ins[0]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        base, idx, upd = args
        result: Array = base.copy()
        places = _nearest_nd(idx, base.shape)
        if self.mode == "add":
            np.add.at(result, places, upd)
        else:
            rows = np.stack(places).reshape(idx.shape[0], -1)
            values = upd.reshape(rows.shape[1], *base.shape[idx.shape[0] :])
            for at in range(rows.shape[1]):
                result[tuple(rows[:, at])] = values[at]
        return result

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        g = ct[0]
        if g is None:
            return [None, None, None]
        base = g if self.mode == "add" else scatter_nd(g, node.inputs[1], ew.zeros_like(node.inputs[2]), "set")
        return [base, None, gather_nd(g, node.inputs[1])]


@primitive("sort")
class Sort(Primitive):
    """Along `axis`, stable: (values, their former positions i64)."""

    axis: int = 0
    descending: bool = False

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and 0 <= self.axis < ins[0].rank, self, f"axis={self.axis} does not fit", *ins)
        return TupleType((ins[0], ins[0].with_dtype(I64)))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> tuple[Array, ...]:
        x = args[0]
        if self.descending:
            # sorting the reversed axis upwards and turning the result round keeps equal elements in order
            turned = np.flip(x, self.axis)
            order = np.flip(np.argsort(turned, axis=self.axis, kind="stable"), self.axis)
            order = x.shape[self.axis] - 1 - order
        else:
            order = np.argsort(x, axis=self.axis, kind="stable")
        return np.take_along_axis(x, order, self.axis), np.ascontiguousarray(order).astype(np.int64)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        from symc.ir.prims.tuples import get

        x = node.inputs[0]
        return [None if ct[0] is None else scatter_along_add(ew.zeros_like(x), get(node, 1), ct[0], self.axis)]


def gather(x: Node, idx: Node, axis: int) -> Node:
    """x at positions idx along `axis`."""
    return Node.make(Gather(axis % x.rank), [x, idx])


def gather_along(x: Node, idx: Node, axis: int) -> Node:
    """numpy's take_along_axis."""
    return Node.make(GatherAlong(axis % x.rank), [x, idx])


def gather_nd(x: Node, idx: Node) -> Node:
    """x at coordinates idx (m, ...)."""
    return Node.make(GatherNd(), [x, idx])


def scatter_add(base: Node, idx: Node, upd: Node, axis: int) -> Node:
    """base with upd added at idx along `axis`."""
    return Node.make(ScatterAdd(axis % base.rank), [base, idx, upd])


def scatter_along_add(base: Node, idx: Node, upd: Node, axis: int) -> Node:
    """base with upd added at idx along `axis`, other axes in step."""
    return Node.make(ScatterAlongAdd(axis % base.rank), [base, idx, upd])


def scatter_nd(base: Node, idx: Node, upd: Node, mode: str = "add") -> Node:
    """base with upd added or put at coordinates idx."""
    return Node.make(ScatterNd(mode), [base, idx, upd])


def sort(x: Node, axis: int, descending: bool = False) -> Node:
    """(values, positions) along `axis`, stable; take the parts with `get`."""
    return Node.make(Sort(axis % x.rank, descending), [x])

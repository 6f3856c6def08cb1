"""Movement primitives: every element of the result is an element of an operand (or a fill), found by its index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.index import Affine, linear, unravel
from symc.ir.op import Index, Node, Primitive, Read, Ref, Scalars, made_by, primitive, require
from symc.ir.types import F32, Array, Shape, TensorType, Type, strides_of


class Movement(Primitive):
    """Base: costs nothing to recompute."""

    cost: ClassVar[int] = 0


@primitive("broadcast")
class Broadcast(Movement):
    """Operand axis k becomes axis dims[k] of the result (equal, or of extent 1); the other axes repeat it."""

    shape: Shape = ()
    dims: tuple[int, ...] = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and len(self.dims) == ins[0].rank, self, f"dims={self.dims} do not fit", *ins)
        require(list(self.dims) == sorted(set(self.dims)), self, f"dims={self.dims} must ascend", *ins)
        ok = all(0 <= d < len(self.shape) and s in (1, self.shape[d]) for s, d in zip(ins[0].shape, self.dims))
        require(ok, self, f"to {self.shape} by {self.dims} does not fit", *ins)
        return ins[0].with_shape(self.shape)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        expanded = [1] * len(self.shape)
        for extent, d in zip(args[0].shape, self.dims):
            expanded[d] = extent
        return np.broadcast_to(args[0].reshape(expanded), self.shape)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        if ct[0] is None:
            return [None]
        x = node.inputs[0]
        repeated = [a for a in range(len(self.shape)) if a not in self.dims]
        repeated += [d for k, d in enumerate(self.dims) if x.shape[k] != self.shape[d]]
        kept = made_by("sum", [ct[0]], axes=tuple(sorted(repeated))) if repeated else ct[0]
        return [reshape(kept, x.shape)]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        source = node.inputs[0].shape
        where = [index[d] if source[a] == self.shape[d] else Affine() for a, d in enumerate(self.dims)]
        return reads[0](tuple(where))


def broadcast(x: Node, shape: Sequence[int], dims: Sequence[int]) -> Node:
    """x's axis k becomes axis dims[k] of `shape`; the others are repeated."""
    shape = tuple(shape)
    return (
        x
        if x.shape == shape and tuple(dims) == tuple(range(len(shape)))
        else Node.make(Broadcast(shape, tuple(dims)), [x])
    )


@primitive("reshape")
class Reshape(Movement):
    """The same elements in row-major order under another shape."""

    shape: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1, self, "takes one operand", *ins)
        made = ins[0].with_shape(self.shape)
        require(made.size == ins[0].size, self, f"to {self.shape} changes the number of elements", *ins)
        return made

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return args[0].reshape(self.shape)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None if ct[0] is None else reshape(ct[0], node.inputs[0].shape)]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        source = node.inputs[0].shape
        kept = [i for i, d in zip(index, self.shape) if d != 1]
        if [d for d in source if d != 1] == [d for d in self.shape if d != 1]:
            left = iter(kept)
            return reads[0](tuple(Affine() if d == 1 else next(left) for d in source))
        return reads[0](unravel(linear(index, strides_of(self.shape)), source))


def reshape(x: Node, shape: Sequence[int]) -> Node:
    """The same elements in row-major order as `shape`."""
    return x if x.shape == tuple(shape) else Node.make(Reshape(tuple(shape)), [x])


@primitive("transpose")
class Transpose(Movement):
    """Axis k of the result is axis perm[k] of the operand."""

    perm: tuple[int, ...] = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(
            len(ins) == 1 and sorted(self.perm) == list(range(ins[0].rank)),
            self,
            f"perm={self.perm} does not fit",
            *ins,
        )
        return ins[0].with_shape(tuple(ins[0].shape[p] for p in self.perm))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.transpose(args[0], self.perm)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        inverse = tuple(int(i) for i in np.argsort(self.perm))
        return [None if ct[0] is None else transpose(ct[0], inverse)]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        where = list(index)
        for axis, p in enumerate(self.perm):
            where[p] = index[axis]
        return reads[0](tuple(where))


def transpose(x: Node, perm: Sequence[int]) -> Node:
    """Axis k of the result is axis perm[k] of x."""
    return x if tuple(perm) == tuple(range(x.rank)) else Node.make(Transpose(tuple(perm)), [x])


@primitive("slice")
class Slice(Movement):
    """Elements begin, begin+step, ... before end, for every axis. A negative step walks down: end -1 is before 0."""

    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    step: tuple[int, ...] = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1, self, "takes one operand", *ins)
        require(len(self.begin) == len(self.end) == len(self.step) == ins[0].rank, self, "a bound for every axis", *ins)
        extents = []
        for b, e, s, d in zip(self.begin, self.end, self.step, ins[0].shape):
            require(s != 0, self, "step 0", *ins)
            extent = max(0, -(-(e - b) // s))
            last = b + (extent - 1) * s
            require(not extent or (0 <= b < d and 0 <= last < d), self, f"{b}:{e}:{s} leaves the axis of {d}", *ins)
            extents.append(extent)
        return ins[0].with_shape(tuple(extents))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        # a negative end means "before 0" here, but counts from the end in numpy; an empty axis has no bounds to keep
        bounds = zip(self.begin, self.end, self.step, out[0].shape)
        return args[0][tuple(slice(b, e if e >= 0 else None, s) if n else slice(0, 0) for b, e, s, n in bounds)]

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x = node.inputs[0]
        if ct[0] is None:
            return [None]
        g = reverse(ct[0], [a for a, s in enumerate(self.step) if s < 0])
        low, high, interior = [], [], []
        for b, s, d, n in zip(self.begin, self.step, x.shape, node.shape):
            first = b if s > 0 else b + (n - 1) * s
            low.append(first if n else 0)
            interior.append(abs(s) - 1)
            high.append(d - (first + (n - 1) * abs(s) + 1) if n else d)
        return [pad(g, low, high, interior)]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        return reads[0](tuple(i * s + b for i, b, s in zip(index, self.begin, self.step)))


def slice_(x: Node, begin: Sequence[int], end: Sequence[int], step: Sequence[int] | None = None) -> Node:
    """x[begin:end:step] for every axis (resolved bounds)."""
    step = tuple(step) if step is not None else (1,) * x.rank
    if tuple(begin) == (0,) * x.rank and tuple(end) == x.shape and step == (1,) * x.rank:
        return x
    return Node.make(Slice(tuple(begin), tuple(end), step), [x])


def slice_axis(x: Node, axis: int, begin: int, end: int) -> Node:
    """x[begin:end] along one axis."""
    low = [0] * x.rank
    high = list(x.shape)
    low[axis], high[axis] = begin, end
    return slice_(x, low, high)


@primitive("pad")
class Pad(Movement):
    """`low` and `high` fill elements around, `interior` between the elements of every axis."""

    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    interior: tuple[int, ...] = ()
    fill: float = 0.0
    #: the fill everywhere, then the operand
    nest: ClassVar[str] = "twice"
    prologue: ClassVar[bool] = True

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(
            len(ins) == 1 and len(self.low) == len(self.high) == len(self.interior) == ins[0].rank,
            self,
            "a width for every axis",
            *ins,
        )
        require(min((*self.low, *self.high, *self.interior, 0)) == 0, self, "widths are not negative", *ins)
        return ins[0].with_shape(
            tuple(
                lo + hi + d + max(d - 1, 0) * i
                for lo, hi, i, d in zip(self.low, self.high, self.interior, ins[0].shape)
            )
        )

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        result = np.full(out[0].shape, self.fill, out[0].dtype.numpy)
        where = tuple(
            slice(lo, lo + (d - 1) * (i + 1) + 1 if d else lo, i + 1)
            for lo, i, d in zip(self.low, self.interior, args[0].shape)
        )
        result[where] = args[0]
        return result

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        if ct[0] is None:
            return [None]
        d = node.inputs[0].shape
        end = [lo + (n - 1) * (i + 1) + 1 if n else lo for lo, i, n in zip(self.low, self.interior, d)]
        return [slice_(ct[0], self.low, end, [i + 1 for i in self.interior])]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        where, inside = [], []
        for i, lo, gap, d in zip(index, self.low, self.interior, node.inputs[0].shape):
            shifted = i - lo
            if gap:
                inside.append((shifted % (gap + 1), 0, 1))
                inside.append((shifted, 0, (d - 1) * (gap + 1) + 1))
                shifted = shifted // (gap + 1)
            else:
                inside.append((shifted, 0, d))
            where.append(shifted)
        return k.guard(inside, lambda: reads[0](tuple(where)), k.const(self.fill, node.dtype))


def pad(
    x: Node, low: Sequence[int], high: Sequence[int], interior: Sequence[int] | None = None, value: float = 0.0
) -> Node:
    """x with fill elements around (and `interior` many between) its elements."""
    interior = tuple(interior) if interior is not None else (0,) * x.rank
    if not any((*low, *high, *interior)):
        return x
    return Node.make(Pad(tuple(low), tuple(high), interior, value), [x])


@primitive("concat")
class Concat(Movement):
    """Operands one after the other along `axis`."""

    axis: int = 0
    nest: ClassVar[str] = "once"
    prologue: ClassVar[bool] = True

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(bool(ins) and 0 <= self.axis < ins[0].rank, self, f"axis={self.axis} does not fit", *ins)
        a = self.axis
        rest = [(t.dtype, t.shape[:a], t.shape[a + 1 :]) for t in ins]
        require(all(r == rest[0] for r in rest), self, "other axes differ", *ins)
        return ins[0].with_shape((*ins[0].shape[:a], sum(t.shape[a] for t in ins), *ins[0].shape[a + 1 :]))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.concatenate(args, axis=self.axis)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        if ct[0] is None:
            return [None] * len(node.inputs)
        parts, at = [], 0
        for x in node.inputs:
            parts.append(slice_axis(ct[0], self.axis, at, at + x.shape[self.axis]))
            at += x.shape[self.axis]
        return parts

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        def piece(at: int, offset: int) -> Ref:
            # the last piece is guarded too: what stands in `other` is computed for every index
            if at == len(reads):
                return k.const(0, node.dtype)
            extent = node.inputs[at].shape[self.axis]
            where = list(index)
            where[self.axis] = index[self.axis] - offset
            inside = [(index[self.axis], offset, offset + extent)]
            return k.guard(inside, lambda: reads[at](tuple(where)), piece(at + 1, offset + extent))

        return piece(0, 0)


def concat(xs: Sequence[Node], axis: int) -> Node:
    """The operands one after the other along `axis`."""
    return xs[0] if len(xs) == 1 else Node.make(Concat(axis), list(xs))


@primitive("iota")
class Iota(Movement):
    """The index along `axis`."""

    tensor: TensorType = TensorType(F32, ())
    axis: int = 0

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(not ins and 0 <= self.axis < self.tensor.rank, self, f"axis={self.axis} does not fit", self.tensor)
        return self.tensor

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        shape = [1] * self.tensor.rank
        shape[self.axis] = -1
        ramp = np.arange(self.tensor.shape[self.axis]).astype(out[0].dtype.numpy).reshape(shape)
        return np.broadcast_to(ramp, self.tensor.shape)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return ()

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        return k.from_index(index[self.axis], self.tensor.dtype)


def iota(tensor: TensorType, axis: int) -> Node:
    """A tensor of its own index along `axis`."""
    return Node.make(Iota(tensor, axis))


# --------------------------------------------------------------------------------------------- conveniences


def broadcast_to(x: Node, shape: Sequence[int]) -> Node:
    """numpy's rule: axes aligned at the right, extents 1 repeated."""
    shape = tuple(shape)
    return broadcast(x, shape, range(len(shape) - x.rank, len(shape)))


def broadcast_shape(a: Sequence[int], b: Sequence[int]) -> Shape:
    """numpy's result shape of two operands."""
    return tuple(int(d) for d in np.broadcast_shapes(tuple(a), tuple(b)))


def broadcast_binary(a: Node, b: Node) -> tuple[Node, Node]:
    """Both operands in their common shape."""
    shape = broadcast_shape(a.shape, b.shape)
    return broadcast_to(a, shape), broadcast_to(b, shape)


def expand_dims(x: Node, axis: int) -> Node:
    """A new axis of extent 1 at `axis` of the result."""
    axis = axis % (x.rank + 1)
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(x: Node, axes: Sequence[int]) -> Node:
    """Without these axes (of extent 1)."""
    gone = {a % x.rank for a in axes}
    return reshape(x, [d for a, d in enumerate(x.shape) if a not in gone])


def reverse(x: Node, axes: Sequence[int]) -> Node:
    """The order of the elements along the axes turned round."""
    gone = {a % x.rank for a in axes} if x.rank else set()
    if not gone or not x.tensor.size:
        return x
    begin = [d - 1 if a in gone else 0 for a, d in enumerate(x.shape)]
    end = [-1 if a in gone else d for a, d in enumerate(x.shape)]
    return slice_(x, begin, end, [-1 if a in gone else 1 for a in range(x.rank)])


def swapaxes(x: Node, a: int, b: int) -> Node:
    """Two axes exchanged."""
    perm = list(range(x.rank))
    perm[a], perm[b] = perm[b], perm[a]
    return transpose(x, perm)


def stack(xs: Sequence[Node], axis: int) -> Node:
    """The operands along a new axis."""
    return concat([expand_dims(x, axis) for x in xs], axis % (xs[0].rank + 1))

"""Operators that read, choose and write elements at computed positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from symc.base import OutsideError
from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.control import host_call, register_host
from symc.ir.prims.indexing import gather, gather_along, gather_nd, scatter_nd
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import I32, I64, Array, TensorType
from symc.ops.base import (
    BuildContext,
    Floats,
    MXNetError,
    Operator,
    ShapeError,
    Shapes,
    Tuple,
    Types,
    is_known,
    operator,
)
from symc.ops.shared.families import Number, constant, element_type, ir_type, no_gradient, one_axis, with_rule
from symc.ops.shared.layers import check_range
from symc.ops.shared.storage import CSR, DEFAULT

# --------------------------------------------------------------------------------------------- positions


def position(index: Node) -> Node:
    """An index tensor of any type as integers: fractions truncate."""
    return index if index.dtype in (I32, I64) else ew.cast(index, I32)


def clipped(index: Node, extent: int) -> Node:
    """Positions below 0 become 0, those behind the end the last."""
    return ew.minimum(ew.maximum(position(index), 0), extent - 1)


def wrapped(index: Node, extent: int) -> Node:
    """Positions modulo the extent, as in Python."""
    return ew.mod(position(index), extent)


def _check_positions(index: Array, extents: Array) -> Array:
    limits = extents.reshape(-1, *(1,) * (index.ndim - 1)) if extents.size > 1 else extents
    if index.size and bool(np.any((index < -limits) | (index >= limits))):
        raise OutsideError(f"index {index.min()} to {index.max()} is outside of the extents {extents.tolist()}")
    return index


def _check_inside(index: Array, extents: Array) -> Array:
    if index.size and not bool(np.all((index >= 0) & (index <= extents.item() - 1))):
        raise OutsideError(f"index {index.min()} to {index.max()} is outside of 0 to {extents.item() - 1}")
    return index


register_host("check_positions", _check_positions)
register_host("check_inside", _check_inside)


def checked(index: Node, extents: tuple[int, ...]) -> Node:
    """The positions, counted from the end where negative; the program stops at one that is not there."""
    found = position(index)
    limits = ew.const(np.array(extents, found.dtype.numpy))
    same = host_call("check_positions", [found, limits], [found.tensor])
    assert isinstance(same, Node)
    shape = (len(extents), *found.shape[1:]) if len(extents) > 1 else found.shape
    spread = mv.broadcast(limits, shape, (0,)) if len(extents) > 1 else mv.broadcast(mv.reshape(limits, ()), shape, ())
    return ew.select(ew.lt(same, 0), same + spread, same)


@operator("take", inputs="a indices")
class Take(Operator):
    """a at positions `indices` along an axis: shape a[:axis] + indices + a[axis+1:]. Positions outside: the nearest
    (clip), modulo (wrap), or an error (raise, where those below 0 are outside). Repeated positions add up in the
    gradient; indices have none."""

    axis: int = 0
    mode: Literal["clip", "raise", "wrap"] = "clip"

    def storage(self, stypes: Sequence[str]) -> str:
        return CSR if stypes[0] == CSR and self.axis == 0 and self.mode in ("clip", "wrap") else DEFAULT

    def complete(self, s: Shapes) -> None:
        """The indices' shape takes the place of axis `axis` of a."""
        a, indices = s.ins
        if a is not None and indices is not None and is_known(indices):
            axis = one_axis(self.axis, len(a))
            s.set_out(0, a[:axis] + indices + a[axis + 1 :])

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a, indices = inputs
        axis = one_axis(self.axis, a.rank)
        extent = a.shape[axis]
        if self.mode == "raise":
            same = host_call("check_inside", [indices, ew.const(np.array([extent], np.int64))], [indices.tensor])
            assert isinstance(same, Node)
            at = position(same)
        else:
            at = clipped(indices, extent) if self.mode == "clip" else wrapped(indices, extent)
        return gather(a, at, axis)


@operator("Embedding", inputs="data weight")
class Embedding(Operator):
    """Rows of weight (input_dim, output_dim) for the ids in data; ids outside are clipped."""

    input_dim: int
    output_dim: int
    dtype: Number = "float32"
    sparse_grad: bool = False

    def rows_in_gradient(self, at: int, stypes: Sequence[str]) -> bool:
        return at == 1 and self.sparse_grad

    def check(self) -> None:
        check_range(self, 1, math.inf, "input_dim", "output_dim")

    def complete(self, s: Shapes) -> None:
        """Data (*S) needs weight (input_dim, output_dim) and gives (*S, output_dim)."""
        data = s.ins[0]
        if data is not None:
            s.set_in(1, (self.input_dim, self.output_dim))
            s.set_out(0, (*data, self.output_dim))

    def complete_types(self, t: Types) -> None:
        t.all_alike((1,), (0,))
        if t.ins[1] is None:
            t.set_in(1, element_type(self, self.dtype))
            t.all_alike((1,), (0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return gather(inputs[1], clipped(inputs[0], self.input_dim), 0)


@operator("pick", inputs="data index", aliases="choose_element_0index")
class Pick(Operator):
    """One element of each row along `axis`, chosen by index, which has data's shape without the axis (or with 1)."""

    axis: int | None = -1
    keepdims: bool = False
    mode: Literal["clip", "wrap"] = "clip"

    def _axis(self, rank: int) -> int:
        if self.axis is None:
            raise ShapeError("pick: axis=None is not supported; flatten the data and pick along axis 0")
        return one_axis(self.axis, rank)

    def _out(self, data: tuple[int, ...]) -> tuple[int, ...]:
        axis = self._axis(len(data))
        return data[:axis] + ((1,) if self.keepdims else ()) + data[axis + 1 :] or (1,)

    def complete(self, s: Shapes) -> None:
        """The index has the data's shape without the axis (or with extent 1 there); so has the output, by
        `keepdims`.
        """
        data, index = s.ins
        if data is None:
            return
        axis = self._axis(len(data))
        if index is not None and len(index) == len(data):
            s.set_in(1, data[:axis] + (1,) + data[axis + 1 :])
        else:
            s.set_in(1, data[:axis] + data[axis + 1 :] or (1,))
        s.set_out(0, self._out(data))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        axis = self._axis(data.rank)
        extent = data.shape[axis]
        at = clipped(inputs[1], extent) if self.mode == "clip" else wrapped(inputs[1], extent)
        at = mv.reshape(at, data.shape[:axis] + (1,) + data.shape[axis + 1 :])
        return mv.reshape(gather_along(data, at, axis), self._out(data.shape))


@operator("batch_take", inputs="a indices", gradient="none")
class BatchTake(Operator):
    """a[i, indices[i]] for every row i; positions outside are clipped."""

    def complete(self, s: Shapes) -> None:
        """(N, M) with indices (N,) gives (N,)."""
        s.all_alike((1,), (0,))
        a = s.ins[0]
        if a is not None:
            if len(a) != 2:
                raise ShapeError(f"a must be a matrix, not {a}")
            s.set_in(1, (a[0],))
            s.set_out(0, (a[0],))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))
        t.set_in(1, np.int32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a = inputs[0]
        at = mv.reshape(clipped(inputs[1], a.shape[1]), (a.shape[0], 1))
        return mv.reshape(gather_along(a, at, 1), (a.shape[0],))


@operator("one_hot", inputs="indices", gradient="zero")
class OneHot(Operator):
    """A new last axis of extent `depth`: on_value at the index, off_value elsewhere (everywhere for one outside)."""

    depth: int
    on_value: float = 1.0
    off_value: float = 0.0
    dtype: Number = "float32"

    def complete(self, s: Shapes) -> None:
        """(*S) gives (*S, depth)."""
        if self.depth < 0:
            raise ShapeError(f"depth={self.depth} must not be negative")
        indices = s.ins[0]
        if indices is not None and is_known(indices):
            s.set_out(0, (*indices, self.depth))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, element_type(self, self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        indices = position(inputs[0])
        shape = (*indices.shape, self.depth)
        hit = ew.eq(
            mv.iota(TensorType(indices.dtype, shape), len(shape) - 1), mv.broadcast(indices, shape, range(indices.rank))
        )
        dtype = ir_type(self.dtype)
        return ew.select(hit, constant(self.on_value, dtype, ()), constant(self.off_value, dtype, ()))


# --------------------------------------------------------------------------------------------- coordinates


@operator("gather_nd", inputs="data indices")
class GatherNd(Operator):
    """data at coordinates `indices` (m, ...): shape indices[1:] + data[m:]. Negative ones count from the end; one
    that is not there is an error. The gradient of repeated coordinates adds up."""

    def complete(self, s: Shapes) -> None:
        """Data (*D) with indices (m, *S) gives (*S, *D[m:])."""
        data, indices = s.ins
        if data is not None and indices is not None and is_known(data) and is_known(indices):
            if len(indices) < 2:
                raise ShapeError(f"indices need two axes at least: (coordinates, how many, ...), not {indices}")
            if indices[0] > len(data):
                raise ShapeError(f"indices {indices} has more coordinates than data {data} has axes")
            s.set_out(0, indices[1:] + data[indices[0] :] or (1,))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, indices = inputs
        made = gather_nd(data, checked(indices, data.shape[: indices.shape[0]]))
        return made if made.rank else mv.reshape(made, (1,))


@operator("scatter_nd", inputs="data indices")
class ScatterNd(Operator):
    """Zeros of `shape` with data at coordinates `indices` (m, ...); of repeated ones the last wins."""

    shape: Tuple

    def complete(self, s: Shapes) -> None:
        """Data (*S, *D[m:]) with indices (m, *S) gives the attribute `shape`, D."""
        if min(self.shape, default=0) < 0:
            raise ShapeError(f"shape={self.shape} must not be negative")
        s.set_out(0, self.shape)
        data, indices = s.ins
        if data is not None and indices is not None and is_known(data) and is_known(indices):
            if indices[0] > len(self.shape) or data != (indices[1:] + self.shape[indices[0] :] or (1,)):
                raise ShapeError(f"data {data} does not fit indices {indices} into shape {self.shape}")

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, indices = inputs
        at = checked(indices, self.shape[: indices.shape[0]])
        zeros = constant(0, data.dtype, self.shape)
        wanted = indices.shape[1:] + self.shape[indices.shape[0] :]

        def rule(ins: Any, outs: Any, cts: Any) -> list[Node | None]:
            return [mv.reshape(gather_nd(cts[0], ins[1]), data.shape), None]

        def body(values: Node, where: Node) -> Node:
            return scatter_nd(zeros, where, mv.reshape(values, wanted), "set")

        return with_rule([data, at], body, rule)


@operator("_contrib_index_copy", hint="index_copy", inputs="old_tensor index_vector new_tensor")
class IndexCopy(Operator):
    """old_tensor with the rows of new_tensor at the positions in index_vector."""

    def complete(self, s: Shapes) -> None:
        """The output has the old tensor's shape (n, *S); k indices need a new tensor (k, *S)."""
        s.all_alike((0,), (0,))
        old, index, new = s.ins
        if old is not None and index is not None:
            if len(index) != 1 or (old[0] and index[0] > old[0]):
                raise ShapeError(f"index_vector {index} must have one axis, with at most {old[0]} entries")
            s.set_in(2, (index[0], *old[1:]))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0, 2))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        old, index, new = inputs
        at = checked(index, (old.shape[0],))
        return scatter_nd(old, mv.reshape(at, (1, *at.shape)), new, "set")


@operator("fill_element_0index", inputs="lhs mhs rhs", gradient="none")
class FillElement(Operator):
    """The matrix lhs with mhs[i] at column rhs[i] of every row i."""

    only_types: ClassVar[tuple[str, ...]] = ("float32",)

    def complete(self, s: Shapes) -> None:
        """lhs (N, M) with mhs (N,) and rhs (N,) gives lhs's shape."""
        s.all_alike((0,), (0,))
        lhs = s.ins[0]
        if lhs is not None:
            for at in (1, 2):
                s.set_in(at, (lhs[0],))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        lhs, values, columns = inputs
        index = mv.iota(TensorType(I32, lhs.shape), 1)
        hit = ew.eq(index, mv.broadcast(ew.cast(columns, I32), lhs.shape, (0,)))
        return ew.select(hit, mv.broadcast(values, lhs.shape, (0,)), lhs)


def _coordinates(shape: Tuple | None) -> int:
    """How many coordinates a position in a tensor of this shape has."""
    if not shape:
        raise ShapeError("shape, that of the tensor the positions lie in, is missing")
    return len(shape)


@operator("_ravel_multi_index", aliases="ravel_multi_index", gradient="zero")
class RavelMultiIndex(Operator):
    """Coordinates (m, n) become positions in a tensor of `shape` (its first extent may be -1)."""

    shape: Tuple | None = None

    def complete(self, s: Shapes) -> None:
        """(m, n) gives (n,), and the output tells the data; m is the length of `shape`."""
        data, out = s.ins[0], s.outs[0]
        m = _coordinates(self.shape)
        if data is not None and len(data) != 2:
            raise ShapeError(f"data must be (coordinates, how many), not {data}")
        if data is not None:
            s.set_in(0, (m, *data[1:]))
            s.set_out(0, data[1:])
        elif out is not None:
            s.set_in(0, (m, *out))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def positions(data: Node) -> Node:
            weights = [prod((self.shape or ())[i + 1 :]) for i in range(data.shape[0])]
            factors = mv.broadcast(ew.const(np.array(weights, np.int64)), data.shape, (0,))
            return ew.cast(reduce_sum(ew.cast(data, I64) * factors, (0,)), data.dtype)

        return no_gradient(positions)(*inputs)


@operator("_unravel_index", aliases="unravel_index", gradient="zero")
class UnravelIndex(Operator):
    """Positions in a tensor of `shape` become coordinates in a new first axis."""

    shape: Tuple | None = None

    def complete(self, s: Shapes) -> None:
        """(*S) gives (m, *S), and the output tells the data; m is the length of `shape`."""
        data, out = s.ins[0], s.outs[0]
        m = _coordinates(self.shape)
        if data is not None:
            s.set_out(0, (m, *data))
        elif out is not None:
            s.set_in(0, out[1:])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = ew.cast(inputs[0], I64)
        extents = self.shape or ()
        parts = []
        for axis, extent in enumerate(extents):
            part = data / prod(extents[axis + 1 :])
            parts.append(ew.mod(part, extent) if axis else part)
        return ew.cast(mv.stack(parts, 0), inputs[0].dtype)


# --------------------------------------------------------------------------------------------- choices


@operator("where", inputs="condition x y")
class Where(Operator):
    """x where condition is not 0, else y, element by element; a condition with one entry per row chooses rows."""

    def complete(self, s: Shapes) -> None:
        """x, y and the output have one shape; the condition has it too, or is a vector over axis 0."""
        condition, x, y = s.ins
        if condition is None or x is None or y is None or not is_known(condition):
            return
        s.all_alike((1, 2), (0,))
        if condition != x and is_known(x) and (prod(condition) != x[0] or condition[0] != x[0]):
            raise ShapeError(f"condition {condition} must have x's shape {x}, or one entry per row")

    def complete_types(self, t: Types) -> None:
        t.all_alike((1, 2))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        condition, x, y = inputs
        chosen = ew.ne(condition, 0)
        if condition.shape != x.shape:
            chosen = mv.broadcast(mv.reshape(chosen, (x.shape[0],)), x.shape, (0,))
        return ew.select(chosen, x, y)


@operator("_histogram", inputs="data bins", outputs="output0 output1", gradient="none")
class Histogram(Operator):
    """How many elements fall between the edges (int64), and the edges: `bin_cnt` equal bins over `range`, or `bins`.
    The last bin includes its upper edge."""

    bin_cnt: int | None = None
    range: Floats | None = None

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "bins") if self.bin_cnt is None else ("data",)

    def check(self) -> None:
        given = None if self.range is None else len(self.range)
        if (self.bin_cnt is None and given is not None) or (self.bin_cnt is not None and given != 2):
            raise MXNetError("_histogram: bin_cnt and range=(low, high) go together, or neither is given but bins")
        if self.bin_cnt is not None and self.range is not None:
            if self.bin_cnt < 1 or self.range[0] > self.range[1]:
                raise MXNetError(f"_histogram: there are no {self.bin_cnt} bins over range={self.range}")

    def complete(self, s: Shapes) -> None:
        """bin_cnt counts and bin_cnt + 1 edges; of n given edges n - 1 counts."""
        if self.bin_cnt is not None:
            s.set_out(0, (self.bin_cnt,))
            s.set_out(1, (self.bin_cnt + 1,))
        elif s.ins[1] is not None:
            if len(s.ins[1]) != 1 or s.ins[1][0] == 1:
                raise ShapeError(f"bins {s.ins[1]} must be at least two edges in one axis")
            s.set_out(0, (max(s.ins[1][0] - 1, 0),))
            s.set_out(1, s.ins[1])

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,), (1,))
        t.set_out(0, np.int64)

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        data = mv.reshape(inputs[0], (inputs[0].tensor.size,))
        if self.bin_cnt is None:
            edges = inputs[1]
        else:
            assert self.range is not None
            values = np.linspace(float(self.range[0]), float(self.range[1]), self.bin_cnt + 1)
            edges = ew.const(values.astype(data.dtype.numpy))
        bins = edges.shape[0] - 1
        pairs = (data.shape[0], bins)
        x = mv.broadcast(data, pairs, (0,))
        low = mv.broadcast(mv.slice_axis(edges, 0, 0, bins), pairs, (1,))
        high = mv.broadcast(mv.slice_axis(edges, 0, 1, bins + 1), pairs, (1,))
        last = ew.eq(mv.iota(TensorType(I32, pairs), 1), bins - 1)
        below = ew.or_(ew.lt(x, high), ew.and_(last, ew.le(x, high)))
        inside = ew.and_(ew.ge(x, low), below)
        return [reduce_sum(ew.cast(inside, I64), (0,)), edges]

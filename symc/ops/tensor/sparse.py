"""What MXNet has for its sparse arrays, by what it does to elements. How an array is stored is not seen here: storage
types matter where arrays come in and go out."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.indexing import scatter_add
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import I64
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, operator
from symc.ops.linear.matmul import Storage
from symc.ops.shared.families import constant, one_axis, with_rule
from symc.ops.shared.storage import ROW_SPARSE
from symc.ops.tensor.index import Embedding, clipped


@operator("cast_storage")
class CastStorage(Operator):
    """The data itself, stored as `stype` says where the result is an array."""

    sparse_of_dense: ClassVar[bool] = True

    stype: Storage

    def storage(self, stypes: Sequence[str]) -> str:
        return self.stype

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return inputs[0]


@operator("_sparse_retain", inputs="data indices", hint="sparse_retain")
class Retain(Operator):
    """The rows of data that indices name; zeros in the others. The gradient has these rows, too."""

    sparse_of_dense: ClassVar[bool] = True

    def storage(self, stypes: Sequence[str]) -> str:
        return ROW_SPARSE

    def rows_in_gradient(self, at: int, stypes: Sequence[str]) -> bool:
        return at == 0

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; indices is a vector."""
        s.all_alike((0,), (0,))
        if s.ins[1] is not None and len(s.ins[1]) != 1:
            raise ShapeError(f"indices has one axis, not shape {s.ins[1]}")

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,), (0,))
        if t.ins[1] is None:
            t.set_in(1, np.int64)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def retained(data: Node, indices: Node) -> Node:
            rows = data.shape[0]
            none, one = constant(0, data.dtype, (rows,)), constant(1, data.dtype, indices.shape)
            marks = scatter_add(none, clipped(indices, rows), one, 0)
            kept = mv.broadcast_to(mv.reshape(ew.gt(marks, 0), (rows, *(1,) * (data.rank - 1))), data.shape)
            return ew.select(kept, data, constant(0, data.dtype, data.shape))

        return with_rule(inputs, retained, lambda ins, outs, cts: [retained(cts[0], ins[1]), None])


@operator("_contrib_SparseEmbedding", inputs="data weight", hint="sparseembedding")
class SparseEmbedding(Embedding):
    """Embedding, whose weight has a row_sparse gradient."""

    deterministic: bool = False

    def rows_in_gradient(self, at: int, stypes: Sequence[str]) -> bool:
        return at == 1


@operator("_contrib_getnnz", gradient="none", hint="getnnz")
class CountStored(Operator):
    """How many elements of a matrix are stored, in all (1,) or in every row (axis=1). In a dense array all that are not
    zero are; axis=0 is not there, as in MXNet."""

    axis: int | None = None

    def complete(self, s: Shapes) -> None:
        """Data (rows, columns) gives (rows,), or (1,) without an axis."""
        data = s.ins[0]
        if data is not None:
            if self.axis is not None and one_axis(self.axis, len(data)) != 1:
                raise ShapeError(f"axis is 1 or None, not {self.axis}")
            s.set_out(0, (1,) if self.axis is None else (data[0],))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.int64)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        counted = ew.cast(ew.ne(data, constant(0, data.dtype, data.shape)), I64)
        if self.axis is None:
            return mv.reshape(reduce_sum(counted, tuple(range(data.rank))), (1,))
        return mv.reshape(reduce_sum(counted, tuple(range(1, data.rank))), (prod(data.shape[:1]),))

"""Sorting along an axis, and the largest or smallest elements."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.indexing import gather_along, scatter_along_add, sort
from symc.ir.prims.tuples import get
from symc.ir.types import F16
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.families import constant, ir_type, one_axis

IndexType = Literal["float16", "float32", "float64", "int32", "int64", "uint8"]


@dataclass(frozen=True, kw_only=True)
class _Ordering(Operator):
    """Base: along `axis`; None: of the flattened data."""

    axis: int | None = -1

    def view(self, data: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """(axis, shape) of what is ordered."""
        return (0, (prod(data),)) if self.axis is None else (one_axis(self.axis, len(data)), data)

    def not_half(self, data: Node) -> Node:
        """The data. ShapeError for half precision, which only topk orders."""
        if data.dtype == F16:
            raise ShapeError(f"{self.op_name} does not take float16: cast the data, or use topk")
        return data


@operator("sort", outputs="output0 output1")
class Sort(_Ordering):
    """The data sorted along `axis`."""

    is_ascend: bool = True

    def num_visible_outputs(self) -> int:
        return 1

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; without axis it is flat."""
        data = s.ins[0]
        if data is not None and is_known(data):
            for at in range(2):
                s.set_out(at, self.view(data)[1])

    def complete_types(self, t: Types) -> None:
        t.all_alike(outs=(0,))
        t.set_out(1, np.int32)

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        axis, shape = self.view(inputs[0].shape)
        found = sort(mv.reshape(self.not_half(inputs[0]), shape), axis, descending=not self.is_ascend)
        return [get(found, 0), ew.cast(get(found, 1), ir_type("int32"))]


@operator("argsort", gradient="zero")
class ArgSort(_Ordering):
    """The positions that sort the data along `axis`, as `dtype`."""

    is_ascend: bool = True
    dtype: IndexType = "float32"

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; without axis it is flat."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, self.view(data)[1])

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.dtype(self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        axis, shape = self.view(inputs[0].shape)
        found = sort(mv.reshape(self.not_half(inputs[0]), shape), axis, descending=not self.is_ascend)
        return ew.cast(get(found, 1), ir_type(self.dtype))


@operator("topk")
class TopK(_Ordering):
    """The k (0: all) largest elements along `axis` (smallest with is_ascend): their positions as `dtype`, their
    values, both, or a mask of the data's shape. The gradient of values goes to the chosen elements."""

    k: int = 1
    ret_typ: Literal["both", "indices", "mask", "value"] = "indices"
    is_ascend: bool = False
    dtype: IndexType = "float32"

    @property
    def gradient(self) -> str:  # type: ignore[override]
        """positions and masks have none"""
        return "yes" if self.ret_typ in ("both", "value") else "zero"

    def list_outputs(self) -> tuple[str, ...]:
        return ("output0", "output1") if self.ret_typ in ("both", "value") else ("output",)

    def num_visible_outputs(self) -> int:
        return 2 if self.ret_typ == "both" else 1

    def _count(self, extent: int) -> int:
        count = self.k if self.k > 0 else extent
        if not 1 <= count <= extent:
            raise ShapeError(f"k={self.k} must be at most the axis's extent {extent}")
        return count

    def complete(self, s: Shapes) -> None:
        """The data's shape with k along the axis (k = 0: all); a mask has the data's shape."""
        data = s.ins[0]
        if data is None or not is_known(data):
            return
        axis, shape = self.view(data)
        count = self._count(shape[axis])
        for at in range(len(s.outs)):
            s.set_out(at, data if self.ret_typ == "mask" else shape[:axis] + (count,) + shape[axis + 1 :])

    def complete_types(self, t: Types) -> None:
        if self.ret_typ in ("mask", "both", "value"):
            t.all_alike(outs=(0,))
        if self.ret_typ in ("both", "value", "indices"):
            t.set_out(len(t.outs) - 1, np.dtype(self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node | list[Node]:
        axis, shape = self.view(inputs[0].shape)
        data = mv.reshape(inputs[0], shape)
        places = mv.slice_axis(
            get(sort(data, axis, descending=not self.is_ascend), 1), axis, 0, self._count(shape[axis])
        )
        if self.ret_typ == "mask":
            zeros, ones = constant(0, data.dtype, shape), constant(1, data.dtype, places.shape)
            return mv.reshape(scatter_along_add(zeros, places, ones, axis), inputs[0].shape)
        indices = ew.cast(places, ir_type(self.dtype))
        return indices if self.ret_typ == "indices" else [gather_along(data, places, axis), indices]

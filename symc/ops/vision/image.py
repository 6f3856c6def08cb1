"""Image preparation: (H, W, C) or (N, H, W, C) images, and normalisation of (C, H, W) tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.movement import reshape, reverse, slice_, transpose
from symc.ir.types import F32
from symc.ops.base import BuildContext, Floats, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.layers import along


def _image(shape: tuple[int, ...], any_channels: bool = False) -> None:
    if len(shape) not in (3, 4):
        raise ShapeError(f"an image (height, width, channel) or a batch of them is needed, not {shape}")
    if not any_channels and shape[-1] not in (0, 1, 3):
        raise ShapeError(f"an image has 1 or 3 channels on its last axis, not {shape[-1]}")


@operator("_image_to_tensor", hint="to_tensor")
class ToTensor(Operator):
    """Channels first, values divided by 255 (half precision in half), as float32.

    The gradient is the head's values in their order, channels first, as in MXNet.
    """

    def complete(self, s: Shapes) -> None:
        """(..., H, W, C) gives (..., C, H, W)."""
        data = s.ins[0]
        if data is not None:
            _image(data, any_channels=True)
            if is_known(data):
                s.set_out(0, (*data[:-3], data[-1], *data[-3:-1]))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.float32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        rank = inputs[0].rank
        order = (*range(rank - 3), rank - 1, rank - 3, rank - 2)

        def body(x: Node) -> Node:
            f = x if x.dtype.is_float else ew.cast(x, F32)
            return ew.cast(transpose(f, order) * (1.0 / 255.0), F32)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            return [ew.cast(reshape(cts[0], ins[0].shape), ins[0].dtype)]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, Node)
        return made


@operator("_image_normalize", hint="normalize")
class Normalize(Operator):
    """(x - mean) / std per channel of (C, H, W) or (N, C, H, W); a single value holds for all channels."""

    mean: Floats = (0.0, 0.0, 0.0, 0.0)
    std: Floats = (1.0, 1.0, 1.0, 1.0)

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, (..., C, H, W)."""
        s.all_alike((0,), (0,))
        data = s.ins[0]
        if data is None:
            return
        if len(data) not in (3, 4) or data[-3] not in (0, 1, 3):
            raise ShapeError(f"data must be (channel, height, width) with 1 or 3 channels, or a batch, not {data}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if data[-3] and len(values) not in (1, data[-3]):
                raise ShapeError(f"{name}={values} does not fit {data[-3]} channels")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        x = inputs[0] if inputs[0].dtype.is_float else ew.cast(inputs[0], F32)
        channels, axis = x.shape[-3], x.rank - 3

        def each(values: tuple[float, ...]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            return np.array(values * channels if len(values) == 1 else values[:channels], np.float64)

        mean = along(ew.const(each(self.mean), x.dtype), x.shape, axis)
        scale = along(ew.const(1.0 / each(self.std), x.dtype), x.shape, axis)
        return ew.cast((x - mean) * scale, inputs[0].dtype)


class _Flip(Operator):
    """Base: the gradient is the head as it is, not turned back, as in MXNet."""

    #: which axis is turned round, counted from the end
    from_end: ClassVar[int]

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, (..., H, W, C)."""
        s.all_alike((0,), (0,))
        data = s.ins[0]
        if data is not None:
            _image(data)
            if len(data) != 3:
                raise ShapeError(f"one image (height, width, channel) is needed, not {data}")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        made = custom_grad(inputs, lambda x: reverse(x, (x.rank - self.from_end,)), lambda ins, outs, cts: [cts[0]])
        assert isinstance(made, Node)
        return made


@operator("_image_flip_left_right", hint="flip_left_right")
class FlipLeftRight(_Flip):
    """Turns the columns round."""

    from_end: ClassVar[int] = 2


@operator("_image_flip_top_bottom", hint="flip_top_bottom")
class FlipTopBottom(_Flip):
    """Turns the rows round."""

    from_end: ClassVar[int] = 3


@operator("_image_crop", hint="crop")
class ImageCrop(Operator):
    """The rectangle of `width` x `height` at (x, y)."""

    x: int
    y: int
    width: int
    height: int

    def complete(self, s: Shapes) -> None:
        """(..., H, W, C) gives (..., height, width, C)."""
        data = s.ins[0]
        if data is None:
            return
        _image(data)
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise ShapeError("x and y must not be negative, width and height positive")
        if all(data) and (self.x + self.width > data[-2] or self.y + self.height > data[-3]):
            raise ShapeError(f"the rectangle {self.width} x {self.height} at ({self.x}, {self.y}) exceeds {data}")
        s.set_out(0, (*data[:-3], self.height, self.width, data[-1]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        low = (*(0,) * (data.rank - 3), self.y, self.x, 0)
        high = (*data.shape[:-3], self.y + self.height, self.x + self.width, data.shape[-1])
        return slice_(data, low, high, (1,) * data.rank)

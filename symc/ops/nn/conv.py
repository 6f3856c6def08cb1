"""Convolution and deconvolution, in one to three spatial dimensions."""

from __future__ import annotations

from typing import ClassVar, Literal

from symc.ir.op import Node
from symc.ir.prims.linear import conv, conv_dx
from symc.ir.prims.movement import pad, slice_
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.shared.layers import along, refuse, spatial_tuple, types_from_data

Tune = Literal["None", "fastest", "limited_workspace", "off"]


class _ConvolutionLike(Operator):
    """What convolution and deconvolution share: windows, groups, layouts and inference."""

    floats_only: ClassVar[bool] = True

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    num_filter: int
    num_group: int = 1
    no_bias: bool = False
    layout: str = "None"

    def check(self) -> None:
        rank = len(self.kernel)
        if rank not in (1, 2, 3):
            raise refuse(self, f"kernel={self.kernel} must have one to three entries")
        if self.layout != "None" and len(self.layout) != rank + 2:
            raise refuse(self, f"layout={self.layout!r} does not fit a kernel of {rank} dimensions")
        if self.num_filter < 1 or self.num_group < 1 or self.num_filter % self.num_group:
            problem = f"num_filter={self.num_filter} must be a positive multiple of num_group={self.num_group}"
            raise refuse(self, problem)
        if min(self.kernel) < 1 or min(self.strides) < 1 or min(self.dilates) < 1 or min(self.pads) < 0:
            raise refuse(self, "kernel, stride and dilate must be positive and pad not negative")

    @property
    def rank(self) -> int:
        """Spatial dimensions."""
        return len(self.kernel)

    def per_axis(self, name: str, default: int) -> tuple[int, ...]:
        """A parameter with an entry for every spatial axis."""
        return spatial_tuple(self, name, getattr(self, name), self.rank, default)

    @property
    def strides(self) -> tuple[int, ...]:
        return self.per_axis("stride", 1)

    @property
    def dilates(self) -> tuple[int, ...]:
        return self.per_axis("dilate", 1)

    @property
    def pads(self) -> tuple[int, ...]:
        return self.per_axis("pad", 0)

    @property
    def reach(self) -> tuple[int, ...]:
        """Extent of the dilated kernel."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilates))

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def complete_types(self, t: Types) -> None:
        types_from_data(t)

    def refuse_dilated_volumes(self) -> None:
        if self.rank == 3 and max(self.dilates) > 1:
            raise refuse(self, f"dilate={self.dilates} is not offered in 3-d")

    def to_channels_first(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != self.rank + 2:
            raise ShapeError(f"data must have {self.rank + 2} axes for kernel {self.kernel}, not {shape}")
        return (shape[0], shape[-1], *shape[1:-1]) if self.layout.endswith("C") else shape

    def from_channels_first(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *shape[2:], shape[1]) if self.layout.endswith("C") else shape

    def only_channels_first(self) -> None:
        if self.layout.endswith("C"):
            instead = ("NCW", "NCHW", "NCDHW")[self.rank - 1]
            raise refuse(self, f"layout={self.layout!r} is not offered on the CPU; use {instead}")


class _Convolution(_ConvolutionLike):
    #: what an unknown height or width counts as; 0: the output's stays unknown
    unknown_extent: ClassVar[int] = 0

    def complete(self, s: Shapes) -> None:
        """Data (N, C, *S) needs weight (num_filter, C / num_group, *kernel), bias (num_filter,), and gives (N,
        num_filter, *P) with P = (S + 2 pad - dilate (kernel - 1) - 1) // stride + 1; a known output tells S where
        stride is 1.
        """
        if s.ins[0] is None:
            return
        data = self.to_channels_first(s.ins[0])
        if data[1] % self.num_group:
            raise ShapeError(f"data has {data[1]} channels, which {self.num_group} groups do not divide")
        s.set_in(1, self.from_channels_first((self.num_filter, data[1] // self.num_group, *self.kernel)))
        if not self.no_bias:
            s.set_in(2, (self.num_filter,))
        spatial = []
        for d, small, k, st, p in zip(data[2:], self.kernel, self.reach, self.strides, self.pads):
            size = d or self.unknown_extent
            if size and size + 2 * p < (k if d else small):
                raise ShapeError(f"kernel of extent {self.reach} exceeds data {data[2:]} padded by {self.pads}")
            spatial.append(max(0, (size + 2 * p - k) // st + 1) if size else 0)
        s.set_out(0, self.from_channels_first((data[0], self.num_filter, *spatial)))
        out = s.outs[0]
        assert out is not None
        out = self.to_channels_first(out)
        axes = zip(out[2:], self.reach, self.strides, self.pads)
        back = [max(0, o + k - 1 - 2 * p) if o and st == 1 else 0 for o, k, st, p in axes]
        s.set_in(0, self.from_channels_first((out[0], data[1], *back)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        self.only_channels_first()
        data, weight = inputs[:2]
        around = (0, 0, *self.pads)
        y = conv(pad(data, around, around), weight, self.strides, self.dilates, self.num_group)
        return y if self.no_bias else y + along(inputs[2], y.shape, 1)


@operator("Convolution", inputs="data weight bias")
class Convolution(_Convolution):
    """Cross-correlation of data (N, C, ...) with weight (F, C/groups, k...), plus a bias per filter."""

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    num_filter: int
    num_group: int = 1
    workspace: int = 1024
    no_bias: bool = False
    cudnn_tune: Tune = "None"
    cudnn_off: bool = False
    layout: Literal["None", "NCDHW", "NCHW", "NCW", "NDHWC", "NHWC"] = "None"

    def overwritten_gradients(self) -> tuple[int, ...]:
        """MXNet computes a 1 x 1 convolution as a plain product, and writes the data's gradient."""
        plain = (*self.kernel, *self.strides, *self.dilates) == (1,) * (3 * self.rank) and not any(self.pads)
        return (0,) if plain else ()


@operator("Convolution_v1", inputs="data weight bias")
class ConvolutionV1(_Convolution):
    """The older Convolution: the same function, 2-d and 3-d."""

    unknown_extent: ClassVar[int] = -1

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    num_filter: int
    num_group: int = 1
    workspace: int = 1024
    no_bias: bool = False
    cudnn_tune: Tune = "None"
    cudnn_off: bool = False
    layout: Literal["None", "NCDHW", "NCHW", "NDHWC", "NHWC"] = "None"

    def check(self) -> None:
        super().check()
        if self.rank == 1:
            raise refuse(self, f"kernel={self.kernel} must have two or three entries")
        self.refuse_dilated_volumes()

    def per_axis(self, name: str, default: int) -> tuple[int, ...]:
        """Entries beyond the kernel's axes are not looked at."""
        return spatial_tuple(self, name, getattr(self, name)[: self.rank], self.rank, default)


@operator("Deconvolution", inputs="data weight bias")
class Deconvolution(_ConvolutionLike):
    """The transpose of Convolution: data (N, C, ...), weight (C, F/groups, k...), output extent
    (i-1)*stride - 2*pad + dilate*(k-1)+1 + adj. `target_shape` gives the output's extent and overrides pad and adj.
    """

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    adj: Tuple = ()
    target_shape: Tuple | None = ()
    num_filter: int
    num_group: int = 1
    workspace: int = 512
    no_bias: bool = True
    cudnn_tune: Tune = "None"
    cudnn_off: bool = False
    layout: Literal["None", "NCDHW", "NCHW", "NCW", "NDHWC", "NHWC"] = "None"

    def check(self) -> None:
        super().check()
        self.refuse_dilated_volumes()
        if not any(self._target):
            for adj, stride in zip(self.per_axis("adj", 0), self.strides):
                self._check_adj(adj, stride)

    @property
    def _target(self) -> tuple[int, ...]:
        return spatial_tuple(self, "target_shape", (self.target_shape or ())[: self.rank], self.rank, 0)

    def _check_adj(self, adj: int, stride: int, cause: str = "") -> None:
        if adj >= stride:
            raise refuse(self, f"adj={adj}{cause} must be smaller than the stride of {stride}")

    def _margin(self, at: int, size: int) -> tuple[int, int]:
        """Padding and adjustment along a spatial axis of this extent."""
        target = self._target
        if not any(target):
            return self.pads[at], self.per_axis("adj", 0)[at]
        stride = self.strides[at]
        cut = stride * (size - 1) + self.reach[at] - target[at]
        if cut < 0:
            raise ShapeError(f"target_shape={target} is larger than what data of extent {size} gives")
        self._check_adj(cut % 2, stride, f" for target_shape={target}")
        return (cut + 1) // 2, cut % 2

    def complete(self, s: Shapes) -> None:
        """Data (N, C, *S) needs weight (C, num_filter / num_group, *kernel), bias (num_filter,), and gives (N,
        num_filter, *P) with P = target_shape or stride (S - 1) + dilate (kernel - 1) + 1 - 2 pad + adj.
        """
        if s.ins[0] is None:
            return
        data = self.to_channels_first(s.ins[0])
        if data[1] % self.num_group:
            raise ShapeError(f"data has {data[1]} channels, which {self.num_group} groups do not divide")
        s.set_in(1, self.from_channels_first((data[1], self.num_filter // self.num_group, *self.kernel)))
        if not self.no_bias:
            s.set_in(2, (self.num_filter,))
        target = self._target
        spatial = []
        for at, (d, k, st) in enumerate(zip(data[2:], self.reach, self.strides)):
            if not d:
                spatial.append(target[at])
                continue
            margin, adj = self._margin(at, d)
            spatial.append(st * (d - 1) + k - 2 * margin + adj)
        if all(data[2:]) and min(spatial) < 1:
            raise ShapeError(f"pad={self.pads} leaves nothing of the output {tuple(spatial)}")
        s.set_out(0, self.from_channels_first((data[0], self.num_filter, *spatial)))
        out = s.outs[0]
        assert out is not None
        back: list[int] = []
        for at, (o, k, st) in enumerate(zip(self.to_channels_first(out)[2:], self.reach, self.strides)):
            adjust = self.per_axis("adj", 0)
            size = o + 2 * self.pads[at] - adjust[at] - k + 1
            back.append(max(0, size) if o and st == 1 and not any(target) else 0)
        s.set_in(0, self.from_channels_first((self.to_channels_first(out)[0], data[1], *back)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        self.only_channels_first()
        data, weight = inputs[:2]
        extent = data.shape[2:]
        margin, adj = zip(*map(self._margin, range(self.rank), extent))
        full = tuple(st * (d - 1) + k + a for st, d, k, a in zip(self.strides, extent, self.reach, adj))
        y = conv_dx(data, weight, self.strides, self.dilates, self.num_group, full)
        end = tuple(f - m for f, m in zip(full, margin))
        y = slice_(y, (0, 0, *margin), (*y.shape[:2], *end), (1,) * y.rank)
        return y if self.no_bias else y + along(inputs[2], y.shape, 1)

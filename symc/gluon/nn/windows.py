"""Convolutions and pooling in one, two and three dimensions: two bases, and a table of what each class adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from symc import symbol
from symc.gluon.hybrid import HybridBlock
from symc.gluon.nn.activations import Activation

#: layouts of the data, by the number of dimensions of a window
_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def _each(value: Any, count: int, what: str) -> tuple[int, ...]:
    """A number for every dimension. AssertionError for another number of them."""
    made = (value,) * count if isinstance(value, int) else tuple(value)
    if len(made) != count:
        raise AssertionError(f"{what} is one number, or {count} of them")
    return made


class _Conv(HybridBlock):
    """A convolution (or its transpose), a bias and an activation."""

    dimensions: ClassVar[int]
    operator: ClassVar[str] = "Convolution"

    def __init__(
        self, channels: int, kernel_size: Any, strides: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        layout: str | None = None, activation: str | None = None, use_bias: bool = True, weight_initializer: Any = None,
        bias_initializer: Any = "zeros", in_channels: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        adjust = kwargs.pop("adj", None)
        super().__init__(**kwargs)
        count = self.dimensions
        layout = layout or _LAYOUTS[count]
        self._channels, self._in_channels = channels, in_channels
        self._kwargs = {
            "kernel": _each(kernel_size, count, "kernel_size"), "stride": _each(strides, count, "strides"),
            "dilate": _each(dilation, count, "dilation"), "pad": _each(padding, count, "padding"),
            "num_filter": channels, "num_group": groups, "no_bias": not use_bias, "layout": layout,
        }  # fmt: skip
        if adjust is not None:
            self._kwargs["adj"] = adjust
        shape = [0] * (count + 2)
        shape[layout.find("N")], shape[layout.find("C")] = 1, in_channels
        made = getattr(symbol, self.operator)(symbol.Variable("data", shape=tuple(shape)), **self._kwargs)
        shapes = made.infer_shape_partial()[0]
        with self.name_scope():
            self.weight = self.params.get("weight", shape=shapes[1], init=weight_initializer, allow_deferred_init=True)
            self.bias = None
            if use_bias:
                self.bias = self.params.get("bias", shape=shapes[2], init=bias_initializer, allow_deferred_init=True)
            self.act = None if activation is None else Activation(activation, prefix=f"{activation}_")

    def _alias(self) -> str:
        return "conv"

    def __repr__(self) -> str:
        held, shape, count = self._kwargs, self.weight.shape, self.dimensions
        facts = [f"{shape[1] or None} -> {shape[0]}", f"kernel_size={held['kernel']}", f"stride={held['stride']}"]
        facts += [f"padding={held['pad']}"] if held["pad"] != (0,) * count else []
        facts += [f"dilation={held['dilate']}"] if held["dilate"] != (1,) * count else []
        facts += [f"groups={held['num_group']}"] if held["num_group"] != 1 else []
        facts += ["bias=False"] if self.bias is None else []
        facts += [repr(self.act)] if self.act is not None else []
        return f"{type(self).__name__}({', '.join(facts)})"

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:  # type: ignore[override]
        """The convolution, and the activation."""
        given = (x, weight) if bias is None else (x, weight, bias)
        made = getattr(F, self.operator)(*given, name="fwd", **self._kwargs)
        return made if self.act is None else self.act(made)


class _Transposed(_Conv):
    """The transpose of a convolution; `output_padding` makes the result larger on one side."""

    operator = "Deconvolution"

    def __init__(
        self, channels: int, kernel_size: Any, strides: Any = 1, padding: Any = 0, output_padding: Any = 0,
        dilation: Any = 1, groups: int = 1, layout: str | None = None, activation: str | None = None,
        use_bias: bool = True, weight_initializer: Any = None, bias_initializer: Any = "zeros", in_channels: int = 0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        self.outpad = _each(output_padding, self.dimensions, "output_padding")
        super().__init__(
            channels, kernel_size, strides, padding, dilation, groups, layout, activation, use_bias,
            weight_initializer, bias_initializer, in_channels, adj=self.outpad, **kwargs,
        )  # fmt: skip


class _Pool(HybridBlock):
    """The largest or the mean element of every window."""

    dimensions: ClassVar[int]
    kind: ClassVar[str]

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: Any = 0, layout: str | None = None,
        ceil_mode: bool = False, count_include_pad: bool | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        anywhere = kwargs.pop("global_pool", False)
        super().__init__(**kwargs)
        count = self.dimensions
        size = _each(pool_size, count, "pool_size")
        self._kwargs: dict[str, Any] = {
            "kernel": size, "stride": size if strides is None else _each(strides, count, "strides"),
            "pad": _each(padding, count, "padding"), "global_pool": anywhere, "pool_type": self.kind,
            "layout": layout or _LAYOUTS[count], "pooling_convention": "full" if ceil_mode else "valid",
        }  # fmt: skip
        if self.kind == "avg" and not anywhere:
            self._kwargs["count_include_pad"] = True if count_include_pad is None else count_include_pad

    def _alias(self) -> str:
        return "pool"

    def __repr__(self) -> str:
        held = self._kwargs
        return (
            f"{type(self).__name__}(size={held['kernel']}, stride={held['stride']}, padding={held['pad']}, "
            f"ceil_mode={held['pooling_convention'] == 'full'}, global_pool={held['global_pool']}, "
            f"pool_type={held['pool_type']}, layout={held['layout']})"
        )

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # type: ignore[override]
        """The pooled data."""
        return F.Pooling(x, name="fwd", **self._kwargs)


class _CeilFirst(_Pool):
    """With MXNet's order of parameters for the mean, and for windows of three axes."""

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: Any = 0, ceil_mode: bool = False,
        layout: str | None = None, count_include_pad: bool | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(pool_size, strides, padding, layout, ceil_mode, count_include_pad, **kwargs)


class _GlobalPool(_Pool):
    """One window for all positions."""

    def __init__(self, layout: str | None = None, **kwargs: Any) -> None:
        super().__init__(1, None, 0, layout, True, global_pool=True, **kwargs)


def _made(name: str, base: type[HybridBlock], about: str, **facts: Any) -> Any:
    return type(name, (base,), {"__doc__": about, "__module__": __name__, "__qualname__": name, **facts})


Conv1D, Conv2D, Conv3D = (
    _made(f"Conv{n}D", _Conv, f"A convolution in {n} dimension{'s' * (n > 1)}.", dimensions=n) for n in (1, 2, 3)
)
Conv1DTranspose, Conv2DTranspose, Conv3DTranspose = (
    _made(f"Conv{n}DTranspose", _Transposed, f"The transpose of Conv{n}D.", dimensions=n) for n in (1, 2, 3)
)
MaxPool1D, MaxPool2D, MaxPool3D = (
    _made(f"MaxPool{n}D", base, "The largest element of every window.", dimensions=n, kind="max")
    for n, base in ((1, _Pool), (2, _Pool), (3, _CeilFirst))
)
AvgPool1D, AvgPool2D, AvgPool3D = (
    _made(f"AvgPool{n}D", base, "The mean of every window.", dimensions=n, kind="avg")
    for n, base in ((1, _Pool), (2, _CeilFirst), (3, _CeilFirst))
)
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = (
    _made(f"GlobalMaxPool{n}D", _GlobalPool, "The largest element of every channel.", dimensions=n, kind="max")
    for n in (1, 2, 3)
)
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = (
    _made(f"GlobalAvgPool{n}D", _GlobalPool, "The mean of every channel.", dimensions=n, kind="avg") for n in (1, 2, 3)
)


class ReflectionPad2D(HybridBlock):
    """Rows and columns around, reflected at the edges."""

    def __init__(self, padding: int | Sequence[int] = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._padding = (0, 0, 0, 0, *[padding] * 4) if isinstance(padding, int) else tuple(padding)
        if len(self._padding) != 8:
            raise AssertionError("padding is one number, or 8 of them")

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # type: ignore[override]
        """The padded data."""
        return F.pad(x, mode="reflect", pad_width=self._padding)

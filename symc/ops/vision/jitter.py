"""Pictures (height, width, channel) changed at random, and resized: what MXNet has in mx.nd.image for augmentation.

They run in numpy, from the program's key: nobody trains through them, and their gradient is the head, as in MXNet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad, host_call, register_host
from symc.ir.types import F64, Array
from symc.ops.base import BuildContext, Floats, MXNetError, Operator, ShapeError, Shapes, Tuple, operator
from symc.ops.shared.layers import along
from symc.ops.stochastic.sampling import generator_of
from symc.pixels.colors import BRIGHTNESS, COMPONENTS, DEVIATIONS
from symc.pixels.resize import resize


def _kept(values: Array, dtype: Any) -> Array:
    """Values in the picture's type; of whole numbers without their fractions, and inside of their range."""
    if np.dtype(dtype).kind != "f":
        values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)


def _gray(x: Array) -> Array:
    return (x * BRIGHTNESS).sum(axis=-1, keepdims=True) if x.shape[-1] == 3 else x


def _brighter(x: Array, by: float) -> Array:
    return x * by


def _contrasted(x: Array, by: float) -> Array:
    return x * by + (1 - by) * _gray(x).mean()


def _saturated(x: Array, by: float) -> Array:
    return x * by + (1 - by) * _gray(x)


def _turned(x: Array, by: float) -> Array:
    """Hues turned by a part of the circle; every pixel keeps its largest and its smallest value."""
    if x.shape[-1] != 3:
        return x
    top, low = x.max(axis=-1), x.min(axis=-1)
    spread = np.where(top > low, top - low, 1)
    red, green, blue = np.moveaxis(x, -1, 0)
    hue = np.where(
        top == red, (green - blue) / spread,
        np.where(top == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )  # fmt: skip
    hue = hue[..., None] + 6 * by + np.array([2, 0, -2])
    hue %= 6
    return low[..., None] + (top - low)[..., None] * np.clip(np.minimum(hue, 4 - hue), 0, 1)


def _lit(x: Array, alpha: Array) -> Array:
    return x + COMPONENTS @ (DEVIATIONS * alpha) if x.shape[-1] == 3 else x


_CHANGES = {"brightness": _brighter, "contrast": _contrasted, "saturation": _saturated, "hue": _turned}


def _jittered(x: Array, generator: np.random.Generator, facts: Array) -> Array:
    """All four changes in a random order, each by as much as its fact says at most."""
    for at in generator.permutation(4):
        name, most = list(_CHANGES)[at], float(facts[at])
        if most > 0:
            x = _CHANGES[name](x, generator.uniform(-most, most) + (name != "hue"))
    return x


def _flipped(axis: int) -> Callable[[Array, np.random.Generator, Array], Array]:
    return lambda x, generator, facts: np.flip(x, axis) if generator.random() < 0.5 else x


def _between(change: Callable[[Array, float], Array]) -> Callable[[Array, np.random.Generator, Array], Array]:
    return lambda x, generator, facts: change(x, generator.uniform(*sorted(facts.tolist())))


#: by operator: (picture in double precision, generator, attributes) -> picture
_HOST: dict[str, Callable[[Array, np.random.Generator, Array], Array]] = {
    **{f"_image_random_{name}": _between(change) for name, change in _CHANGES.items()},
    "_image_random_color_jitter": _jittered,
    "_image_random_flip_left_right": _flipped(1),
    "_image_random_flip_top_bottom": _flipped(0),
    "_image_random_lighting": lambda x, generator, facts: _lit(x, generator.normal(0, facts[0], 3)),
}


def _on_host(name: str) -> None:
    def function(key: Array, image: Array, facts: Array) -> Array:
        return _kept(_HOST[name](image.astype(np.float64), generator_of(key), facts), image.dtype)

    register_host(name, function)


for _name in _HOST:
    _on_host(_name)


class _Changed(Operator):
    """Base: the picture's shape and type stay."""

    def facts(self) -> tuple[float, ...]:
        """The attributes, as the function in numpy takes them."""
        return ()

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, (H, W, C)."""
        s.all_alike((0,), (0,))
        if s.ins[0] is not None and len(s.ins[0]) != 3:
            raise ShapeError(f"one image (height, width, channel) is needed, not {s.ins[0]}")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        key = ctx.random_key()
        facts = ew.const(np.array(self.facts(), np.float64))

        def body(image: Node, key: Node) -> Node:
            made = host_call(self.op_name, [key, image, facts], [image.tensor])
            assert isinstance(made, Node)
            return made

        made = custom_grad([inputs[0], key], body, lambda ins, outs, cts: [cts[0], None])
        assert isinstance(made, Node)
        return made


class _Factor(_Changed):
    min_factor: ClassVar[float]
    max_factor: ClassVar[float]

    def facts(self) -> tuple[float, ...]:
        return self.min_factor, self.max_factor

    def check(self) -> None:
        if self.min_factor < 0 or self.max_factor < 0:
            raise MXNetError(f"{self.op_name}: min_factor and max_factor must not be negative")


for _name, _what in (
    ("brightness", "All values times one factor."),
    ("contrast", "Differences to the mean brightness times one factor."),
    (
        "saturation",
        "Differences to every pixel's brightness times one factor. (MXNet takes blue alone for that.)",
    ),
    ("hue", "Hues turned by a part of the circle."),
):
    operator(f"_image_random_{_name}", hint=f"random_{_name}", random=True)(
        type(
            f"_image_random_{_name}",
            (_Factor,),
            {
                "__module__": __name__,
                "__annotations__": {"min_factor": float, "max_factor": float},
                "__doc__": f"{_what} It is drawn from min_factor to max_factor.",
            },
        )
    )


@operator("_image_random_color_jitter", hint="random_color_jitter", random=True)
class ColorJitter(_Changed):
    """Brightness, contrast and saturation changed by factors from 1 - x to 1 + x, and hues turned by up to x of the
    circle, in a random order; 0 leaves one out."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def facts(self) -> tuple[float, ...]:
        return self.brightness, self.contrast, self.saturation, self.hue


@operator("_image_random_flip_left_right", hint="random_flip_left_right", random=True)
class RandomFlipLeftRight(_Changed):
    """The columns turned round, or not."""


@operator("_image_random_flip_top_bottom", hint="random_flip_top_bottom", random=True)
class RandomFlipTopBottom(_Changed):
    """The rows turned round, or not."""


@operator("_image_random_lighting", hint="random_lighting", random=True)
class RandomLighting(_Changed):
    """One color added to all pixels: the principal components of ImageNet's, each times a normal number."""

    alpha_std: float = 0.05

    def facts(self) -> tuple[float, ...]:
        return (self.alpha_std,)


@operator("_image_adjust_lighting", hint="adjust_lighting")
class AdjustLighting(_Changed):
    """One color added to all pixels: the principal components of ImageNet's, times alpha."""

    alpha: Floats

    def check(self) -> None:
        if len(self.alpha) != 3:
            raise MXNetError(f"{self.op_name}: alpha has three numbers, not {len(self.alpha)}")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        (image,) = inputs
        if image.shape[-1] != 3:
            return image
        wide = image if image.dtype.is_float else ew.cast(image, F64)
        added = ew.const(COMPONENTS @ (DEVIATIONS * np.array(self.alpha)), wide.dtype)
        made = wide + along(added, image.shape, 2)
        if image.dtype.is_float:
            return made
        kinds = np.iinfo(image.dtype.numpy)
        return ew.cast(ew.minimum(ew.maximum(made, float(kinds.min)), float(kinds.max)), image.dtype)


def _resized(images: Array, facts: Array) -> Array:
    height, width, interp = (int(fact) for fact in facts)
    batch = images.reshape(-1, *images.shape[-3:])
    made = np.stack([resize(image, width, height, interp) for image in batch])
    return made.reshape(*images.shape[:-3], *made.shape[1:])


register_host("_image_resize", _resized)


@operator("_image_resize", hint="resize", gradient="none")
class Resize(Operator):
    """Pictures of another size: `size` is (width, height), or one number for both; with keep_ratio, for the shorter.
    `interp`: 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos."""

    size: Tuple = ()
    keep_ratio: bool = False
    interp: int = 1

    def check(self) -> None:
        if len(self.size) not in (1, 2) or min(self.size) < 1:
            raise MXNetError(f"{self.op_name}: size={self.size} must be one positive number, or (width, height)")

    def _extents(self, height: int, width: int) -> tuple[int, int]:
        if len(self.size) == 2:
            return self.size[1], self.size[0]
        (size,) = self.size
        if not self.keep_ratio:
            return size, size
        return (height * size // width, size) if height > width else (size, width * size // height)

    def complete(self, s: Shapes) -> None:
        """(..., H, W, C) gives (..., height, width, C)."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) not in (3, 4):
            raise ShapeError(f"an image (height, width, channel) or a batch of them is needed, not {data}")
        if all(data[-3:-1]):
            s.set_out(0, (*data[:-3], *self._extents(*data[-3:-1]), data[-1]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        (images,) = inputs
        height, width = self._extents(*images.shape[-3:-1])
        facts = ew.const(np.array([height, width, self.interp], np.int64))
        made = host_call("_image_resize", [images, facts],
                         [images.tensor.with_shape((*images.shape[:-3], height, width, images.shape[-1]))])  # fmt: skip
        assert isinstance(made, Node)
        return made

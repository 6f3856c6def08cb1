"""Augmenters: objects that change a picture (height, width, channels), mostly at random. Random choices come from
Python's `random` (LightingAug: numpy's), in MXNet's order."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from symc import ndarray as nd
from symc.image.functions import (
    _get_interp_method,
    center_crop,
    color_normalize,
    deprecated_area,
    imresize,
    random_crop,
    random_size_crop,
    resize_short,
)
from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.pixels.colors import BRIGHTNESS, COMPONENTS, DEVIATIONS

__all__ = [
    "Augmenter", "BrightnessJitterAug", "CastAug", "CenterCropAug", "ColorJitterAug", "ColorNormalizeAug",
    "ContrastJitterAug", "CreateAugmenter", "ForceResizeAug", "HorizontalFlipAug", "HueJitterAug", "LightingAug",
    "RandomCropAug", "RandomGrayAug", "RandomOrderAug", "RandomSizedCropAug", "ResizeAug", "SaturationJitterAug",
    "SequentialAug",
]  # fmt: skip

#: the share of each color in brightness
_BRIGHTNESS = BRIGHTNESS.astype(np.float32)
#: from red, green and blue to brightness and two differences of color, and back
_TO_YIQ = np.array([BRIGHTNESS, [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_FROM_YIQ = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])
#: the mean color of ImageNet and its standard deviation
MEAN, DEVIATION = (123.68, 116.28, 103.53), (58.395, 57.12, 57.375)


class Described:
    """Base of what is written down by `dumps`: a name and the arguments it was made with."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = {key: _plain(value) for key, value in kwargs.items()}

    def dumps(self) -> Any:
        """The augmenter as JSON text."""
        return json.dumps([type(self).__name__.lower(), self._kwargs])


def _plain(value: Any) -> Any:
    value = value.asnumpy() if isinstance(value, NDArray) else value
    return value.tolist() if isinstance(value, np.ndarray) else value


class Augmenter(Described):
    """Base of augmenters: called with a picture they give one."""

    def __call__(self, src: NDArray) -> NDArray:
        raise NotImplementedError(f"{type(self).__name__} does not say what it makes of a picture")


class _Several(Augmenter):
    """Base of augmenters made of others."""

    def __init__(self, ts: list[Augmenter]) -> None:
        super().__init__()
        self.ts = ts

    def dumps(self) -> Any:
        """The name, and what the parts are."""
        return [type(self).__name__.lower(), [x.dumps() for x in self.ts]]

    def __call__(self, src: NDArray) -> NDArray:
        for part in self.ts:
            src = part(src)
        return src


class SequentialAug(_Several):
    """One augmenter after the other."""


class RandomOrderAug(_Several):
    """All augmenters, in a random order."""

    def __call__(self, src: NDArray) -> NDArray:
        random.shuffle(self.ts)
        return super().__call__(src)


class ResizeAug(Augmenter):
    """The shorter side gets `size` pixels."""

    def __init__(self, size: int, interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: NDArray) -> NDArray:
        return resize_short(src, self.size, self.interp)


class ForceResizeAug(Augmenter):
    """The picture gets `size` (width, height), whatever its proportions."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: NDArray) -> NDArray:
        sizes = (src.shape[0], src.shape[1], self.size[1], self.size[0])
        return imresize(src, *self.size, interp=_get_interp_method(self.interp, sizes))


class RandomCropAug(Augmenter):
    """A crop of `size` (width, height) at a random place."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: NDArray) -> NDArray:
        return random_crop(src, self.size, self.interp)[0]


class CenterCropAug(Augmenter):
    """The crop of `size` (width, height) in the middle."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: NDArray) -> NDArray:
        return center_crop(src, self.size, self.interp)[0]


class RandomSizedCropAug(Augmenter):
    """A crop of random area and proportions, resized to `size` (width, height); see `random_size_crop`."""

    def __init__(self, size: Sequence[int], area: Any, ratio: Sequence[float], interp: int = 2, **kwargs: Any) -> None:
        super().__init__(size=size, area=area, ratio=ratio, interp=interp)
        self.area = deprecated_area(area, kwargs, "RandomSizedCropAug")
        self.size, self.ratio, self.interp = size, ratio, interp

    def __call__(self, src: NDArray) -> NDArray:
        return random_size_crop(src, self.size, self.area, self.ratio, self.interp)[0]


class BrightnessJitterAug(Augmenter):
    """Brightness times a random factor of 1 - `brightness` to 1 + `brightness`, in place."""

    def __init__(self, brightness: float) -> None:
        super().__init__(brightness=brightness)
        self.brightness = brightness

    def __call__(self, src: NDArray) -> NDArray:
        src *= 1.0 + random.uniform(-self.brightness, self.brightness)
        return src


class ContrastJitterAug(Augmenter):
    """The picture mixed with its mean brightness, by a random factor around 1, in place."""

    def __init__(self, contrast: float) -> None:
        super().__init__(contrast=contrast)
        self.contrast = contrast
        self.coef = nd.array([[_BRIGHTNESS]])

    def __call__(self, src: NDArray) -> NDArray:
        factor = 1.0 + random.uniform(-self.contrast, self.contrast)
        gray = src.asnumpy() * _BRIGHTNESS
        mean = float((3.0 * (1.0 - factor) / gray.size) * np.sum(gray))
        src *= factor
        src += mean
        return src


class SaturationJitterAug(Augmenter):
    """Every pixel mixed with its brightness, by a random factor around 1, in place."""

    def __init__(self, saturation: float) -> None:
        super().__init__(saturation=saturation)
        self.saturation = saturation
        self.coef = nd.array([[_BRIGHTNESS]])

    def __call__(self, src: NDArray) -> NDArray:
        factor = 1.0 + random.uniform(-self.saturation, self.saturation)
        gray = np.sum(src.asnumpy() * _BRIGHTNESS, axis=2, keepdims=True) * (1.0 - factor)
        src *= factor
        src += nd.array(gray, dtype=src.dtype)
        return src


class HueJitterAug(Augmenter):
    """Colors turned around the axis of brightness, by a random angle of at most `hue` times 180 degrees."""

    def __init__(self, hue: float) -> None:
        super().__init__(hue=hue)
        self.hue = hue
        self.tyiq, self.ityiq = _TO_YIQ, _FROM_YIQ

    def __call__(self, src: NDArray) -> NDArray:
        angle = random.uniform(-self.hue, self.hue) * np.pi
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
        return _recolored(src, (_FROM_YIQ @ turn @ _TO_YIQ).T)


def _recolored(src: NDArray, matrix: Array) -> NDArray:
    """Every pixel times a matrix."""
    return nd.array(src.asnumpy() @ matrix.astype(np.float32), ctx=src.context)


class ColorJitterAug(RandomOrderAug):
    """Brightness, contrast and saturation, each by its share (0: not at all), in a random order."""

    def __init__(self, brightness: float, contrast: float, saturation: float) -> None:
        parts: list[Augmenter] = []
        if brightness > 0:
            parts.append(BrightnessJitterAug(brightness))
        if contrast > 0:
            parts.append(ContrastJitterAug(contrast))
        if saturation > 0:
            parts.append(SaturationJitterAug(saturation))
        super().__init__(parts)


class LightingAug(Augmenter):
    """Noise along the principal components of colors, in place."""

    def __init__(self, alphastd: float, eigval: Array, eigvec: Array) -> None:
        super().__init__(alphastd=alphastd, eigval=eigval, eigvec=eigvec)
        self.alphastd, self.eigval, self.eigvec = alphastd, eigval, eigvec

    def __call__(self, src: NDArray) -> NDArray:
        noise = np.random.normal(0, self.alphastd, size=(3,))
        src += nd.array(np.dot(self.eigvec * noise, self.eigval))
        return src


class ColorNormalizeAug(Augmenter):
    """(picture - mean) / std, in place."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__(mean=mean, std=std)
        self.mean = mean if mean is None or isinstance(mean, NDArray) else nd.array(mean)
        self.std = std if std is None or isinstance(std, NDArray) else nd.array(std)

    def __call__(self, src: NDArray) -> NDArray:
        return color_normalize(src, self.mean, self.std)


class RandomGrayAug(Augmenter):
    """Gray, in all channels, with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p
        self.mat = nd.array([[0.21] * 3, [0.72] * 3, [0.07] * 3])

    def __call__(self, src: NDArray) -> NDArray:
        return _recolored(src, self.mat.asnumpy()) if random.random() < self.p else src


class HorizontalFlipAug(Augmenter):
    """Left and right exchanged, with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: NDArray) -> NDArray:
        return flipped(src) if random.random() < self.p else src


def flipped(src: NDArray) -> NDArray:
    """Left and right exchanged."""
    return nd.array(src.asnumpy()[:, ::-1], ctx=src.context, dtype=src.dtype)


class CastAug(Augmenter):
    """Another element type."""

    def __init__(self, typ: str = "float32") -> None:
        super().__init__(type=typ)
        self.typ = typ

    def __call__(self, src: NDArray) -> NDArray:
        return src.astype(self.typ)


def color_statistics(given: Any, default: Sequence[float], what: str) -> Any:
    """True stands for ImageNet's. AssertionError for what is no array of 1 or 3 numbers."""
    if given is True:
        return np.array(default)
    if given is not None and not (isinstance(given, (np.ndarray, NDArray)) and given.shape[0] in (1, 3)):
        raise AssertionError(f"{what} must be True or an array of 1 or 3 numbers, got {given!r}")
    return given


def color_augmenters(
    brightness: float, contrast: float, saturation: float, hue: float, pca_noise: float, rand_gray: float
) -> list[Augmenter]:
    """What changes colors, in MXNet's order."""
    made: list[Augmenter] = []
    if brightness or contrast or saturation:
        made.append(ColorJitterAug(brightness, contrast, saturation))
    if hue:
        made.append(HueJitterAug(hue))
    if pca_noise > 0:
        made.append(LightingAug(pca_noise, DEVIATIONS, COMPONENTS))
    if rand_gray > 0:
        made.append(RandomGrayAug(rand_gray))
    return made


def CreateAugmenter(
    data_shape: Sequence[int], resize: int = 0, rand_crop: bool = False, rand_resize: bool = False,
    rand_mirror: bool = False, mean: Any = None, std: Any = None, brightness: float = 0, contrast: float = 0,
    saturation: float = 0, hue: float = 0, pca_noise: float = 0, rand_gray: float = 0, inter_method: int = 2,
) -> list[Augmenter]:  # fmt: skip
    """The usual augmenters, in order, for pictures of `data_shape` (channels, height, width).

    `resize`: pixels of the shorter side before the crop; `rand_crop`: at a random place, with `rand_resize` of a random
    size as well; `rand_mirror`: turned round every second time; `mean`, `std`: numbers for each color, True for
    ImageNet's; `brightness`, `contrast`, `saturation`, `hue`, `pca_noise`: how much they change; `rand_gray`: how often
    the picture is gray; `inter_method`: see `imresize`, 9 by the sizes, 10 at random.
    """
    size = (data_shape[2], data_shape[1])
    made: list[Augmenter] = [ResizeAug(resize, inter_method)] if resize > 0 else []
    if rand_resize:
        if not rand_crop:
            raise AssertionError("rand_resize crops at random: it needs rand_crop as well")
        made.append(RandomSizedCropAug(size, 0.08, (3.0 / 4.0, 4.0 / 3.0), inter_method))
    else:
        made.append(RandomCropAug(size, inter_method) if rand_crop else CenterCropAug(size, inter_method))
    if rand_mirror:
        made.append(HorizontalFlipAug(0.5))
    made += [CastAug(), *color_augmenters(brightness, contrast, saturation, hue, pca_noise, rand_gray)]
    mean, std = (nd.array(default) if given is True else color_statistics(given, default, what)
                 for given, default, what in ((mean, MEAN, "mean"), (std, DEVIATION, "std")))  # fmt: skip
    if mean is not None or std is not None:
        made.append(ColorNormalizeAug(mean, std))
    return made

"""Values from the command line: arrays of .npy, .npz and image files, shapes, parameter files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from symc.cli.report import INPUT, CliError, some
from symc.ir.types import Array

Shape = tuple[int, ...]

#: what Pillow is asked to read
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".webp", ".tif", ".tiff")


def parse_shape(text: str) -> Shape | None:
    """`1x3x224x224` as a shape (nothing is a scalar's); None for what is no shape, or none of 64-bit numbers."""
    extents = text.split("x") if text else []
    if not all(extent.isdecimal() and extent.isascii() and len(extent) < 19 for extent in extents):
        return None
    return tuple(map(int, extents))


def read_inputs(items: Sequence[str], shapes: dict[str, Shape], lacking: Sequence[str] = ()) -> dict[str, Array]:
    """Arrays by name from NAME=FILE, NAME=SHAPE and FILE.npz. What is only a shape is added to `shapes`; a FILE without
    a name is for the one input that is `lacking`."""
    found: dict[str, Array] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals and Path(item).suffix.lower() in (".npy", *IMAGES):
            open_names = [n for n in lacking if n not in found]
            if len(open_names) != 1:
                which = f"these lack values: {some(open_names, 6)}" if open_names else "none lacks a value"
                raise CliError(f"--input {item}: give NAME={item}; {which}")
            name, equals, value = open_names[0], "=", item
        if not equals and item.endswith(".npz"):
            loaded = _load(item)
            found.update(loaded if isinstance(loaded, dict) else {})
            continue
        shape = parse_shape(value) if equals else None
        if not equals or not name:
            raise CliError(f"--input {item}: expected NAME=FILE.npy (.npz, an image), NAME=1x3x224x224, or FILE.npz")
        if shape is not None:
            shapes[name] = shape
        else:
            found[name] = _read(name, value, shapes.get(name))
    return found


def _read(name: str, path: str, shape: Shape | None) -> Array:
    if Path(path).suffix.lower() in IMAGES:
        return _image(path, shape)
    loaded = _load(path)
    if not isinstance(loaded, dict):
        return loaded
    if name in loaded or len(loaded) == 1:
        return loaded.get(name, next(iter(loaded.values())))
    raise CliError(f"{path} has no array {name!r}; it has {', '.join(loaded)}", INPUT)


def _load(path: str) -> Array | dict[str, Array]:
    """An array, or arrays by name."""
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except FileNotFoundError:
        raise
    except Exception:
        # numpy, zipfile and zlib have a class of error for every kind of damage
        raise CliError(f"{path} is not a .npy or .npz file of numbers, nor an image", INPUT) from None


def arrays_of(path: str) -> dict[str, Array]:
    """Arrays by name of an .npz file."""
    loaded = _load(path)
    if not isinstance(loaded, dict):
        raise CliError(f"{path} is no .npz file: it holds one array", INPUT)
    return loaded


def text_of(path: str) -> str:
    """The text of a file, or of standard input for `-`."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return text.removeprefix("\ufeff")  # some editors mark UTF-8 so
    except UnicodeDecodeError as problem:
        raise CliError(f"{path} is not a text: {problem}", INPUT) from None


def _image(path: str, shape: Shape | None) -> Array:
    """An image as float32 (1, 3, height, width) of 0 to 255, in the size the shape asks for."""
    if not Path(path).exists():
        raise FileNotFoundError(2, "no such file", path)
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise CliError(
            f"{path}: reading images needs Pillow (pip install pillow); or save an array as .npy", INPUT
        ) from None
    try:
        picture = Image.open(path).convert("L" if shape is not None and len(shape) == 4 and shape[1] == 1 else "RGB")
    except Exception as problem:
        # as above: each format's reader raises what it likes
        raise CliError(f"{path}: {problem}", INPUT) from None
    if shape is not None and len(shape) == 4:
        picture = picture.resize((shape[3], shape[2]))
    pixels = np.asarray(picture, np.float32)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])


def read_parameters(path: str) -> dict[str, Array]:
    """Arrays of a .params file by name, without the arg: and aux: that checkpoints put before them."""
    from symc import ndarray

    if not Path(path).exists():
        raise FileNotFoundError(2, "no such file", path)
    try:
        loaded = ndarray.load(path)
    except Exception as problem:
        raise CliError(f"{path} is not a .params file: {problem}", INPUT) from None
    if not isinstance(loaded, dict):
        if not loaded:
            return {}
        raise CliError(f"{path} holds {len(loaded)} arrays without names", INPUT)
    named = {name.partition(":")[2] if name[:4] in ("arg:", "aux:") else name: v for name, v in loaded.items()}
    return {name: value.asnumpy() for name, value in named.items()}

"""Operators whose attributes are drawn to fit a value at hand, so that nets follow one value through many of them
without a reshape between any two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symc.fuzz.cases import Case, between, made

Shape = tuple[int, ...]
#: elements beyond which a value is large
LARGE = 300
Maker = Callable[[Any, Shape], "Case | None"]

#: least and most axes of the values that each function takes, and the function
MAKERS: list[tuple[int, int, Maker]] = []


def varied(least: int, most: int = 5) -> Callable[[Maker], Maker]:
    """Register a function that draws a case whose first input has the given shape (None: none fits)."""

    def register(function: Maker) -> Maker:
        MAKERS.append((least, most, function))
        return function

    return register


def draw(rng: np.random.Generator, shape: Shape) -> Case | None:
    """A random case on a value of this shape; None where the one that was drawn does not fit."""
    fitting = [make for least, most, make in MAKERS if least <= len(shape) <= most]
    return fitting[int(rng.integers(len(fitting)))](rng, shape) if fitting else None


def one_of(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def flip(rng: np.random.Generator, chance: float = 0.5) -> bool:
    return bool(rng.random() < chance)


def some_number(rng: np.random.Generator, shape: Shape, most: int) -> int:
    """From 1 to `most`, or to a multiple of it beside large values: there products have tiles and panels."""
    return int(rng.integers(1, (most if math.prod(shape) <= LARGE else 6 * most) + 1))


def some_axes(rng: np.random.Generator, rank: int) -> tuple[int, ...]:
    """One to all of the axes, some counted from the end."""
    chosen = sorted(rng.permutation(rank)[: int(rng.integers(1, rank + 1))].tolist())
    return tuple(a - rank if flip(rng, 0.2) else a for a in chosen)


# --------------------------------------------------------------------------------------------- element by element


@varied(0)
def _unary(rng: np.random.Generator, shape: Shape) -> Case:
    words = "abs relu sigmoid tanh negative square sin cos softsign arctan erf hard_sigmoid _copy arcsinh sign"
    return made(one_of(rng, *words.split()), shape)


@varied(0)
def _scalar(rng: np.random.Generator, shape: Shape) -> Case:
    op = one_of(rng, "_plus", "_minus", "_rminus", "_mul", "_div", "_maximum", "_minimum", "_greater", "_equal")
    return made(f"{op}_scalar", shape, scalar=float(one_of(rng, -2, -1, 0.5, 1, 2, 4)))


@varied(0)
def _pair(rng: np.random.Generator, shape: Shape) -> Case:
    op = one_of(
        rng, "elemwise_add", "elemwise_sub", "elemwise_mul", "_maximum", "_minimum", "_greater", "_lesser_equal"
    )
    return made(op, shape, shape)


@varied(1)
def _broadcast(rng: np.random.Generator, shape: Shape) -> Case:
    other = tuple(1 if flip(rng) else e for e in shape)
    op = one_of(rng, "add", "sub", "mul", "maximum", "minimum", "lesser")
    return made(f"broadcast_{op}", shape, other)


@varied(1)
def _broadcast_up(rng: np.random.Generator, shape: Shape) -> Case:
    """The value itself is the one that is repeated."""
    other = tuple(int(rng.integers(1, 4)) if e == 1 else e for e in shape)
    return made(one_of(rng, "broadcast_add", "broadcast_mul"), shape, other)


@varied(0)
def _activation(rng: np.random.Generator, shape: Shape) -> Case:
    if flip(rng):
        return made("Activation", shape, act_type=one_of(rng, "relu", "sigmoid", "softrelu", "softsign", "tanh"))
    return made("LeakyReLU", shape, act_type=one_of(rng, "elu", "gelu", "leaky"), slope=0.25)


@varied(2)
def _prelu(rng: np.random.Generator, shape: Shape) -> Case:
    return made("LeakyReLU", shape, (shape[1],), act_type="prelu")


@varied(0)
def _clip(rng: np.random.Generator, shape: Shape) -> Case:
    return made("clip", shape, a_min=-1.0, a_max=float(one_of(rng, 1, 3)))


@varied(0)
def _sum_of_some(rng: np.random.Generator, shape: Shape) -> Case:
    return made("add_n", *[shape] * int(rng.integers(1, 5)))


@varied(1)
def _where(rng: np.random.Generator, shape: Shape) -> Case:
    condition = rng.integers(0, 2, shape if flip(rng) else shape[:1]).astype(np.int32)
    case = made("where", shape, shape)
    return Case("where", (condition, *case.arrays), free=[1, 2])


# --------------------------------------------------------------------------------------------- reductions, order


@varied(1)
def _reduce(rng: np.random.Generator, shape: Shape) -> Case:
    op = one_of(rng, "sum", "mean", "max", "min", "sum", "nansum")
    if flip(rng, 0.15):
        return made(op, shape)
    axis = some_axes(rng, len(shape))
    exclude = flip(rng, 0.2) and len(axis) < len(shape)
    return made(op, shape, axis=axis, keepdims=flip(rng), exclude=exclude)


@varied(1)
def _norm(rng: np.random.Generator, shape: Shape) -> Case:
    axis = some_axes(rng, len(shape))[:2]
    return made("norm", shape, ord=one_of(rng, 1, 2), axis=axis, keepdims=flip(rng))


@varied(1)
def _softmax(rng: np.random.Generator, shape: Shape) -> Case:
    more = dict(temperature=1.5) if flip(rng, 0.2) else {}
    axis = int(rng.integers(-len(shape), len(shape)))
    return made(one_of(rng, "softmax", "log_softmax", "softmin"), shape, axis=axis, **more)


@varied(1)
def _ordered(rng: np.random.Generator, shape: Shape) -> Case:
    axis = int(rng.integers(len(shape)))
    kind = one_of(rng, "cumsum", "sort", "topk", "argmax", "argsort")
    if kind == "cumsum":
        return made("cumsum", shape, axis=axis)
    if kind == "sort":
        return made("sort", shape, axis=axis, is_ascend=flip(rng))
    if kind == "topk":
        return made("topk", shape, k=int(rng.integers(1, shape[axis] + 1)), axis=axis, ret_typ="value")
    return made(kind, shape, axis=axis)


# --------------------------------------------------------------------------------------------- shapes


@varied(2)
def _transpose(rng: np.random.Generator, shape: Shape) -> Case:
    if flip(rng, 0.3):
        a, b = rng.permutation(len(shape))[:2].tolist()
        return made("SwapAxis", shape, dim1=a, dim2=b)
    return made("transpose", shape, axes=tuple(rng.permutation(len(shape)).tolist()))


@varied(1)
def _reshape(rng: np.random.Generator, shape: Shape) -> Case:
    size = math.prod(shape)
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    first = int(one_of(rng, *divisors))
    return made("Reshape", shape, shape=one_of(rng, (-1,), (first, -1), (-1, first), (0, -1), (1, first, -1)))


@varied(0, 4)
def _new_axis(rng: np.random.Generator, shape: Shape) -> Case:
    return made("expand_dims", shape, axis=int(rng.integers(len(shape) + 1)))


@varied(1)
def _slice(rng: np.random.Generator, shape: Shape) -> Case:
    if flip(rng):
        axis = int(rng.integers(len(shape)))
        begin = int(rng.integers(shape[axis]))
        return made("slice_axis", shape, axis=axis, begin=begin, end=int(rng.integers(begin, shape[axis])) + 1)
    begin = [int(rng.integers(e)) for e in shape]
    end = [int(rng.integers(b, e)) + 1 for b, e in zip(begin, shape)]
    step = [int(rng.integers(1, 3)) for _ in shape]
    if flip(rng, 0.3):
        return made("slice", shape, begin=tuple(e - 1 for e in end), end=tuple(b - 1 if b else None for b in begin),
                    step=tuple(-s for s in step))  # fmt: skip
    return made("slice", shape, begin=tuple(begin), end=tuple(end), step=tuple(step))


@varied(1)
def _split(rng: np.random.Generator, shape: Shape) -> Case | None:
    axis = int(rng.integers(len(shape)))
    parts = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0 and n <= 3]
    return made("SliceChannel", shape, num_outputs=int(one_of(rng, *parts)), axis=axis)


@varied(1)
def _joined(rng: np.random.Generator, shape: Shape) -> Case:
    axis = int(rng.integers(len(shape)))
    if flip(rng, 0.3):
        return made("stack", shape, shape, axis=axis)
    other = (*shape[:axis], int(rng.integers(1, 4)), *shape[axis + 1 :])
    return made("Concat", *((shape, other) if flip(rng) else (shape, other, shape)), dim=axis)


@varied(1)
def _repeated(rng: np.random.Generator, shape: Shape) -> Case | None:
    if math.prod(shape) > 60:
        return None
    if flip(rng):
        return made("tile", shape, reps=tuple(int(rng.integers(1, 3)) for _ in range(len(shape) + int(flip(rng, 0.3)))))
    return made("repeat", shape, repeats=2, axis=int(rng.integers(len(shape))))


@varied(1)
def _reverse(rng: np.random.Generator, shape: Shape) -> Case:
    return made("reverse", shape, axis=tuple(a % len(shape) for a in some_axes(rng, len(shape))))


@varied(1)
def _take(rng: np.random.Generator, shape: Shape) -> Case:
    axis = int(rng.integers(len(shape)))
    places = rng.integers(-3, shape[axis] + 3, int(rng.integers(1, 5))).astype(np.int32)
    return made("take", shape, places, axis=axis, mode=one_of(rng, "clip", "wrap"))


@varied(2)
def _sequence(rng: np.random.Generator, shape: Shape) -> Case:
    op = one_of(rng, "SequenceMask", "SequenceLast", "SequenceReverse")
    lengths = rng.integers(1, shape[0] + 1, shape[1]).astype(np.int32)
    more = dict(value=2.0) if op == "SequenceMask" else {}
    return made(op, shape, lengths, use_sequence_length=True, **more)


@varied(4, 5)
def _pad(rng: np.random.Generator, shape: Shape) -> Case:
    mode = one_of(rng, "constant", "edge", "reflect")
    most = min(3, min(shape[2:])) if mode == "reflect" else 3
    width = [0, 0, 0, 0, *(int(rng.integers(most)) for _ in range(2 * len(shape) - 4))]
    return made("Pad", shape, mode=mode, pad_width=tuple(width))


# --------------------------------------------------------------------------------------------- products and layers


@varied(2)
def _fully_connected(rng: np.random.Generator, shape: Shape) -> Case:
    flatten, hidden, bias = flip(rng), some_number(rng, shape, 6), flip(rng)
    inner = math.prod(shape[1:]) if flatten else shape[-1]
    more = [(hidden,)] if bias else []
    return made("FullyConnected", shape, (hidden, inner), *more, num_hidden=hidden, no_bias=not bias, flatten=flatten)


@varied(2, 2)
def _dot(rng: np.random.Generator, shape: Shape) -> Case:
    ta, tb, columns = flip(rng), flip(rng), some_number(rng, shape, 5)
    inner = shape[0] if ta else shape[1]
    return made("dot", shape, (columns, inner) if tb else (inner, columns), transpose_a=ta, transpose_b=tb)


@varied(3, 3)
def _batch_dot(rng: np.random.Generator, shape: Shape) -> Case:
    ta, tb, columns = flip(rng), flip(rng), some_number(rng, shape, 5)
    inner = shape[1] if ta else shape[2]
    other = (shape[0], columns, inner) if tb else (shape[0], inner, columns)
    return made("batch_dot", shape, other, transpose_a=ta, transpose_b=tb)


@varied(3, 5)
def _convolution(rng: np.random.Generator, shape: Shape) -> Case:
    spatial, channels = shape[2:], shape[1]
    kernel = tuple(int(rng.integers(1, min(3, e) + 1)) for e in spatial)
    pad = tuple(int(rng.integers(2)) for _ in spatial)
    fits = [(e + 2 * p - 1) // 2 + 1 >= k for e, p, k in zip(spatial, pad, kernel)]
    dilate = tuple(2 if ok and len(spatial) < 3 and flip(rng, 0.2) else 1 for ok in fits)
    groups = int(one_of(rng, *[g for g in (1, 1, 2, channels) if channels % g == 0]))
    filters = groups * some_number(rng, shape, 3)
    bias = flip(rng)
    return made(
        "Convolution", shape, (filters, channels // groups, *kernel), *([(filters,)] if bias else []), kernel=kernel,
        stride=tuple(int(rng.integers(1, 4)) for _ in spatial), pad=pad, dilate=dilate, num_filter=filters,
        num_group=groups, no_bias=not bias,
    )  # fmt: skip


@varied(3, 4)
def _deconvolution(rng: np.random.Generator, shape: Shape) -> Case:
    spatial, channels = shape[2:], shape[1]
    kernel = tuple(int(rng.integers(1, 4)) for _ in spatial)
    stride = tuple(int(rng.integers(1, 4)) for _ in spatial)
    pad = tuple(int(rng.integers(0, (k - 1) // 2 + 1)) for k in kernel)
    filters = some_number(rng, shape, 3)
    return made(
        "Deconvolution", shape, (channels, filters, *kernel), kernel=kernel, stride=stride, pad=pad,
        adj=tuple(int(rng.integers(s)) for s in stride), num_filter=filters,
    )  # fmt: skip


@varied(3, 5)
def _pooling(rng: np.random.Generator, shape: Shape) -> Case:
    spatial = shape[2:]
    kernel = tuple(int(rng.integers(1, min(3, e) + 1)) for e in spatial)
    kind = one_of(rng, "max", "max", "avg", "sum")
    if flip(rng, 0.15):
        return made("Pooling", shape, kernel=kernel, global_pool=True, pool_type=kind)
    more = dict(count_include_pad=flip(rng)) if kind == "avg" else {}
    return made(
        "Pooling", shape, kernel=kernel, stride=tuple(int(rng.integers(1, 5)) for _ in spatial),
        pad=tuple(int(rng.integers((k + 1) // 2)) for k in kernel), pool_type=kind,
        pooling_convention=one_of(rng, "valid", "valid", "full"), **more,
    )  # fmt: skip


@varied(2, 4)
def _batch_norm(rng: np.random.Generator, shape: Shape) -> Case:
    axis = 1 if flip(rng, 0.7) else int(rng.integers(len(shape)))
    count = shape[axis]
    moving = (between(-0.5, 0.5, count), between(0.5, 1.5, count))
    return made(
        "BatchNorm", shape, (count,), (count,), *moving, fixed=[3, 4], through=[0], axis=axis,
        fix_gamma=flip(rng), use_global_stats=flip(rng, 0.2), eps=0.01,
    )  # fmt: skip


@varied(2)
def _layer_norm(rng: np.random.Generator, shape: Shape) -> Case:
    axis = int(rng.integers(len(shape)))
    return made("LayerNorm", shape, (shape[axis],), (shape[axis],), through=[0], axis=axis, eps=0.01)


@varied(3, 4)
def _instance_norm(rng: np.random.Generator, shape: Shape) -> Case:
    if flip(rng):
        return made("L2Normalization", shape, mode=one_of(rng, "channel", "instance", "spatial"))
    return made("InstanceNorm", shape, (shape[1],), (shape[1],), eps=0.01)


@varied(4, 4)
def _up_sampling(rng: np.random.Generator, shape: Shape) -> Case | None:
    if math.prod(shape) > 100:
        return None
    return made("UpSampling", shape, scale=2, sample_type="nearest", num_args=1)


@varied(1)
def _dropout(rng: np.random.Generator, shape: Shape) -> Case:
    return made("Dropout", shape, p=0.5)


#: operators whose values are steps, or whose gradient is MXNet's and not the derivative: a maximum's goes to all that
#: are equal
STEPS = frozenset(
    "sign _greater_scalar _equal_scalar _greater _lesser_equal broadcast_lesser argmax argsort max min".split()
)

"""One table of samples of every primitive: its result is compared with numpy written independently here, its element
rule with its value, its gradient with differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest

from symc.ir import prims as p
from symc.ir.graph import Node
from symc.ir.op import input_node
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, F32, F64, I32, I64, U8, U32, TensorType, dtype_of


@dataclass(frozen=True)
class Sample:
    """`build(*inputs)` of one primitive on `arrays`; `reference(*arrays)` is the expected result (or results)."""

    primitive: str
    build: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    reference: Callable[..., Any]
    #: the gradient is the derivative of the value (else it is none, by definition)
    grad: bool = True
    #: so is the gradient of the gradient
    second: bool = True
    tolerance: float = 1e-12
    note: str = ""

    def __str__(self) -> str:
        return f"{self.primitive}{'-' if self.note else ''}{self.note}"

    def nodes(self) -> tuple[list[Node], list[Node]]:
        """(inputs, results)"""
        ins = [input_node(f"x{i}", TensorType(dtype_of(a.dtype), a.shape)) for i, a in enumerate(self.arrays)]
        made = self.build(*ins)
        return ins, [made] if isinstance(made, Node) else list(made)


def floats(seed: int, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Distinct values in random order, none near a multiple of a half, so that differences meet no kink."""
    rng = np.random.default_rng(seed)
    n = math.prod(shape)
    x = low + (high - low) * (rng.permutation(n) + rng.uniform(0.2, 0.8, n)) / max(n, 1)
    near = np.abs(2 * x - np.round(2 * x)) < 0.02
    return np.where(near, x + 0.03, x).reshape(shape)


def ints(seed: int, low: int, high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def by_element(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function, otypes=[float])


def _slope(function: Callable[[float], float], step: float) -> Callable[[float], float]:
    return lambda x: (
        8 * (function(x + step) - function(x - step)) - (function(x + 2 * step) - function(x - 2 * step))
    ) / (12 * step)


def _inverse_erf(y: float) -> float:
    low, high = -6.0, 6.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < y else (low, middle)
    return (low + high) / 2


_digamma = _slope(math.lgamma, 1e-3)
#: name, reference, lowest and highest argument, what is wrong with its (second) gradient, tolerance
UNARY: list[tuple[str, Callable[..., Any], float, float, str, float]] = [
    ("neg", lambda x: -x, -2, 2, "", 0),
    ("abs", lambda x: np.where(x < 0, -x, x), -2, 2, "", 0),
    ("sign", lambda x: 1.0 * (x > 0) - (x < 0), -2, 2, "", 0),
    ("floor", by_element(math.floor), -3, 3, "", 0),
    ("ceil", by_element(math.ceil), -3, 3, "", 0),
    ("trunc", by_element(math.trunc), -3, 3, "", 0),
    ("round", by_element(round), -3, 3, "", 0),
    ("rint", by_element(round), -3, 3, "", 0),
    ("sqrt", by_element(math.sqrt), 0.3, 3, "", 1e-15),
    ("rsqrt", lambda x: x**-0.5, 0.3, 3, "", 1e-14),
    ("cbrt", by_element(lambda x: math.copysign(abs(x) ** (1 / 3), x)), 0.3, 3, "", 1e-14),
    ("exp", by_element(math.exp), -2, 2, "", 1e-14),
    ("expm1", by_element(math.expm1), -2, 2, "", 1e-14),
    ("log", by_element(math.log), 0.3, 3, "", 1e-14),
    ("log2", by_element(math.log2), 0.3, 3, "", 1e-14),
    ("log10", by_element(math.log10), 0.3, 3, "", 1e-14),
    ("log1p", by_element(math.log1p), -0.5, 3, "", 1e-14),
    ("sin", by_element(math.sin), -3, 3, "", 1e-14),
    ("cos", by_element(math.cos), -3, 3, "", 1e-14),
    ("tan", by_element(math.tan), -1, 1, "", 1e-14),
    ("asin", by_element(math.asin), -0.9, 0.9, "", 1e-14),
    ("acos", by_element(math.acos), -0.9, 0.9, "", 1e-14),
    ("atan", by_element(math.atan), -2, 2, "", 1e-14),
    ("sinh", by_element(math.sinh), -2, 2, "", 1e-14),
    ("cosh", by_element(math.cosh), -2, 2, "", 1e-14),
    ("tanh", by_element(math.tanh), -2, 2, "", 1e-14),
    ("asinh", by_element(math.asinh), -2, 2, "", 1e-14),
    ("acosh", by_element(math.acosh), 1.3, 3, "", 1e-14),
    ("atanh", by_element(math.atanh), -0.9, 0.9, "", 1e-14),
    ("erf", by_element(math.erf), -2, 2, "", 1e-14),
    ("erfinv", by_element(_inverse_erf), -0.9, 0.9, "", 1e-13),
    ("sigmoid", by_element(lambda x: 1 / (1 + math.exp(-x))), -2, 2, "", 1e-14),
    ("softrelu", by_element(lambda x: math.log(1 + math.exp(x))), -2, 2, "", 1e-14),
    ("gamma", by_element(math.gamma), 0.6, 3, "", 1e-14),
    ("gammaln", by_element(math.lgamma), 0.6, 3, "", 1e-13),
    ("digamma", by_element(_digamma), 0.6, 3, "second", 1e-8),
    ("trigamma", by_element(_slope(_digamma, 1e-2)), 0.8, 3, "first", 1e-4),
    ("relu", lambda x: np.where(x > 0, x, 0), -2, 2, "", 0),
    ("isnan", lambda x: x != x, -2, 2, "", 0),
    ("isinf", lambda x: np.abs(x) > 1e308, -2, 2, "", 0),
]
BINARY: list[tuple[str, Callable[..., Any]]] = [
    ("add", lambda a, b: a + b),
    ("sub", lambda a, b: a - b),
    ("mul", lambda a, b: a * b),
    ("div", lambda a, b: a / b),
    ("mod", lambda a, b: a - b * np.floor(a / b)),
    ("pow", lambda a, b: np.exp(b * np.log(a))),
    ("maximum", lambda a, b: np.where(a > b, a, b)),
    ("minimum", lambda a, b: np.where(a < b, a, b)),
    ("atan2", np.vectorize(math.atan2)),
    ("hypot", lambda a, b: np.sqrt(a * a + b * b)),
    ("eq", lambda a, b: a == b),
    ("ne", lambda a, b: a != b),
    ("lt", lambda a, b: a < b),
    ("le", lambda a, b: a <= b),
    ("gt", lambda a, b: a > b),
    ("ge", lambda a, b: a >= b),
]
BITS: list[tuple[str, Callable[[int, int], int]]] = [
    ("and", lambda a, b: a & b),
    ("or", lambda a, b: a | b),
    ("xor", lambda a, b: a ^ b),
    ("shl", lambda a, b: (a << (b % 8)) % 2**32),
    ("shr", lambda a, b: a >> (b % 8)),
]


def _op(name: str) -> Any:
    return getattr(ew, name, None) or getattr(ew, name + "_")


def _elementwise() -> list[Sample]:
    made = []
    for name, reference, low, high, lacks, tolerance in UNARY:
        x = floats(1, 3, 4, low=low, high=high)
        made.append(
            Sample(name, _op(name), (x,), reference, lacks != "first", lacks == "", tolerance or 1e-300)
        )
    for name, reference2 in BINARY:
        a, b = floats(2, 3, 4, low=0.3, high=3), floats(3, 3, 4, low=0.35, high=3.1)
        made.append(Sample(name, _op(name), (a, b), reference2))
        made.append(Sample(name, _op(name), (a, b[0, 0]), reference2, note="scalar"))
    for name, bits in BITS:
        a, b = ints(4, 0, 2**31, 3, 4, dtype=np.uint32), ints(5, 0, 8, 3, 4, dtype=np.uint32)
        made.append(Sample(name, _op(name), (a, b), np.vectorize(bits, otypes=[np.uint32]), grad=False))
    truth = ints(6, 0, 2, 3, 4, dtype=np.bool_)
    x, y = floats(7, 3, 4), floats(8, 3, 4)
    word = floats(9, 3).astype(np.float32)
    made += [
        Sample("not", p.not_, (truth,), lambda t: t ^ True, grad=False),
        Sample("select", p.select, (truth, x, y), lambda t, a, b: t * a + (1 - t) * b),
        Sample("select", p.select, (truth[0, 0], x, y), lambda t, a, b: a if t else b, note="scalar"),
        Sample("fma", ew.Fma(), (x, y, x + y), lambda a, b, c: a * b + c),
        Sample("cast", lambda a: p.cast(a, F32), (x,), lambda a: np.array(a.tolist(), "f"), tolerance=1e-7),
        Sample("cast", lambda a: p.cast(a, U8), (x * 200,), lambda a: np.trunc(a).astype(int) % 256, False, note="wraps"),
        Sample("cast", lambda a: p.cast(a, BOOL), (np.trunc(x),), lambda a: a != 0, False, note="truth"),
        Sample("bitcast", lambda a: p.bitcast(a, U32), (word,), lambda a: np.frombuffer(a.tobytes(), "u4"), False),
        Sample("const", lambda: p.const(x), (), lambda: x),
        Sample("const", lambda: p.const(-0.0, F32), (), lambda: np.float32(-0.0), note="scalar"),
    ]
    return made


def _movement() -> list[Sample]:
    x = floats(10, 3, 4)
    t = floats(11, 2, 3, 4)

    def padded(a: np.ndarray) -> np.ndarray:
        made = np.full((1 + 3 + 4 + 2, 4 + 1), 7.5)
        made[1:8:3, :4] = a
        return made

    return [
        Sample("broadcast", lambda a: p.broadcast(a, (3, 5, 4), (0, 2)), (x,), lambda a: np.stack([a] * 5, 1)),
        Sample(
            "broadcast", lambda a: p.broadcast(a, (2, 3, 4), (0, 1, 2)), (t[:1, :, :1],),
            lambda a: a + np.zeros((2, 3, 4)), note="extent-1",
        ),
        Sample("reshape", lambda a: p.reshape(a, (2, 6)), (x,), lambda a: np.array([a.ravel()[:6], a.ravel()[6:]])),
        Sample("reshape", lambda a: p.reshape(a, (1, 3, 1, 4)), (x,), lambda a: a[None, :, None], note="trivial"),
        Sample("transpose", lambda a: p.transpose(a, (2, 0, 1)), (t,), lambda a: np.einsum("abc->cab", a)),
        Sample("slice", lambda a: p.slice_(a, (2, 0), (0, 4), (-1, 3)), (x,), lambda a: a[[2, 1]][:, [0, 3]]),
        Sample("slice", lambda a: p.slice_(a, (2, 1), (-1, 3), (-2, 1)), (x,), lambda a: a[[2, 0]][:, 1:3], note="to-0"),
        Sample("slice", lambda a: p.slice_(a, (1, 1), (1, 3), (1, 1)), (x,), lambda a: a[:0, 1:3], note="empty"),
        Sample("pad", lambda a: p.pad(a, (1, 0), (2, 1), (2, 0), 7.5), (x,), padded),
        Sample("concat", lambda a, b, c: p.concat([a, b, c], 1), (x, x[:, :1], -x), lambda *a: np.hstack(a)),
        Sample("iota", lambda: p.iota(TensorType(I32, (2, 3)), 1), (), lambda: np.array([[0, 1, 2]] * 2), False),
        Sample("iota", lambda: p.iota(TensorType(F32, (3, 2)), 0), (), lambda: [[0, 0], [1, 1], [2, 2]], note="float"),
    ]


def _reduce() -> list[Sample]:
    x = floats(12, 2, 3, 4, low=0.3, high=2)
    whole = ints(13, -9, 9, 3, 4, dtype=np.int32)
    made = []
    folds = {"sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "max": max, "min": min}
    for name, fold in folds.items():
        build = getattr(p, f"reduce_{name}")

        def rows(a: np.ndarray, fold: Any = fold) -> np.ndarray:
            return np.array([reduce(fold, a[:, j].ravel()) for j in range(a.shape[1])])

        made.append(Sample(name, lambda a, build=build: build(a, (0, 2)), (x,), rows))
        made.append(
            Sample(
                name, lambda a, build=build: build(a, (0, 1)), (whole,),
                lambda a, fold=fold: np.int32(reduce(fold, a.ravel().tolist()) if fold is not folds["prod"] else np.prod(a)),
                grad=False, note="int",
            )
        )  # fmt: skip
    return [
        *made,
        Sample("argmax", lambda a: p.argmax(a, 1), (whole,), lambda a: [r.index(max(r)) for r in a.tolist()], False),
        Sample("argmin", lambda a: p.argmin(a, 0), (whole,), lambda a: [r.index(min(r)) for r in a.T.tolist()], False),
        Sample("cumsum", lambda a: p.cumsum(a, 1), (x,), lambda a: np.stack([a[:, : i + 1].sum(1) for i in range(3)], 1)),
        Sample(
            "cumsum", lambda a: p.cumsum(a, 2, reversed=True), (x,),
            lambda a: np.stack([a[..., i:].sum(-1) for i in range(4)], -1), note="reversed",
        ),
    ]


def _added(base: np.ndarray, rows: Sequence[tuple[Any, Any]]) -> np.ndarray:
    made = base.copy()
    for where, value in rows:
        made[where] += value
    return made


def _indexing() -> list[Sample]:
    x = floats(14, 3, 4)
    idx = np.array([[2, 0], [2, 2]])
    along = np.array([[1, 1, 3], [0, 2, 2], [3, 0, 1]], np.int32)
    nd = np.array([[0, 2, 0], [1, 3, 1]])
    u, v, w = floats(15, 2, 2, 4), floats(16, 3, 3), floats(17, 3)
    spots = list(product(range(3), range(3)))

    def put(b: np.ndarray, i: np.ndarray, value: np.ndarray) -> np.ndarray:
        made = b.copy()
        for k in range(3):
            made[i[0, k], i[1, k]] = value[k]
        return made

    def ordered(a: np.ndarray, down: bool) -> tuple[np.ndarray, np.ndarray]:
        order = [sorted(range(4), key=lambda j: -r[j] if down else r[j]) for r in a.tolist()]
        return np.array([r[o] for r, o in zip(a, order)]), np.array(order)

    def parts(down: bool) -> Callable[[Node], list[Node]]:
        return lambda a: [p.get(p.sort(a, 1, down), i) for i in (0, 1)]

    ties = np.array([[1.0, 0, 1, 0], [2, 2, 2, 1]])
    return [
        Sample("gather", lambda a, i: p.gather(a, i, 0), (x, idx), lambda a, i: a[i]),
        Sample("gather", lambda a, i: p.gather(a, i, 1), (x, idx), lambda a, i: a[:, i], note="axis1"),
        Sample("gather_along", lambda a, i: p.gather_along(a, i, 1), (x, along), lambda a, i: np.array([r[j] for r, j in zip(a, i)])),
        Sample("gather_nd", p.gather_nd, (x, nd), lambda a, i: np.array([a[0, 1], a[2, 3], a[0, 1]])),
        Sample("gather_nd", p.gather_nd, (x, nd[:1]), lambda a, i: a[i[0]], note="rows"),
        Sample(
            "scatter_add", lambda b, i, c: p.scatter_add(b, i, c, 0), (x, idx, u),
            lambda b, i, c: _added(b, [(i[j], c[j]) for j in product(range(2), range(2))]),
        ),
        Sample(
            "scatter_add", lambda b, i, c: p.scatter_add(b, i, c, 1), (x, idx[0], u[0, :, :3].T.copy()),
            lambda b, i, c: _added(b, [((slice(None), i[j]), c[:, j]) for j in range(2)]), note="axis1",
        ),
        Sample(
            "scatter_along_add", lambda b, i, c: p.scatter_along_add(b, i, c, 1), (x, along, v),
            lambda b, i, c: _added(b, [((r, i[r, j]), c[r, j]) for r, j in spots]),
        ),
        Sample(
            "scatter_nd", p.scatter_nd, (x, nd, w),
            lambda b, i, c: _added(b, [((i[0, k], i[1, k]), c[k]) for k in range(3)]),
        ),
        Sample("scatter_nd", lambda b, i, c: p.scatter_nd(b, i, c, "set"), (x, nd[:, :2], w[:2]),
               lambda b, i, c: put(b, np.c_[i, i[:, :1]], np.r_[c, c[:1]]), note="set"),
        Sample("scatter_nd", lambda b, i, c: p.scatter_nd(b, i, c, "set"), (x, nd, w), put, False, note="last-wins"),
        Sample("sort", parts(False), (x,), lambda a: ordered(a, False)),
        Sample("sort", parts(True), (x,), lambda a: ordered(a, True), note="down"),
        Sample("sort", parts(True), (ties,), lambda a: ordered(a, True), False, note="down-stable"),
        Sample("sort", parts(False), (ties,), lambda a: ordered(a, False), False, note="stable"),
    ]  # fmt: skip


def convolution(x: np.ndarray, w: np.ndarray, stride: Sequence[int], dilate: Sequence[int], groups: int) -> np.ndarray:
    """The definition, one product at a time."""
    n, _, *s = x.shape
    o, cg, *k = w.shape
    out = [(a - (b - 1) * d - 1) // t + 1 for a, b, t, d in zip(s, k, stride, dilate)]
    y = np.zeros((n, o, *out))
    for b, oc, *place in product(range(n), range(o), *map(range, out)):
        for c, *tap in product(range(cg), *map(range, k)):
            at = [q * t + r * d for q, t, r, d in zip(place, stride, tap, dilate)]
            y[(b, oc, *place)] += x[(b, oc // (o // groups) * cg + c, *at)] * w[(oc, c, *tap)]
    return y


def adjoint(function: Callable[[np.ndarray], np.ndarray], shape: Sequence[int], ct: np.ndarray) -> np.ndarray:
    """The transposed linear map, by its columns."""
    made = np.zeros(shape)
    for at in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[at] = 1
        made[at] = (function(unit) * ct).sum()
    return made


def _linear() -> list[Sample]:
    made = []
    for ta, tb in product((False, True), repeat=2):
        a, b = floats(18, *((2, 4, 3) if ta else (2, 3, 4))), floats(19, *((2, 2, 4) if tb else (2, 4, 2)))
        spec = f"b{'km' if ta else 'mk'},b{'nk' if tb else 'kn'}->bmn"
        made.append(
            Sample(
                "dot", lambda x, y, ta=ta, tb=tb: p.dot(x, y, ta, tb), (a, b),
                lambda x, y, spec=spec: np.einsum(spec, x, y), note=f"{ta:d}{tb:d}",
            )
        )  # fmt: skip
    cases: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int]] = [
        ("1d", (2, 2, 6), (3, 2, 3), (1,), (1,), 1),
        ("2d", (1, 2, 4, 5), (2, 1, 2, 2), (2, 1), (1, 2), 2),
        ("3d", (1, 1, 3, 2, 3), (1, 1, 2, 1, 2), (1, 1, 1), (1, 1, 1), 1),
        ("rest", (1, 1, 6), (1, 1, 2), (3,), (1,), 1),
    ]
    for note, xs, ws, stride, dilate, groups in cases:
        x, w = floats(20, *xs), floats(21, *ws)
        rule = (stride, dilate, groups)
        ct = floats(22, *convolution(x, w, *rule).shape)
        made += [
            Sample("conv", lambda a, b, r=rule: p.conv(a, b, *r), (x, w), lambda a, b, r=rule: convolution(a, b, *r), note=note),
            Sample(
                "conv_dx", lambda c, b, r=rule, s=xs[2:]: p.conv_dx(c, b, *r, s), (ct, w),
                lambda c, b, r=rule, s=xs: adjoint(lambda a: convolution(a, b, *r), s, c), note=note,
            ),
            Sample(
                "conv_dw", lambda a, c, r=rule, k=ws[2:]: p.conv_dw(a, c, *r, k), (x, ct),
                lambda a, c, r=rule, s=ws: adjoint(lambda b: convolution(a, b, *r), s, c), note=note,
            ),
        ]  # fmt: skip
    return made


def _windows(x: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Windows of 2x3 every (1, 2) of a (2, 4, 5) array."""
    return {(n, i, j): x[n, i : i + 2, 2 * j : 2 * j + 3] for n, i, j in product(range(2), range(3), range(2))}


def _folded(x: np.ndarray, fold: Callable[[np.ndarray], float]) -> np.ndarray:
    made = np.zeros((2, 3, 2))
    for at, part in _windows(x).items():
        made[at] = fold(part)
    return made


def _first(part: np.ndarray) -> tuple[int, int]:
    return divmod(part.ravel().tolist().index(part.max()), 3)


def _window() -> list[Sample]:
    x, v, ct = floats(23, 2, 4, 5), floats(24, 2, 4, 5), floats(25, 2, 3, 2)
    rule = ((2, 3), (1, 2))
    ties = np.trunc(x)

    def spread(c: np.ndarray, shares: Callable[[np.ndarray, float], Any], over: np.ndarray) -> np.ndarray:
        made = np.zeros((2, 4, 5))
        for at, part in _windows(made).items():
            n, i, j = at
            part += shares(over[n, i : i + 2, 2 * j : 2 * j + 3], c[at])
        return made

    def winner(part: np.ndarray, value: float) -> np.ndarray:
        made = np.zeros((2, 3))
        made[_first(part)] = value
        return made

    def picked(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        made = np.zeros((2, 3, 2))
        for (at, part), source in zip(_windows(a).items(), _windows(b).values()):
            made[at] = source[_first(part)]
        return made

    return [
        Sample("window_max", lambda a: p.window_max(a, *rule), (x,), lambda a: _folded(a, np.max)),
        Sample("window_sum", lambda a: p.window_sum(a, *rule), (x,), lambda a: _folded(a, np.sum)),
        Sample(
            "window_spread", lambda c: p.window_spread(c, *rule, (4, 5)), (ct,), lambda c: spread(c, lambda _, g: g, x)
        ),
        Sample("window_max_grad", lambda a, c: p.window_max_grad(a, c, *rule), (x, ct), lambda a, c: spread(c, winner, a)),
        Sample(
            "window_max_grad", lambda a, c: p.window_max_grad(a, c, *rule), (ties, ct),
            lambda a, c: spread(c, winner, a), False, note="first",
        ),
        Sample("window_pick", lambda a, b: p.window_pick(a, b, *rule), (x, v), picked),
        Sample("window_pick", lambda a, b: p.window_pick(a, b, *rule), (ties, v), picked, False, note="first"),
    ]  # fmt: skip


def _control() -> list[Sample]:
    x, h, w = floats(26, 3, 2), floats(27, 2), floats(28, 2, low=0.5, high=1.5)
    p.register_host("tests.outer", lambda a, b: np.outer(a, b))

    def recurrent(x: Node, h: Node, w: Node) -> list[Node]:
        carries, ys, _ = p.loop(lambda c, r, k: ([p.tanh(c[0] * k[0] + r[0])], [c[0] * r[0]]), [h], [x], [w])
        return [*carries, *ys]

    def unrolled(x: np.ndarray, h: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ys = []
        for row in x:
            ys.append(h * row)
            h = np.tanh(h * w + row)
        return h, np.array(ys)

    def growing(h: Node, w: Node) -> list[Node]:
        def turn(c: list[Node], _: list[Node], k: list[Node]) -> tuple[list[Node], list[Node]]:
            return [c[0] * (1.0 + k[0] * k[0]), p.add(c[1], 1)], [p.log(c[0])]

        carries, ys, count = p.loop(
            turn, [h, p.const(0, I64)], [], [w], 9, lambda c, _, k: p.lt(p.reduce_max(c[0], (0,)), 20.0)
        )
        assert count is not None
        return [carries[0], ys[0], carries[1], count]

    def grown(h: np.ndarray, w: np.ndarray) -> tuple[Any, ...]:
        ys, done = np.zeros((9, 2)), 0
        while h.max() < 20 and done < 9:
            ys[done] = np.log(h)
            h, done = h * (1 + w * w), done + 1
        assert 2 < done < 9
        return h, ys, done, done

    def branching(limit: float) -> Callable[[Node, Node], list[Node]]:
        return lambda h, w: p.branch(
            p.lt(p.reduce_sum(h, (0,)), limit), lambda a, b: [a * b, p.exp(a)], lambda a, b: [a / b, b], [h, w]
        )

    def softmax(x: Node) -> Node:
        def body(x: Node) -> Node:
            e = p.exp(x)
            return e / p.broadcast(p.reduce_sum(e, (1,)), x.shape, (0,))

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            y, g = outs[0], cts[0]
            return [y * (g - p.broadcast(p.reduce_sum(g * y, (1,)), y.shape, (0,)))]

        made = p.custom_grad([x], body, rule)
        assert isinstance(made, Node)
        return made

    outer = (TensorType(F64, (2, 3)),)
    return [
        Sample("loop", recurrent, (x, h, w), unrolled),
        Sample("loop", growing, (np.abs(h) + 0.5, w), grown, note="while"),
        Sample("branch", branching(100.0), (h, w), lambda a, b: (a * b, np.exp(a)), note="then"),
        Sample("branch", branching(-100.0), (h, w), lambda a, b: (a / b, b), note="else"),
        Sample("custom_grad", softmax, (x,), lambda a: np.exp(a) / np.exp(a).sum(1, keepdims=True)),
        Sample("host_call", lambda a, b: p.host_call("tests.outer", [a, b], outer), (h, x[:, 0]), np.outer, False),
        Sample("get", lambda a: p.get(p.sort(a, 0), 0), (w,), lambda a: np.array(sorted(a))),
        Sample("input", lambda a: a, (x,), lambda a: a),
    ]


def _random() -> list[Sample]:
    key = np.array([0x13198A2E, 0x03707344], np.uint32)
    return [
        Sample("random_bits", lambda k: p.random_bits(k, (2, 3)), (key,), lambda k: threefry_bits(k.tolist(), (2, 3)), False),
        Sample(
            "fold_key", lambda k: p.fold_key(k, 5), (key,),
            lambda k: np.array(threefry_words(k.tolist(), (5, 0xFFFFFFFF)), np.uint32), False,
        ),
    ]  # fmt: skip


def threefry_words(key: Sequence[int], counter: Sequence[int]) -> tuple[int, int]:
    """threefry2x32-20 in Python's integers."""
    mask = 0xFFFFFFFF
    ks = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA]
    a, b = (counter[0] + ks[0]) & mask, (counter[1] + ks[1]) & mask
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    for turn in range(20):
        a = (a + b) & mask
        r = rotations[turn % 8]
        b = (((b << r) | (b >> (32 - r))) & mask) ^ a
        if turn % 4 == 3:
            s = turn // 4 + 1
            a, b = (a + ks[s % 3]) & mask, (b + ks[(s + 1) % 3] + s) & mask
    return a, b


def threefry_bits(key: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    return np.array([threefry_words(key, (i, 0))[0] for i in range(math.prod(shape))], np.uint32).reshape(shape)


SAMPLES = [
    *_elementwise(), *_movement(), *_reduce(), *_indexing(), *_linear(), *_window(), *_control(), *_random(),
]  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of `sample` runs for each of them."""
    if "sample" in metafunc.fixturenames:
        metafunc.parametrize("sample", SAMPLES, ids=str)


@pytest.fixture
def samples() -> list[Sample]:
    return SAMPLES


@pytest.fixture
def threefry() -> Callable[[Sequence[int], tuple[int, ...]], np.ndarray]:
    return threefry_bits

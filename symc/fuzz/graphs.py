"""Random graphs over primitives.

Every value carries a bound of its magnitude. Whole numbers stay within what sums and products represent exactly, so
there all bits must agree, in whatever order an optimised program computes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from symc.fuzz.varied import flip, one_of
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import branch, loop
from symc.ir.prims.indexing import gather, gather_along, gather_nd, scatter_add, scatter_along_add, scatter_nd, sort
from symc.ir.prims.linear import conv, dot
from symc.ir.prims.movement import broadcast, concat, iota, pad, reshape, reverse, slice_, transpose
from symc.ir.prims.random import fold_key, random_bits
from symc.ir.prims.reduce import argmax, argmin, cumsum, reduce_max, reduce_min, reduce_prod, reduce_sum
from symc.ir.prims.tuples import get
from symc.ir.prims.window import window_max, window_max_grad, window_pick, window_spread, window_sum
from symc.ir.tensor.graph import Graph, Output, Update, finish, topological
from symc.ir.types import F16, F32, F64, I32, I64, U32, DType, TensorType

#: extents and elements of values; of a few graphs they are large, so that products have tiles and panels
SMALL, SMALL_SIZE = (1, 2, 3, 4, 5, 8, 17), 600
LARGE, LARGE_SIZE = (1, 3, 8, 16, 17, 24, 33, 40), 4000
#: magnitudes that whole numbers, and that other numbers may reach; beyond them a value is clamped
WHOLE, REAL = 2.0**20, 30.0


#: functions that take any value of up to 1, only positive ones, only those below 1
ANYWHERE = "cos atan asinh erf expm1 softrelu sinh cosh tan cbrt exp floor".split()
POSITIVE = "sqrt rsqrt log log2 log10 log1p gamma gammaln digamma".split()
INSIDE = "asin acos atanh erfinv".split()
#: the input that random numbers come from
KEY = input_node("key", TensorType(U32, (2,)), "key")


class Value(NamedTuple):
    """A node with a bound of its magnitude."""

    node: Node
    size: float


class Maker:
    """Draws a graph step by step; every step adds one value that any later one may use."""

    def __init__(self, rng: np.random.Generator, whole: bool, dtype: DType) -> None:
        self.rng, self.whole, self.dtype = rng, whole, dtype
        self.extents, self.most = (LARGE, LARGE_SIZE) if flip(rng, 0.12) else (SMALL, SMALL_SIZE)
        self.pool: list[Value] = []

    def pick(self, choices: Sequence[Any]) -> Any:
        return one_of(self.rng, *choices)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def shape(self, rank: int) -> tuple[int, ...]:
        made: list[int] = []
        for _ in range(rank):
            made.append(int(self.pick([e for e in self.extents if e * math.prod(made) <= self.most])))
        return tuple(made)

    def kept(self, node: Node, size: float) -> None:
        """Into the pool, clamped first if the value could grow too large."""
        limit = WHOLE if self.whole else REAL
        if size > limit:
            node, size = ew.minimum(ew.maximum(node, -limit / 64), limit / 64), limit / 64
        self.pool.append(Value(node, size))

    def step(self) -> None:
        steps = "unary unary binary binary binary spread fold product move move join choose window scan places convolve"
        if flip(self.rng, 0.15):
            steps = "turns sides bits draw"
        getattr(self, self.pick(steps.split()))(self.value())

    def value(self) -> Value:
        """Mostly a late one, so that graphs grow deep."""
        return self.pool[-1 - self.number(0, min(len(self.pool), self.number(1, 8)) - 1)]

    def results(self) -> list[Node]:
        """The last values that no other uses, and at times one that others use, an input, or one value twice."""
        used = {i for v in self.pool for n in topological([v.node]) for i in n.inputs}
        last = [n for n in dict.fromkeys(v.node for v in self.pool) if n not in used and n.inputs][-4:]
        last = last or [self.pool[-1].node]
        if flip(self.rng, 0.15):
            last.append(self.pick(self.pool).node)
        if flip(self.rng, 0.1):
            last.append(self.pool[0].node)
        if flip(self.rng, 0.1):
            last.append(last[0])
        if flip(self.rng, 0.1):
            last.append(reshape(self.pool[0].node, (-1 * -self.pool[0].node.tensor.size,)))
        return last

    # -- steps

    def unary(self, x: Value) -> None:
        if self.whole or flip(self.rng, 0.3):
            words = "neg abs_ relu sign" + (
                " floor ceil trunc rint round_" if self.dtype.is_float and self.whole else ""
            )
            name = self.pick(words.split())
            self.kept(getattr(ew, name)(x.node), 1.0 if name == "sign" else x.size)
            return
        # a value below 1, brought to where the function is tame
        small = ew.tanh(x.node)
        name = self.pick(["tanh", "sigmoid", "sin", *ANYWHERE, *POSITIVE, *INSIDE])
        if name in POSITIVE:
            small = ew.abs_(small) + 0.5
        elif name in INSIDE:
            small = small * 0.9
        self.kept(getattr(ew, name)(x.node if name in ("tanh", "sigmoid", "sin") else small), 10.0)

    def binary(self, x: Value) -> None:
        y = self.like(x)
        exact = ["add", "sub", "mul", "maximum", "minimum", "scale", *(["fma"] if self.dtype.is_float else [])]
        name = self.pick([*exact, "compare"] if self.whole else [*exact, "ratio", "hypot", "atan2", "pow", "mod"])
        if name == "compare":
            test = getattr(ew, self.pick("eq ne lt le gt ge".split()))(x.node, y.node)
            self.kept(ew.cast(ew.not_(test) if flip(self.rng) else test, self.dtype), 1.0)
        elif name == "fma":
            z = self.like(x)
            self.kept(ew.Fma()(x.node, y.node, z.node), x.size * y.size + z.size)
        elif name in ("hypot", "atan2"):
            self.kept(getattr(ew, name)(x.node, ew.add(ew.abs_(y.node), 0.5)), x.size + y.size + 4)
        elif name == "pow":
            self.kept(ew.pow_(ew.add(ew.abs_(ew.tanh(x.node)), 0.5), ew.tanh(y.node)), 2.0)
        elif name == "mod":
            self.kept(ew.mod(x.node, ew.add(ew.abs_(y.node), 1.0)), y.size + 1)
        elif name == "scale":
            factor = self.number(-3, 3)
            self.kept(ew.mul(x.node, factor), x.size * abs(factor))
        elif name == "ratio":
            self.kept(ew.div(x.node, ew.add(ew.abs_(y.node), 1.0)), x.size)
        elif name == "mul":
            self.kept(ew.mul(x.node, y.node), x.size * y.size)
        elif name in ("maximum", "minimum"):
            self.kept(getattr(ew, name)(x.node, y.node), max(x.size, y.size))
        else:
            self.kept(getattr(ew, name)(x.node, y.node), x.size + y.size)

    def like(self, x: Value) -> Value:
        """A value of x's shape: one of the pool, or one broadcast to it."""
        same = [v for v in self.pool if v.node.shape == x.node.shape]
        fitting = [v for v in self.pool if self.fit(v.node, x.node.shape) is not None]
        found = self.pick(same + fitting)
        dims = self.fit(found.node, x.node.shape)
        assert dims is not None
        return Value(broadcast(found.node, x.node.shape, dims), found.size)

    @staticmethod
    def fit(node: Node, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Axes of `shape` that the node's axes can become, the first such."""
        axes = itertools.combinations(range(len(shape)), node.rank)
        return next((a for a in axes if all(shape[d] == e for d, e in zip(a, node.shape))), None)

    def spread(self, x: Value) -> None:
        """A new axis, along which the value is repeated."""
        at = self.number(0, x.node.rank)
        extent = self.pick([1, 2, 5])
        if x.node.rank < 4 and x.node.tensor.size * extent <= self.most:
            shape = (*x.node.shape[:at], extent, *x.node.shape[at:])
            dims = [a for a in range(len(shape)) if a != at]
            self.pool.append(Value(broadcast(x.node, shape, dims), x.size))

    def fold(self, x: Value) -> None:
        """A reduction over some axes."""
        if not x.node.rank:
            return
        axes = sorted(self.rng.permutation(x.node.rank)[: self.number(1, x.node.rank)].tolist())
        count = math.prod(x.node.shape[a] for a in axes)
        function = self.pick([reduce_sum, reduce_sum, reduce_max, reduce_min, reduce_prod])
        if function is reduce_prod:
            below = ew.maximum(ew.minimum(x.node, 1), -1)
            self.kept(reduce_prod(below, axes), 1.0)
        else:
            self.kept(function(x.node, axes), x.size * (count if function is reduce_sum else 1))

    def product(self, x: Value) -> None:
        """A matrix product with another value, or with itself."""
        if x.node.rank not in (2, 3):
            return
        options = []
        for y in self.pool:
            if y.node.rank == x.node.rank and y.node.shape[:-2] == x.node.shape[:-2]:
                for ta, tb in itertools.product((False, True), repeat=2):
                    inner, outer = x.node.shape[-2 if ta else -1], y.node.shape[-1 if tb else -2]
                    if inner == outer:
                        options.append((y, ta, tb, inner))
        if options:
            y, ta, tb, count = self.pick(options)
            self.kept(dot(x.node, y.node, ta, tb), x.size * y.size * count)

    def convolve(self, x: Value) -> None:
        """A convolution with a value of the pool that has as many channels, or with a slice of the value itself."""
        if x.node.rank not in (3, 4) or not self.dtype.is_float:
            return
        _, channels, *spatial = x.node.shape
        kernel = [self.number(1, min(3, e)) for e in spatial]
        stride = [self.number(1, 3) for _ in spatial]
        weight = slice_(x.node, [0] * x.node.rank, [x.node.shape[0], channels, *kernel])
        if x.node.tensor.size * weight.tensor.size <= self.most * 40:
            made = conv(x.node, weight, stride, [1] * len(spatial))
            self.kept(made, x.size * x.size * channels * math.prod(kernel))

    def window(self, x: Value) -> None:
        """Windows over the last two axes, which may leave gaps, and what goes back through them."""
        if x.node.rank not in (2, 3, 4):
            return
        spatial = x.node.shape[1:]
        size = [self.number(1, min(3, e)) for e in spatial]
        stride = [self.number(1, 4) for _ in spatial]
        count = math.prod(size)
        kind = self.pick(["max", "max", "sum"])
        if kind == "sum":
            below, bound = window_sum(x.node, size, stride), x.size * count
        else:
            below, bound = window_max(x.node, size, stride), x.size
        self.kept(below, bound)
        back = self.pick(["none", "grad", "spread", "pick"])
        if back == "grad":
            seen = self.like(self.pool[-1])
            self.kept(window_max_grad(x.node, seen.node, size, stride), seen.size * count)
        elif back == "spread":
            self.kept(window_spread(below, size, stride, spatial), bound * count)
        elif back == "pick":
            other = self.like(x)
            self.kept(window_pick(x.node, other.node, size, stride), other.size)

    def scan(self, x: Value) -> None:
        """Running sums, or the order of elements."""
        if not x.node.rank:
            return
        axis = self.number(0, x.node.rank - 1)
        kind = self.pick(["cumsum", "cumsum", "sort", "argmax", "argmin"])
        if kind == "cumsum":
            self.kept(cumsum(x.node, axis, flip(self.rng)), x.size * x.node.shape[axis])
        elif kind == "sort":
            self.kept(get(sort(x.node, axis, flip(self.rng)), 0), x.size)
        elif self.whole:
            found = (argmax if kind == "argmax" else argmin)(x.node, axis)
            self.kept(ew.cast(found, self.dtype), float(x.node.shape[axis]))

    def places(self, x: Value) -> None:
        """Elements at computed places, read or written; a place may lie outside."""
        if not x.node.rank:
            return
        node, rows, count = x.node, x.node.shape[0], self.number(1, 4)
        at = iota(TensorType(I32, (count,)), 0) * self.number(1, 3) - self.number(0, 2)
        kind = self.pick(["gather", "scatter", "along", "scatter_along", "nd", "scatter_nd"])
        if kind in ("gather", "scatter"):
            read = gather(node, at, 0)
            self.kept(read if kind == "gather" else scatter_add(node, at, read, 0), x.size * (1 + count))
        elif kind in ("along", "scatter_along"):
            wide = broadcast(at, (count, *node.shape[1:]), (0,))
            read = gather_along(node, wide, 0)
            self.kept(read if kind == "along" else scatter_along_add(node, wide, read, 0), x.size * (1 + count))
        else:
            pairs = broadcast(ew.mod(at, rows), (min(node.rank, 2), count), (1,))
            read = gather_nd(node, pairs)
            made = read if kind == "nd" else scatter_nd(node, pairs, read, "add")
            self.kept(made, x.size * (1 + count))

    def turns(self, x: Value) -> None:
        """A loop over the rows of a value."""
        if x.node.rank < 2 or x.node.dtype != self.dtype:
            return
        start = slice_(x.node, [0] * x.node.rank, [1, *x.node.shape[1:]])
        state = reshape(start, x.node.shape[1:])
        low, high = (-4, 4) if self.dtype.is_int or self.whole else (-1.0, 1.0)

        def body(carries: Sequence[Node], rows: Sequence[Node], _: Sequence[Node]) -> tuple[list[Node], list[Node]]:
            held = ew.minimum(ew.maximum(carries[0] + rows[0], low), high)
            return [held], [carries[0] - rows[0]]

        (last,), (rows,), _ = loop(body, [state], [x.node])
        self.kept(rows, 2 * x.size + 8)
        self.kept(last, x.size + 8)

    def test(self, node: Node) -> Node:
        """A comparison that rounding cannot turn."""
        if self.whole:
            return ew.gt(node, self.pick([0, 1]))
        return self.pick([ew.ge, ew.lt])(ew.add(ew.abs_(node), 1.0), 0.0)

    def sides(self, x: Value) -> None:
        """A branch that looks at one element."""
        if not x.node.rank or x.node.dtype != self.dtype:
            return
        one = reshape(slice_(x.node, [0] * x.node.rank, [1] * x.node.rank), ())
        (made,) = branch(self.test(one), lambda a: [a + 1], lambda a: [ew.relu(a)], [x.node])
        self.kept(made, x.size + 1)

    def bits(self, x: Value) -> None:
        """Integers bit by bit, truth values together."""
        if self.dtype.is_int:
            y = self.like(x)
            name = self.pick(["and_", "or_", "xor", "shr"])
            low = ew.and_(y.node, 7)
            self.kept(getattr(ew, name)(x.node, low) if name != "shr" else ew.shr(ew.abs_(x.node), low), x.size + 8)
        else:
            both = getattr(ew, self.pick(["and_", "or_", "xor"]))(self.test(x.node), self.test(x.node))
            self.kept(ew.cast(both, self.dtype), 1.0)

    def draw(self, x: Value) -> None:
        """Random numbers of a key that the graph is given."""
        if x.node.dtype == self.dtype:
            drawn = ew.and_(random_bits(fold_key(KEY, len(self.pool)), x.node.shape), 3)
            self.kept(x.node + ew.cast(drawn, self.dtype), x.size + 3)

    def move(self, x: Value) -> None:
        """Elements elsewhere; values stay."""
        node, rank = x.node, x.node.rank
        name = self.pick(["transpose", "transpose", "reshape", "slice", "reverse", "pad"])
        if name == "transpose":
            node = transpose(node, self.rng.permutation(rank).tolist())
        elif name == "reshape":
            shapes = [(node.tensor.size,), (1, *node.shape), (*node.shape, 1)]
            shapes += [
                (*node.shape[:a], node.shape[a] * node.shape[a + 1], *node.shape[a + 2 :]) for a in range(rank - 1)
            ]
            shapes += [(2, e // 2, *node.shape[1:]) for e in node.shape[:1] if e % 2 == 0]
            node = reshape(node, self.pick([s for s in shapes if len(s) <= 4]))
        elif name == "reverse":
            node = reverse(node, [a for a in range(rank) if flip(self.rng)])
        elif name == "slice":
            begin = [self.number(0, e - 1) for e in node.shape]
            end = [self.number(b + 1, e) for b, e in zip(begin, node.shape)]
            node = slice_(node, begin, end, [self.number(1, 3) for _ in begin])
        else:
            low, high, inner = ([self.number(0, 2) for _ in range(rank)] for _ in range(3))
            grown = pad(node, low, high, [min(i, 1) for i in inner], value=float(self.number(-1, 1)))
            node = grown if grown.tensor.size <= self.most else node
        self.pool.append(Value(node, max(x.size, 1.0)))

    def join(self, x: Value) -> None:
        """Two values one after the other."""
        for axis in range(x.node.rank):
            rest = [e for a, e in enumerate(x.node.shape) if a != axis]
            others = [
                v
                for v in self.pool
                if v.node.rank == x.node.rank and [e for a, e in enumerate(v.node.shape) if a != axis] == rest
            ]
            y = self.pick(others)
            if flip(self.rng) and x.node.tensor.size + y.node.tensor.size <= self.most:
                self.pool.append(Value(concat([x.node, y.node], axis), max(x.size, y.size)))
                return

    def choose(self, x: Value) -> None:
        """One of two values."""
        y, z = self.like(x), self.like(x)
        test = ew.lt(x.node, z.node) if self.whole else self.test(x.node)
        self.pool.append(Value(ew.select(test, x.node, y.node), max(x.size, y.size)))


def graph_of(
    function: Callable[..., Sequence[Node]], types: dict[str, TensorType], updates: Sequence[tuple[str, str]] = (),
    phases: Sequence[str] = (),
) -> Graph:  # fmt: skip
    """The tensor graph of a function of nodes; outputs are out0, out1, ..., in the halves that `phases` says (forward).
    `updates` are (input, phase): the last value of the input's type that the function computes becomes the input's."""
    origin = SymOrigin("net", "Fuzz")
    inputs = {name: input_node(name, t) for name, t in types.items()}
    with Recorder() as recorder, recorder.at(origin):
        outs = list(function(**inputs))
    changed = []
    for name, phase in updates:
        fitting = [n for n in topological(outs) if n.inputs and n.type == types[name]]
        changed += [Update(name, fitting[-1], phase)] if fitting else []
    origins = {**recorder.origins, **{i: origin for i in inputs.values()}}
    in_phase = [*phases, *["forward"] * len(outs)]
    outputs = [Output(f"out{i}", o, phase=phase) for i, (o, phase) in enumerate(zip(outs, in_phase))]
    keys = [KEY] if KEY in topological(outs) else []
    return finish("net", [*inputs.values(), *keys], outputs, changed, {}, origins)


def random_graph(rng: np.random.Generator, whole: bool) -> Graph:
    """A graph of 3 to 14 steps over one to three inputs."""
    dtype = one_of(rng, F32, F32, F64, I32, I64) if whole else one_of(rng, F32, F64, F64, F16)
    maker = Maker(rng, whole, dtype)
    types = {f"x{i}": TensorType(dtype, maker.shape(maker.number(1, 4))) for i in range(maker.number(1, 3))}
    updates = [(name, one_of(rng, "forward", "backward")) for name in types if flip(rng, 0.2)]
    phases = [one_of(rng, "forward", "backward") for _ in range(8)] if flip(rng, 0.4) else []

    def build(**inputs: Node) -> list[Node]:
        for node in inputs.values():
            maker.kept(node if whole else ew.tanh(node), 4.0 if whole else 1.0)
        for _ in range(maker.number(3, 14)):
            maker.step()
        return maker.results()

    return graph_of(build, types, updates, phases)

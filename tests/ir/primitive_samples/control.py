"""Samples of control flow, operators with their own gradient, host calls and random bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from primitive_samples.sample import Sample, floats
from symc.ir import prims as p
from symc.ir.op import Node
from symc.ir.types import F64, I64, TensorType


def control_samples() -> list[Sample]:
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


def random_samples() -> list[Sample]:
    key = np.array([0x13198A2E, 0x03707344], np.uint32)
    return [
        Sample(
            "random_bits", lambda k: p.random_bits(k, (2, 3)), (key,),
            lambda k: threefry_bits(k.tolist(), (2, 3)), False,
        ),
        Sample(
            "fold_key", lambda k: p.fold_key(k, 5), (key,),
            lambda k: np.array(threefry_words(k.tolist(), (5, 0xFFFFFFFF)), np.uint32), False,
        ),
    ]  # fmt: skip

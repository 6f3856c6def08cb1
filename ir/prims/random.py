"""Random bits from a counter: the same key and position always give the same bits, in any order, on any thread.

threefry2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.index import Affine, linear
from symc.ir.op import Index, Node, Primitive, Read, Ref, Scalars, primitive, require
from symc.ir.prims import elementwise as ew
from symc.ir.types import F16, F32, F64, U32, Array, DType, Shape, TensorType, Type, strides_of

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """The two output words of threefry2x32-20, in numpy (u32 arrays)."""
    with np.errstate(over="ignore"):
        keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(_PARITY))
        a, b = counter[0] + keys[0], counter[1] + keys[1]
        for turn in range(5):
            for r in _ROTATIONS[turn % 2]:
                a = a + b
                b = (b << np.uint32(r)) | (b >> np.uint32(32 - r))
                b = a ^ b
            a = a + keys[(turn + 1) % 3]
            b = b + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return a, b


def _threefry_scalar(k: Scalars, key: tuple[Ref, Ref], counter: tuple[Ref, Ref]) -> tuple[Ref, Ref]:
    """The same, written with scalar operations of the loop level."""

    def word(value: int) -> Ref:
        return k.const(value, U32)

    parity = k.apply(ew.xor, [k.apply(ew.xor, [key[0], key[1]]), word(_PARITY)])
    keys = (key[0], key[1], parity)
    a, b = k.apply(ew.add, [counter[0], keys[0]]), k.apply(ew.add, [counter[1], keys[1]])
    for turn in range(5):
        for r in _ROTATIONS[turn % 2]:
            a = k.apply(ew.add, [a, b])
            b = k.apply(ew.or_, [k.apply(ew.shl, [b, word(r)]), k.apply(ew.shr, [b, word(32 - r)])])
            b = k.apply(ew.xor, [a, b])
        a = k.apply(ew.add, [a, keys[(turn + 1) % 3]])
        b = k.apply(ew.add, [k.apply(ew.add, [b, keys[(turn + 2) % 3]]), word(turn + 1)])
    return a, b


@primitive("random_bits")
class RandomBits(Primitive):
    """u32 bits of a shape from a key u32[2]: the first word for the element's position in row-major order."""

    shape: Shape = ()
    cost: ClassVar[int] = 60

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and ins[0] == TensorType(U32, (2,)), self, "takes a key u32[2]", *ins)
        return TensorType(U32, self.shape)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        count = np.arange(math.prod(self.shape), dtype=np.uint64)
        low, high = (count & 0xFFFFFFFF).astype(np.uint32), (count >> 32).astype(np.uint32)
        return threefry((args[0][0], args[0][1]), (low, high))[0].reshape(self.shape)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        position = k.from_index(linear(index, strides_of(self.shape)), U32)
        high = k.const(0, U32)  # tensors of 2^32 elements do not occur
        key = (reads[0]((Affine.of(0),)), reads[0]((Affine.of(1),)))
        return _threefry_scalar(k, key, (position, high))[0]


@primitive("fold_key")
class FoldKey(Primitive):
    """A new key u32[2] from a key and a number."""

    number: int = 0
    cost: ClassVar[int] = 60

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and ins[0] == TensorType(U32, (2,)), self, "takes a key u32[2]", *ins)
        return ins[0]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        counter = (np.uint32(self.number), np.uint32(0xFFFFFFFF))
        return np.stack(threefry((args[0][0], args[0][1]), counter))

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None]

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        key = (reads[0]((Affine.of(0),)), reads[0]((Affine.of(1),)))
        a, b = _threefry_scalar(k, key, (k.const(self.number, U32), k.const(0xFFFFFFFF, U32)))
        if not index[0].terms:
            return (a, b)[index[0].const]
        first = k.apply(ew.eq, [k.from_index(index[0], U32), k.const(0, U32)])
        return k.apply(ew.Select(), [first, a, b])


def random_bits(key: Node, shape: Sequence[int]) -> Node:
    """u32 bits from a key."""
    return Node.make(RandomBits(tuple(shape)), [key])


def fold_key(key: Node, number: int) -> Node:
    """A key for one use among many of `key`."""
    return Node.make(FoldKey(number), [key])


def uniform(key: Node, shape: Sequence[int], dtype: DType) -> Node:
    """Uniform in [0, 1): as many random bits as the type's significand holds (11, 24, or 53 from two draws), so that
    no value rounds up to 1."""
    bits = random_bits(key, shape)
    high = ew.shr(bits, 8)
    if dtype == F64:
        low = ew.shr(random_bits(fold_key(key, 1), shape), 3)
        wide = ew.add(ew.mul(ew.cast(high, F64), float(1 << 29)), ew.cast(low, F64))
        return ew.mul(wide, 2.0**-53)
    if dtype == F16:
        return ew.cast(ew.mul(ew.cast(ew.shr(bits, 21), F32), 2.0**-11), F16)
    return ew.mul(ew.cast(high, F32), 2.0**-24)


def normal(key: Node, shape: Sequence[int], dtype: DType) -> Node:
    """Standard normal by the Box-Muller transform."""
    wide = F64 if dtype == F64 else F32
    u = uniform(fold_key(key, 2), shape, wide)
    v = uniform(fold_key(key, 3), shape, wide)
    radius = ew.sqrt(ew.mul(ew.log(ew.sub(1.0, u)), -2.0))
    return ew.cast(ew.mul(radius, ew.cos(ew.mul(v, 2 * math.pi))), dtype)

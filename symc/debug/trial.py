"""A trial: a program, the passes to run on it, and the values of its inputs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from symc.debug.values import LEAST, between, edges, wide
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph
from symc.ir.types import BOOL, Array, TensorType
from symc.passes.manager.manager import Pass
from symc.runtime.memory import empty


@dataclass(frozen=True, eq=False)
class Trial:
    """What is checked, and all that it depends on.

    `whole`: the inputs are small whole numbers; where all values stay such, every bit must agree. `smooth`: gradients
    are derivatives, so differences show them. `native`: machine code runs too, and (for a Symbol) an Executor.
    `requests` are the Executor's grad_req by argument; `veto` is the share of rewrites that are not allowed to happen,
    chosen by `seed` as the inputs are, but for those that `given` has. `edge`: inputs are zeros, infinities, nan, ties,
    the ends of their type and the like; `wide`: numbers of all magnitudes from a thousandth to a thousand. `refusable`:
    an operator may refuse its types, and there is nothing to check then. `limit` are the seconds a pass may take (0:
    any). `bound`: what runs natively is also bound as users bind it. `rules`: gradients are compared with differences
    once the operators have lost the rules of their own that are no derivatives.
    """

    module: SymbolModule | Graph | Program | LoopModule
    passes: tuple[Pass, ...]
    seed: int
    whole: bool = False
    smooth: bool = False
    native: bool = False
    train: bool = True
    veto: float = 0.0
    requests: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Array] = field(default_factory=dict)
    edge: bool = False
    wide: bool = False
    refusable: bool = True
    limit: float = 0.0
    bound: bool = True
    rules: bool = False

    def value(self, name: str, role: str, tensor: TensorType) -> Array:
        """The value of an input: the same wherever it is asked for. C-contiguous, of the input's type."""
        made = empty(tensor.shape, tensor.dtype.numpy)
        given = self.given.get(name)
        if given is not None:
            made[...] = given
            return made
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        if role == "key":
            made[...] = rng.integers(0, 2**32, tensor.shape, dtype=np.uint32)
        elif tensor.dtype == BOOL:
            made[...] = rng.integers(0, 2, tensor.shape)
        elif self.wide and tensor.dtype.kind in "fi":
            made[...] = wide(rng, tensor.shape, tensor.dtype.numpy)
        elif self.edge:
            made[...] = edges(rng, tensor.shape, tensor.dtype.numpy)
        elif self.whole or not tensor.dtype.is_float:
            made[...] = rng.integers(LEAST if tensor.dtype.kind != "u" else 0, 1 - LEAST, tensor.shape)
        elif role in ("head", "grad"):
            made[...] = rng.uniform(0.5, 1.5, tensor.shape)
        else:
            made[...] = (
                between(-2.0, 2.0, *tensor.shape, seed=int(rng.integers(2**31))) if math.prod(tensor.shape) else 0
            )
        return made


@dataclass(frozen=True)
class Failure:
    """What went wrong: the check that failed, the pass (or stage) after which, and what tells it from others there (the
    verifier's number, the kind of the error, the interpreter)."""

    check: str
    where: str
    rule: str
    message: str = ""
    #: the output, or the input that is updated, whose value is wrong
    value: str = ""

    @property
    def signature(self) -> tuple[str, str, str]:
        """What stays the same while the program gets smaller."""
        return self.check, self.where, self.rule

    def fits(self, expected: tuple[str, str, str]) -> bool:
        """Whether this is the failure that is expected; a rule "" stands for any."""
        return self.signature == expected or (expected[2] == "" and self.signature[:2] == expected[:2])

    def __str__(self) -> str:
        return f"{self.check} after {self.where} ({self.rule}): {self.message}"


class Wrong(Exception):
    """A check failed."""

    def __init__(self, check: str, where: str, rule: str, message: str, value: str = "") -> None:
        self.failure = Failure(check, where, rule, message, value)
        super().__init__(str(self.failure))

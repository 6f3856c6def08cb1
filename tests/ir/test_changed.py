"""Protects how nodes, steps and statements are changed: as dataclasses.replace does it, computed values left out."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as plain

import pytest

from symc.ir.changed import replace
from symc.ir.loop.nodes import For, Store
from symc.ir.op import Ref
from symc.ir.prims.elementwise import Cast
from symc.ir.process import once
from symc.ir.types import F32, F64, TensorType


@dataclass(frozen=True)
class Whole:
    parts: tuple[int, ...]
    name: str = "whole"

    @once
    def total(self) -> int:
        return sum(self.parts)


def test_what_was_computed_is_computed_anew() -> None:
    one = Whole((1, 2))
    assert one.total == 3
    other = replace(one, parts=(5, 6))
    assert (other.total, other.name, one.parts) == (11, "whole", (1, 2))


def test_hashes_are_those_of_the_new_one() -> None:
    for old, field, value in ((TensorType(F32, (2,)), "shape", (3,)), (Cast(F32), "to", F64)):
        hash(old)
        field = field if hasattr(old, field) else next(iter(vars(old)))
        made = replace(old, **{field: value})
        assert made == plain(old, **{field: value}) and hash(made) == hash(plain(old, **{field: value}))
        assert made != old


def test_a_field_that_is_none_is_refused() -> None:
    loop = For("i", 0, 4, (Store(Ref("v", F32), "out", ()),))
    assert replace(loop, kind="vector", width=8) == plain(loop, kind="vector", width=8)
    with pytest.raises(TypeError, match="a For has no field 'lanes'"):
        replace(loop, lanes=8)

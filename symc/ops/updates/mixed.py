"""Updates of one parameter in half precision, computed on a single precision copy that is one of the states."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.types import F32
from symc.ops.base import BuildContext, Shapes, Types, operator
from symc.ops.updates.single import Descent, InPlace


class MixedUpdate(InPlace):
    """Base: weight and gradient in half precision, states and the master copy weight32 in single."""

    #: inputs and outputs of the weight's own type; the rest is float32
    narrow: ClassVar[tuple[int, ...]] = (0, 1)

    def complete(self, s: Shapes) -> None:
        s.all_alike()

    def complete_types(self, t: Types) -> None:
        t.all_alike(self.narrow, (0,))
        for at in range(len(t.ins)):
            if at not in self.narrow:
                t.set_in(at, np.float32)


@operator("mp_sgd_update", inputs="weight grad", aux="weight32", gradient="none")
class MixedSGD(Descent, MixedUpdate):
    """sgd_update on the single precision copy; the output is it in the weight's type."""

    lazy_update: bool = True

    def complete_types(self, t: Types) -> None:
        MixedUpdate.complete_types(self, t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        weight, grad, weight32 = inputs
        new = weight32 - self.slope(weight32, ew.cast(grad, F32)) * self.lr
        self.states(ctx, [new])
        return ew.cast(new, weight.dtype)


@operator("mp_sgd_mom_update", inputs="weight grad", aux="mom weight32", gradient="none", first="lr momentum")
class MixedSGDMomentum(Descent, MixedUpdate):
    """sgd_mom_update on the single precision copy."""

    momentum: float = 0.0
    lazy_update: bool = True

    def complete_types(self, t: Types) -> None:
        MixedUpdate.complete_types(self, t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        weight, grad, mom, weight32 = inputs
        mom = mom * self.momentum - self.slope(weight32, ew.cast(grad, F32)) * self.lr
        new = weight32 + mom
        self.states(ctx, [mom, new])
        return ew.cast(new, weight.dtype)


@operator("mp_nag_mom_update", inputs="weight grad", aux="mom weight32", gradient="none", first="lr momentum")
class MixedNAG(Descent, MixedUpdate):
    """nag_mom_update on the single precision copy."""

    momentum: float = 0.0

    def complete_types(self, t: Types) -> None:
        MixedUpdate.complete_types(self, t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        weight, grad, mom, weight32 = inputs
        grad = ew.cast(grad, F32)
        step = self.slope(weight32, grad) * self.lr
        new = weight32 + ((mom * self.momentum - step) * self.momentum - step)
        # MXNet's kernel writes the weight before it decays it for the momentum
        self.states(ctx, [mom * self.momentum - self.slope(new, grad) * self.lr, new])
        return ew.cast(new, weight.dtype)

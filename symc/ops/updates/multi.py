"""Updates of many parameters at once: inputs interleaved per weight, one output (the new weight) for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import F16, F32
from symc.ops.base import BuildContext, Floats, MXNetError, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.updates.single import (
    AdamWParameters,
    adamw,
    bias_corrected,
    complete_one,
    limited,
    moments,
    scalar_of,
    trust_ratio,
)


class _Multi(Operator):
    """Base: `roles` are one weight's inputs; those with a capital are single precision in mixed forms."""

    floats_only: ClassVar[bool] = True
    counts_itself: ClassVar[bool] = False
    is_update: ClassVar[bool] = True

    roles: ClassVar[tuple[str, ...]]
    #: inputs behind the weights' own
    extra: ClassVar[tuple[str, ...]] = ()

    @property
    def count(self) -> int:
        raise NotImplementedError

    @property
    def mixed(self) -> bool:
        return "weight32" in self.roles

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(f"{role}_{i}" for i in range(self.count) for role in self.roles) + self.extra

    def list_outputs(self) -> tuple[str, ...]:
        return ("output",) if self.count == 1 else tuple(f"output{i}" for i in range(self.count))

    def complete(self, s: Shapes) -> None:
        """Each weight has the shape of its gradient, states and output; rates given as tensors have one number a
        weight.
        """
        each = len(self.roles)
        for i in range(self.count):
            s.all_alike(range(i * each, (i + 1) * each), (i,))
        for at in range(self.count * each, len(s.ins)):
            if self.extra == ("rescale_grad",):
                complete_one(s, at)
            else:
                s.set_in(at, (self.count,))

    def complete_types(self, t: Types) -> None:
        each = len(self.roles)
        for i in range(self.count):
            own = range(i * each, i * each + (2 if self.mixed else each))
            t.all_alike(own, (i,))
            for at in range(i * each + len(own), (i + 1) * each):
                t.set_in(at, np.float32)
        for at in range(self.count * each, len(t.ins)):
            t.set_in(at, np.float32)

    def each(self, ctx: BuildContext, inputs: tuple[Node, ...], number: int) -> Node:
        """The new weight `number`; `self.own` gives its inputs."""
        raise NotImplementedError

    def own(self, inputs: tuple[Node, ...], number: int) -> tuple[Node, ...]:
        """One weight's inputs, the weight and its gradient in the precision it is computed in."""
        first = number * len(self.roles)
        weight, grad, *states = inputs[first : first + len(self.roles)]
        if not self.mixed:
            return (weight, grad, *states)
        copy = states.pop()
        # a weight that is not in half precision is its own copy
        return (copy, ew.cast(grad, F32), *states) if weight.dtype == F16 else (weight, grad, *states)

    def keep(self, ctx: BuildContext, number: int, role: str, value: Node) -> None:
        """The input `role` of a weight becomes `value`."""
        ctx.update(number * len(self.roles) + self.roles.index(role), value, "forward")

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        made = []
        for number in range(self.count):
            new = self.each(ctx, inputs, number)
            dtype = inputs[number * len(self.roles)].dtype
            if self.mixed and dtype == F16:
                self.keep(ctx, number, "weight32", new)
            made.append(ew.cast(new, dtype))
        return made


# --------------------------------------------------------------------------------------------- SGD


@dataclass(frozen=True, kw_only=True)
class _MultiSGD(_Multi):
    """Base: rates from the attributes lrs and wds, or, preloaded, from the last two inputs."""

    rescale_grad: float = 1.0
    clip_gradient: float = -1.0
    num_weights: int = 1

    @property
    def count(self) -> int:
        return self.num_weights

    def rates(self, inputs: tuple[Node, ...], number: int) -> tuple[Node | float, Node | float]:
        """Learning rate and weight decay of one weight."""
        if self.extra:
            return tuple(scalar_of(mv.slice_axis(x, 0, number, number + 1)) for x in inputs[-2:])  # type: ignore[return-value]
        return self.lrs[number], self.wds[number]  # type: ignore[attr-defined]

    def check(self) -> None:
        given = (getattr(self, "lrs", None), getattr(self, "wds", None))
        for name, values in zip(("lrs", "wds"), given):
            if values is not None and len(values) != self.num_weights:
                raise MXNetError(f"{self.op_name}: {name}={values} must have num_weights={self.num_weights} entries")

    def each(self, ctx: BuildContext, inputs: tuple[Node, ...], number: int) -> Node:
        weight, grad, *state = self.own(inputs, number)
        lr, wd = (ew.cast(r, weight.dtype) if isinstance(r, Node) else r for r in self.rates(inputs, number))
        step = (limited(grad * self.rescale_grad, self.clip_gradient) + weight * wd) * lr
        if not state:
            return weight - step
        mom: Node = state[0] * self.momentum - step  # type: ignore[attr-defined]
        self.keep(ctx, number, "mom", mom)
        return weight + mom


_SGD_FORMS = {
    "multi_sgd_update": ("weight", "grad"),
    "multi_sgd_mom_update": ("weight", "grad", "mom"),
    "multi_mp_sgd_update": ("weight", "grad", "weight32"),
    "multi_mp_sgd_mom_update": ("weight", "grad", "mom", "weight32"),
}


def _register_sgd(name: str, roles: tuple[str, ...], preloaded: bool) -> None:
    annotations: dict[str, object] = {} if preloaded else {"lrs": Floats, "wds": Floats}
    single = name.replace("multi_", "")
    body = {
        "__doc__": f"{single} for many weights{', with lrs and wds as the last two inputs' if preloaded else ''}.",
        "__module__": __name__,
        "__annotations__": annotations,
        "roles": roles,
        "extra": ("lrs", "wds") if preloaded else (),
    }
    if "mom" in roles:
        annotations["momentum"] = float
        body["momentum"] = 0.0  # type: ignore[assignment]
    full = f"preloaded_{name}" if preloaded else name
    operator(full, gradient="none", variadic="num_weights", first=" ".join(annotations))(type(full, (_MultiSGD,), body))


for _name, _roles in _SGD_FORMS.items():
    _register_sgd(_name, _roles, False)
    _register_sgd(_name, _roles, True)


# --------------------------------------------------------------------------------------------- AdamW


@dataclass(frozen=True, kw_only=True)
class _MultiAdamW(_Multi, AdamWParameters):
    extra: ClassVar[tuple[str, ...]] = ("rescale_grad",)

    lrs: Floats
    wds: Floats
    etas: Floats
    num_weights: int = 1

    @property
    def count(self) -> int:
        return self.num_weights

    def check(self) -> None:
        for name in ("lrs", "wds", "etas"):
            if len(getattr(self, name)) != self.num_weights:
                raise MXNetError(f"{self.op_name}: {name} must have num_weights={self.num_weights} entries")

    def each(self, ctx: BuildContext, inputs: tuple[Node, ...], number: int) -> Node:
        weight, grad, mean, var = self.own(inputs, number)
        scale = ew.cast(scalar_of(inputs[-1]), weight.dtype)
        rates = (self.lrs[number], self.wds[number], self.etas[number])
        new, mean, var = adamw(self, weight, grad, mean, var, scale, *rates)
        self.keep(ctx, number, "mean", mean)
        self.keep(ctx, number, "var", var)
        return new


@operator("_multi_adamw_update", gradient="none", variadic="num_weights", first="lrs beta1 beta2 epsilon wds etas")
class MultiAdamW(_MultiAdamW):
    """_adamw_update for many weights; rescale_grad is the last input."""

    roles: ClassVar[tuple[str, ...]] = ("weight", "grad", "mean", "var")


@operator("_multi_mp_adamw_update", gradient="none", variadic="num_weights", first="lrs beta1 beta2 epsilon wds etas")
class MultiMixedAdamW(_MultiAdamW):
    """_mp_adamw_update for many weights; rescale_grad is the last input."""

    roles: ClassVar[tuple[str, ...]] = ("weight", "grad", "mean", "var", "weight32")


# --------------------------------------------------------------------------------------------- LAMB


@dataclass(frozen=True, kw_only=True)
class _MultiLamb(_Multi):
    learning_rates: Floats
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    wds: Floats
    rescale_grad: float = 1.0
    lower_bound: float = -1.0
    upper_bound: float = -1.0
    clip_gradient: float = -1.0
    bias_correction: bool = True
    step_count: Tuple
    num_tensors: int = 1

    @property
    def count(self) -> int:
        return self.num_tensors

    def check(self) -> None:
        for name in ("learning_rates", "wds", "step_count"):
            if len(getattr(self, name)) != self.num_tensors:
                raise MXNetError(f"{self.op_name}: {name} must have num_tensors={self.num_tensors} entries")

    def each(self, ctx: BuildContext, inputs: tuple[Node, ...], number: int) -> Node:
        weight, grad, mean, var = self.own(inputs, number)
        g = limited(grad * self.rescale_grad, self.clip_gradient)
        mean, var = moments(g, mean, var, self.beta1, self.beta2)
        self.keep(ctx, number, "mean", mean)
        self.keep(ctx, number, "var", var)
        if self.bias_correction:
            mean, var = bias_corrected(mean, var, self.beta1, self.beta2, self.step_count[number])
        direction = mean / (ew.sqrt(var) + self.epsilon) + weight * float(self.wds[number])
        # the norm is that of the weight itself, also where it is computed in its single precision copy
        norm_of = (ew.cast(inputs[number * len(self.roles)], F32), direction)
        norms = [ew.cast(ew.sqrt(reduce_sum(x * x, tuple(range(x.rank)))), F32) for x in norm_of]
        ratio = trust_ratio(norms[0], norms[1], self.lower_bound, self.upper_bound)
        return weight - direction * (ew.cast(ratio, weight.dtype) * float(self.learning_rates[number]))


@operator("_multi_lamb_update", gradient="none", variadic="num_tensors")
class MultiLamb(_MultiLamb):
    """Both phases of LAMB for many weights."""

    roles: ClassVar[tuple[str, ...]] = ("weight", "grad", "mean", "var")


@operator("_multi_mp_lamb_update", gradient="none", variadic="num_tensors")
class MultiMixedLamb(_MultiLamb):
    """Both phases of LAMB for many half precision weights with single precision copies."""

    roles: ClassVar[tuple[str, ...]] = ("weight", "grad", "mean", "var", "weight32")


# --------------------------------------------------------------------------------------------- others


@operator("multi_lars", inputs="lrs weights_sum_sq grads_sum_sq wds", gradient="none")
class MultiLars(Operator):
    """Layer-wise adaptive rates (You et al. 2017): lr * eta * |w| / (|g| + wd * |w| + eps); lr where a norm is 0."""

    eta: float
    eps: float
    rescale_grad: float = 1.0

    def complete(self, s: Shapes) -> None:
        """All inputs and the output have one shape."""
        s.all_alike()

    def complete_types(self, t: Types) -> None:
        t.all_alike()
        if t.outs[0] not in (None, np.dtype(np.float32)):
            raise ShapeError(f"multi_lars takes float32 tensors only, not {t.outs[0]}")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        lrs, weights, grads, wds = inputs
        w, g = ew.sqrt(weights), ew.sqrt(grads) * self.rescale_grad
        adapted = lrs * w * self.eta / (g + wds * w + self.eps)
        return ew.select(ew.and_(ew.gt(w, 0.0), ew.gt(g, 0.0)), adapted, lrs)


@operator("reset_arrays", gradient="none", variadic="num_arrays", outputs="")
class ResetArrays(Operator):
    """Every input becomes zero; there is no output."""

    floats_only: ClassVar[bool] = True
    counts_itself: ClassVar[bool] = False

    num_arrays: int

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(f"array_{i}" for i in range(self.num_arrays))

    def complete(self, s: Shapes) -> None:
        """Nothing follows from anything."""

    def complete_types(self, t: Types) -> None:
        """Nothing follows from anything."""

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        for at, x in enumerate(inputs):
            ctx.update(at, ew.zeros_like(x), "forward")
        return []

"""A Custom operator for nets: Python code with a state, in the middle of compiled programs."""

from __future__ import annotations

from typing import Any

from symc.custom import CustomOp, CustomOpProp, register

#: what the operator is registered under
NAME = "symc_fuzz_counted"


class _Counted(CustomOp):
    """factor * x, weighed with the state in the gradient; every run adds one to the state."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        aux[0][:] = aux[0] + 1
        self.assign(out_data[0], req[0], in_data[0] * self.factor)

    def backward(self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        self.assign(in_grad[0], req[0], out_grad[0] * aux[0])


@register(NAME)
class _CountedProp(CustomOpProp):
    def __init__(self, factor: str = "1") -> None:
        super().__init__(need_top_grad=True)
        self.factor = float(factor)

    def list_auxiliary_states(self) -> list[str]:
        return ["count"]

    def infer_shape(self, in_shape: Any) -> Any:
        return in_shape, [in_shape[0]], [in_shape[0]]

    def infer_type(self, in_type: Any) -> Any:
        return in_type, [in_type[0]], [in_type[0]]

    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> CustomOp:
        return _Counted(self.factor)

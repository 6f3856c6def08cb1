"""Faults of operators that users write as Python code (mx.operator.CustomOp): what no pass sees, as it is called and
not compiled. Each is run alone, in double precision where it lets that happen, on the values that it has in the net."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symc.context import cpu
from symc.custom import CustomOp
from symc.debug.compare import identical
from symc.debug.smooth import slope
from symc.ir.modules import SymbolModule
from symc.ir.symbol.nodes import SymNode
from symc.ir.types import Array, TensorType, dtype_of
from symc.ndarray import NDArray
from symc.ops.embedded.custom import Custom, user_code

#: steps of differences, and what they may be off by: of code that computes in double precision, and in single
STEPS = ((1e-5, 1e-6), (2e-3, 3e-4))


class CustomFault(Exception):
    """What is wrong, and FILE:LINE of the function at fault."""

    def __init__(self, check: str, problem: str, line: str) -> None:
        self.check, self.line = check, line
        super().__init__(problem)


class _Watched(NDArray):
    """Notes what is written to the whole of it in another shape."""

    __slots__ = ("other", "filled")

    def __init__(self, data: Array) -> None:
        super().__init__(data)
        self.other: tuple[int, ...] | None = None
        self.filled = False

    def __setitem__(self, key: Any, value: Any) -> None:
        self.filled = True
        shape = getattr(value, "shape", None)
        if isinstance(key, slice) and key == slice(None) and shape not in (None, (), (1,), self.shape):
            self.other = tuple(shape)
        super().__setitem__(key, value)


def line_of(function: Any) -> str:
    """FILE:LINE of a function or method."""
    code = inspect.unwrap(getattr(function, "__func__", function)).__code__
    return f"{Path(code.co_filename).resolve()}:{code.co_firstlineno}"


def registered_at(node: SymNode) -> str:
    """FILE:LINE of what describes a Custom node's operator."""
    assert isinstance(node.definition, Custom)
    return line_of(type(node.definition.prop).create_operator)


def look_at_custom(node: SymNode, module: SymbolModule, given: Sequence[Array], train: bool, seed: int) -> int:
    """The number of checks of a Custom operator on these operands. CustomFault for one that is wrong."""
    return _Run(node, module, given, train, seed).all()


class _Run:
    def __init__(self, node: SymNode, module: SymbolModule, given: Sequence[Array], train: bool, seed: int) -> None:
        assert isinstance(node.definition, Custom)
        self.node, self.module, self.own, self.train = node, module, node.definition, train
        self.count, self.seed = len(self.own.list_inputs()), seed
        self.given = [np.array(a, np.float64) if a.dtype.kind == "f" else np.array(a) for a in given]
        types = [TensorType(dtype_of(a.dtype), a.shape) for a in self.given]
        self.results = self.own.results(types)
        shapes, dtypes = [list(t.shape) for t in types], [t.dtype.numpy.type for t in types]
        self.op = self.own.prop.create_operator(cpu(), shapes, dtypes)

    def all(self) -> int:
        heads = [np.random.default_rng([self.seed, at]).uniform(0.5, 1.5, t.shape) for at, t in enumerate(self.results)]
        self.heads = [h.astype(t.dtype.numpy) if t.dtype.is_float else np.ones(t.shape, t.dtype.numpy)
                      for h, t in zip(heads, self.results)]  # fmt: skip
        made, states = self.forward(self.given, self.train)
        checks = 1
        if self.train:
            gradients, filled = self.backward(self.given, made, states)
            checks += 1 + self.derivative(gradients, filled)
        return checks

    def forward(self, given: Sequence[Array], train: bool) -> tuple[list[Array], list[Array]]:
        """The outputs, and the states."""
        arrays = [_Watched(a.copy()) for a in given]
        outs = [_Watched(np.zeros(t.shape, t.dtype.numpy)) for t in self.results]
        ins, aux = arrays[: self.count], arrays[self.count :]
        line = line_of(self.op.forward)
        try:
            self._call(
                self.op.forward,
                is_train=train, req=["write"] * len(outs), in_data=ins, out_data=outs, aux=aux,
            )  # fmt: skip
        finally:
            for name, out in zip(self.own.list_outputs(), outs):
                if out.other is not None:
                    prop = line_of(type(self.own.prop).infer_shape)
                    problem = f"infer_shape says that its {name} is {out.shape}, but forward puts {out.other} there"
                    raise CustomFault("values", f"{problem} ({line})", prop)
        self._unwritten("forward", line, zip(self.own.list_inputs(), ins, given))
        return [o.asnumpy() for o in outs], [a.asnumpy() for a in aux]

    def backward(
        self, given: Sequence[Array], made: Sequence[Array], states: Sequence[Array]
    ) -> tuple[list[Array], list[bool]]:
        """The gradients of the inputs, and which of them are written at all."""
        top = bool(self.own.prop.need_top_grad_)
        ins = [_Watched(a.copy()) for a in given[: self.count]]
        outs = [_Watched(a.copy()) for a in made]
        heads = [_Watched(h.copy() if top else np.zeros_like(h)) for h in self.heads]
        found = [_Watched(np.zeros(a.shape, a.dtype)) for a in given[: self.count]]
        self._call(
            self.op.backward,
            req=["write"] * self.count, out_grad=heads, in_data=ins, out_data=outs, in_grad=found,
            aux=[_Watched(a.copy()) for a in states],
        )  # fmt: skip
        line = line_of(self.op.backward)
        names = self.own.list_inputs()
        self._unwritten("backward", line, zip(names, ins, given))
        self._unwritten("backward", line, zip(self.own.list_outputs(), outs, made))
        self._unwritten("backward", line, zip(("out_grad",) * len(heads), heads, self.heads if top else ()))
        for name, gradient in zip(names, found):
            if gradient.other is not None:
                problem = f"backward puts {gradient.other} into the gradient of {name}, which is {gradient.shape}"
                raise CustomFault("gradient", problem, line)
        return [g.asnumpy() for g in found], [g.filled for g in found]

    def derivative(self, gradients: Sequence[Array], filled: Sequence[bool]) -> int:
        """The gradients are those of the outputs, where the operator does not say that they are none."""
        says = getattr(self.own.prop, "is_derivative", True) and getattr(self.op, "is_derivative", True)
        if not self.own.prop.need_top_grad_ or not says:
            return 0
        again, _ = self.forward(self.given, self.train)
        if not all(map(identical, again, self.forward(self.given, self.train)[0])):
            return 0  # random
        own = type(self.op).backward is not CustomOp.backward
        line, names = line_of(self.op.backward if own else self.op.forward), self.own.list_inputs()
        hint = "where that is meant, its CustomOpProp says is_derivative = False"
        floats = [at for at, g in enumerate(gradients) if self.given[at].dtype.kind == "f"]
        # zeros that it wrote are meant: nothing is learned through it
        moving = [at for at in floats if gradients[at].any() or not filled[at] and self._learned(at)]
        rng = np.random.default_rng([self.seed, 5])
        ways = {at: rng.uniform(-1.0, 1.0, self.given[at].shape) for at in moving}
        for at in moving:
            parts = gradients[at] * ways[at]
            expected, size = float(parts.sum()), float(np.abs(parts).sum())

            def loss(step: float, at: int = at) -> float:
                moved = [a + step * ways[at] if n == at else a for n, a in enumerate(self.given)]
                made, _ = self.forward(moved, self.train)
                return sum(float((m.astype(np.float64) * h).sum()) for m, h in zip(made, self.heads))

            for step, least in STEPS:
                near, margin = slope(loss, size, step, least)
                if near is None:
                    continue
                if abs(near - expected) > 10 * margin:
                    wrong = f"{expected:.9g}, but differences give {near:.9g}"
                    problem = f"its gradient of {names[at]} is no derivative: {wrong}; {hint}"
                    if not filled[at]:
                        problem = f"{self._lacks(names[at])}, but its outputs change with that; {hint}"
                    raise CustomFault("gradient", problem, line)
                break
        return 1

    def _lacks(self, name: str) -> str:
        if type(self.op).backward is CustomOp.backward:
            return f"it has no backward, so none of {name} either"
        return f"backward leaves the gradient of {name} as it is"

    def _learned(self, at: int) -> bool:
        """Whether an input depends on something that gets a gradient."""
        stack, seen = [self.node.inputs[at][0]], set()
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if node.is_variable and self.module.roles.get(node.name, "arg") == "arg":
                    return True
                stack += [source for source, _ in node.inputs]
        return False

    def _call(self, function: Callable[..., Any], **arguments: Any) -> None:
        with user_code(self.node.name, self.own.op_type), np.errstate(all="ignore"):
            function(**arguments)

    def _unwritten(self, where: str, line: str, arrays: Iterator[tuple[str, NDArray, Array]]) -> None:
        for name, array, before in arrays:
            if not identical(array.asnumpy(), before):
                raise CustomFault("values", f"{where} writes to {name}, which is only there to be read", line)

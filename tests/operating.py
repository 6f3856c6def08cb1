"""Operators without Symbols or compiled code: one is built, and evaluated with its gradient by the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import symc.ops  # noqa: F401  (registers every operator)
from symc.ir.op import Node, input_node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.tuples import Get
from symc.ir.tensor.graph import topological
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import U32, TensorType, TupleType, dtype_of
from symc.ops.base import OPERATORS, Operator, Shapes, Types, parse
from symc.symbol.operators import make_function


class Context:
    """The build context: collects updates, hands out keys."""

    name = "op"
    #: shapes that inference found, for operators whose attributes leave them open
    output_shapes: tuple[tuple[int, ...], ...] = ()
    inner: bool = False

    def __init__(self, train: bool) -> None:
        self.train = train
        self.updates: dict[int, Node] = {}
        self.key = input_node("key", TensorType(U32, (2,)), "key")
        self.keys = 0

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None:
        self.updates[position] = value

    def becomes(self, position: int, value: Node) -> None: ...

    def random_key(self) -> Node:
        from symc.ir.prims.random import fold_key

        self.keys += 1
        return fold_key(self.key, self.keys)


def make(name: str, count: int = 0, **attrs: Any) -> Operator:
    """The operator for attributes given as Python values; `count` inputs if it is variadic."""
    cls = OPERATORS[name]
    text = {k: str(v) for k, v in attrs.items()}
    if cls.variadic:
        text.setdefault(cls.variadic, str(count))
    return parse(cls, text)


def symbol_of(name: str, inputs: Sequence[Any], attrs: Mapping[str, Any], node: str = "net") -> Any:
    """The operator as a Symbol on the inputs, auxiliary states among them."""
    cls = OPERATORS[name]
    if cls.variadic:
        return make_function(cls, name)(*inputs, **attrs, name=node)
    op = make(name, **attrs)
    return make_function(cls, name)(**dict(zip((*op.list_inputs(), *op.list_aux()), inputs)), **attrs, name=node)


def infer(
    name: str, *ins: tuple[int, ...] | None, outs: Sequence[Any] = (None,), **attrs: Any
) -> tuple[list[Any], list[Any]]:
    """Completed shapes of inputs and outputs."""
    op = make(name, len(ins), **attrs)
    shapes = Shapes(ins, list(outs) + [None] * (len(op.list_outputs()) - len(outs)))
    for _ in range(2):
        op.complete(shapes)
    return shapes.ins, shapes.outs


def infer_types(name: str, *ins: Any, **attrs: Any) -> tuple[list[Any], list[Any]]:
    """Completed element types of inputs and outputs."""
    op = make(name, len(ins), **attrs)
    types = Types([None if i is None else np.dtype(i) for i in ins], [None] * len(op.list_outputs()))
    op.bind_types(types)
    return types.ins, types.outs


class Built:
    """An operator's program on arrays."""

    def __init__(self, name: str, arrays: Sequence[Any], train: bool = True, /, **attrs: Any) -> None:
        self.op = make(name, len(arrays), **attrs)
        self.arrays = [np.asarray(a) for a in arrays]
        self.nodes = [input_node(f"x{i}", TensorType(dtype_of(a.dtype), a.shape)) for i, a in enumerate(self.arrays)]
        self.context = Context(train)
        made = self.op.build(self.context, *self.nodes)
        self.outs = [made] if isinstance(made, Node) else list(made)
        self._check_inference()

    def _check_inference(self) -> None:
        """What inference says is what is built."""
        shapes = Shapes([n.shape for n in self.nodes], [None] * len(self.outs))
        types = Types([n.dtype.numpy for n in self.nodes], [None] * len(self.outs))
        self.op.complete(shapes)
        self.op.complete_types(types)
        assert shapes.outs == [o.shape for o in self.outs]
        assert types.outs == [o.dtype.numpy for o in self.outs]

    def _values(self, nodes: Sequence[Node], more: dict[Node, Any] | None = None) -> list[Any]:
        given = {**dict(zip(self.nodes, self.arrays)), self.context.key: np.array([1, 2], np.uint32), **(more or {})}
        found = evaluate_nodes(list(dict.fromkeys(nodes)), given)
        return [np.asarray(found[n]) for n in nodes]

    def forward(self) -> list[Any]:
        """The outputs' values."""
        return self._values(self.outs[: self.op.num_visible_outputs()])

    def updates(self) -> dict[int, Any]:
        """New values of the inputs that the operator changes, by position."""
        return dict(zip(self.context.updates, self._values(list(self.context.updates.values()))))

    def backward(self, *heads: Any) -> list[Any]:
        """Gradients of all inputs for the outputs' head gradients (default: ones)."""
        outs = self.outs[: self.op.num_visible_outputs()]
        nodes = [input_node(f"head{i}", o.tensor, "head") for i, o in enumerate(outs)]
        given = list(heads) or [np.ones(o.shape, o.dtype.numpy) for o in outs]
        grads = reverse_sweep(outs, nodes, self.nodes)
        return self._values(grads, dict(zip(nodes, [np.asarray(h, o.dtype.numpy) for h, o in zip(given, outs)])))


def reverse_sweep(outs: Sequence[Node], heads: Sequence[Node], targets: Sequence[Node]) -> list[Node]:
    """Cotangents of the targets, by every primitive's own rule."""
    held: dict[Node, list[Node | None]] = {}

    def add(node: Node, at: int, ct: Node | None) -> None:
        count = len(node.type.items) if isinstance(node.type, TupleType) else 1
        slots = held.setdefault(node, [None] * count)
        if ct is not None:
            before = slots[at]
            slots[at] = ct if before is None else ew.add(before, ct)

    for out, head in zip(outs, heads):
        if out.dtype.is_float:
            add(out, 0, head)
    for node in reversed(topological(outs)):
        given = held.get(node)
        if given is None or not node.inputs:
            continue
        if isinstance(node.op, Get):
            add(node.inputs[0], node.op.index, given[0])
            continue
        for source, ct in zip(node.inputs, node.op.grad(node, given)):
            if ct is not None:
                add(source, 0, ct)
    found = [(held.get(t) or [None])[0] for t in targets]
    return [ew.zeros_like(t) if ct is None else ct for t, ct in zip(targets, found)]


def forward(name: str, *arrays: Any, train: bool = True, **attrs: Any) -> Any:
    """The value of the operator (a list if it has several outputs)."""
    made = Built(name, arrays, train, **attrs).forward()
    return made[0] if len(made) == 1 else made


def gradients(name: str, *arrays: Any, heads: Sequence[Any] = (), **attrs: Any) -> list[Any]:
    """Gradients of all inputs."""
    return Built(name, arrays, **attrs).backward(*heads)


def check_numerically(
    name: str, *arrays: Any, wrt: Sequence[int] | None = None, delta: float = 1e-6, **attrs: Any
) -> None:
    """Gradients against central differences in double precision, for a fixed random head."""
    inputs = [np.asarray(a, np.float64) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in arrays]
    built = Built(name, inputs, **attrs)
    rng = np.random.default_rng(7)
    heads = [rng.uniform(-1, 1, o.shape) for o in built.forward()]
    found = built.backward(*heads)

    def loss(values: Sequence[Any]) -> float:
        return float(sum((h * o).sum() for h, o in zip(heads, Built(name, values, **attrs).forward())))

    for at in wrt if wrt is not None else [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]:
        expected = np.zeros_like(inputs[at])
        for place in np.ndindex(*inputs[at].shape):
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in inputs]
                moved[at][place] += sign * delta
                sides.append(loss(moved))
            expected[place] = (sides[0] - sides[1]) / (2 * delta)
        np.testing.assert_allclose(found[at], expected, rtol=1e-4, atol=1e-6, err_msg=f"{name}: gradient of input {at}")

"""Optimizer rules as programs: for one parameter at a time, and as the tail of a whole training step."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import cast, fold_key
from symc.ir.tensor.graph import Update, finish
from symc.ir.types import Array, DType, TensorType, dtype_of
from symc.ndarray import NDArray
from symc.optimizer.base import Optimizer, State, flat_states
from symc.passes.tensor.decompose import key_input
from symc.runtime.keys import next_key

#: compiled rules kept at a time: one for every rule, shape and type
KEEP = 1024


_bound: WeakKeyDictionary[Optimizer, dict[Any, _Bound]] = WeakKeyDictionary()


class Keys:
    """Gives rules keys, all made from one input of the program."""

    def __init__(self, key: Node | None = None, given: int = 0, taken: Container[str] = ()) -> None:
        """`taken`: names of the program's other inputs, for the key that is made where none is given."""
        self.key, self.given, self.taken = key, given, taken

    def random_key(self) -> Node:
        if self.key is None:
            self.key = key_input(self.taken)
        self.given += 1
        return fold_key(self.key, self.given)


def apply_rule(
    optimizer: Optimizer, keys: Keys, weight: Node, grad: Node, states: Sequence[Node], scalars: Mapping[str, Node]
) -> tuple[Node, list[Node]]:
    """The rule on nodes of any float types; results have the types of what they replace."""
    work = weight.dtype.wide

    def to(node: Node, dtype: DType) -> Node:
        return node if node.dtype == dtype else cast(node, dtype)

    made, new = optimizer.step(keys, to(weight, work), to(grad, work), [to(s, work) for s in states], scalars)
    return to(made, weight.dtype), [to(n, s.dtype) for n, s in zip(new, states)]


@lru_cache(maxsize=KEEP)
def _program(key: tuple[Any, ...], rule: _Rule) -> Any:
    """The compiled update of one parameter; inputs weight, grad, state<i> and the scalars by name."""
    from symc.compile import compile_graph

    optimizer, name = rule.optimizer, type(rule.optimizer).__name__.lower()
    work = TensorType(rule.types[0].dtype.wide, ())
    keys = Keys()
    origin = SymOrigin(f"{name}_update", name)
    with Recorder() as recorder, recorder.at(origin):
        weight, grad = input_node("weight", rule.types[0], "arg"), input_node("grad", rule.types[1])
        states = [input_node(f"state{i}", t, "state", "weight") for i, t in enumerate(rule.types[2:])]
        scalars = {n: input_node(n, work, "arg") for n in rule.scalars}
        made, new = apply_rule(optimizer, keys, weight, grad, states, scalars)
    inputs = [weight, grad, *states, *scalars.values(), *([keys.key] if keys.key is not None else [])]
    origins = {**{node: origin for node in inputs}, **recorder.origins}
    updates = [Update("weight", made), *(Update(f"state{i}", n) for i, n in enumerate(new))]
    graph = finish(f"{name}_update", inputs, [], updates, {}, origins)
    return compile_graph(graph)


@dataclass(frozen=True, eq=False)
class _Rule:
    """What `_program` builds from; left out of the cache's comparison, which goes by the key beside it."""

    optimizer: Optimizer
    types: tuple[TensorType, ...]
    scalars: tuple[str, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rule)

    def __hash__(self) -> int:
        return 0


@dataclass
class _Bound:
    """A compiled update on a parameter's arrays."""

    arrays: list[NDArray]
    rule: tuple[Any, ...]
    instance: Any
    scalars: Array
    key: Array | None


def bind_step(optimizer: Optimizer, arrays: Sequence[NDArray], names: Sequence[str]) -> _Bound:
    """The update of one parameter on its arrays: weight, gradient, states."""
    types = tuple(TensorType(dtype_of(a.dtype), a.shape) for a in arrays)
    rule = (optimizer.rule_key(), types, tuple(names))
    program = _program(rule, _Rule(optimizer, types, tuple(names)))
    values = np.zeros(len(names), types[0].dtype.wide.numpy)
    buffers: dict[str, Array] = {"weight": arrays[0]._read, "grad": arrays[1]._read}
    buffers.update({f"state{i}": a._read for i, a in enumerate(arrays[2:])})
    buffers.update({n: values[i : i + 1].reshape(()) for i, n in enumerate(names)})
    key = None
    if program.program.key:
        key = buffers[program.program.key] = np.zeros(2, np.uint32)
    return _Bound(list(arrays), rule, program.bind(buffers), values, key)


def run_step(optimizer: Optimizer, index: Any, weight: NDArray, grad: NDArray, state: State) -> None:
    """Update one parameter and its state in place."""
    arrays = [weight, grad, *flat_states(state)]
    numbers = optimizer.scalars(index)
    if any([a._sparse for a in arrays]):
        from symc.optimizer.rows import step_stored

        step_stored(optimizer, index, arrays, numbers)
        return
    bound = bound_for(optimizer).get(index)
    if (
        bound is None
        or len(bound.arrays) != len(arrays)
        or any(a._read is not b._read for a, b in zip(bound.arrays, arrays))
        or bound.rule[0] != optimizer.rule_key()
    ):
        bound = bound_for(optimizer)[index] = bind_step(optimizer, arrays, tuple(numbers))
    run_bound(optimizer, bound, numbers)


def run_bound(optimizer: Optimizer, bound: _Bound, numbers: Mapping[str, float]) -> None:
    """A step with these numbers, on the arrays that an update is bound to."""
    bound.scalars[:] = list(numbers.values())
    if bound.key is not None:
        bound.key[:] = next_key()
    bound.instance.run()


def bound_for(optimizer: Optimizer) -> dict[Any, _Bound]:
    """The optimizer's bound updates. They are machine code and addresses, so they live beside it, never in a pickle."""
    return _bound.setdefault(optimizer, {})

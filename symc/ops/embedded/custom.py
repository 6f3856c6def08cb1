"""Custom: an operator whose meaning is Python code (symc.custom), called from the compiled program."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from symc.base import UserCodeError
from symc.context import cpu
from symc.custom import as_user_array, prepare_user_code, prop_class
from symc.ir.op import Node
from symc.ir.prims.control import HostFunction, custom_grad, host_call, register_host
from symc.ir.types import Array, TensorType, dtype_of
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Types, operator

_serial = itertools.count(1)


def _prop(attrs: Mapping[str, Any]) -> Any:
    given = {k: v for k, v in attrs.items() if k != "op_type"}
    if "op_type" not in attrs:
        raise MXNetError("Custom: op_type, the name it is registered under, is missing")
    try:
        return prop_class(str(attrs["op_type"]))(**given)
    except TypeError as problem:
        raise MXNetError(f"Custom: op_type={attrs['op_type']!r} does not take these attributes: {problem}") from None


class _Described(Operator):
    """What `from_attributes` puts beside the parameters."""

    #: the user's description
    prop: Any
    #: what the program's calls are named after
    label: str
    #: (shapes, types) -> (the user's computation, its name)
    created: dict[Any, tuple[Any, str]]


@operator("Custom")
class Custom(_Described):
    """An operator written in Python: `op_type` names a registered CustomOpProp, which gets the other attributes."""

    op_type: str

    @classmethod
    def from_attributes(cls, attrs: Mapping[str, str]) -> Operator:
        prop = _prop(attrs)
        made: Operator = cls(op_type=attrs["op_type"])  # type: ignore[call-arg]
        for name, value in (("prop", prop), ("label", f"custom {attrs['op_type']} {next(_serial)}"), ("created", {})):
            object.__setattr__(made, name, value)
        return made

    @classmethod
    def positional_inputs(cls, attrs: Mapping[str, Any]) -> tuple[str, ...]:
        # what is given by name may be an input: a Symbol
        prop = _prop(
            {k: v if isinstance(v, str) else str(v) for k, v in attrs.items() if not hasattr(v, "list_arguments")}
        )
        return (*prop.list_arguments(), *prop.list_auxiliary_states())

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(self.prop.list_arguments())

    def list_aux(self) -> tuple[str, ...]:
        return tuple(self.prop.list_auxiliary_states())

    def list_outputs(self) -> tuple[str, ...]:
        return tuple(self.prop.list_outputs())

    # -- inference

    def _split(self, answer: Any, what: str) -> list[list[Any]]:
        parts = [list(p) for p in answer]
        parts += [[]] * (3 - len(parts))
        wanted = (self.list_inputs(), self.list_outputs(), self.list_aux())
        for part, names in zip(parts, wanted):
            if len(part) != len(names):
                raise ShapeError(
                    f"op_type={self.op_type!r}: {what} gives {len(part)} entries for {', '.join(names) or 'no names'}"
                )
        return parts

    def complete(self, s: Shapes) -> None:
        """What the property's `infer_shape` says."""
        count = len(self.list_inputs())
        given = [list(x) if x is not None else [] for x in s.ins[:count]]
        if count and not any(given):
            return
        try:
            parts = self._split(self.prop.infer_shape(given), "infer_shape")
        except ShapeError:
            raise
        except Exception as problem:
            if not all(given):
                return  # user code reads a shape that is not known yet
            raise ShapeError(
                f"op_type={self.op_type!r}: infer_shape({given}) raised {type(problem).__name__}: {problem}"
            ) from problem
        for at, shape in enumerate([*parts[0], *parts[2]]):
            s.set_in(at, tuple(int(d) for d in shape) or None)
        for at, shape in enumerate(parts[1]):
            s.set_out(at, tuple(int(d) for d in shape) or None)

    def complete_types(self, t: Types) -> None:
        """What the property's `infer_type` says: of the inputs and states too."""
        given = [d.type if d is not None else None for d in t.ins[: len(self.list_inputs())]]
        try:
            parts = self._split(self.prop.infer_type(given), "infer_type")
        except ShapeError:
            raise
        except Exception as problem:
            if any(d is None for d in given):
                return  # user code reads a type that is not known yet
            raise ShapeError(
                f"op_type={self.op_type!r}: infer_type({given}) raised {type(problem).__name__}: {problem}"
            ) from problem
        for at, dtype in enumerate([*parts[0], *parts[2]]):
            t.set_in(at, dtype)
        for at, dtype in enumerate(parts[1]):
            t.set_out(at, dtype)

    # -- meaning

    def _created(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]) -> tuple[Any, str]:
        """The computation for these types, and its name in programs; made once, shared by prediction and training."""
        key = (tuple(shapes), tuple(dtypes))
        if key not in self.created:
            made = self.prop.create_operator(cpu(), [list(s) for s in shapes], [d.type for d in dtypes])
            self.created[key] = made, f"{self.label}/{len(self.created)}"
        return self.created[key]

    def results(self, given: Sequence[TensorType]) -> list[TensorType]:
        """The types of the outputs on operands of these."""
        types = Types([t.dtype.numpy for t in given], [None] * len(self.list_outputs()), self.list_inputs())
        shapes = Shapes([t.shape for t in given], [None] * len(self.list_outputs()), self.list_inputs())
        self.complete_types(types)
        self.complete(shapes)
        return [TensorType(dtype_of(t), s or ()) for t, s in zip(types.outs, shapes.outs) if t is not None]

    def on_arrays(self, arrays: Sequence[Array], train: bool) -> tuple[list[Array], HostFunction]:
        """Run on arrays, whose states are changed in place: the results, and the function that gives the inputs'
        gradients from those of the results (it changes the states, too)."""
        count = len(self.list_inputs())
        types = [TensorType(dtype_of(a.dtype), a.shape) for a in arrays]
        results = self.results(types)
        computation, _ = self._created(tuple(t.shape for t in types), tuple(t.dtype.numpy for t in types))
        named = "", self.op_type
        made = _forward(computation, train, count, results, named)(*arrays)
        states, top = arrays[count:], bool(self.prop.need_top_grad_)
        backward = _backward(computation, types[:count], len(states), len(results), top, named)

        def write(new: Sequence[Array]) -> None:
            for state, value in zip(states, new):
                state[...] = value

        def gradient(*heads: Array) -> tuple[Array, ...]:
            found = backward(*arrays[:count], *made[: len(results)], *states, *(heads if top else ()))
            write(found[count:])
            return found[:count]

        write(made[len(results) :])
        return list(made[: len(results)]), gradient

    def build(self, ctx: BuildContext, *inputs: Node) -> Node | list[Node]:
        count = len(self.list_inputs())
        results = self.results([x.tensor for x in inputs])
        computation, label = self._created(tuple(x.shape for x in inputs), tuple(x.dtype.numpy for x in inputs))
        states = [x.tensor for x in inputs[count:]]
        forward, backward = f"{label}/{'train' if ctx.train else 'predict'}", f"{label}/backward"
        named = ctx.name, self.op_type
        register_host(forward, _forward(computation, ctx.train, count, results, named))
        grads = [x.tensor for x in inputs[:count]]
        top = bool(self.prop.need_top_grad_)
        register_host(backward, _backward(computation, grads, len(states), len(results), top, named))

        def body(*given: Node) -> list[Node]:
            return _listed(host_call(forward, list(given), [*results, *states]))

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            if not inputs:
                return []  # nothing to give a gradient to
            heads = list(cts[: len(results)]) if top else []
            # the states as the forward call left them come with the outputs
            made = _listed(host_call(backward, [*ins[:count], *outs, *heads], [*grads, *states]))
            return [g if g.dtype.is_float else None for g in made[:count]] + made[count:]

        made = _listed(custom_grad(list(inputs), body, rule, states=range(count, len(inputs))))
        for at, value in enumerate(made[len(results) :]):
            ctx.update(count + at, value, "forward")
        return made[: len(results)]


def _listed(made: Node | list[Node]) -> list[Node]:
    return [made] if isinstance(made, Node) else made


def _wrapped(arrays: Sequence[Array]) -> list[Any]:
    """NDArrays on copies: user code may write where it should only read."""
    return [as_user_array(np.array(a)) for a in arrays]


@functools.cache
def _both(raised: type[Exception]) -> type[Exception] | None:
    """The class of what user code raises that is an MXNetError, too; None where Python has no such class."""
    try:
        return type(raised.__name__, (raised, UserCodeError), {"__module__": raised.__module__})
    except TypeError:
        return None


@contextmanager
def user_code(name: str, op_type: str) -> Iterator[None]:
    """What user code raises is what it is, and an MXNetError, as which it leaves MXNet's operators; it knows of which
    Symbol it is (of arrays: "")."""
    prepare_user_code()
    try:
        yield
    except MXNetError:
        raise
    except Exception as problem:
        kind = _both(type(problem))
        try:
            made = kind(*problem.args) if kind is not None else None
        except TypeError:  # a class that is not made from its args
            made = None
        if made is None:
            raise
        made.symbol, made.op_type = name, op_type
        raise made.with_traceback(problem.__traceback__) from problem.__cause__


def _forward(
    computation: Any, train: bool, count: int, results: Sequence[TensorType], named: tuple[str, str]
) -> Callable[..., tuple[Array, ...]]:
    def call(*arrays: Array) -> tuple[Array, ...]:
        given = _wrapped(arrays)
        outs = _wrapped([np.zeros(t.shape, t.dtype.numpy) for t in results])
        with user_code(*named):
            computation.forward(
                is_train=train, req=["write"] * len(outs), in_data=given[:count], out_data=outs, aux=given[count:]
            )
        return tuple(x.asnumpy() for x in (*outs, *given[count:]))

    return call


def _backward(
    computation: Any, grads: Sequence[TensorType], states: int, results: int, top: bool, named: tuple[str, str]
) -> Callable[..., tuple[Array, ...]]:
    def call(*arrays: Array) -> tuple[Array, ...]:
        count = len(grads)
        given = _wrapped(arrays)
        behind = count + results
        ins, outs, aux = given[:count], given[count:behind], given[behind : behind + states]
        heads = given[behind + states :]
        if not top:
            heads = _wrapped([np.zeros_like(o.asnumpy()) for o in outs])
        made = _wrapped([np.zeros(t.shape, t.dtype.numpy) for t in grads])
        req = ["write"] * count
        with user_code(*named):
            computation.backward(req=req, out_grad=heads, in_data=ins, out_data=outs, in_grad=made, aux=aux)
        return tuple(x.asnumpy() for x in (*made, *aux))

    return call

"""Executor: a Symbol bound to arrays, compiled when it first runs.

Prediction and training are two programs over the same arrays: forward(is_train=False) runs one, forward(is_train=True)
the forward half of the other, backward() its other half. Each is one native call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.compile import Executable, Instance, compile_symbol
from symc.context import Context
from symc.ir.symbolic import SymGraph
from symc.ir.types import Array, TensorType, dtype_of
from symc.memory import empty
from symc.ndarray import NDArray
from symc.ops.base import Shapes
from symc.passes.autodiff import grad_name, head_name
from symc.passes.decompose import KEY_INPUT, SymbolModule
from symc.passes.infer_shape import propagate
from symc.random import next_key


def module_of(symbol: Any, types: Mapping[str, TensorType], roles: Mapping[str, str] | None = None) -> SymbolModule:
    """A Symbol with the types of its variables, as the compiler takes it."""
    graph: SymGraph = symbol.graph
    sources = [n for n in graph.nodes() if not n.is_variable and not n.inputs]
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    if sources:
        known = {(n, 0): types[n.name].shape for part in graph.variables() for n in part}
        found = propagate(graph, known, Shapes, lambda n, row: n.definition.complete(row))  # type: ignore[union-attr]
        for node in sources:
            inferred = [found.get((node, i)) for i in range(node.num_outputs)]
            if all(s and all(s) for s in inferred):
                shapes[node.name] = tuple(inferred)  # type: ignore[arg-type]
    return SymbolModule(symbol.name or "net", graph, types, tuple(symbol.list_outputs()), roles or {}, shapes)


class Executor:
    """Runs a bound Symbol. Made by `Symbol.bind` and `Symbol.simple_bind`.

    `arg_arrays`, `grad_arrays` (None where no gradient is kept), `aux_arrays` and `outputs` are NDArrays in the
    Symbol's order; the `*_dict` views name them. Outputs are overwritten by the next run.
    """

    def __init__(
        self,
        symbol: Any,
        ctx: Context,
        args: Sequence[NDArray],
        grads: Sequence[NDArray | None],
        reqs: Sequence[str],
        aux: Sequence[NDArray],
        group2ctx: Mapping[str, Context] | None = None,
    ) -> None:
        self._symbol, self._ctx, self._group2ctx = symbol, ctx, group2ctx
        self.arg_arrays = list(args)
        self.grad_arrays = [g if r != "null" else None for g, r in zip(grads, reqs)]
        self.aux_arrays = list(aux)
        self._reqs = [r if g is not None else "null" for g, r in zip(self.grad_arrays, reqs)]
        self._arg_names: list[str] = symbol.list_arguments()
        self._aux_names: list[str] = symbol.list_auxiliary_states()
        self._output_names: list[str] = symbol.list_outputs()
        self._types = {
            name: TensorType(dtype_of(a.dtype), a.shape)
            for name, a in zip([*self._arg_names, *self._aux_names], [*self.arg_arrays, *self.aux_arrays])
        }
        self._check_gradients()
        self._monitor: tuple[Callable[..., None], bool] | None = None
        self._instances: dict[bool, Instance] = {}
        self._outputs: list[NDArray] | None = None
        self._ran_train = False
        self._key = np.zeros(2, np.uint32)
        self._heads: dict[str, Array] = {}

    # -- arrays by name

    @property
    def arg_dict(self) -> dict[str, NDArray]:
        """Arguments by name."""
        return dict(zip(self._arg_names, self.arg_arrays))

    @property
    def grad_dict(self) -> dict[str, NDArray | None]:
        """Gradients by argument name (None where none is kept)."""
        return dict(zip(self._arg_names, self.grad_arrays))

    @property
    def aux_dict(self) -> dict[str, NDArray]:
        """Auxiliary states by name."""
        return dict(zip(self._aux_names, self.aux_arrays))

    @property
    def outputs(self) -> list[NDArray]:
        """The results of the last run."""
        if self._outputs is None:
            self._outputs = self._make_outputs()
        return self._outputs

    @property
    def output_dict(self) -> dict[str, NDArray]:
        """Results by name."""
        return dict(zip(self._output_names, self.outputs))

    # -- running

    def forward(self, is_train: bool = False, **kwargs: Any) -> list[NDArray]:
        """Run the Symbol; keyword arguments are copied into the arguments of that name first."""
        if kwargs:
            self._assign(kwargs)
        instance = self._instance(bool(is_train))
        self._draw_key(instance)
        instance.run_forward()
        self._ran_train = bool(is_train)
        if self._monitor is not None:
            self._report(bool(is_train))
        return self.outputs

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """Gradients of the outputs, weighted by `out_grads` (an NDArray, a list or a dict by output name; not needed
        for outputs of loss operators), into `grad_arrays`."""
        if not self._ran_train:
            raise MXNetError(f"{self._label()}: backward() needs a forward(is_train=True) before it")
        instance = self._instance(True)
        needed = self._heads
        if needed:
            self._set_heads(out_grads)
        instance.run_backward()

    def _assign(self, values: Mapping[str, Any]) -> None:
        named = self.arg_dict
        for name, value in values.items():
            target = named.get(name)
            if target is None:
                raise TypeError(f"{self._label()}: there is no argument {name!r}; it has {', '.join(self._arg_names)}")
            if tuple(np.shape(value)) != target.shape:
                raise ValueError(f"{self._label()}: argument {name!r} has shape {target.shape}, got {tuple(np.shape(value))}")
            target[:] = value

    def _set_heads(self, out_grads: Any) -> None:
        if out_grads is None:
            given: dict[str, Any] = {}
        elif isinstance(out_grads, dict):
            given = dict(out_grads)
        elif isinstance(out_grads, (list, tuple)):
            given = dict(zip(self._output_names, out_grads))
        else:
            given = {self._output_names[0]: out_grads}
        for name, array in self._heads.items():
            value = given.get(name)
            if value is None:
                raise MXNetError(
                    f"{self._label()}: output {name!r} is not of a loss operator, so backward() needs its head gradient "
                    f"of shape {array.shape}"
                )
            source = value.asnumpy() if isinstance(value, NDArray) else np.asarray(value)
            if source.shape != array.shape:
                raise MXNetError(f"{self._label()}: head gradient of {name!r} has shape {source.shape}, expected {array.shape}")
            array[...] = source

    def _draw_key(self, instance: Instance) -> None:
        if KEY_INPUT in instance.buffers:
            self._key[:] = next_key()

    # -- compiling

    def _label(self) -> str:
        return f"Executor of {self._symbol.name or 'Group'}"

    def _check_gradients(self) -> None:
        """Operators that have no gradient refuse to be bound for one, before anything runs."""
        wanted = {n for n, r in zip(self._arg_names, self._reqs) if r != "null"}
        if not wanted:
            return
        reached: set[Any] = set()
        for node in self._symbol.graph.nodes():
            if node.is_variable:
                if node.name in wanted:
                    reached.add(node)
            elif any(source in reached for source, _ in node.inputs):
                if node.definition.gradient == "none":
                    raise MXNetError(
                        f"operator {node.op} {node.name!r} has no gradient, but one is wanted through it; "
                        f"bind with grad_req='null' for its inputs, or put BlockGrad before it"
                    )
                if node.definition.gradient == "yes":
                    reached.add(node)

    def _overwritten(self) -> set[str]:
        """Arguments whose only reader overwrites their gradient whatever was asked (see Operator.ignores_add)."""
        readers: dict[str, list[bool]] = {}
        for node in self._symbol.graph.nodes():
            for at, (source, _) in enumerate(node.inputs):
                if source.is_variable:
                    readers.setdefault(source.name, []).append(at == 0 and node.definition.ignores_add)
        return {name for name, found in readers.items() if found == [True]}

    def _make_outputs(self) -> list[NDArray]:
        instance = self._instance(False)
        return [NDArray._of(a, self._ctx) for a in instance.outputs[: len(self._output_names)]]

    def _instance(self, train: bool) -> Instance:
        found = self._instances.get(train)
        if found is None:
            found = self._instances[train] = self._compile(train)
        return found

    def _compile(self, train: bool) -> Instance:
        reqs = dict(zip(self._arg_names, self._reqs))
        wrt = [n for n, r in reqs.items() if r != "null"] if train else []
        add = [n for n in wrt if reqs[n] == "add" and n not in self._overwritten()]
        module = module_of(self._symbol, self._types)
        cut = len(self._output_names) if wrt else 0
        executable = compile_symbol(module, train, wrt, add, cut)
        return self._bind_program(executable, wrt)

    def _bind_program(self, executable: Executable, wrt: Sequence[str]) -> Instance:
        buffers: dict[str, Array] = {n: a._data for n, a in {**self.arg_dict, **self.aux_dict}.items()}
        grads = self.grad_dict
        for name in wrt:
            gradient = grads[name]
            assert gradient is not None
            buffers[grad_name(name)] = gradient._data
        buffers[KEY_INPUT] = self._key
        types = executable.program.value_types()
        for name in self._output_names:
            head = head_name(name)
            if head in types and any(p.name == head for p in executable.program.params):
                self._heads[name] = buffers[head] = np.zeros(types[head].shape, types[head].dtype.numpy)
        wanted = {p.name for p in executable.program.params}
        buffers = {n: b for n, b in buffers.items() if n in wanted}
        outputs: list[Array] = []
        shared = [o._data for o in self._outputs] if self._outputs is not None else None
        for at, (name, value) in enumerate(executable.program.outputs):
            if at < len(self._output_names):
                if shared is not None:
                    outputs.append(shared[at])
                else:
                    t = types[value]
                    outputs.append(_empty(t))
            else:
                gradient = grads[name.removesuffix(".grad")]
                assert gradient is not None
                outputs.append(gradient._data)
        if self._outputs is None:
            self._outputs = [NDArray._of(a, self._ctx) for a in outputs[: len(self._output_names)]]
        return executable.bind(buffers, outputs)

    # -- the rest of MXNet's interface

    def copy_params_from(
        self, arg_params: Mapping[str, NDArray], aux_params: Mapping[str, NDArray] | None = None,
        allow_extra_params: bool = False,
    ) -> None:  # fmt: skip
        """Copy parameters by name; ValueError for a name that is not bound, unless `allow_extra_params`."""
        for given, bound, kind in ((arg_params, self.arg_dict, "argument"), (aux_params or {}, self.aux_dict, "auxiliary state")):
            for name, array in given.items():
                if name in bound:
                    array.astype(bound[name].dtype).copyto(bound[name])
                elif not allow_extra_params:
                    raise ValueError(f"{self._label()}: {name!r} is no {kind}; it has {', '.join(bound)}")

    def reshape(
        self, partial_shaping: bool = False, allow_up_sizing: bool = False, **kwargs: tuple[int, ...]
    ) -> Executor:
        """A new executor for other input shapes, sharing every array whose shape stays. Shapes that are not given are
        inferred; without `partial_shaping` only the given arguments and what is computed from them may change."""
        arg_shapes, _, aux_shapes = infer_shapes(self._symbol, False, (), kwargs)
        if arg_shapes is None:
            raise ValueError(f"{self._label()}: the given shapes do not determine the others: {kwargs}")
        args, grads = [], []
        for name, array, gradient, shape in zip(self._arg_names, self.arg_arrays, self.grad_arrays, arg_shapes):
            if array.shape == shape:
                args.append(array)
                grads.append(gradient)
                continue
            if not partial_shaping and name not in kwargs:
                raise AssertionError(
                    f"{self._label()}: argument {name!r} would change from {array.shape} to {shape}; "
                    "pass partial_shaping=True if that is meant"
                )
            if np.prod(shape) > np.prod(array.shape) and not allow_up_sizing:
                raise AssertionError(
                    f"{self._label()}: argument {name!r} would grow from {array.shape} to {shape}; "
                    "pass allow_up_sizing=True to allocate it anew"
                )
            args.append(_zeros(shape, array.dtype, self._ctx))
            grads.append(_zeros(shape, array.dtype, self._ctx) if gradient is not None else None)
        aux = [
            a if a.shape == s else _zeros(s, a.dtype, self._ctx) for a, s in zip(self.aux_arrays, aux_shapes)
        ]
        return Executor(self._symbol, self._ctx, args, grads, self._reqs, aux, self._group2ctx)

    def set_monitor_callback(self, callback: Callable[..., None], monitor_all: bool = False) -> None:
        """Call `callback(name, array)` for every operator's output (and, with `monitor_all`, every input) after each
        forward. The values are computed by a program of their own, so what is shown is never a reused buffer."""
        self._monitor = (callback, monitor_all)

    def _report(self, train: bool) -> None:
        assert self._monitor is not None
        callback, everything = self._monitor
        internals = self._symbol.get_internals()
        names = internals.list_outputs()
        inner = Executor(
            internals, self._ctx, [self.arg_dict[n] for n in internals.list_arguments()],
            [None] * len(internals.list_arguments()), ["null"] * len(internals.list_arguments()),
            [self.aux_dict[n] for n in internals.list_auxiliary_states()],
        )  # fmt: skip
        variables = {*self._arg_names, *self._aux_names}
        for name, value in zip(names, inner.forward(is_train=False) if not train else inner.forward(is_train=True)):
            if everything or name not in variables:
                callback(name, value)

    def debug_str(self) -> str:
        """The compiled programs: steps, places and the planned memory."""
        from symc.ir.text import print_program

        parts = [f"Symbol Outputs:\n\toutput[0]={', '.join(self._output_names)}"]
        for train, instance in sorted(self._instances.items()) or [(False, self._instance(False))]:
            program = instance.executable.program
            parts.append(f"// {'training' if train else 'prediction'}\n{print_program(program)}")
            parts.append(f"Total {program.arena / (1 << 20):.4g} MB allocated (largest live set {program.lower_bound / (1 << 20):.4g} MB)")
        return "\n".join(parts)


def _empty(t: TensorType) -> Array:
    made = empty(t.shape, t.dtype.numpy)
    made[...] = 0
    return made


def _zeros(shape: Sequence[int], dtype: Any, ctx: Context) -> NDArray:
    from symc import ndarray

    return ndarray.zeros(tuple(shape), ctx=ctx, dtype=dtype)

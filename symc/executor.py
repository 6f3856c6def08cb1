"""Executor: a Symbol bound to arrays, compiled when it first runs.

Prediction and training are two programs over the same arrays: forward(is_train=False) runs one, forward(is_train=True)
the forward half of the other, backward() its other half. Each is one native call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from symc.base import LateError, MXNetError, those, user_line
from symc.compile import compile_symbol
from symc.context import Context
from symc.described import listing, merged, planned
from symc.inference import infer_shapes
from symc.ir.modules import SymbolModule
from symc.ir.process import turns
from symc.ir.types import Array, TensorType, dtype_of
from symc.monitoring import Observer
from symc.ndarray import NDArray
from symc.ndarray.late import failed
from symc.ops.shared.inferred import choosers
from symc.passes.edits import active, using
from symc.passes.program.recompute import Recompute
from symc.runtime.executable import Executable, Instance
from symc.runtime.keys import next_key
from symc.runtime.memory import address_of, empty, zeros
from symc.settings import switch
from symc.sharing import arrays_for, copy_all, resized
from symc.typed import check_names, distinct, module_of, overwritten, refuse_gradients, roles_of_parameters
from symc.views.notebook import html_table, svg_of


class Executor:
    """Runs a bound Symbol. Made by `Symbol.bind` and `Symbol.simple_bind`.

    `arg_arrays`, `grad_arrays` (None where none was given), `aux_arrays` and `outputs` are NDArrays in the
    Symbol's order; the `*_dict` views name them.

    One Executor is for one thread at a time: the next run overwrites the outputs, whichever thread asks for it, so what
    `forward` returned changes under a thread that still reads it. Runs of several threads take turns, which keeps the
    memory whole and no more. Threads with Executors of their own run at once; to predict from many threads with one set
    of parameters there is `symc.Predictor`.
    """

    #: whether a training step may become one program with the optimizer's rule
    fusable = True

    def __init__(
        self,
        symbol: Any,
        ctx: Context,
        args: Sequence[NDArray],
        grads: Sequence[NDArray | None],
        reqs: Sequence[str],
        aux: Sequence[NDArray],
        group2ctx: Mapping[str, Context] | None = None,
        memory_budget: int | None = None,
    ) -> None:
        """`memory_budget`: see Symbol.simple_bind."""
        self._symbol, self._ctx, self._group2ctx = symbol, ctx, group2ctx
        self._budget = memory_budget if memory_budget is not None else 0 if _mirrored(symbol) else None
        #: the passes that were asked for where it was bound hold whenever it compiles
        self._edits = active()
        if self._budget is not None:
            self._edits = self._edits.inserting("schedule", Recompute(budget=self._budget))
        self.arg_arrays = list(args)
        self.grad_arrays = list(grads)
        self.aux_arrays = list(aux)
        self._reqs = [r if g is not None else "null" for g, r in zip(self.grad_arrays, reqs)]
        self._arg_names: list[str] = symbol.list_arguments()
        self._aux_names: list[str] = symbol.list_auxiliary_states()
        self._output_names: list[str] = symbol.list_outputs()
        #: the outputs' names in the compiled programs
        self._slots = distinct(self._output_names)
        check_names(symbol, self._label())
        self._types = {
            name: TensorType(dtype_of(a.dtype), a.shape)
            for name, a in zip([*self._arg_names, *self._aux_names], [*self.arg_arrays, *self.aux_arrays])
        }
        refuse_gradients(symbol, {n for n, r in zip(self._arg_names, self._reqs) if r != "null"})
        self._merges = switch("MXNET_ELIMINATE_COMMON_EXPR") is not False
        #: the nodes whose outputs' sizes are known only from values, and the rows they have had last
        self._choosers = choosers(symbol.graph)
        self._rows: dict[str, int] = {}
        self._monitor: Observer | None = None
        #: by whether they train; None: that of gradients as in prediction
        self._instances: dict[bool | None, Instance] = {}
        self._outputs: list[NDArray] | None = None
        #: the outputs, while others stand for them because values were refused
        self._sound: list[NDArray] | None = None
        self._lock = turns()
        #: the training program's forward half has run, and no backward half has reused its memory since
        self._fresh = False
        #: the last forward was for training
        self._trained = False
        self._staged: dict[str, Array] = {}
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
        if self._outputs is not None:  # once made they stay: a call pays for no lock
            return self._outputs
        with self._lock:
            if self._outputs is None:
                self._count_rows(False)
                self._outputs = self._make_outputs()
            return self._outputs

    @property
    def output_dict(self) -> dict[str, NDArray]:
        """Results by name."""
        return dict(zip(self._output_names, self.outputs))

    # -- running

    def forward(self, is_train: bool = False, **kwargs: Any) -> list[NDArray]:
        """Run the Symbol; keyword arguments are copied into the arguments of that name first."""
        with self._lock:
            if kwargs:
                self._assign(kwargs)
            if self._sound is not None:
                self._outputs, self._sound = self._sound, None
            train = bool(is_train)
            # calls of small programs are as cheap as this is short
            if self._choosers:
                self._count_rows(train)
            instance = self._instances.get(train) or self._instance(train)
            if instance.draws:
                self._key[:] = next_key()
            if self._monitor is not None:
                self._monitor.before()
            self._trained = train
            try:
                instance.run_forward()
            except LateError as problem:
                return self._refused(problem)
            self._fresh = train
            if self._monitor is not None:
                self._monitor.after_forward(train)
            return self._outputs or self.outputs

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """Gradients of the outputs, weighted by `out_grads` (an NDArray, a list or a dict by output name; not needed
        for outputs of loss operators), into `grad_arrays`.

        Needs no forward(is_train=True) right before it, but is cheaper after one: otherwise it computes the values
        that it needs from the arguments as they are now. Outputs stay as they are, and so do auxiliary states if the
        last forward was not for training. `is_train=False`: the gradients of what forward(is_train=False) computes.
        """
        with self._lock:
            if self._sound is not None:
                self._outputs, self._sound = self._sound, None
            fresh = self._fresh and bool(is_train)
            if not fresh:
                self._count_rows(bool(is_train))
            instance = self._instance(True if is_train else None)
            if self._heads:
                self._set_heads(out_grads)
            states = [] if self._trained else [(a._data, a._data.copy()) for a in self.aux_arrays]
            if not fresh:
                self._recompute(instance)
            for name, buffer in self._staged.items():
                if self._reqs[self._arg_names.index(name)] == "add":
                    buffer[...] = 0
            instance.run_backward()
            self._fresh = False
            self._deliver()
            for array, before in states:
                array[...] = before
            if self._monitor is not None:
                self._monitor.after_backward(out_grads, bool(is_train))

    def _refused(self, problem: Exception) -> list[NDArray]:
        """What stands for the outputs of a run that refused values, and says so to whoever looks at it. The outputs'
        own memory holds nan, or 0 in whole numbers."""
        self._fresh = False
        self._sound = self.outputs
        for output in self._sound:
            output._data[...] = np.nan if output._data.dtype.kind == "f" else 0
        file, line = user_line()
        error = LateError.of(problem, f"{self._label()}: {problem} (run at {file}:{line})")
        kinds = [(output.shape, output.dtype) for output in self._sound]
        self._outputs = list(failed(kinds, self._ctx, error, getattr(problem, "failure", None), False))
        return self._outputs

    def _recompute(self, instance: Instance) -> None:
        """Run the forward half for the values that the backward half reads, and for nothing else."""
        kept = [(a._data, a._data.copy()) for a in (*self.outputs, *self.aux_arrays)]
        instance.run_forward()
        for array, before in kept:
            array[...] = before

    def _deliver(self) -> None:
        """Gradients computed beside their arrays (see _stage) go where they belong."""
        grads = self.grad_dict
        for name, buffer in self._staged.items():
            target = grads[name]
            assert target is not None
            if self._reqs[self._arg_names.index(name)] == "add":
                target._data[...] += buffer
            else:
                target._data[...] = buffer

    def _assign(self, values: Mapping[str, Any]) -> None:
        named = self.arg_dict
        for name, value in values.items():
            target = named.get(name)
            if target is None:
                known = those(self._arg_names, name)
                raise TypeError(f"{self._label()}: there is no argument {name!r}; it has {known}")
            if tuple(np.shape(value)) != target.shape:
                got = tuple(np.shape(value))
                raise ValueError(f"{self._label()}: argument {name!r} has shape {target.shape}, got {got}")
            target[:] = value

    def _set_heads(self, out_grads: Any) -> None:
        given = self._given_heads(out_grads)
        for name, array in self._heads.items():
            value = given.get(name)
            if value is None:
                raise MXNetError(
                    f"{self._label()}: output {name!r} is not of a loss operator, so backward() needs its head "
                    f"gradient of shape {array.shape}"
                )
            if not isinstance(value, (NDArray, np.ndarray)):
                kind = type(value).__name__
                raise TypeError(f"{self._label()}: head gradient of {name!r} must be an NDArray, got {kind}")
            source = value._read if isinstance(value, NDArray) else value
            if source.shape != array.shape:
                raise MXNetError(
                    f"{self._label()}: head gradient of {name!r} has shape {source.shape}, expected {array.shape}"
                )
            array[...] = source

    def _given_heads(self, out_grads: Any) -> dict[str, Any]:
        """`out_grads` in any of its forms, by slot."""
        if out_grads is None:
            return {}
        if isinstance(out_grads, Mapping):
            unknown = [n for n in out_grads if n not in self._output_names]
            if unknown:
                known = those(self._output_names, unknown[0])
                raise MXNetError(f"{self._label()}: there is no output {unknown[0]!r}; it has {known}")
            return {slot: out_grads.get(name) for slot, name in zip(self._slots, self._output_names)}
        if isinstance(out_grads, (list, tuple)):
            return dict(zip(self._slots, out_grads))
        if isinstance(out_grads, (NDArray, np.ndarray)):
            return {self._slots[0]: out_grads}
        raise TypeError(
            f"{self._label()}: out_grads must be an NDArray, a list or a dict of them, got {type(out_grads).__name__}"
        )

    # -- compiling

    def _label(self) -> str:
        return f"Executor of {self._symbol.name or 'Group'}"

    def _make_outputs(self) -> list[NDArray]:
        instance = self._instance(False)
        return [self._result(i, a) for i, a in enumerate(instance.outputs[: len(self._output_names)])]

    def _count_rows(self, train: bool) -> None:
        """Run what decides the sizes that only values tell; if they have changed, the programs are compiled anew."""
        for node in self._choosers:
            source, at = node.inputs[node.definition.row_chooser]
            if source.is_variable:
                chooser = {**self.arg_dict, **self.aux_dict}[source.name]._read
            else:
                chooser = self._computed(self._symbol.get_internals()[source.output_name(at)], train, node)
            rows = node.definition.count_rows(chooser)
            if self._rows.get(node.name) != rows:
                self._rows[node.name] = rows
                self._instances.clear()
                self._heads.clear()
                self._staged.clear()
                self._outputs, self._fresh = None, False
                if self._monitor is not None:
                    self._monitor.forget()

    def _computed(self, symbol: Any, train: bool, reader: Any) -> Array:
        """The value of a part of the Symbol that `reader` takes its size from."""
        names = symbol.list_arguments()
        states = [self.aux_dict[n].copy() for n in symbol.list_auxiliary_states()]
        arguments = [self.arg_dict[n] for n in names]
        part = Executor(symbol, self._ctx, arguments, [None] * len(names), ["null"] * len(names), states)
        part._count_rows(train)
        if part._instance(train).executable.program.key:
            raise MXNetError(
                f"{self._label()}: the size of {reader.op} {reader.name!r} depends on random numbers; draw them "
                "before and pass them as an argument"
            )
        return part.forward(train)[0]._read

    def _instance(self, train: bool | None) -> Instance:
        found = self._instances.get(train)
        if found is None:
            found = self._instances[train] = self._compile(train)
        return found

    def _to_compile(self, train: bool | None) -> tuple[SymbolModule, bool, list[str], list[str]]:
        """What the compiler takes: the graph with its types, and whose gradients are written and added to."""
        reqs = dict(zip(self._arg_names, self._reqs))
        wrt = [n for n, r in reqs.items() if r != "null"] if train is not False else []
        add = [n for n in wrt if reqs[n] == "add" and n not in overwritten(self._symbol)]
        roles = {} if train is not False else roles_of_parameters(self._symbol)
        return module_of(self._symbol, self._types, roles, self._rows), bool(train), wrt, add

    def _compile(self, train: bool | None) -> Instance:
        _, _, wrt, _ = asked = self._to_compile(train)
        with using(self._edits):
            executable = compile_symbol(*asked)
        if self._budget and wrt and executable.program.arena > self._budget:
            raise MXNetError(
                f"{self._label()}: memory_budget={self._budget}, but training needs {executable.program.arena} bytes "
                "for values at least, whatever is computed again; give it that much, or a smaller batch"
            )
        return self._bind_program(executable, wrt)

    def _bind_program(self, executable: Executable, wrt: Sequence[str]) -> Instance:
        buffers: dict[str, Array] = {n: a._read for n, a in {**self.arg_dict, **self.aux_dict}.items()}
        grads = self._gradient_buffers(wrt)
        for p in executable.program.params:
            if p.role == "key":
                buffers[p.name] = self._key
            elif p.role == "grad":
                buffers[p.name] = grads[p.of]
            elif p.role == "head":
                buffers[p.name] = self._heads.setdefault(p.of, np.zeros(p.type.shape, p.type.dtype.numpy))
        types = executable.program.value_types()
        outputs: list[Array] = []
        shared = [o._read for o in self._outputs] if self._outputs is not None else None
        for at, output in enumerate(executable.program.outputs):
            if output.role == "gradient":
                outputs.append(grads[output.of])
            else:
                t = types[output.value]
                outputs.append(shared[at] if shared is not None else zeros(t.shape, t.dtype.numpy))
        if self._outputs is None:
            self._outputs = [self._result(i, a) for i, a in enumerate(outputs[: len(self._output_names)])]
        return executable.bind(buffers, outputs, kept=executable.kept_of(buffers))

    def _gradient_buffers(self, wrt: Sequence[str]) -> dict[str, Array]:
        """Where the program puts gradients: into their arrays, or beside those of another type, or whose memory
        something else uses too."""
        grads = {n: g._read for n, g in self.grad_dict.items() if n in wrt and g is not None}
        held = [(("arg", n), a._read) for n, a in self.arg_dict.items()]
        held += [(("aux", n), a._read) for n, a in self.aux_dict.items()]
        held += [(("grad", n), g) for n, g in grads.items()]
        spans: list[tuple[int, int, tuple[str, str]]] = []
        for what, data in held:
            start = address_of(data)
            spans.append((start, start + data.nbytes, what))
        shared: set[tuple[str, str]] = set()
        end, last = 0, ("", "")
        for start, stop, what in sorted(spans):
            if start < min(end, stop):
                shared |= {what, last}
            if stop > end:
                end, last = stop, what
        for kind, name in shared:
            if kind == "aux":
                raise MXNetError(
                    f"{self._label()}: the array of the auxiliary state {name!r} is also bound to something else; "
                    "give each its own"
                )
        for name, array in grads.items():
            kind = self._types[name].dtype.numpy
            if ("grad", name) in shared or array.dtype != kind:
                grads[name] = self._staged.setdefault(name, empty(array.shape, kind))
        return grads

    # -- the rest of MXNet's interface

    def copy_params_from(
        self, arg_params: Mapping[str, NDArray], aux_params: Mapping[str, NDArray] | None = None,
        allow_extra_params: bool = False,
    ) -> None:  # fmt: skip
        """Copy parameters by name; ValueError for a name that is not bound, unless `allow_extra_params`."""
        pairs: list[tuple[str, NDArray, NDArray]] = []
        given = ((arg_params, self.arg_dict, "argument"), (aux_params or {}, self.aux_dict, "auxiliary state"))
        for arrays, bound, kind in given:
            for name, array in arrays.items():
                if name in bound:
                    pairs.append((name, array, bound[name]))
                elif not allow_extra_params:
                    raise ValueError(f"{self._label()}: {name!r} is no {kind}; it has {those(bound, name)}")
        copy_all(f"{self._label()}: copy_params_from", self._symbol, pairs)

    def reshape(
        self, partial_shaping: bool = False, allow_up_sizing: bool = False, **kwargs: tuple[int, ...]
    ) -> Executor:
        """A new executor for other input shapes, sharing every array whose shape stays and the memory of those that
        shrink, outputs too. Shapes that are not given are inferred; MXNetError if one of them would change, unless
        `partial_shaping`, or if an array would need more memory, unless `allow_up_sizing` (it is zeros then)."""
        made = self.reshaped(
            kwargs, partial_shaping, allow_up_sizing,
            "an executor keeps what is not given another shape; pass partial_shaping=True if new values are meant",
        )  # fmt: skip
        if not self._choosers:
            if self._outputs is None:
                self._outputs = [self._result(i, zeros(t.shape, t.dtype.numpy)) for i, t in self._result_types()]
            made._outputs = [made._result(i, resized(self._outputs[i], t.shape)._read) for i, t in made._result_types()]
        return made

    def _result_types(self) -> list[tuple[int, TensorType]]:
        """(number, type) of the outputs, before anything is compiled."""
        inferred = module_of(self._symbol, self._types).inferred
        entries = self._symbol.graph.outputs
        return [(i, self._types[n.name] if n.is_variable else inferred[n][at]) for i, (n, at) in enumerate(entries)]

    def _result(self, at: int, array: Array) -> NDArray:
        """The output of that number, in an array, where the operator's `ctx_group` says."""
        group = self._symbol.graph.outputs[at][0].attrs.get("__ctx_group__", "")
        return NDArray._of(array, (self._group2ctx or {}).get(group, self._ctx))

    def reshaped(
        self, given: Mapping[str, tuple[int, ...]], partial_shaping: bool, allow_up_sizing: bool, advice: str
    ) -> Executor:
        """`reshape`; `advice` is what a refusal says to do."""
        shapes, _, states = infer_shapes(self._symbol, False, (), given, bound=True)
        if shapes is None:
            raise MXNetError(f"{self._label()}: the given shapes do not determine the others: {dict(given)}")
        wanted = dict(zip([*self._arg_names, *self._aux_names], [*shapes, *states]))
        named = None if partial_shaping else given.keys()
        known = {**self.arg_dict, **self.aux_dict}
        arrays = arrays_for(self._label(), self._symbol, known, wanted, named, allow_up_sizing, advice)
        args, aux = [arrays[n] for n in self._arg_names], [arrays[n] for n in self._aux_names]
        grads = [g if g is None or g.shape == a.shape else resized(g, a.shape) for g, a in zip(self.grad_arrays, args)]
        made = type(self)(self._symbol, self._ctx, args, grads, self._reqs, aux, self._group2ctx, self._budget)
        if self._monitor is not None:
            made.set_monitor_callback(self._monitor.callback, self._monitor.everything)
        return made

    def set_monitor_callback(self, callback: Callable[..., None] | None, monitor_all: bool = False) -> None:
        """Call `callback(name, array)` after each forward for every operator's output (and, with `monitor_all`, its
        inputs), after each backward for every gradient inside of the net. See symc.monitoring; None ends it."""
        self._monitor = None if callback is None else Observer(self, callback, monitor_all)

    def get_optimized_symbol(self) -> Any:
        """The Symbol as it runs: operators that compute the same are one (see symc.described), unless
        MXNET_ELIMINATE_COMMON_EXPR was 0 when it was bound."""
        return merged(self._symbol) if self._merges else self._symbol.__copy__()

    def __repr__(self) -> str:
        made = [word for train, word in ((False, "prediction"), (True, "training")) if train in self._instances]
        counts = f"{len(self._arg_names)} arguments, {len(self._output_names)} outputs"
        return f"<{self._label()} on {self._ctx}: {counts}, compiled for {' and '.join(made) or 'nothing yet'}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the arrays, and the picture of the Symbol."""
        rows = [
            {"array": name, "type": str(self._types[name]), "gradient": req}
            for name, req in zip([*self._arg_names, *self._aux_names], [*self._reqs, *["state"] * len(self._aux_names)])
        ]
        table = html_table(("array", "type", "gradient"), rows)
        return f"<div>{escape(repr(self))}</div>{table}{svg_of(self._symbol.graph)}"

    def debug_str(self) -> str:
        """The programs (see symc.described); that of training among them where gradients are kept. One that has not run
        yet is planned, without machine code."""
        with self._lock, using(self._edits):
            programs = {half: i.executable.program for half, i in self._instances.items() if half is not None}
            if (train := any(r != "null" for r in self._reqs)) not in programs:
                programs[train] = planned(*self._to_compile(train))
        return listing(self._output_names, programs)


def _mirrored(symbol: Any) -> bool:
    """Whether MXNet is asked to compute values again rather than to keep them: by a Symbol, or from outside."""
    marks = (node.attrs.get("__force_mirroring__", "") for node in symbol.graph.nodes())
    return any(mark in ("True", "true", "1") for mark in marks) or switch("MXNET_BACKWARD_DO_MIRROR") is True

"""The same of machine code: a program in one go and in halves, again on the same memory, with one thread and with two;
and of a whole Symbol bound as users bind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

import symc as mx
from symc.base import LateError
from symc.codegen.target import host_target
from symc.compile import emit
from symc.debug.compare import Reference, compare, difference, reference_of, same
from symc.debug.reading import gradients_of, heads_of, inputs_of
from symc.debug.trial import Trial, Wrong
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.program.interp import POISON
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import Results, evaluate
from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.passes.manager.manager import Manager, Pass
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline
from symc.runtime.executable import Instance
from symc.runtime.memory import empty
from symc.runtime.table import num_threads, set_num_threads
from symc.sparse_binding import StoredExecutor
from symc.symbol import Symbol
from symc.typed import overwritten


class _Native:
    """A program on buffers of its own, which every run begins with the same contents."""

    def __init__(self, loops: LoopModule, arrays: Mapping[str, Array]) -> None:
        self.program, self.arrays = loops.program, arrays
        self.buffers = {p.name: empty(p.type.shape, p.type.dtype.numpy) for p in loops.program.params}
        self.instance: Instance = emit(loops, host_target()).bind(self.buffers)
        entries = self.instance.table.entries
        # whatever can be divided among threads is, down to single iterations
        entries["grain"] = np.where(entries["extent"] > 1, 1, entries["grain"])

    def run(self, halves: bool = False) -> Results:
        """What a run leaves. Memory that nobody has written holds nan. Wrong: the backward half writes into outputs."""
        for name, buffer in self.buffers.items():
            buffer[...] = self.arrays[name]
        self.instance.arena[...] = POISON
        for out in self.instance.outputs:
            out.reshape(-1).view(np.uint8)[...] = POISON
        if halves:
            self.instance.run_forward()
            forward = [o.copy() for o in self._forward_outputs()]
            self.instance.run_backward()
            for before, after in zip(forward, self._forward_outputs()):
                if not same(after, before):
                    problem = f"an output of the forward half after the backward half: {difference(after, before)}"
                    raise Wrong("native", "halves", "overwritten", problem)
        else:
            self.instance.run()
        outputs = {output.name: o.copy() for output, o in zip(self.program.outputs, self.instance.outputs)}
        return Results(outputs, {u.input: self.buffers[u.input].copy() for u in self.program.updates})

    def _forward_outputs(self) -> list[Array]:
        """Buffers of the outputs that the forward half gives."""
        return [o for out, o in zip(self.program.outputs, self.instance.outputs) if out.phase == "forward"]


def check_native(trial: Trial, loops: LoopModule, reference: Reference) -> int:
    """Machine code gives what the program says, however it is run."""
    try:
        native = _Native(loops, reference.arrays)
        first = native.run()
    except Exception as problem:
        raise Wrong("native", "compile", type(problem).__name__, str(problem)) from problem
    problem, value = compare(trial, reference, first)
    if problem:
        raise Wrong("native", "run", "values", problem, value)
    before = num_threads()
    set_num_threads(2 if before == 1 else 1)
    try:
        other = native.run()
    finally:
        set_num_threads(before)
    for rule, found in (("again", native.run()), ("halves", native.run(True)), ("threads", other)):
        for had, has in ((first.outputs, found.outputs), (first.updates, found.updates)):
            for name, value in had.items():
                if not same(has[name], value):
                    raise Wrong("native", rule, "differs", f"{name}: {difference(has[name], value)}")
    return 4


# --------------------------------------------------------------------------------------------- Executors


def check_executor(trial: Trial) -> int:
    """The Symbol bound as `requests` say gives what its graph does: outputs, gradients and states, for prediction and
    for training, twice, and for prediction once more with other values in some of its arrays."""
    module = trial.module
    assert isinstance(module, SymbolModule)
    symbol = Symbol(module.graph.outputs)
    checks, bound = 0, None
    for train in (False, True) if trial.train else (False,):
        where = "training" if train else "prediction"
        try:
            bound = bound or _Bound(trial, module, symbol)
            first, reference = bound.run(train)
        except (Wrong, np.linalg.LinAlgError):
            raise
        except Exception as error:
            raise Wrong("executor", where, type(error).__name__, str(error)) from error
        problem, _ = compare(trial, reference, first)
        if problem:
            raise Wrong("executor", where, "values", problem)
        second, reference = bound.run(train)
        problem, _ = compare(trial, reference, second)
        if problem:
            raise Wrong("executor", where, "again", problem)
        checks += 2
        if not train and (some := bound.change(trial.seed)):
            third, reference = bound.run(train, some)
            problem, _ = compare(trial, reference, third)
            if problem:
                raise Wrong("executor", where, "written", f"with other values in {', '.join(some)}: {problem}")
            checks += 1
    return checks


class _Bound:
    """A Symbol with arrays that every run begins with the same contents."""

    def __init__(self, trial: Trial, module: SymbolModule, symbol: Any) -> None:
        self.trial, self.module = trial, module
        arguments, states = symbol.list_arguments(), symbol.list_auxiliary_states()
        self.values = {n: trial.value(n, "arg", module.types[n]) for n in (*arguments, *states)}
        self.requests = {n: trial.requests.get(n, "null") for n in arguments}
        grads = {n: _nd(np.zeros_like(self.values[n])) for n in arguments if self.requests[n] != "null"}
        arrays, aux = ({n: _nd(self.values[n]) for n in names} for names in (arguments, states))
        self.exe = symbol.bind(mx.cpu(), arrays, grads, self.requests, aux)

    def change(self, seed: int) -> list[str]:
        """Give some of the inputs that may have any values those that they have, in another order."""
        rng = np.random.default_rng(seed)
        some = [n for n, v in self.values.items() if n not in self.trial.given and v.size > 1 and rng.random() < 0.5]
        for name in some:
            self.values[name] = np.ascontiguousarray(np.roll(self.values[name], 1))
        return some

    def run(self, train: bool, written: Collection[str] | None = None) -> tuple[Results, Reference]:
        """What the Executor leaves, and the reference for it, with the random numbers that it drew. Arrays are given
        their values before; or only those `written`, and states that change, while the others still have theirs.
        LinAlgError where values are refused, which the interpreter has to refuse as well."""
        graph = self.graph(train)
        arrays = {name: self.trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        arrays.update((name, value) for name, value in self.values.items() if name in arrays)
        try:
            return self._left(graph, arrays, train, written)
        except LateError as problem:
            evaluate(graph, arrays)
            raise Wrong("executor", "training" if train else "prediction", "refused", str(problem)) from None

    def _left(
        self, graph: Graph, arrays: dict[str, Array], train: bool, written: Collection[str] | None
    ) -> tuple[Results, Reference]:
        exe = self.exe
        gradients = gradients_of(graph)
        for name, array in {**exe.arg_dict, **exe.aux_dict}.items():
            if written is None or name in written or any(u.input == name for u in graph.updates):
                array[...] = self.values[name]
        for name, array in exe.grad_dict.items():
            if array is not None:
                kind, called = gradients.get(name, ("output", name))
                array[...] = arrays[called] if kind == "update" else np.full(array.shape, 7)
        exe.forward(is_train=train)
        outputs = {name: o.asnumpy() for name, o in zip(self.module.output_names, exe.outputs)}
        if train and gradients:
            heads = heads_of(graph)
            given = [
                _nd(arrays[heads[name]] if name in heads else np.zeros(o.shape, o.dtype))
                for name, o in zip(self.module.output_names, exe.outputs)
            ]
            exe.backward(given)
            for (name, before), after in zip(outputs.items(), exe.outputs):
                if not same(after.asnumpy(), before):
                    raise Wrong("executor", "backward", "overwritten", f"output {name} changes")
        updates = {}
        for name, (kind, called) in gradients.items():
            (outputs if kind == "output" else updates)[called] = exe.grad_dict[name].asnumpy()
        updates |= {u.input: exe.aux_dict[u.input].asnumpy() for u in graph.updates if u.input in exe.aux_dict}
        updates |= {u.input: exe.arg_dict[u.input].asnumpy() for u in graph.updates if u.input in exe.arg_dict}
        for name, role, _ in inputs_of(graph):
            if role == "key":
                dense = exe._inner if isinstance(exe, StoredExecutor) else exe
                arrays[name] = dense._key.copy()
        return Results(outputs, updates), reference_of(self.trial, graph, arrays)

    def graph(self, train: bool) -> Graph:
        """The program that the Executor should run, over primitives."""
        wrt = [n for n, r in self.requests.items() if r != "null"] if train else []
        add = [n for n in wrt if self.requests[n] == "add" and n not in overwritten(self.exe._symbol)]
        gradients: list[Pass] = [Autodiff(wrt=tuple(wrt), add=tuple(add))] if wrt else []
        decompose = Decompose(train=train, backward=bool(wrt), wrt=tuple(wrt))
        made: Graph = Manager(verify=True).run([decompose, *gradients, Inline()], self.module)
        return made


def _nd(array: Array) -> NDArray:
    made = empty(array.shape, array.dtype)
    made[...] = array
    return NDArray._of(made, mx.cpu())

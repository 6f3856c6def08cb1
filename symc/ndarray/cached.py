"""A Symbol as a function of arrays: compiled for their types when it is first called with them, and recorded as one
step whose gradient is the backward half of the same program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from symc.base import MXNetError
from symc.compile import Executable, compile_symbol
from symc.ir.types import Array, TensorType, dtype_of
from symc.ndarray.imperative import invoke
from symc.ndarray.ndarray import NDArray
from symc.ndarray.pool import Pool
from symc.ndarray.tape import STATE, Opaque, Variable, entry_of, record, records
from symc.ops.base import Operator
from symc.ops.shared.inferred import choosers
from symc.runtime.keys import next_key
from symc.runtime.memory import empty
from symc.typed import module_of

#: bytes of working memory that a program of a whole net may keep between calls
LARGEST = 1 << 30


class CachedOp:
    """Calls a Symbol with arrays in the order of `inputs`, the names of its arguments and states."""

    def __init__(self, symbol: Any, inputs: Sequence[str]) -> None:
        self.symbol, self.inputs = symbol, list(inputs)
        self._states = set(symbol.list_auxiliary_states())
        read = {*symbol.list_arguments(), *self._states}
        #: positions of the arrays that the Symbol reads (a block may have parameters that it does not use)
        self._read = [at for at, name in enumerate(inputs) if name in read]
        #: operators whose results' sizes are known only from values: they are called one by one
        self._dynamic = bool(choosers(symbol.graph))
        self._programs: dict[Any, _Program] = {}

    def __call__(self, arrays: Sequence[NDArray]) -> list[NDArray]:
        """The Symbol's outputs."""
        if self._dynamic:
            return evaluate(self.symbol, dict(zip(self.inputs, arrays)))
        arrays = [arrays[at] for at in self._read]
        names = [self.inputs[at] for at in self._read]
        recorded = STATE.recording and records(arrays)
        wrt = tuple([n for n, a in zip(names, arrays) if recorded and n not in self._states and _wanted(a)])
        key = (STATE.training, wrt, tuple([(a.shape, a._read.dtype) for a in arrays]))
        program = self._programs.get(key)
        if program is None:
            types = {n: TensorType(dtype_of(a.dtype), a.shape) for n, a in zip(names, arrays)}
            program = self._programs[key] = _Program(self.symbol, types, STATE.training, wrt)
        step = _Step(program, dict(zip(names, [a._read for a in arrays])), self.symbol)
        results = [NDArray._of(a, arrays[0].context if arrays else None) for a in step.run()]
        if recorded:
            record(step, arrays, [a._read for a in arrays], results)
        return results


class SymbolFunction:
    """`mx.nd.CachedOp`: a Symbol that is called with arrays, in the order of its `list_inputs()`."""

    def __init__(self, sym: Any, flags: Any = ()) -> None:
        """`flags` are MXNet's, and change nothing here."""
        self._op = CachedOp(sym, sym.list_inputs())

    def __call__(self, *args: NDArray, out: Any = None, **kwargs: Any) -> Any:
        """The Symbol's outputs (one array, or a list), put into `out` if that is given."""
        if len(args) != len(self._op.inputs):
            raise MXNetError(
                f"CachedOp: takes {len(self._op.inputs)} arrays ({', '.join(self._op.inputs)}), got {len(args)}"
            )
        made = self._op(args)
        if out is not None:
            targets = list(out) if isinstance(out, (list, tuple)) else [out]
            for target, result in zip(targets, made, strict=True):
                result.copyto(target)
            made = targets
        return made[0] if len(made) == 1 else made


def _wanted(array: NDArray) -> bool:
    """Whether a gradient flows on from an array."""
    entry = entry_of(array)
    return entry is not None and not (isinstance(entry[0], Variable) and entry[0].req == "null")


class _Program:
    """The Symbol for arrays of certain types."""

    def __init__(self, symbol: Any, types: dict[str, TensorType], train: bool, wrt: Sequence[str]) -> None:
        executable: Executable = compile_symbol(module_of(symbol, types), train, wrt)
        program = executable.program
        values = program.value_types()
        self.pool, self.key, self.wrt = Pool(executable, LARGEST), program.key, list(wrt)
        self.outputs = [values[output.value] for output in program.outputs]
        self.count = len(symbol.list_outputs())
        #: where the gradient of each argument is among the outputs
        self.gradients = {o.of: at for at, o in enumerate(program.outputs) if o.role == "gradient"}
        outputs = {o.name: at for at, o in enumerate(program.outputs)}
        #: the inputs for the outputs' cotangents: name, output, type
        self.heads = [(p.name, outputs[p.of], p.type) for p in program.params if p.role == "head"]
        self.states = [n for n in symbol.list_auxiliary_states()]


class _Step(Opaque):
    """One call of a program."""

    def __init__(self, program: _Program, buffers: dict[str, Array], symbol: Any) -> None:
        self.program, self.symbol = program, symbol
        self.name = symbol.name or "net"
        self._inputs = list(buffers)
        self._buffers = dict(buffers)
        if program.key:
            self._buffers[program.key] = next_key()
        for head, _, kind in program.heads:
            self._buffers[head] = empty(kind.shape, kind.dtype.numpy)
        self._finish: Callable[[], None] | None = None
        self._outputs: list[Array] = []

    def run(self) -> list[Array]:
        """The results; with gradients that are wanted, the backward half is left for `backward`."""
        program = self.program
        self._outputs = [empty(t.shape, t.dtype.numpy) for t in program.outputs]
        if program.wrt:
            self._finish = program.pool.begin(self._buffers, self._outputs)
        else:
            program.pool.run(self._buffers, self._outputs)
        return self._outputs[: program.count]

    def composed(self, inputs: Sequence[Any]) -> Any:
        """The Symbol itself, of other inputs."""
        made = copy.copy(self.symbol)
        made._compose(**dict(zip(self._inputs, inputs)))
        return made

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        program = self.program
        if self._finish is None:  # a second time: the values that it reads are computed again
            states = [(self._buffers[n], self._buffers[n].copy()) for n in program.states]
            self.run()
            for array, before in states:
                array[...] = before
        for name, output, _ in program.heads:
            ct = cts[output]
            self._buffers[name][...] = 0 if ct is None else ct
        finish, self._finish = self._finish, None
        if finish is None:
            return [None] * len(self._inputs)
        finish()
        at = program.gradients
        return [self._outputs[at[n]] if n in at else None for n in self._inputs]


def evaluate(symbol: Any, arrays: dict[str, NDArray]) -> list[NDArray]:
    """The Symbol's outputs, by one call of `mx.nd` for each operator."""
    values: dict[Any, list[NDArray]] = {}
    for node in symbol.graph.nodes():
        if node.is_variable:
            if node.name not in arrays:
                raise MXNetError(f"{node.name!r} has no value")
            values[node] = [arrays[node.name]]
            continue
        if node.definition.graphs:
            raise MXNetError(f"{node.op} {node.name!r} runs Symbols: it cannot be called on arrays by itself")
        cls: type[Operator] = type(node.definition)
        inputs = [values[source][at] for source, at in node.inputs]
        attrs = {k: v for k, v in node.attrs.items() if not k.startswith("__")}
        made = invoke(cls, node.name, inputs, dict(attrs))
        values[node] = made if isinstance(made, list) else [made]
    return [values[node][at] for node, at in symbol._outputs]

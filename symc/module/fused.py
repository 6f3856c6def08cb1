"""A whole training step as one program: forward, backward and the optimizer's update in one native call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from symc.executor import Executor
from symc.ir.op import Node, Recorder, input_node, parameter
from symc.ir.origins import SymOrigin
from symc.ir.tensor.graph import Graph, Update, finish, fresh_name, in_order
from symc.ir.types import Array, TensorType
from symc.ndarray import NDArray
from symc.optimizer import Optimizer, Updater
from symc.optimizer.base import flat_states
from symc.optimizer.compiled import Keys, apply_rule
from symc.passes.edits import active, using
from symc.passes.manager.manager import Manager
from symc.runtime.keys import next_key
from symc.runtime.memory import empty
from symc.settings import verification
from symc.typed import module_of

if TYPE_CHECKING:
    from symc.runtime.executable import Executable, Instance

#: keys that rules fold from the program's key start here, far from those of the net's own operators
_RULE_KEYS = 1 << 20


def can_fuse(exe: Executor, updater: Updater | None, params: Sequence[str]) -> bool:
    """Whether the step can be one program: every gradient is overwritten and used by a rule that has a program, and no
    output asks for a gradient from outside."""
    if updater is None or exe._monitor is not None or not exe.fusable:
        return False
    kind = type(updater.optimizer)
    if kind.update is not Optimizer.update or kind.update_multi_precision is not Optimizer.update_multi_precision:
        return False
    reqs = dict(zip(exe._arg_names, exe._reqs))
    wanted = {n for n, r in reqs.items() if r != "null"}
    if not wanted or not wanted <= set(params) or any(reqs[n] != "write" for n in wanted):
        return False
    half = any(exe.arg_dict[n].dtype == np.float16 for n in wanted)
    return not (half and updater.optimizer.multi_precision)


class FusedStep:
    """The program of an executor's net with an optimizer's rule, on their arrays."""

    def __init__(self, exe: Executor, updater: Updater, params: Sequence[tuple[Any, str]]) -> None:
        """`params`: (optimizer's index, name) of the parameters that have gradients."""
        self.exe, self.optimizer, self.params = exe, updater.optimizer, list(params)
        self.rule = self.optimizer.rule_key()
        arrays = exe.arg_dict
        self.states: dict[Any, list[NDArray]] = {
            index: flat_states(updater.state_of(index, arrays[name])) for index, name in self.params
        }
        self._held = {index: updater.states[index] for index, _ in self.params}
        self.names = tuple(_scalar_names(self.optimizer, self.params[0][0]))
        self.values = {name: np.zeros(len(self.names), scalar_type_of(arrays[name])) for _, name in self.params}
        #: by parameter the names of the program's inputs for its states and numbers
        self.inputs: dict[str, list[str]] = {}
        self.heads_needed = False
        self.executable = self._compile()
        self.instance: Instance | None = None if self.heads_needed else self._bind()

    def fits(self, exe: Executor, updater: Updater) -> bool:
        """Whether it is still the program of this executor and optimizer, and the states are those it works on."""
        return (
            exe is self.exe
            and updater.optimizer is self.optimizer
            and self.optimizer.rule_key() == self.rule
            and all(updater.states.get(index) is state for index, state in self._held.items())
        )

    def run(self) -> None:
        """One training step on what is in the executor's arrays."""
        assert self.instance is not None
        optimizer = self.optimizer
        for index, name in self.params:
            optimizer._update_count(index)
            self.values[name][:] = list(optimizer.scalars(index).values())
        if self._key is not None:
            self._key[:] = next_key()
        self.instance.run()

    # -- making it

    def _compile(self) -> Executable:
        from symc.compile import compile_graph, refusals, symbol_passes

        module = module_of(self.exe._symbol, self.exe._types)
        wrt = tuple(name for _, name in self.params)
        with using(self.exe._edits):
            with refusals(module.name):
                passes = active().apply(symbol_passes(True, wrt))
                graph = Manager(verify=verification()).run(passes, module)
            self.heads_needed = any(parameter(i).role == "head" for i in graph.inputs)
            return compile_graph(self._with_updates(graph))

    def _with_updates(self, graph: Graph) -> Graph:
        """The gradients become updates of parameters and states, and are results no more."""
        inputs = {parameter(i).input_name: i for i in graph.inputs}
        gradients = {output.of: output.node for output in graph.outputs if output.role == "gradient"}
        outputs = [output for output in graph.outputs if output.role != "gradient"]
        # one run does everything; of two updates of a state the later one counts
        updates = {u.input: replace(u, phase="forward") for u in in_order(graph.updates)}
        taken = set(inputs)

        def added(wished: str, tensor: TensorType, role: str, of: str) -> Node:
            name = fresh_name(wished, taken)
            taken.add(name)
            return input_node(name, tensor, role, of)

        key = next((i for i in graph.inputs if parameter(i).role == "key"), None)
        keys = Keys(key, _RULE_KEYS, taken)
        recorder, extra = Recorder(), []
        with recorder:
            for index, name in self.params:
                origin = SymOrigin(name, f"{type(self.optimizer).__name__.lower()}_update")
                weight = inputs[name]
                # a net that overwrites a parameter itself does so before the rule sees it
                before = updates[name].value if name in updates else weight
                with recorder.at(origin):
                    work = TensorType(weight.dtype.wide, ())
                    states = [
                        added(f"{name}.state{i}", TensorType(_dtype(s), s.shape), "state", name)
                        for i, s in enumerate(self.states[index])
                    ]
                    scalars: Mapping[str, Node] = {n: added(f"{name}.{n}", work, "arg", name) for n in self.names}
                    made, new = apply_rule(self.optimizer, keys, before, gradients[name], states, scalars)
                extra += [*states, *scalars.values()]
                self.inputs[name] = [parameter(i).input_name for i in (*states, *scalars.values())]
                updates[name] = Update(name, made)
                for state, value in zip(states, new):
                    target = parameter(state).input_name
                    updates[target] = Update(target, value)
        if keys.key is not None and keys.key is not key:
            extra.append(keys.key)
            recorder.origins[keys.key] = SymOrigin(parameter(keys.key).input_name, "random")
        origins = {**recorder.origins, **graph.origins}
        return finish(graph.name, [*graph.inputs, *extra], outputs, list(updates.values()), graph.names, origins)

    def _bind(self) -> Instance:
        exe, program = self.exe, self.executable.program
        buffers: dict[str, Array] = {n: a._read for n, a in {**exe.arg_dict, **exe.aux_dict}.items()}
        for index, name in self.params:
            values = self.values[name]
            scalars = [values[i : i + 1].reshape(()) for i in range(len(self.names))]
            buffers.update(zip(self.inputs[name], [*(s._read for s in self.states[index]), *scalars]))
        self._key: Array | None = np.zeros(2, np.uint32) if program.key else None
        if self._key is not None:
            buffers[program.key] = self._key
        if exe._outputs is None:
            types = program.value_types()
            made = [empty(types[o.value].shape, types[o.value].dtype.numpy) for o in program.outputs]
            exe._outputs = [exe._result(i, a) for i, a in enumerate(made)]
        outputs = [o._read for o in exe._outputs]
        return self.executable.bind(buffers, outputs)


def _dtype(array: NDArray) -> Any:
    from symc.ir.types import dtype_of

    return dtype_of(array.dtype)


def scalar_type_of(array: NDArray) -> Any:
    """The numpy type of a parameter's scalars."""
    return _dtype(array).wide.numpy


def _scalar_names(optimizer: Optimizer, index: Any) -> Sequence[str]:
    """Names of the numbers that a rule takes, asked for without counting an update."""
    import copy

    probe = copy.copy(optimizer)
    probe._index_update_count = {index: 1}
    return tuple(probe.scalars(index))

"""A whole training step as one program: forward, backward and the optimizer's update in one native call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symc.executor import Executor
from symc.ir.op import input_node
from symc.ir.tensor.graph import Graph, Node, Recorder, SymOrigin, Update, finish
from symc.ir.types import Array, TensorType
from symc.ndarray import NDArray
from symc.optimizer import Optimizer, Updater
from symc.optimizer.base import flat_states
from symc.optimizer.compiled import Keys, apply_rule, scalar_type
from symc.passes.manager.manager import Manager
from symc.passes.tensor.autodiff import Autodiff, grad_name
from symc.passes.tensor.decompose import KEY_INPUT, Decompose
from symc.runtime.keys import next_key
from symc.runtime.memory import empty
from symc.typed import module_of

if TYPE_CHECKING:
    from symc.compile import Executable, Instance

#: keys that rules fold from the program's key start here, far from those of the net's own operators
_RULE_KEYS = 1 << 20


def can_fuse(exe: Executor, updater: Updater | None, params: Sequence[str]) -> bool:
    """Whether the step can be one program: every gradient is overwritten and used by a rule that has a program, and no
    output asks for a gradient from outside."""
    if updater is None or exe._monitor is not None:
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
        from symc.compile import compile_graph

        module = module_of(self.exe._symbol, self.exe._types)
        wrt = tuple(name for _, name in self.params)
        graph = Manager(verify=False).run([Decompose(train=True), Autodiff(wrt=wrt)], module)
        self.heads_needed = any(i.op.role == "head" for i in graph.inputs)
        return compile_graph(self._with_updates(graph))

    def _with_updates(self, graph: Graph) -> Graph:
        """The gradients become updates of parameters and states, and are results no more."""
        inputs = {i.op.input_name: i for i in graph.inputs}  # type: ignore[attr-defined]
        gradients = {name: node for name, node in graph.outputs if name.endswith(grad_name(""))}
        outputs = [(name, node) for name, node in graph.outputs if name not in gradients]
        updates = {u.input: u for u in graph.updates}
        keys = Keys(inputs.get(KEY_INPUT), _RULE_KEYS)
        recorder, extra = Recorder(), []
        with recorder:
            for index, name in self.params:
                origin = SymOrigin(name, f"{type(self.optimizer).__name__.lower()}_update")
                weight = inputs[name]
                # a net that overwrites a parameter itself does so before the rule sees it
                before = updates[name].value if name in updates else weight
                with recorder.at(origin):
                    work = TensorType(scalar_type(weight.dtype), ())
                    states = [
                        input_node(_state(name, i), TensorType(_dtype(s), s.shape), "state")
                        for i, s in enumerate(self.states[index])
                    ]
                    scalars: Mapping[str, Node] = {n: input_node(f"{name}.{n}", work, "arg") for n in self.names}
                    made, new = apply_rule(self.optimizer, keys, before, gradients[grad_name(name)], states, scalars)
                extra += [*states, *scalars.values()]
                updates[name] = Update(name, made, "backward")
                updates.update({_state(name, i): Update(_state(name, i), n, "backward") for i, n in enumerate(new)})
        if keys.key is not None and KEY_INPUT not in inputs:
            extra.append(keys.key)
            recorder.origins[keys.key] = SymOrigin(KEY_INPUT, "random")
        origins = {**recorder.origins, **graph.origins}
        return finish(graph.name, [*graph.inputs, *extra], outputs, list(updates.values()), graph.names, origins)

    def _bind(self) -> Instance:
        exe, program = self.exe, self.executable.program
        buffers: dict[str, Array] = {n: a._data for n, a in {**exe.arg_dict, **exe.aux_dict}.items()}
        for index, name in self.params:
            buffers.update({_state(name, i): s._data for i, s in enumerate(self.states[index])})
            values = self.values[name]
            buffers.update({f"{name}.{n}": values[i : i + 1].reshape(()) for i, n in enumerate(self.names)})
        wanted = {p.name for p in program.params}
        self._key: Array | None = np.zeros(2, np.uint32) if KEY_INPUT in wanted else None
        if self._key is not None:
            buffers[KEY_INPUT] = self._key
        if exe._outputs is None:
            types = program.value_types()
            made = [empty(types[value].shape, types[value].dtype.numpy) for _, value in program.outputs]
            exe._outputs = [NDArray._of(a, exe._ctx) for a in made]
        outputs = [o._data for o in exe._outputs]
        return self.executable.bind({n: b for n, b in buffers.items() if n in wanted}, outputs)


def _state(name: str, number: int) -> str:
    return f"{name}.state{number}"


def _dtype(array: NDArray) -> Any:
    from symc.ir.types import dtype_of

    return dtype_of(array.dtype)


def scalar_type_of(array: NDArray) -> Any:
    """The numpy type of a parameter's scalars."""
    return scalar_type(_dtype(array)).numpy


def _scalar_names(optimizer: Optimizer, index: Any) -> Sequence[str]:
    """Names of the numbers that a rule takes, asked for without counting an update."""
    import copy

    probe = copy.copy(optimizer)
    probe._index_update_count = {index: 1}
    return tuple(probe.scalars(index))

"""Executors side by side: each takes its rows of a batch. A Module has a group, and programs build their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from symc.aliases import standing_elsewhere
from symc.context import Context
from symc.executor_manager import _split_input_slice
from symc.io import DataDesc
from symc.module.base_module import as_list, describe
from symc.module.batches import labels_of
from symc.module.binding import gradient_requests, with_labels
from symc.ndarray import NDArray, concatenate

__getattr__ = standing_elsewhere(__name__)

__all__ = ["DataParallelExecutorGroup", "ModuleGroup"]

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
#: for every input its rows' slice and array of each executor
Targets = list[list[tuple[slice, NDArray]]]


def _part(array: Any, axis: int, rows: slice) -> Any:
    """The rows of an array along an axis; all of it where it has no rows (a negative axis) or no others."""
    if axis < 0 or (rows.start == 0 and rows.stop == array.shape[axis]):
        return array
    return array[rows] if axis == 0 else array[(*[slice(None)] * axis, rows)]


def _load_general(data: Sequence[Any], targets: Sequence[Any], major_axis: Sequence[int]) -> None:
    """Copy arrays into arrays, lists of arrays into lists of arrays, or an array's rows along its axis into several:
    (slice, array)."""
    for source, target, axis in zip(data, targets, major_axis):
        if isinstance(target, NDArray):
            source.copyto(target)
        elif isinstance(source, (list, tuple)):
            for one, other in zip(source, target):
                one.copyto(other)
        else:
            for rows, part in target:
                part[:] = _part(source, axis, rows)


def _merge_multi_context(outputs: Sequence[Sequence[NDArray]], major_axis: Sequence[int]) -> list[NDArray]:
    """The arrays of all executors as one, along the axis of the rows; where there is none, the first executor's."""
    return [
        concatenate(list(parts), axis) if axis >= 0 and len(parts) > 1 else parts[0]
        for parts, axis in zip(outputs, major_axis)
    ]


def _prepare_group2ctxs(given: Any, count: int) -> list[Any]:
    """`group2ctxs` (a list of dicts, or a dict whose values are one context or one for each executor) for each of
    `count` executors."""
    if given is None:
        return [None] * count
    if isinstance(given, list):
        if len(given) != count:
            raise AssertionError(f"group2ctxs has {len(given)} entries for {count} contexts")
        return given
    if not isinstance(given, Mapping):
        raise AssertionError("group2ctxs is a dict of contexts by group, or a list of such dicts")
    made: list[dict[str, Context]] = [{} for _ in range(count)]
    for group, value in given.items():
        contexts = as_list(value)
        if len(contexts) not in (1, count):
            raise AssertionError(f"group2ctxs[{group!r}] has {len(contexts)} contexts, not 1 or {count}")
        for at, one in enumerate(made):
            one[group] = contexts[at % len(contexts)]
    return made


class DataParallelExecutorGroup:
    """One executor for each context; each takes its part of the rows, by its share of `workload`.

    Parameters are copies of each, as on devices of their own, and the gradients are not summed: a kvstore does that.
    `reshape` goes on with other shapes and the same parameters; executors for shapes that were there are kept.
    """

    def __init__(
        self, symbol: Any, contexts: Sequence[Context], workload: Sequence[float] | None, data_shapes: Any,
        label_shapes: Any, param_names: Sequence[str], for_training: bool, inputs_need_grad: bool,
        shared_group: DataParallelExecutorGroup | None = None, logger: Any = logging,
        fixed_param_names: Sequence[str] | None = None, grad_req: Any = "write",
        state_names: Sequence[str] | None = None, group2ctxs: Any = None,
    ) -> None:  # fmt: skip
        self.symbol, self.contexts, self.logger = symbol, as_list(contexts), logger
        self.workload = list(workload or [1] * len(self.contexts))
        self.group2ctxs = _prepare_group2ctxs(group2ctxs, len(self.contexts))
        self.arg_names: list[str] = symbol.list_arguments()
        self.aux_names: list[str] = symbol.list_auxiliary_states()
        self.output_names: list[str] = symbol.list_outputs()
        self.num_outputs = len(self.output_names)
        self.output_layouts = [DataDesc.get_batch_axis(one.attr("__layout__")) for one in symbol]
        chosen = set(param_names)
        self.param_names = [n for n in self.arg_names if n in chosen]
        self.state_names, self.fixed_param_names = list(state_names or ()), list(fixed_param_names or ())
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self.label_shapes: list[DataDesc] | None = None
        names = [d[0] for d in data_shapes]
        self.grad_req = gradient_requests(
            symbol, grad_req if for_training else "null", self.param_names, self.fixed_param_names,
            names if inputs_need_grad else (),
        )  # fmt: skip
        #: for every context the inputs by name, which groups share that share parameters
        self.shared_data_arrays: list[dict[str, NDArray]] = (
            [{} for _ in self.contexts] if shared_group is None else shared_group.shared_data_arrays
        )
        self._execs: list[Any] = []
        self._known: dict[Shapes, list[Any]] = {}
        self.bind_exec(data_shapes, label_shapes, shared_group)

    @property
    def execs(self) -> list[Any]:
        """The executors."""
        return self._execs

    @property
    def _total_exec_bytes(self) -> int:
        """Whole megabytes of the executors' arrays: scripts compare it."""
        arrays = [a for e in self._execs for a in (*e.arg_arrays, *e.grad_arrays, *e.aux_arrays) if a is not None]
        return sum(a._read.nbytes for a in arrays) >> 20

    # -- binding

    def bind_exec(
        self, data_shapes: Any, label_shapes: Any, shared_group: DataParallelExecutorGroup | None = None,
        reshape: bool = False,
    ) -> None:  # fmt: skip
        """Make the executors for these shapes; with `reshape` they keep the parameters of those there are."""
        if reshape:
            self.reshape(data_shapes, label_shapes)
            return
        self._describe(data_shapes, label_shapes)
        shared = shared_group.execs if shared_group is not None else [None] * len(self.contexts)
        self._execs = [self._bound(at, one) for at, one in enumerate(shared[: len(self.contexts)])]
        self._known = {self._shapes(): self._execs}

    def _describe(self, data_shapes: Any, label_shapes: Any) -> None:
        """Take note of the shapes, and of who takes which rows. Nothing has changed if they are refused."""
        data = describe(data_shapes, [d[0] for d in data_shapes], "data", True)
        labels = describe(label_shapes, [d[0] for d in label_shapes], "label", False) if label_shapes else None
        size = _batch_size([*data, *(labels or ())], len(self.contexts) > 1)
        self.slices = _split_input_slice(size, self.workload) if size else [slice(0, 1)] * len(self.contexts)
        self.data_shapes, self.label_shapes, self.batch_size = data, labels, size
        self.data_names, self.label_names = [d.name for d in data], [d.name for d in labels or ()]
        self.data_layouts = [DataDesc.get_batch_axis(d.layout) for d in data]
        self.label_layouts = [DataDesc.get_batch_axis(d.layout) for d in labels or ()]

    def _inputs(self) -> list[DataDesc]:
        return [*self.data_shapes, *(self.label_shapes or ())]

    def _shapes(self) -> Shapes:
        return tuple((d.name, tuple(d.shape)) for d in self._inputs())

    def _sliced_shapes(self, at: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs that the executor of that number takes."""
        rows, made = self.slices[at], {}
        for d in self._inputs():
            axis = DataDesc.get_batch_axis(d.layout)
            part = (*d.shape[:axis], rows.stop - rows.start, *d.shape[axis + 1 :])
            made[d.name] = tuple(d.shape) if axis < 0 else part
        return made

    def _bound(self, at: int, shared: Any) -> Any:
        known = set(self.arg_names)
        types = {d.name: d.dtype for d in self._inputs() if d.name in known}
        return self.symbol.simple_bind(
            self.contexts[at], grad_req=self.grad_req, type_dict=types, shared_exec=shared,
            group2ctx=self.group2ctxs[at], shared_arg_names=self.param_names,
            shared_buffer=self._buffer(at),
            **{n: s for n, s in self._sliced_shapes(at).items() if n in known},
        )  # fmt: skip

    def _buffer(self, at: int) -> dict[str, NDArray]:
        """Where an executor's inputs come from."""
        return self.shared_data_arrays[at]

    def reshape(self, data_shapes: Any, label_shapes: Any) -> None:
        """Go on with other input shapes and the same parameters. MXNetError if one of them would need another shape."""
        execs, now = self.execs, [(d.name, tuple(d.shape)) for d in self.data_shapes]
        held = self.data_shapes, self.label_shapes
        self._describe(data_shapes, label_shapes)
        found = self._known.get(self._shapes())
        if found is None:
            bound = ", ".join(f"{n} {s}" for n, s in now)
            advice = (
                f"the module is bound to {bound}, and keeps its parameters: give it batches like those, of any number "
                "of rows, or bind another Module (an input has to be in data_names or label_names)"
            )
            others = {*self.param_names, *self.state_names, *self.data_names}
            labels = [n for n in self.arg_names if n not in others]
            try:
                given = [with_labels(self.symbol, self._sliced_shapes(i), labels) for i in range(len(execs))]
                found = [e.reshaped(shapes, False, True, advice) for e, shapes in zip(execs, given)]
            except Exception:
                self._describe(*held)
                raise
            self._known[self._shapes()] = found
        self._execs = found

    # -- arrays: lists with one entry a name, which is a list with one array an executor

    def _of(self, names: Sequence[str], which: str) -> list[list[Any]]:
        held = [getattr(exe, which) for exe in self.execs]
        return [[arrays[name] for arrays in held] for name in names]

    def _targets(self, names: Sequence[str]) -> Targets:
        known = set(self.arg_names)
        return [list(zip(self.slices, arrays)) for arrays in self._of([n for n in names if n in known], "arg_dict")]

    @property
    def data_arrays(self) -> Targets:
        """For every data input its rows' slice and array of each executor."""
        return self._targets(self.data_names)

    @property
    def label_arrays(self) -> Targets | None:
        """As data_arrays, for the labels; None without labels."""
        return None if self.label_shapes is None else self._targets(self.label_names)

    @property
    def param_arrays(self) -> list[list[NDArray]]:
        """The parameters."""
        return self._of(self.param_names, "arg_dict")

    @property
    def grad_arrays(self) -> list[list[NDArray | None]] | None:
        """The parameters' gradients (None: not asked for); None if bound for prediction."""
        return self._of(self.param_names, "grad_dict") if self.for_training else None

    @property
    def aux_arrays(self) -> list[list[NDArray]]:
        """The auxiliary states."""
        return self._of(self.aux_names, "aux_dict")

    @property
    def state_arrays(self) -> list[list[NDArray]]:
        """The arrays of `state_names`."""
        return self._of(self.state_names, "arg_dict")

    @property
    def input_grad_arrays(self) -> list[list[NDArray]] | None:
        """The data's gradients; None unless bound with inputs_need_grad."""
        names = [n for n in self.data_names if n in self.arg_names]
        return self._of(names, "grad_dict") if self.inputs_need_grad else None

    def get_params(self, arg_params: dict[str, NDArray], aux_params: dict[str, NDArray]) -> None:
        """Put the executors' mean of every parameter and state into the two dicts, into the arrays they have."""
        for names, which, held in (
            (self.param_names, "arg_dict", arg_params), (self.aux_names, "aux_dict", aux_params),
        ):  # fmt: skip
            for name, arrays in zip(names, self._of(names, which)):
                mean = arrays[0]
                if len(arrays) > 1:
                    mean = sum(arrays[1:], arrays[0]) / len(arrays)
                if name in held:
                    mean.astype(held[name].dtype, copy=False).copyto(held[name])
                else:
                    held[name] = mean.copy()

    def set_params(self, arg_params: Any, aux_params: Any, allow_extra: bool = False) -> None:
        """Give every executor these values."""
        for exe in self.execs:
            exe.copy_params_from(arg_params, aux_params, allow_extra_params=allow_extra)

    # -- running

    def load(self, data_batch: Any) -> None:
        """Copy a batch's rows into the inputs of the executors that take them."""
        arrays = [exe.arg_dict for exe in self.execs]
        for names, layouts, values in (
            (self.data_names, self.data_layouts, data_batch.data),
            (self.label_names, self.label_layouts, labels_of(data_batch)),
        ):
            for name, axis, value in zip(names, layouts, values):
                for rows, known in zip(self.slices, arrays):
                    target = known.get(name)
                    if target is None:  # no operator takes it
                        continue
                    part = _part(value, axis, rows)
                    if part.shape != target.shape:
                        raise ValueError(
                            f"input {name!r} is bound to shape {target.shape}, but the batch has {part.shape}"
                        )
                    target[:] = part

    def run_forward(self, is_train: bool) -> None:
        """Run every executor on what is in its inputs."""
        for exe in self.execs:
            exe.forward(is_train=is_train)

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run every executor on its rows."""
        self.load(data_batch)
        self.run_forward(self.for_training if is_train is None else is_train)

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of every executor, given those of all outputs' rows."""
        if not self.for_training:
            raise AssertionError("it is bound for prediction: bind with for_training=True for gradients")
        if out_grads is None or len(self.execs) == 1:
            for exe in self.execs:
                exe.backward(out_grads)
            return
        heads = as_list(out_grads)
        for exe, rows in zip(self.execs, self.slices):
            exe.backward([_part(head, axis, rows) for head, axis in zip(heads, self.output_layouts)])

    # -- results

    def get_output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """[(name, shape)] of the outputs for all rows."""
        found = []
        for name, output, axis in zip(self.output_names, self.execs[0].outputs, self.output_layouts):
            whole = (*output.shape[:axis], self.batch_size, *output.shape[axis + 1 :])
            found.append((name, whole if axis >= 0 else output.shape))
        return found

    def get_outputs(self, merge_multi_context: bool = True, begin: int = 0, end: int | None = None) -> list[Any]:
        """The outputs, of all rows (or a list of each executor's)."""
        execs, chosen = self.execs, range(self.num_outputs)[begin:end]
        parts = [[exe.outputs[i] for exe in execs] for i in chosen]
        return _merge_multi_context(parts, self.output_layouts[begin:end]) if merge_multi_context else parts

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """The data's gradients, of all rows (or a list of each executor's)."""
        parts = self.input_grad_arrays
        if parts is None:
            raise AssertionError("get_input_grads needs inputs_need_grad=True")
        return _merge_multi_context(parts, self.data_layouts) if merge_multi_context else parts

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """The arrays of `state_names`, for each a list of each executor's. AssertionError where they would have to be
        merged: they are no rows."""
        if merge_multi_context and len(self.execs) > 1:
            raise AssertionError("the states of several contexts are not merged: pass merge_multi_context=False")
        parts = self.state_arrays
        return [one[0] for one in parts] if merge_multi_context else parts

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """Set the arrays of `state_names`: each executor's from lists, or all to a number."""
        if (states is None) == (value is None):
            raise AssertionError("set_states takes either states or value")
        for at, arrays in enumerate(self.state_arrays):
            given = [value] * len(arrays) if states is None else as_list(states[at])
            for array, one in zip(arrays, given):
                array[:] = one

    def update_metric(self, eval_metric: Any, labels: Sequence[NDArray], pre_sliced: bool = False) -> None:
        """Take every executor's last outputs into account; `pre_sliced` labels are a list for each executor."""
        layouts = self.label_layouts or [0] * len(labels or ())
        for at, (exe, rows) in enumerate(zip(self.execs, self.slices)):
            if pre_sliced:
                own = list(labels[at])
            elif len(self.execs) == 1:
                own = list(labels or ())
            else:
                own = [_part(label, axis, rows) for label, axis in zip(labels or (), layouts)]
            eval_metric.update_dict(dict(zip(self.label_names, own)), dict(zip(self.output_names, exe.outputs)))

    def install_monitor(self, mon: Any) -> None:
        """Watch every executor."""
        for exe in self.execs:
            mon.install(exe)


def _batch_size(inputs: Sequence[DataDesc], divided: bool) -> int:
    """The rows of a batch; 0 if no input has rows. AssertionError if inputs that are divided have not all as many."""
    sizes = [(d, d.shape[DataDesc.get_batch_axis(d.layout)]) for d in inputs if DataDesc.get_batch_axis(d.layout) >= 0]
    for d, size in sizes:
        if divided and size != sizes[0][1]:
            raise AssertionError(
                f"inputs that contexts divide have the same number of rows: {sizes[0][0].name} has {sizes[0][1]}, but "
                f"{d.name} has shape {d.shape}"
            )
    return int(sizes[0][1]) if sizes else 0


class ModuleGroup(DataParallelExecutorGroup):
    """The group of a Module, which may have put work off: whoever looks at the executors finds it done."""

    _module: Any = None

    @classmethod
    def of(cls, module: Any, shared: Any, grad_req: Any, data_shapes: Any, label_shapes: Any) -> ModuleGroup:
        """The group of a module with these inputs, and the parameters of another module, if there is one."""
        made = cls(
            module._symbol, module._context, module._work_load_list, data_shapes, label_shapes, module._param_names,
            module.for_training, module.inputs_need_grad, None if shared is None else shared._exec_group,
            logger=module.logger, fixed_param_names=module._fixed_param_names, grad_req=grad_req,
            state_names=module._state_names, group2ctxs=module._group2ctxs,
        )  # fmt: skip
        made._module = module
        return made

    def _buffer(self, at: int) -> dict[str, NDArray]:
        """Modules share parameters, but no memory for batches: what waits in one must not be overwritten by another's
        batch."""
        return {}

    @property
    def execs(self) -> list[Any]:
        """The executors, after the work that was put off."""
        if self._module is not None:
            self._module._flush()
        return self._execs

"""The executors of a module as programs read them from `module._exec_group`, and groups of several that some build
themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from symc.context import Context
from symc.executor_manager import _load_general, _split_input_slice
from symc.io import DataDesc
from symc.module.base_module import as_list, describe
from symc.module.binding import gradient_requests
from symc.ndarray import NDArray, concatenate

__all__ = ["DataParallelExecutorGroup", "ModuleGroup"]


class _Group:
    """What both kinds have: lists of arrays with one entry a name, which is a list with one array an executor."""

    symbol: Any
    execs: list[Any]
    slices: list[slice]
    param_names: list[str]
    state_names: list[str]
    fixed_param_names: list[str]
    data_shapes: list[DataDesc]
    label_shapes: list[DataDesc] | None
    for_training: bool
    inputs_need_grad: bool

    @property
    def arg_names(self) -> list[str]:
        """Names of all arguments."""
        return list(self.symbol.list_arguments())

    @property
    def aux_names(self) -> list[str]:
        """Names of the auxiliary states."""
        return list(self.symbol.list_auxiliary_states())

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return list(self.symbol.list_outputs())

    @property
    def data_names(self) -> list[str]:
        """Names of the data inputs."""
        return [d.name for d in self.data_shapes]

    @property
    def label_names(self) -> list[str]:
        """Names of the label inputs."""
        return [d.name for d in self.label_shapes or ()]

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        first = self.data_shapes[0]
        return int(first.shape[max(DataDesc.get_batch_axis(first.layout), 0)])

    @property
    def data_layouts(self) -> list[int]:
        """Where the batch is in each data input."""
        return [DataDesc.get_batch_axis(d.layout) for d in self.data_shapes]

    def _of(self, names: Sequence[str], which: str) -> list[list[Any]]:
        return [[getattr(exe, which)[name] for exe in self.execs] for name in names]

    def _sliced(self, names: Sequence[str]) -> list[list[tuple[slice, NDArray]]]:
        known = set(self.arg_names)
        return [list(zip(self.slices, arrays)) for arrays in self._of([n for n in names if n in known], "arg_dict")]

    @property
    def data_arrays(self) -> list[list[tuple[slice, NDArray]]]:
        """For every data input its rows' slice and array of each executor."""
        return self._sliced(self.data_names)

    @property
    def label_arrays(self) -> list[list[tuple[slice, NDArray]]] | None:
        """As data_arrays, for the labels; None without labels."""
        return None if self.label_shapes is None else self._sliced(self.label_names)

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
        return self._of(self.data_names, "grad_dict") if self.inputs_need_grad else None

    def get_params(self, arg_params: dict[str, NDArray], aux_params: dict[str, NDArray]) -> None:
        """Put the executors' mean of every parameter and state into the two dicts."""
        for names, which, held in (
            (self.param_names, "arg_dict", arg_params),
            (self.aux_names, "aux_dict", aux_params),
        ):
            for name, arrays in zip(names, self._of(names, which)):
                total = arrays[0].copy()
                for other in arrays[1:]:
                    total += other
                held[name] = total / len(arrays)


class ModuleGroup(_Group):
    """The one executor of a Module, which follows what the module does."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.symbol, self.contexts, self.logger = module._symbol, module._context, module.logger
        self.param_names, self.state_names = module._param_names, module._state_names
        self.fixed_param_names = module._fixed_param_names
        self.for_training, self.inputs_need_grad = module.for_training, module.inputs_need_grad
        for name in (
            "forward", "backward", "get_outputs", "get_input_grads", "get_states", "set_states", "reshape",
            "update_metric", "install_monitor",
        ):  # fmt: skip
            setattr(self, name, getattr(module, name))

    @property
    def execs(self) -> list[Any]:  # type: ignore[override]
        """The executor, after the work that was put off."""
        self._module._flush()
        return [self._module._exec]

    @property
    def slices(self) -> list[slice]:  # type: ignore[override]
        """All rows."""
        return [slice(0, self.batch_size)]

    @property
    def data_shapes(self) -> list[DataDesc]:  # type: ignore[override]
        """What the module is bound to now."""
        shapes: list[DataDesc] = self._module._data_shapes
        return shapes

    @property
    def label_shapes(self) -> list[DataDesc] | None:  # type: ignore[override]
        """What the module is bound to now; None without labels."""
        return self._module._label_shapes or None

    @property
    def grad_req(self) -> dict[str, str]:
        """The gradient request of every argument."""
        return dict(zip(self.arg_names, self._module._exec._reqs))

    def set_params(self, arg_params: Any, aux_params: Any, allow_extra: bool = False) -> None:
        """Give the executor these values."""
        self.execs[0].copy_params_from(arg_params, aux_params, allow_extra_params=allow_extra)


class DataParallelExecutorGroup(_Group):
    """One executor for each context; each takes its part of the rows, by its share of `workload`.

    Parameters are copies of each, as on devices of their own, and the gradients are not summed: a kvstore does that.
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
        chosen = set(param_names)
        self.param_names = [n for n in symbol.list_arguments() if n in chosen]
        self.state_names, self.fixed_param_names = list(state_names or ()), list(fixed_param_names or ())
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._given_req, self._shared = grad_req, shared_group
        self.execs = []
        self.bind_exec(data_shapes, label_shapes, shared_group)

    def bind_exec(
        self, data_shapes: Any, label_shapes: Any, shared_group: DataParallelExecutorGroup | None = None,
        reshape: bool = False,
    ) -> None:  # fmt: skip
        """Make the executors for these shapes; with `reshape` they keep the parameters of those there are."""
        self.data_shapes = describe(data_shapes, [d[0] for d in data_shapes], "data", True)
        self.label_shapes = None
        if label_shapes:
            self.label_shapes = describe(label_shapes, [d[0] for d in label_shapes], "label", False)
        self.slices = _split_input_slice(self.batch_size, self.workload)
        silent = {*self.label_names, *self.state_names, *self.fixed_param_names}
        silent.update(() if self.inputs_need_grad else self.data_names)
        self.grad_req = gradient_requests(self.symbol, self._given_req if self.for_training else "null", silent)
        shared = self.execs if reshape else shared_group.execs if shared_group is not None else []
        shared = shared or [None] * len(self.contexts)
        self.execs = [self._bound(*each) for each in zip(self.contexts, self.slices, shared)]

    def _bound(self, context: Context, rows: slice, shared: Any) -> Any:
        known = set(self.arg_names)
        inputs = [d for d in [*self.data_shapes, *(self.label_shapes or ())] if d.name in known]
        shapes = {}
        for d in inputs:
            axis = DataDesc.get_batch_axis(d.layout)
            part = (*d.shape[:axis], rows.stop - rows.start, *d.shape[axis + 1 :])
            shapes[d.name] = d.shape if axis < 0 else part
        return self.symbol.simple_bind(
            context, grad_req=self.grad_req, type_dict={d.name: d.dtype for d in inputs}, shared_exec=shared,
            shared_arg_names=self.param_names, shared_buffer=None if shared is None else {}, **shapes,
        )  # fmt: skip

    def reshape(self, data_shapes: Any, label_shapes: Any) -> None:
        """Go on with other input shapes and the same parameters."""
        self.bind_exec(data_shapes, label_shapes, reshape=True)

    def set_params(self, arg_params: Any, aux_params: Any, allow_extra: bool = False) -> None:
        """Give every executor these values."""
        for exe in self.execs:
            exe.copy_params_from(arg_params, aux_params, allow_extra_params=allow_extra)

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run every executor on its rows."""
        _load_general(data_batch.data, self.data_arrays)
        if self.label_arrays is not None and data_batch.label:
            _load_general(data_batch.label, self.label_arrays)
        for exe in self.execs:
            exe.forward(is_train=self.for_training if is_train is None else is_train)

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of every executor, given those of all outputs' rows."""
        if not self.for_training:
            raise AssertionError("re-bind with for_training=True to run backward")
        for exe, rows in zip(self.execs, self.slices):
            exe.backward(None if out_grads is None else [g[rows] for g in as_list(out_grads)])

    @staticmethod
    def _merged(parts: list[list[NDArray]], merge: bool) -> list[Any]:
        return [concatenate(each) if len(each) > 1 else each[0] for each in parts] if merge else list(parts)

    def get_outputs(self, merge_multi_context: bool = True, begin: int = 0, end: int | None = None) -> list[Any]:
        """The outputs, of all rows (or a list of each executor's)."""
        parts = [[exe.outputs[i] for exe in self.execs] for i in range(len(self.output_names))[begin:end]]
        return self._merged(parts, merge_multi_context)

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """The data's gradients, of all rows (or a list of each executor's)."""
        if not self.inputs_need_grad:
            raise AssertionError("get_input_grads needs inputs_need_grad=True")
        return self._merged(self._of(self.data_names, "grad_dict"), merge_multi_context)

    def update_metric(self, eval_metric: Any, labels: Sequence[NDArray], pre_sliced: bool = False) -> None:
        """Take every executor's last outputs into account."""
        for i, (exe, rows) in enumerate(zip(self.execs, self.slices)):
            own = labels[i] if pre_sliced else [label[rows] for label in labels]
            eval_metric.update_dict(dict(zip(self.label_names, own)), dict(zip(self.output_names, exe.outputs)))

    def install_monitor(self, mon: Any) -> None:
        """Watch every executor."""
        for exe in self.execs:
            mon.install(exe)

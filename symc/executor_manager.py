"""mx.executor_manager: how batches are divided among devices, as programs import it to feed executors of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from symc.aliases import standing_elsewhere
from symc.ndarray import NDArray

__getattr__ = standing_elsewhere(__name__)

__all__: list[str] = []


def _split_input_slice(batch_size: int, work_load_list: Sequence[float]) -> list[slice]:
    """The rows of a batch that each device takes, by its share of the work; the last takes what rounding leaves over.

    ValueError where a device would get none.
    """
    total = sum(work_load_list)
    counts = [round(load * batch_size / total) for load in work_load_list]
    counts[-1] += max(batch_size - sum(counts), 0)
    slices: list[slice] = []
    end = 0
    for count in counts:
        begin, end = end, min(end + count, batch_size)
        if begin >= end:
            raise ValueError(
                f"Too many slices. Some splits are empty: {batch_size} rows for {len(work_load_list)} devices"
            )
        slices.append(slice(begin, end))
    return slices


def _check_arguments(symbol: Any) -> None:
    """ValueError if two arguments, or two auxiliary states, have one name."""
    for what, names in (("argument", symbol.list_arguments()), ("auxiliary state", symbol.list_auxiliary_states())):
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Find duplicated {what} name {name!r}; give every one a name of its own: {names}")


def _load_general(data: Sequence[NDArray], targets: Sequence[Any]) -> None:
    """Copy arrays into arrays, or their rows into several: a target is an array or a list of (slice, array)."""
    for source, target in zip(data, targets):
        if isinstance(target, NDArray):
            source.copyto(target)
            continue
        if target[-1][0].stop != source.shape[0]:
            raise AssertionError(f"Batch size miss match. Expected {target[-1][0].stop}, got {source.shape[0]}")
        for rows, part in target:
            source[rows].copyto(part)


def _load_data(batch: Any, targets: Sequence[Any]) -> None:
    """_load_general for a batch's data."""
    _load_general(batch.data, targets)


def _load_label(batch: Any, targets: Sequence[Any]) -> None:
    """_load_general for a batch's labels."""
    _load_general(batch.label, targets)


def _means(names: Sequence[str], blocks: Sequence[Sequence[NDArray]], held: dict[str, NDArray]) -> None:
    """The mean of every block of arrays into the array of its name."""
    for name, block in zip(names, blocks):
        mean = sum(block[1:], block[0]) / len(block)
        mean.astype(held[name].dtype).copyto(held[name])


class DataParallelExecutorGroup:
    """One executor for each context of `ctx`, of the rows in its slice; the gradients of `param_names` are kept."""

    def __init__(
        self, sym: Any, arg_names: Sequence[str], param_names: Sequence[str], ctx: Sequence[Any],
        slices: Sequence[slice], train_data: Any, shared_group: DataParallelExecutorGroup | None = None,
    ) -> None:  # fmt: skip
        _check_arguments(sym)
        inputs = [*train_data.provide_data, *train_data.provide_label]
        self.slices, self.aux_names = list(slices), sym.list_auxiliary_states()
        self.data_names = [d[0] for d in train_data.provide_data]
        self.label_names = [d[0] for d in train_data.provide_label]
        chosen = set(param_names)
        self.param_names = [n for n in arg_names if n in chosen]
        reqs = {n: "write" if n in chosen else "null" for n in arg_names}
        self.train_execs: list[Any] = []
        for at, (context, rows) in enumerate(zip(ctx, slices)):
            shared = None if shared_group is None else shared_group.train_execs[at]
            self.train_execs.append(
                sym.simple_bind(
                    context,
                    grad_req=reqs,
                    type_dict={d[0]: getattr(d, "dtype", "float32") for d in inputs},
                    shared_exec=shared,
                    shared_arg_names=self.param_names,
                    shared_buffer=None if shared is None else {},
                    **{d[0]: (rows.stop - rows.start, *d[1][1:]) for d in inputs},
                )  # fmt: skip
            )
        self.data_arrays, self.label_arrays = self._targets(self.data_names), self._targets(self.label_names)
        self.param_arrays = self._of(self.param_names, "arg_dict")
        self.grad_arrays = self._of(self.param_names, "grad_dict")
        self.aux_arrays = self._of(self.aux_names, "aux_dict")

    def _of(self, names: Sequence[str], which: str) -> list[list[Any]]:
        return [[getattr(exe, which)[name] for exe in self.train_execs] for name in names]

    def _targets(self, names: Sequence[str]) -> list[list[tuple[slice, NDArray]]]:
        return [list(zip(self.slices, arrays)) for arrays in self._of(names, "arg_dict")]

    def load_data_batch(self, data_batch: Any) -> None:
        """Copy a batch's rows into the executors that take them."""
        _load_data(data_batch, self.data_arrays)
        _load_label(data_batch, self.label_arrays)

    def forward(self, is_train: bool = False) -> None:
        """Run every executor."""
        for exe in self.train_execs:
            exe.forward(is_train=is_train)

    def backward(self) -> None:
        """Gradients of every executor."""
        for exe in self.train_execs:
            exe.backward()

    def update_metric(self, metric: Any, labels: Sequence[Any], pre_sliced: bool = False) -> None:
        """Take every executor's last outputs into account; `pre_sliced` labels are a list for each executor."""
        for at, (exe, rows) in enumerate(zip(self.train_execs, self.slices)):
            metric.update(labels[at] if pre_sliced else [label[rows] for label in labels], exe.outputs)


class DataParallelExecutorManager:
    """A group of executors for programs that train without a Module; with `sym_gen` (from a bucket key to a Symbol) one
    for every bucket, with the same parameters. Then `load_data_batch` chooses by the batch's `bucket_key`."""

    def __init__(
        self, symbol: Any, ctx: Sequence[Any], train_data: Any, arg_names: Sequence[str], param_names: Sequence[str],
        aux_names: Sequence[str], work_load_list: list[float] | None = None, logger: Any = None,
        sym_gen: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        (logger or logging).info("training on %s", ", ".join(map(str, ctx)))
        loads = [1.0] * len(ctx) if work_load_list is None else work_load_list
        if not isinstance(loads, list) or len(loads) != len(ctx):
            raise AssertionError(f"work_load_list is a list of {len(ctx)} numbers, one a context, not {loads!r}")
        self.slices = _split_input_slice(train_data.batch_size, loads)
        self.symbol, self.sym_gen, self.ctx = symbol, sym_gen, ctx
        self.arg_names, self.param_names, self.aux_names = arg_names, param_names, aux_names
        self.execgrp = self._group(symbol, train_data, None)
        self.curr_execgrp: DataParallelExecutorGroup | None = None
        self.execgrp_bucket = {train_data.default_bucket_key: self.execgrp} if sym_gen is not None else {}

    def _group(self, symbol: Any, data: Any, shared: DataParallelExecutorGroup | None) -> DataParallelExecutorGroup:
        return DataParallelExecutorGroup(symbol, self.arg_names, self.param_names, self.ctx, self.slices, data, shared)

    def install_monitor(self, monitor: Any) -> None:
        """Watch every executor. NotImplementedError for buckets, as in MXNet."""
        if self.sym_gen is not None:
            raise NotImplementedError("a manager with sym_gen has no monitors: install one on an executor")
        for exe in self.execgrp.train_execs:
            monitor.install(exe)

    def set_params(self, arg_params: Any, aux_params: Any) -> None:
        """Give every executor these values."""
        for exe in self.execgrp.train_execs:
            exe.copy_params_from(arg_params, aux_params)

    def copy_to(self, arg_params: dict[str, NDArray], aux_params: dict[str, NDArray]) -> None:
        """The executors' mean of every parameter and state, into the arrays of the two dicts."""
        _means(self.execgrp.param_names, self.param_arrays, arg_params)
        _means(self.execgrp.aux_names, self.aux_arrays, aux_params)

    @property
    def param_arrays(self) -> list[list[NDArray]]:
        """The parameters; all buckets have the same."""
        return self.execgrp.param_arrays

    @property
    def grad_arrays(self) -> list[list[Any]]:
        """The parameters' gradients."""
        return self.execgrp.grad_arrays

    @property
    def aux_arrays(self) -> list[list[NDArray]]:
        """The auxiliary states."""
        return self.execgrp.aux_arrays

    def load_data_batch(self, data_batch: Any) -> None:
        """Choose the group of the batch's bucket, and copy the batch into it."""
        self.curr_execgrp = self.execgrp
        if self.sym_gen is not None:
            key = data_batch.bucket_key
            if key not in self.execgrp_bucket:
                self.execgrp_bucket[key] = self._group(self.sym_gen(key), data_batch, self.execgrp)
            self.curr_execgrp = self.execgrp_bucket[key]
        self.curr_execgrp.load_data_batch(data_batch)

    def _chosen(self) -> DataParallelExecutorGroup:
        if self.curr_execgrp is None:
            raise AssertionError("there is no batch yet: call load_data_batch()")
        return self.curr_execgrp

    def forward(self, is_train: bool = False) -> None:
        """Run the group in use."""
        self._chosen().forward(is_train=is_train)

    def backward(self) -> None:
        """Gradients of the group in use."""
        self._chosen().backward()

    def update_metric(self, metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Take the last outputs of the group in use into account."""
        self._chosen().update_metric(metric, labels, pre_sliced)

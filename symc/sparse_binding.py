"""An Executor whose arrays are sparse: they change their form where they come in and go out.

Of a csr argument the program reads what is stored, where all its readers can (symc.compressed); for a batch that stores
more than there is room for the program is made anew, with more room. Whatever else is sparse is dense inside.

A row_sparse argument that stores all its rows is the program's memory itself. A row_sparse gradient has the rows that
its readers tell (an Embedding's ids, the columns of a csr matrix), zero or not: lazy optimizers go by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.compressed import ON_STORED, Parts, compressed, part_names, readable
from symc.context import Context
from symc.executor import Executor
from symc.ir.process import turns
from symc.ir.types import Array, TensorType, dtype_of
from symc.ndarray import NDArray, zeros
from symc.ndarray.sparse import BaseSparseNDArray, CSRNDArray, RowSparseNDArray
from symc.ndarray.sparse.kernels import warn_fallback
from symc.ops.shared.storage import CSR, DEFAULT, ROW_SPARSE
from symc.runtime.memory import need
from symc.runtime.versions import give_away
from symc.typed import output_stypes, variables_stored

_ADVICE = (
    "; dot (with a csr on its left), FullyConnected, sum over one axis and functions that give 0 for 0 read what a csr "
    "argument without a gradient stores"
)
_EMBEDDINGS = ("Embedding", "_contrib_SparseEmbedding")


class StoredExecutor(Executor):
    """See the module. Everything that computes is an Executor inside, on dense arrays."""

    #: a training step is not fused: updates of sparse parameters go by rows
    fusable = False

    def __init__(
        self, symbol: Any, ctx: Context, args: Sequence[NDArray], grads: Sequence[NDArray | None], reqs: Sequence[str],
        aux: Sequence[NDArray], group2ctx: Mapping[str, Context] | None = None, memory_budget: int | None = None,
    ) -> None:  # fmt: skip
        self._symbol, self._ctx, self._group2ctx = symbol, ctx, group2ctx
        self.arg_arrays, self.aux_arrays = list(args), list(aux)
        self.grad_arrays = list(grads)
        self._arg_names, self._aux_names = symbol.list_arguments(), symbol.list_auxiliary_states()
        self._reqs = [r if g is not None else "null" for g, r in zip(self.grad_arrays, reqs)]
        named = {**dict(zip(self._arg_names, self.arg_arrays)), **dict(zip(self._aux_names, self.aux_arrays))}
        self._types = {name: TensorType(dtype_of(a.dtype), a.shape) for name, a in named.items()}
        wanted = {n for n, r in zip(self._arg_names, self._reqs) if r != "null"}
        matrices = {n: a for n, a in named.items() if isinstance(a, CSRNDArray) and n not in wanted}
        #: the csr arguments of which the program reads what is stored
        self._parts = {n: Parts(matrices[n]) for n in sorted(readable(symbol, set(matrices)))}
        self._twins = {n: _twin(a, n) for n, a in named.items() if n not in self._parts}
        self._dense_grads = {n: _twin(g, n) for n, g in zip(self._arg_names, self.grad_arrays) if n in wanted}
        shapes = {name: matrices[name].shape for name in self._parts}
        self._compressed = compressed(symbol, shapes) if shapes else symbol
        self._inner = self._bound(memory_budget)
        self._edits, self._budget = self._inner._edits, self._inner._budget
        self._output_names, self._lock = self._inner._output_names, turns()
        stypes = {n: a.stype for n, a in named.items() if a._sparse}
        self._stypes = output_stypes(symbol, stypes)
        self._rows_of = _row_sources(symbol, stypes)
        self._shown: list[NDArray] | None = None
        changed = {
            node.inputs[at][0].name
            for node in symbol.graph.nodes()
            if not node.is_variable
            for at in node.definition.written_inputs()
        }
        #: csr arguments that the program only reads, and where the values of each stand in its dense array
        self._filled: dict[str, tuple[Array, ...]] = {
            n: () for n, a in named.items() if isinstance(a, CSRNDArray) and n not in changed and n not in self._parts
        }
        for node in self._compressed.graph.nodes():
            kinds = variables_stored(node, stypes)
            if set(kinds) - {DEFAULT} and node.op not in (*_EMBEDDINGS, *ON_STORED, "cast_storage"):
                warn_fallback(node.op, kinds)

    def _bound(self, memory_budget: int | None) -> Executor:
        """What computes: bound to dense arrays, and to vectors with as much room as there is now."""
        arrays = dict(self._twins)
        for name, parts in self._parts.items():
            arrays |= zip(part_names(name), (NDArray._of(part) for part in parts.arrays))
        symbol = self._compressed
        names = symbol.list_arguments()
        # what is added to a sparse gradient is computed beside it
        added = {n for n, g, r in zip(self._arg_names, self.grad_arrays, self._reqs) if r == "add" and not g._sparse}
        reqs = ["add" if n in added else "write" if n in self._dense_grads else "null" for n in names]
        return Executor(
            symbol, self._ctx, [arrays[n] for n in names], [self._dense_grads.get(n) for n in names], reqs,
            [arrays[n] for n in symbol.list_auxiliary_states()], self._group2ctx, memory_budget,
        )  # fmt: skip

    def _make_room(self) -> None:
        """For what the csr arguments store now: the program is made anew where that is more than ever before."""
        given = {n: a for n, a in zip(self._arg_names, self.arg_arrays) if n in self._parts}
        small = [n for n, a in given.items() if isinstance(a, CSRNDArray) and len(a._values) > self._parts[n].room]
        if small:
            self._parts |= {n: Parts(given[n]) for n in small}
            before = self._inner
            self._inner = self._bound(self._budget)
            self._inner._edits, self._inner._outputs = before._edits, before._outputs
            if before._monitor is not None:
                self._inner.set_monitor_callback(before._monitor.callback, before._monitor.everything)

    # -- arrays

    @property
    def _monitor(self) -> Any:  # type: ignore[override]
        return self._inner._monitor

    @property
    def outputs(self) -> list[NDArray]:
        """The results of the last run."""
        found = self._inner.outputs
        if self._shown is None:
            self._shown = [
                a if s == DEFAULT else zeros(a.shape, a.context, a.dtype, s) for a, s in zip(found, self._stypes)
            ]
            self._show(found)
        return self._shown

    def _show(self, found: Sequence[NDArray]) -> None:
        assert self._shown is not None
        for at, made in enumerate(found):
            if self._stypes[at] == DEFAULT:
                self._shown[at] = made
            else:
                self._shown[at]._receive(made)

    def _load(self) -> None:
        """What is in the sparse arrays goes to where the program reads it."""
        self._make_room()
        names = [*self._arg_names, *self._aux_names]
        for name, array in zip(names, [*self.arg_arrays, *self.aux_arrays]):
            if name in self._parts:
                self._parts[name].take(array)
                continue
            twin = self._twins[name]
            if name in self._filled:
                self._scatter(name, array, twin._data)
            elif isinstance(array, BaseSparseNDArray) and array._values is not twin._data:
                array._dense_into(twin._data)
                if isinstance(array, RowSparseNDArray) and len(array._values) == array.shape[0]:
                    array._values, array._aux = twin._data, [np.arange(array.shape[0])]
                    give_away(array._values)

    def _scatter(self, name: str, array: Any, dense: Array) -> None:
        """A csr batch in the place of the one before, whose few values are taken out: millions of columns are not set
        to 0 again. Nothing else writes there, and zeros are what it begins with."""
        if self._filled[name]:
            dense[self._filled[name]] = 0
        self._filled[name] = array._row_numbers(), array._aux[1].copy()
        dense[self._filled[name]] = array._values

    # -- running

    def forward(self, is_train: bool = False, **kwargs: Any) -> list[NDArray]:
        """As Executor.forward."""
        with self._lock:
            if kwargs:
                self._assign(kwargs)
            self._load()
            made = self._inner.forward(is_train)
            self._store_states()
            if self._shown is not None:
                self._show(made)
            return self.outputs

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """As Executor.backward."""
        with self._lock:
            if not self._inner._fresh:
                self._load()
            self._inner.backward(out_grads, is_train)
            self._store_states()
            named = dict(zip(self._arg_names, self.arg_arrays))
            for name, array, req in zip(self._arg_names, self.grad_arrays, self._reqs):
                if array is not None and array._sparse and name in self._dense_grads:
                    found = self._gradient(name, array, self._dense_grads[name], named)
                    array._receive(array + found if req == "add" else found)

    def _gradient(self, name: str, array: NDArray, made: NDArray, named: Mapping[str, NDArray]) -> NDArray:
        """A gradient in the form of its array."""
        sources = self._rows_of.get(name)
        if array.stype != ROW_SPARSE or sources is None:
            return made.tostype(array.stype)
        touched = np.zeros(array.shape[0], np.bool_)  # the gradient itself is as long
        for source in sources:
            touched[_rows(named[source], array.shape[0])] = True
        rows = np.flatnonzero(touched)
        return RowSparseNDArray._from(made._read[rows], [rows], array.shape, array.context)

    def _store_states(self) -> None:
        for name, array in zip(self._aux_names, self.aux_arrays):
            if array._sparse:
                array._receive(self._twins[name])

    # -- the rest

    def set_monitor_callback(self, callback: Any, monitor_all: bool = False) -> None:
        """As Executor.set_monitor_callback; the arrays that it sees are dense."""
        self._inner.set_monitor_callback(callback, monitor_all)

    def reshape(
        self, partial_shaping: bool = False, allow_up_sizing: bool = False, **kwargs: tuple[int, ...]
    ) -> Executor:
        """As Executor.reshape, without sharing outputs."""
        return self.reshaped(kwargs, partial_shaping, allow_up_sizing, "pass partial_shaping=True for new values")

    def debug_str(self) -> str:
        """The compiled programs, which are those of dense arrays, and of what csr arguments store."""
        return self._inner.debug_str()

    def __repr__(self) -> str:
        return repr(self._inner)


def _twin(array: NDArray, name: str) -> NDArray:
    """The dense array that the program has in the place of this one. MXNetError where there is no memory for it."""
    if not array._sparse:
        return array
    if isinstance(array, RowSparseNDArray) and len(array._values) == array.shape[0]:
        give_away(array._values)  # the sparse array writes there without a word
        return NDArray._of(array._values, array.context)
    what = f"{name!r}, of storage type {array.stype}, is read as a dense array, which"
    advice = "" if array.stype != CSR else _ADVICE
    need(math.prod(array.shape) * np.dtype(array.dtype).itemsize, what, advice)
    return zeros(array.shape, array.context, array.dtype)


def _row_sources(symbol: Any, arguments: Mapping[str, str]) -> dict[str, list[str]]:
    """By variable the arguments whose values say which rows its gradient has, where all its readers have one."""
    found: dict[str, list[str]] = {}
    silent: set[str] = set()
    for node in symbol.graph.nodes():
        stypes = variables_stored(node, arguments)
        for at, (source, _) in enumerate(node.inputs):
            teller = node.inputs[0][0]
            if at == 1 and node.definition.rows_in_gradient(at, stypes) and teller.is_variable:
                found.setdefault(source.name, []).append(teller.name)
            else:
                silent.add(source.name)
    return {name: tellers for name, tellers in found.items() if name not in silent}


def _rows(teller: NDArray, count: int) -> Array:
    """The rows that ids, or the columns of a csr matrix, name."""
    if isinstance(teller, CSRNDArray):
        return teller._aux[1]
    return np.clip(teller._read.reshape(-1).astype(np.int64), 0, count - 1)

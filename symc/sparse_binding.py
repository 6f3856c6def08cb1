"""An Executor whose arrays are sparse: the program computes on dense ones, and arrays change their form where they come
in and go out.

A row_sparse argument that stores all its rows is the program's memory itself. A row_sparse gradient has the rows that
its readers tell (an Embedding's ids, the columns of a csr matrix), zero or not: lazy optimizers go by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.context import Context
from symc.executor import Executor
from symc.ir.process import turns
from symc.ir.types import Array
from symc.ndarray import NDArray, zeros
from symc.ndarray.sparse import BaseSparseNDArray, CSRNDArray, RowSparseNDArray
from symc.ndarray.sparse.kernels import warn_fallback
from symc.ops.shared.storage import DEFAULT, ROW_SPARSE
from symc.runtime.versions import give_away
from symc.typed import output_stypes, variables_stored

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
        dense_grads = [_twin(g) if g is not None and r != "null" else None for g, r in zip(grads, reqs)]
        # what is added to a sparse gradient is computed beside it
        inner_reqs = ["write" if g is not None and g._sparse and r == "add" else r for g, r in zip(grads, reqs)]
        twins = [_twin(a) for a in self.arg_arrays]
        self._inner = Executor(
            symbol, ctx, twins, dense_grads, inner_reqs, [_twin(a) for a in self.aux_arrays], group2ctx, memory_budget
        )
        self._edits, self._budget, self._types = self._inner._edits, self._inner._budget, self._inner._types
        self._arg_names, self._aux_names = self._inner._arg_names, self._inner._aux_names
        self._output_names, self._lock = self._inner._output_names, turns()
        self._reqs = [r if g is not None else "null" for g, r in zip(self.grad_arrays, reqs)]
        stypes = {n: a.stype for n, a in zip(self._arg_names, self.arg_arrays) if a._sparse}
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
            n: () for n, a in zip(self._arg_names, args) if isinstance(a, CSRNDArray) and n not in changed
        }
        for node in symbol.graph.nodes():
            kinds = variables_stored(node, stypes)
            if set(kinds) - {DEFAULT} and node.op not in (*_EMBEDDINGS, "cast_storage"):
                warn_fallback(node.op, kinds)

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
        pairs = [*zip(self.arg_arrays, self._inner.arg_arrays), *zip(self.aux_arrays, self._inner.aux_arrays)]
        for name, (array, twin) in zip([*self._arg_names, *self._aux_names], pairs):
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
            for name, array, made, req in zip(self._arg_names, self.grad_arrays, self._inner.grad_arrays, self._reqs):
                if array is not None and array._sparse and made is not None:
                    found = self._gradient(name, array, made, named)
                    array._receive(array + found if req == "add" else found)

    def _gradient(self, name: str, array: NDArray, made: NDArray, named: Mapping[str, NDArray]) -> NDArray:
        """A gradient in the form of its array."""
        sources = self._rows_of.get(name)
        if array.stype != ROW_SPARSE or sources is None:
            return made.tostype(array.stype)
        rows = np.unique(np.concatenate([_rows(named[source], array.shape[0]) for source in sources]))
        return RowSparseNDArray._from(made._read[rows], [rows], array.shape, array.context)

    def _store_states(self) -> None:
        for array, twin in zip(self.aux_arrays, self._inner.aux_arrays):
            if array._sparse:
                array._receive(twin)

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
        """The compiled programs, which are those of dense arrays."""
        return self._inner.debug_str()

    def __repr__(self) -> str:
        return repr(self._inner)


def _twin(array: NDArray) -> NDArray:
    """The dense array that the program has in the place of this one."""
    if not array._sparse:
        return array
    if isinstance(array, RowSparseNDArray) and len(array._values) == array.shape[0]:
        give_away(array._values)  # the sparse array writes there without a word
        return NDArray._of(array._values, array.context)
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

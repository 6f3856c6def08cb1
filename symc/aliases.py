"""Modules under other names: one table a purpose, and one finder that answers for all of them."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


class Aliases:
    """Imports of the names in `table`, and of those below them, give the modules they stand for: the very same objects,
    no copies. A finder and a loader by its methods: importing the classes of importlib.abc would take longer than all
    of `import symc`."""

    def __init__(self, table: Mapping[str, str], remark: str = "") -> None:
        self.table, self.remark = dict(table), remark
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.table:
            parent, _, name = fullname.rpartition(".")
            if parent not in self.table or importlib.util.find_spec(f"{self.table[parent]}.{name}") is None:
                return None
            self.table[fullname] = f"{self.table[parent]}.{name}"
        return importlib.machinery.ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        real = self.table[spec.name]
        if self.remark:
            warnings.warn(f"{spec.name} {self.remark} {real}", DeprecationWarning, stacklevel=2)
        found = importlib.import_module(real)
        self._specs[spec.name] = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        """The module has run under its own name; the import system has just told it that it is the alias."""
        assert module.__spec__ is not None
        module.__spec__ = self._specs.pop(module.__spec__.name)

    def install(self) -> None:
        """Answer from now on, before files are looked for: what is below an aliased package has a file, which would run
        a second time under the other name and make classes of its own."""
        sys.meta_path.insert(0, self)


def _below(package: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{package}.{old}": f"{package}.{new}" for old, new in names.items()}


#: where modules stood that passes, tools and operators outside this package import
MOVED = {
    **_below("symc.ir", {
        "graph": "tensor.graph", "loops": "loop.nodes", "symbolic": "symbol.nodes",
        "interp_program": "program.interp", "interp_loops": "loop.interp",
    }),
    **_below("symc.passes", {
        "rewrite": "manager.rewrite", "instruments": "manager.instruments", "decompose": "tensor.decompose",
        "batch": "tensor.batch", "autodiff": "tensor.autodiff", "inline": "tensor.inline",
        "simplify": "tensor.simplify", "layout": "tensor.layout",
        "fuse": "program.fuse", "plan_memory": "program.plan_memory", "lower": "loop.lower",
        "tile": "loop.tiling.tile", "build": "loop.build", "units": "program.units",
    }),
}  # fmt: skip

#: MXNet's modules that are files of their own there and part of a larger module here (both names below the package)
INNER = {
    "contrib.autograd": "autograd.sections",
    "contrib.nd": "ndarray.contrib", "contrib.ndarray": "ndarray.contrib", "contrib.sym": "symbol.contrib",
    "contrib.symbol": "symbol.contrib",
    "gluon.nn.basic_layers": "gluon.nn", "gluon.nn.conv_layers": "gluon.nn", "gluon.rnn.rnn_cell": "gluon.rnn",
    "gluon.rnn.rnn_layer": "gluon.rnn", "image.image": "image",
    "io.io": "io", "io.utils": "io", "kvstore.base": "kvstore",
    "kvstore.kvstore": "kvstore", "ndarray.utils": "ndarray",
    "optimizer.optimizer": "optimizer", "rnn.io": "rnn", "rnn.rnn": "rnn", "rnn.rnn_cell": "rnn",
    # the short names, which some programs import as if they were modules
    "init": "initializer", "img": "image", "kv": "kvstore", "mod": "module", "mon": "monitor", "nd": "ndarray",
    "opt": "optimizer",
    "rnd": "random", "sym": "symbol", "viz": "visualization",
}  # fmt: skip


def inner_names(module: str) -> dict[str, ModuleType]:
    """What MXNet has below a module, as attributes too, and what is the module itself here."""
    package, _, own = module.partition(".")
    below = {old.removeprefix(f"{own}."): new for old, new in INNER.items() if old.startswith(f"{own}.")}
    return {name: sys.modules[f"{package}.{new}"] for name, new in below.items() if new == own}


_CODES = {
    "symc.ndarray.codes": (
        "_DTYPE_MX_TO_NP _DTYPE_NP_TO_MX _GRAD_REQ_MAP _STORAGE_TYPE_CSR _STORAGE_TYPE_DEFAULT _STORAGE_TYPE_ID_TO_STR "
        "_STORAGE_TYPE_ROW_SPARSE _STORAGE_TYPE_STR_TO_ID _STORAGE_TYPE_UNDEFINED"
    ),
}
_KINDS = {"symc.base": "_Null integer_types numeric_types py_str string_types"}
#: names that MXNet's module has, its own or imported, and programs take from there: module -> place here -> names
ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "symc.autograd": {**_CODES, **_KINDS, "symc.symbol": "Symbol"},
    "symc.executor_manager": {"symc.base": "mx_real_t", "symc.context": "cpu", "symc.io": "DataDesc"},
    "symc.gluon.block": {
        "symc": "nd ndarray sym symbol", "symc.symbol": "Symbol load_json",
        "symc.gluon.hybrid": "HybridBlock SymbolBlock",
        "symc.gluon.parameter": "DeferredInitializationError", "symc.ndarray": "NDArray",
    },
    "symc.io": {"symc.io.arrays": "_init_data"},
    "symc.model": {
        "symc": "nd opt sym",
        "symc.base": "mx_real_t", "symc.callback": "LogValidationMetricsCallback",
        "symc.executor_manager": "DataParallelExecutorManager _check_arguments _load_data",
        "symc.io": "DataDesc", "symc.optimizer": "get_updater",
    },
    "symc.module.base_module": {"symc.base": "_as_list", "symc.context": "cpu"},
    "symc.module.bucketing_module": {"symc": "nd sym", "symc.module.base_module": "_check_input_names"},
    "symc.module.executor_group": {**_CODES, "symc": "nd", "symc.executor_manager": "_load_data _load_label"},
    "symc.module.module": {
        "symc": "nd",
        "symc.initializer": "InitDesc", "symc.module.base_module": "_check_input_names _parse_data_desc",
        "symc.module.executor_group": "DataParallelExecutorGroup", "symc.ndarray": "zeros",
    },
    "symc.ndarray": _CODES,
    "symc.ndarray._internal": {**_KINDS, "symc.ndarray": "CachedOp"},
    "symc.ndarray.ndarray": {
        **_CODES, **_KINDS,
        "symc.ndarray": (
            "add divide equal from_dlpack from_numpy greater greater_equal histogram lesser lesser_equal logical_and "
            "logical_or logical_xor maximum minimum modulo multiply not_equal op power split_v2 subtract "
            "to_dlpack_for_read to_dlpack_for_write true_divide waitall"
        ),
    },
    "symc.ndarray.sparse": {**_CODES, **_KINDS, "symc.context": "Context current_context", "symc.ndarray": "NDArray"},
    "symc.operator": _CODES,
    "symc.optimizer": {"symc.ndarray": "NDArray array maximum multiply sparse zeros", "symc.ndarray.random": "normal"},
    "symc.rnn": {
        **_KINDS, "symc": "init ndarray symbol",
        "symc.io": "DataBatch DataDesc DataIter", "symc.model": "load_checkpoint save_checkpoint",
        "symc.rnn.base": "_normalize_sequence",
    },
    "symc.symbol._internal": {**_KINDS, "symc.attribute": "AttrScope", "symc.name": "NameManager"},
    "symc.symbol.symbol": {
        **_CODES, **_KINDS,
        "symc.attribute": "AttrScope", "symc.context": "Context current_context", "symc.executor": "Executor",
        "symc.ndarray": "NDArray",
        "symc.symbol": (
            "arange eye full histogram hypot linspace load load_json maximum minimum ones pow power split_v2 zeros"
        ),
    },
}  # fmt: skip


def standing_elsewhere(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module: looks where `ELSEWHERE` says the name is, or gives what stands for one that symc
    does not have, once somebody asks."""
    places = {name: place for place, names in ELSEWHERE.get(module, {}).items() for name in names.split()}
    package, _, below = module.partition(".")

    def find(name: str) -> Any:
        if name in places:
            return getattr(importlib.import_module(places[name]), name)
        found = importlib.import_module("symc.ghosts").ghost(package, f"{below}.{name}")
        if found is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return found

    return find

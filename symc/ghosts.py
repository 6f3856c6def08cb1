"""What MXNet has and symc does not: names that can be imported, and say what to do where they are used.

A program that imports Gluon for one branch that it never takes runs; one that takes it gets a sentence, not an
AttributeError from somewhere inside.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Mapping, Sequence
from functools import partial, wraps
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from symc.base import MXNetError

_NUMPY = "symc has no NumPy-like arrays; use mx.nd arrays and mx.sym, or numpy itself with asnumpy()"
_RTC = "symc compiles Symbols itself; write the computation as a Symbol, or as an mx.operator.CustomOp"
_LIBRARY = "there is no library of C functions below symc; say it with arrays, Symbols and executors"
#: what programs import from mx.base to call MXNet's library
_OF_LIBRARY = (
    "_LIB", "check_call", "c_str", "c_str_array", "c_array", "c_array_buf", "c_handle_array", "ctypes2buffer",
    "ctypes2numpy_shared", "mx_int", "mx_int64", "mx_uint", "mx_float", "mx_float_p", "CachedOpHandle",
    "DataIterCreatorHandle", "DataIterHandle", "ExecutorHandle", "FunctionHandle", "KVStoreHandle", "MXCallbackList",
    "OpHandle", "ProfileHandle", "RecordIOHandle", "RtcHandle", "SymbolHandle", "add_fileline_to_docstring",
    "build_param_doc", "c2pyerror", "get_last_ffi_error",
)  # fmt: skip

_QUANTIZED = "symc computes in the net's own types; run the net that is not quantized"
_GRADIENT = "take gradients with mx.autograd, or with backward of an executor"
_SCATTER = "write x[indices] = values"
_CHECKED = "compare the outputs of the block before and after hybridize()"
#: operators of mx.nd.contrib and mx.sym.contrib
_OPERATORS = {
    **dict.fromkeys(
        ("calibrate_entropy", "quantize_asym", *(f"quantized_{word}" for word in (
            "act", "batch_norm", "concat", "conv", "elemwise_add", "elemwise_mul", "embedding", "flatten",
            "fully_connected", "pooling", "rnn",
        ))),
        _QUANTIZED,
    ),
    **dict.fromkeys(
        ("dgl_adjacency", "dgl_csr_neighbor_non_uniform_sample", "dgl_csr_neighbor_uniform_sample", "dgl_graph_compact",
         "dgl_subgraph", "edge_id"),
        "symc has no operators on graphs of DGL; take rows and columns of mx.nd.sparse arrays",
    ),
    "group_adagrad_update": "let mx.optimizer.contrib.GroupAdaGrad make the step",
    **dict.fromkeys((f"backward_{word}" for word in ("gradientmultiplier", "hawkesll", "index_copy", "quadratic")),
                    _GRADIENT),
}  # fmt: skip

#: name below `mx` -> what to do instead
GHOSTS: Mapping[str, str] = {
    "gluon.data": "feed batches from mx.io iterators, or loop over numpy arrays",
    "gluon.model_zoo": "build the net of mx.gluon.nn layers, or load an exported one with mx.gluon.SymbolBlock.imports",
    "gluon.contrib": "write the layer as an mx.gluon.HybridBlock",
    "gluon.probability": "draw with mx.nd.random",
    "np": _NUMPY, "numpy": _NUMPY, "npx": _NUMPY, "numpy_extension": _NUMPY, "np_symbol": _NUMPY,
    "np_array": _NUMPY, "use_np": _NUMPY, "use_np_array": _NUMPY,
    "rtc": _RTC, "th": _RTC, "torch": _RTC, "tvmop": _RTC,
    "library": "operators for symc are written in Python: see docs/adding-an-operator.md",
    "onnx": "symc neither reads nor writes ONNX; keep the net as Symbol JSON",
    "contrib.onnx": "symc neither reads nor writes ONNX; keep the net as Symbol JSON",
    **{f"base.{name}": _LIBRARY for name in _OF_LIBRARY},
    "model._train_multi_device": "train with fit of an mx.mod.Module, which takes several contexts",
    "contrib.quant": _QUANTIZED, "contrib.quantization": _QUANTIZED,
    **{f"{place}.contrib.{name}": advice for place in ("ndarray", "symbol") for name, advice in _OPERATORS.items()},
    **dict.fromkeys((
        "util.set_np", "util.reset_np", "util.wrap_np_unary_func", "util.wrap_np_binary_func",
        "util.np_ufunc_legal_option",
    ), _NUMPY),
    **dict.fromkeys(
        ("util.get_cuda_compute_capability", "test_utils.get_cuda_compute_capability"), "symc compiles for the CPU only"
    ),
    "contrib.amp": "symc computes in the net's own types; cast the data and parameters, or leave them in float32",
    **dict.fromkeys(("test_utils.use_np", "test_utils.np_symbol"), _NUMPY),
    "test_utils.check_gluon_hybridize_consistency": _CHECKED,
    "ndarray.imdecode": "decode with mx.image.imdecode, and cut and shift the array",
    **dict.fromkeys(("ndarray.np", "ndarray.npx", "ndarray.numpy", "ndarray.numpy_extension", "symbol.np",
                     "symbol.npx", "symbol.numpy", "symbol.numpy_extension"), _NUMPY),
    **dict.fromkeys(("ndarray._internal._scatter_set_nd", "symbol._internal._scatter_set_nd"), _SCATTER),
    **dict.fromkeys(("kvstore.kvstore_server", "kvstore.KVStoreServer"), "symc trains in one process"),
    "contrib.tensorboard": "log from a batch_end_callback",
    "contrib.io": "wrap the loader in a subclass of mx.io.DataIter",
    "notebook": "log from a batch_end_callback",
}  # fmt: skip


class Ghost:
    """Stands for a name that symc lacks, and for everything below it. Calling it, indexing it, calling a function that
    it decorates or making an object of a class derived from it raises MXNetError; nothing is an instance of it."""

    def __init__(self, name: str, advice: str) -> None:
        self.__name__, self._advice = name, advice
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Ghost(f"{self.__name__}.{name}", self._advice)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        shown = "mx." + self.__name__.partition(".")[2]
        raise MXNetError(f"symc has no {shown}: {self._advice}")

    __getitem__ = __iter__ = __enter__ = _refuse

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], FunctionType):  # a decorator, where a file is imported
            return wraps(args[0])(partial(self._refuse))
        self._refuse()

    def __exit__(self, *exc: object) -> None:
        """Needed beside __enter__, which always raises."""

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (type(self.__name__.rpartition(".")[2], (), {"__init__": self._refuse}),)

    def __repr__(self) -> str:
        return f"<{self.__name__}: not in symc>"


#: what MXNet's NDArray and Symbol have beyond symc's
_MEMBERS = {
    "NDArray": {"handle": _LIBRARY, "as_np_ndarray": _NUMPY, "_scatter_set_nd": _SCATTER},
    "Symbol": {"handle": _LIBRARY, "as_np_ndarray": _NUMPY},
}


class GhostError(MXNetError, AttributeError):
    """What reading an attribute raises that symc's class lacks: `hasattr` says that it is not there."""


class _Member:
    """Stands in a class for an attribute that it lacks."""

    def __init__(self, name: str, advice: str) -> None:
        self.name, self.advice = name, advice

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise GhostError(f"symc has no {self.name}: {self.advice}")


def attach_members(cls: type) -> None:
    """Give NDArray or Symbol a sentence for every attribute that MXNet's class has and it has not."""
    for name, advice in _MEMBERS[cls.__name__].items():
        setattr(cls, name, _Member(f"{cls.__name__}.{name}", advice))


def ghost(package: str, name: str) -> Ghost | None:
    """What stands for `name` below `package`, if it or something above it is a ghost."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        advice = GHOSTS.get(".".join(parts[:count]))
        if advice is not None:
            return Ghost(f"{package}.{name}", advice)
    return None


class Ghosts(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets imports of ghosts below `package` succeed; whatever has a file is found before."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != self.package or ghost(package, name) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        package, _, name = spec.name.partition(".")
        return ghost(package, name)

    def exec_module(self, module: ModuleType) -> None:
        """A ghost has nothing to run."""

    def install(self) -> None:
        """Answer from now on, after everything that has a file."""
        sys.meta_path.append(self)

"""symc: MXNet's Symbol API on a modern Python, compiled to native code. `import symc as mx`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import symc.ir.process  # noqa: F401  (so that a fork waits for imports that another thread makes below)
from symc.aliases import INNER, MOVED, Aliases
from symc.ghosts import Ghosts, ghost
from symc.ir.display import drawn_by

if TYPE_CHECKING:
    from symc.compile import compile as compile
    from symc.passes.edits import pipeline as pipeline

__version__ = "0.1.0"

Aliases(MOVED, "is now").install()
Aliases({f"symc.{old}": f"symc.{new}" for old, new in INNER.items()}).install()
Ghosts("symc").install()
drawn_by(lambda module: importlib.import_module("symc.views.notebook").shown(module))

#: public name -> (module, attribute or "" for the module itself); loaded when first used
_LAZY = {
    "sym": ("symc.symbol", ""), "symbol": ("symc.symbol", ""),
    "nd": ("symc.ndarray", ""), "ndarray": ("symc.ndarray", ""),
    "mod": ("symc.module", ""), "module": ("symc.module", ""), "model": ("symc.model", ""), "io": ("symc.io", ""),
    "init": ("symc.initializer", ""), "initializer": ("symc.initializer", ""), "optimizer": ("symc.optimizer", ""),
    "opt": ("symc.optimizer", ""), "metric": ("symc.metric", ""), "callback": ("symc.callback", ""),
    "lr_scheduler": ("symc.lr_scheduler", ""), "monitor": ("symc.monitor", ""), "mon": ("symc.monitor", ""),
    "operator": ("symc.operator", ""), "executor": ("symc.executor", ""), "random": ("symc.random", ""),
    "rnd": ("symc.random", ""), "name": ("symc.name", ""), "attribute": ("symc.attribute", ""),
    "base": ("symc.base", ""), "error": ("symc.error", ""), "misc": ("symc.misc", ""), "compile": ("symc.compile", ""),
    "debug": ("symc.debug", ""), "pipeline": ("symc.passes.edits", "pipeline"),
    "context": ("symc.context", ""), "kvstore": ("symc.kvstore", ""), "kv": ("symc.kvstore", ""),
    "profiler": ("symc.profiler", ""),
    "visualization": ("symc.visualization", ""), "viz": ("symc.visualization", ""),
    "test_utils": ("symc.test_utils", ""),
    "rnn": ("symc.rnn", ""), "util": ("symc.util", ""), "engine": ("symc.engine", ""), "runtime": ("symc.runtime", ""),
    "log": ("symc.log", ""), "libinfo": ("symc.libinfo", ""), "contrib": ("symc.contrib", ""),
    "executor_manager": ("symc.executor_manager", ""), "registry": ("symc.registry", ""),
    "recordio": ("symc.recordio", ""), "image": ("symc.image", ""), "img": ("symc.image", ""),
    "autograd": ("symc.autograd", ""), "gluon": ("symc.gluon", ""),
    "set_np_shape": ("symc.util", "set_np_shape"), "np_shape": ("symc.util", "np_shape"),
    "use_np_shape": ("symc.util", "use_np_shape"), "is_np_shape": ("symc.util", "is_np_shape"),
    "is_np_array": ("symc.util", "is_np_array"),
    "AttrScope": ("symc.attribute", "AttrScope"), "MXNetError": ("symc.base", "MXNetError"),
    "Context": ("symc.context", "Context"), "cpu": ("symc.context", "cpu"), "gpu": ("symc.context", "gpu"),
    "cpu_pinned": ("symc.context", "cpu_pinned"), "num_gpus": ("symc.context", "num_gpus"),
    "current_context": ("symc.context", "current_context"), "Monitor": ("symc.monitor", "Monitor"),
    "Predictor": ("symc.predictor", "Predictor"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _LAZY[name]
    except KeyError:
        absent = ghost("symc", name)
        if absent is None:
            raise AttributeError(f"module 'symc' has no attribute {name!r}") from None
        return absent
    found = importlib.import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_LAZY})

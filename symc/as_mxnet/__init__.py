"""Programs written for MXNet, run by symc as they are.

    python -m symc.as_mxnet train.py --epochs 3      the script, with symc wherever it says mxnet
    python -m symc.as_mxnet -m package.module ...    the same for a module
    pytest -p symc.as_mxnet                          tests that import mxnet
    symc.as_mxnet.install()                          from then on, in this process

`import mxnet`, `from mxnet import ...` and the submodules of MXNet 1.9.1 that symc offers give symc's own modules, so
that both names mean the same classes. `mx.gpu(i)` means the CPU, with one warning.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import symc
from symc.aliases import INNER, Aliases
from symc.context import gpu_means_cpu
from symc.ghosts import Ghosts
from symc.libinfo import __version__ as MXNET_VERSION

__all__ = ["install", "main"]

USAGE = "usage: python -m symc.as_mxnet (SCRIPT.py | -m MODULE) [ARGUMENT ...]"

#: modules of MXNet 1.9.1 that stand at the same place in symc
SAME = (
    "attribute", "autograd", "base", "callback", "context", "contrib", "engine", "error", "executor",
    "executor_manager", "gluon", "gluon.block", "gluon.loss", "gluon.nn", "gluon.parameter", "gluon.rnn",
    "gluon.trainer", "gluon.utils", "image", "image.detection", "initializer", "io", "kvstore", "libinfo", "log",
    "lr_scheduler", "metric", "misc", "model", "module", "module.base_module", "module.bucketing_module",
    "module.executor_group", "module.module", "module.python_module", "module.sequential_module", "monitor", "name",
    "ndarray", "ndarray._internal", "ndarray.contrib", "ndarray.image", "ndarray.linalg", "ndarray.ndarray",
    "ndarray.op", "ndarray.random", "operator", "optimizer", "profiler", "random", "recordio", "registry", "rnn",
    "runtime", "symbol", "symbol._internal", "symbol.contrib", "symbol.image", "symbol.linalg", "symbol.op",
    "symbol.random", "symbol.sparse", "symbol.symbol", "test_utils", "util", "visualization",
)  # fmt: skip


class _MXNet(ModuleType):
    """The package `mxnet`: symc, but for its version. Programs log where it is: there stands symc."""

    __version__ = MXNET_VERSION
    __file__ = symc.__file__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        try:
            return getattr(symc, name)
        except AttributeError:
            raise AttributeError(f"module 'mxnet' (run by symc) has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(symc) if hasattr(self, name))})


class _Package(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `mxnet` itself, before Python takes a folder of that name for a package: programs come with one that is
    empty, where MXNet's sources would be fetched to. One with MXNet in it that a program puts on the path is found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "mxnet" or _real(importlib.machinery.PathFinder.find_spec(fullname)) is not None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _MXNet(spec.name, symc.__doc__)

    def exec_module(self, module: ModuleType) -> None:
        """Everything is looked up in symc."""


def install() -> None:
    """Make `mxnet` mean symc in this process; a second call changes nothing. ImportError where MXNet is installed, or
    where a file of the program has its name: neither is ever hidden."""
    if any(isinstance(finder, _Package) for finder in sys.meta_path):
        return
    loaded = sys.modules.get("mxnet")
    real = _real(importlib.util.find_spec("mxnet")) if loaded is None else loaded.__spec__
    if loaded is not None or real is not None:
        place = "this process" if real is None else real.origin or list(real.submodule_search_locations or ())
        raise ImportError(
            f"symc.as_mxnet: there is an mxnet already ({place}), which symc does not hide; run the program without "
            "symc.as_mxnet, or in an environment that has only symc",
            name="mxnet",
        )
    gpu_means_cpu()
    _offer_names()


def _real(found: importlib.machinery.ModuleSpec | None) -> importlib.machinery.ModuleSpec | None:
    """A module that has a file; a folder without `__init__.py` has none."""
    return found if found is not None and found.origin is not None else None


def _offer_names() -> None:
    sys.meta_path.insert(0, _Package())
    table = {name: name for name in SAME} | dict(INNER)
    Aliases({f"mxnet.{old}": f"symc.{new}" for old, new in table.items()}).install()
    Ghosts("mxnet").install()


def pytest_addoption(parser: object) -> None:
    """pytest calls this when it loads the plugin, before it imports anything of the tests."""
    install()


def main(arguments: Sequence[str]) -> None:
    """Run the script or module named on the command line as __main__, with the arguments after it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        raise SystemExit(0 if arguments else 2)
    if arguments[0] == "-m":
        if len(arguments) < 2:
            _stop("-m needs the name of a module")
        sys.argv = list(arguments[1:])
        sys.path[0] = os.getcwd()
        install()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    script = arguments[0]
    if not os.path.exists(script):
        _stop(f"there is no file {script}")
    sys.argv = list(arguments)
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    install()
    runpy.run_path(script, run_name="__main__")


def _stop(message: str) -> NoReturn:
    print(f"symc.as_mxnet: {message}\n{USAGE}", file=sys.stderr)
    raise SystemExit(2)

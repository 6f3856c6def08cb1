"""Blocks: parts of nets that hold parameters and other blocks, and say what they compute."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from symc import initializer
from symc import name as naming
from symc.aliases import standing_elsewhere
from symc.base import MXNetError, those
from symc.gluon.parameter import Parameter, ParameterDict
from symc.gluon.utils import HookHandle, indented
from symc.ndarray import load as load_arrays
from symc.ndarray import save as save_arrays

__getattr__ = standing_elsewhere(__name__)


class _BlockScope:
    """A `with` block in which new blocks and Symbols get names that begin with a block's prefix."""

    _current = threading.local()

    def __init__(self, block: Block) -> None:
        self._block = block
        self._counter: dict[str, int] = {}
        self._outside: list[tuple[_BlockScope | None, naming.Prefix]] = []

    @staticmethod
    def create(prefix: str | None, params: ParameterDict | None, hint: str) -> tuple[str, ParameterDict]:
        """The prefix and the parameters of a new block."""
        scope: _BlockScope | None = getattr(_BlockScope._current, "value", None)
        if scope is None:
            prefix = naming.current().get(None, hint) + "_" if prefix is None else prefix
            return prefix, ParameterDict(prefix) if params is None else ParameterDict(params.prefix, params)
        if prefix is None:
            count = scope._counter.get(hint, 0)
            scope._counter[hint] = count + 1
            prefix = f"{hint}{count}_"
        above = scope._block.params
        own = ParameterDict(above.prefix + prefix, above._shared)
        return scope._block.prefix + prefix, own if params is None else ParameterDict(params.prefix, params)

    def __enter__(self) -> _BlockScope:
        if not self._block._empty_prefix:
            names = naming.Prefix(self._block.prefix)
            self._outside.append((getattr(_BlockScope._current, "value", None), names))
            _BlockScope._current.value = self
            names.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._block._empty_prefix:
            _BlockScope._current.value, names = self._outside.pop()
            names.__exit__(*exc)


class Block:
    """Base of all layers and nets. Blocks and Parameters that are assigned to attributes belong to it; `forward` says
    what it computes with arrays.

    `prefix` begins the names of its parameters; `params` are those of another block, to share.
    """

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        self._empty_prefix = prefix == ""
        self._prefix, self._params = _BlockScope.create(prefix, params, self._alias())
        self._name = self._prefix.removesuffix("_")
        self._scope = _BlockScope(self)
        self._children: dict[str, Block] = {}
        self._reg_params: dict[str, Parameter] = {}
        self._forward_hooks: dict[int, Any] = {}
        self._forward_pre_hooks: dict[int, Any] = {}

    def __repr__(self) -> str:
        held = [(key, value) for key, value in self.__dict__.items() if isinstance(value, Block)]
        lines = "\n".join(f"  ({key}): {indented(repr(block))}" for key, block in held)
        return f"{type(self).__name__}(\n{lines}\n)"

    def __setattr__(self, name: str, value: Any) -> None:
        existing = self.__dict__.get(name)
        if isinstance(existing, (Parameter, Block)) and not isinstance(value, type(existing)):
            raise TypeError(f"{name} is a {type(existing).__name__}; it cannot become a {type(value).__name__}")
        if isinstance(value, Block):
            self.register_child(value, name)
        elif isinstance(value, Parameter):
            if name in self._reg_params:
                raise AssertionError(
                    f"{name} is a parameter already; blocks share parameters by params= where they are made"
                )
            self._reg_params[name] = value
        super().__setattr__(name, value)

    def _alias(self) -> str:
        return type(self).__name__.lower()

    # -- names and parameters

    @property
    def prefix(self) -> str:
        """What the names of its parameters begin with."""
        return self._prefix

    @property
    def name(self) -> str:
        """The prefix without the underscore at its end."""
        return self._name

    def name_scope(self) -> _BlockScope:
        """`with self.name_scope():` names the blocks that are made inside after this one."""
        return self._scope

    @property
    def params(self) -> ParameterDict:
        """Its own parameters, without those of the blocks in it."""
        return self._params

    def collect_params(self, select: str | None = None) -> ParameterDict:
        """Its parameters and those of all blocks in it; of those, the ones whose names match a regular expression."""
        self._warn_of_lists()
        found = ParameterDict(self._params.prefix)
        pattern = re.compile(select) if select else None
        for name, value in self.params.items():
            if pattern is None or pattern.match(name):
                found._params[name] = value
        for child in self._children.values():
            found.update(child.collect_params(select))
        return found

    def _warn_of_lists(self) -> None:
        """Blocks in plain lists do not belong to the net, which is seldom meant."""
        children = set(map(id, self._children.values()))

        def lost(value: Any) -> bool:
            if isinstance(value, Mapping):
                return any(map(lost, value.values()))
            if isinstance(value, (list, tuple)):
                return any(map(lost, value))
            return isinstance(value, Block) and id(value) not in children

        for name, value in self.__dict__.items():
            if isinstance(value, (list, tuple, dict)) and name != "_children" and lost(value):
                warnings.warn(
                    f"{type(self).__name__}.{name} holds blocks that are not part of the net: put them into an "
                    "nn.Sequential, or call register_child() for each",
                    stacklevel=3,
                )

    def _structure(self, prefix: str = "") -> dict[str, Parameter]:
        """Parameters by where they are: `0.weight`, `body.1.gamma`."""
        prefix = prefix + "." if prefix else ""
        found = {prefix + key: value for key, value in self._reg_params.items()}
        for name, child in self._children.items():
            found.update(child._structure(prefix + name))
        return found

    _collect_params_with_prefix = _structure

    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """Initialize all parameters; `init` (Uniform) is for those without an initializer of their own."""
        init = initializer.Uniform() if init is None else init
        self.collect_params().initialize(init, ctx, verbose, force_reinit)

    def cast(self, dtype: Any) -> None:
        """Change the element type of all parameters."""
        for child in self._children.values():
            child.cast(dtype)
        for parameter in self.params.values():
            parameter.cast(dtype)

    # -- files

    def save_parameters(self, filename: str, deduplicate: bool = False) -> None:
        """Write the parameters, by where they are in the net. `deduplicate`: shared ones once."""
        found = self._structure()
        if deduplicate:
            found = {name: value for value, name in {value: name for name, value in found.items()}.items()}
        save_arrays(filename, {name: value._reduce() for name, value in found.items()})

    def load_parameters(
        self, filename: str, ctx: Any = None, allow_missing: bool = False, ignore_extra: bool = False,
        cast_dtype: bool = False, dtype_source: str = "current",
    ) -> None:  # fmt: skip
        """Read parameters that `save_parameters` wrote (or ParameterDict.save). AssertionError for those that the file
        lacks unless `allow_missing`; ValueError for those that the net lacks unless `ignore_extra`."""
        loaded = load_arrays(filename)
        found = self._structure()
        if not loaded and not found:
            return
        if not isinstance(loaded, dict):
            raise ValueError(f"{filename} holds arrays without names")
        if not any("." in name for name in loaded):
            self.collect_params().load(
                filename, ctx, allow_missing, ignore_extra, self.prefix, cast_dtype, dtype_source
            )
            return
        places: dict[Parameter, list[str]] = {}
        for name, parameter in found.items():
            places.setdefault(parameter, []).append(name)
        for names in places.values():
            if not allow_missing and not any(name in loaded for name in names):
                raise AssertionError(
                    f"file {filename!r} has no {names[0]!r}, but {those(list(loaded), names[0])}; to leave such "
                    "parameters as they are, set allow_missing=True"
                )
        for name, value in loaded.items():
            if name in found:
                found[name]._load_init(value, ctx, cast_dtype, dtype_source)
            elif not ignore_extra:
                raise ValueError(
                    f"file {filename!r} has {name!r}, but the net only {those(list(found), name)}; to pass over it, "
                    "set ignore_extra=True"
                )

    def save_params(self, filename: str) -> None:
        """The older form of `save_parameters`: by full names."""
        warnings.warn("save_params is the older form; save_parameters is what is meant", stacklevel=2)
        self.collect_params().save(filename, strip_prefix=self.prefix)

    def load_params(
        self, filename: str, ctx: Any = None, allow_missing: bool = False, ignore_extra: bool = False
    ) -> None:
        """`load_parameters` under its older name."""
        warnings.warn("load_params is the older name of load_parameters", stacklevel=2)
        self.load_parameters(filename, ctx, allow_missing, ignore_extra)

    # -- blocks inside

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make a block part of this one."""
        self._children[str(len(self._children)) if name is None else name] = block

    def apply(self, fn: Callable[[Block], Any]) -> Block:
        """Call a function with every block inside, and with this one at last."""
        for child in self._children.values():
            child.apply(fn)
        fn(self)
        return self

    def save(self, prefix: str) -> None:
        """MXNetError: a block is saved by its parameters, and by `export`."""
        raise MXNetError("Block.save: use save_parameters, or export for a net that SymbolBlock.imports reads")

    def load(self, prefix: str) -> None:
        """MXNetError: what `save` would have written is not read."""
        raise MXNetError("Block.load: use load_parameters, or SymbolBlock.imports for an exported net")

    def register_op_hook(self, callback: Any, monitor_all: bool = False) -> None:
        """MXNetError: values inside of a net are watched where it is bound."""
        raise MXNetError("Block.register_op_hook: bind the net's Symbol and use Executor.set_monitor_callback")

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Compile the HybridBlocks inside (or no longer do so)."""
        for child in self._children.values():
            child.hybridize(active, **kwargs)

    # -- calling

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(block, inputs, outputs)` after every forward pass."""
        return HookHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(block, inputs)` before every forward pass."""
        return HookHandle(self._forward_pre_hooks, hook)

    def __call__(self, *args: Any) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            hook(self, args)
        made = self.forward(*args)
        for hook in list(self._forward_hooks.values()):
            hook(self, args, made)
        return made

    def forward(self, *args: Any) -> Any:
        """What the block computes. Overridden by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def summary(self, *inputs: Any) -> None:
        """Print the layers' output shapes and parameters for these inputs. The net must be initialized, and not be
        hybridized."""
        from symc.gluon.summary import print_summary

        print_summary(self, inputs)


def blocks_of(block: Block) -> Iterator[Block]:
    """A block and all that are inside of it."""
    yield block
    for child in block._children.values():
        yield from blocks_of(child)

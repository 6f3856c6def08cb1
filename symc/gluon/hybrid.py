"""Blocks that compute with arrays and with Symbols alike, and blocks that are Symbols."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

from symc import ndarray, symbol
from symc.gluon.block import Block
from symc.gluon.nested import Form, flatten, regroup
from symc.gluon.parameter import DeferredInitializationError, Parameter, ParameterDict
from symc.ndarray import NDArray
from symc.ndarray import save as save_arrays
from symc.ndarray.cached import CachedOp
from symc.symbol import Symbol, Variable


class HybridBlock(Block):
    """A block whose computation is `hybrid_forward(F, x, ..., **parameters)`, where F is `mx.nd` or `mx.sym`. After
    `hybridize()` it is composed as a Symbol once, and compiled for the types it is called with."""

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        super().__init__(prefix, params)
        self._active = False
        self._clear()

    def _clear(self) -> None:
        """Forget what was composed and compiled."""
        self._cached_graph: tuple[list[Symbol], Symbol] | None = None
        self._cached_op: CachedOp | None = None
        #: what the compiled Symbol reads: (True, number of an input) or (False, a parameter)
        self._reads: list[tuple[bool, Any]] = []
        self._in_form: Form = None
        self._absent: list[bool] = []
        self._out_form: Form = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, HybridBlock):
            self._clear()

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make a HybridBlock part of this one; ValueError for other blocks."""
        if not isinstance(block, HybridBlock):
            raise ValueError(
                f"a HybridBlock is made of HybridBlocks, but {type(block).__name__} is none; nn.HybridSequential takes "
                "the place of nn.Sequential"
            )
        super().register_child(block, name)
        self._clear()

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Compile the whole block when it is called (or no longer do so). Options of MXNet's executor, like
        static_alloc, have no meaning here."""
        self._active = active
        self._clear()
        super().hybridize(active, **kwargs)

    def optimize_for(self, x: Any, *args: Any, backend: str | None = None, clear: bool = True, **kwargs: Any) -> None:
        """Hybridize and call once. With a warning: MXNet's backends do not exist here, symc optimises whatever it
        compiles."""
        if not backend:
            raise ValueError("optimize_for: backend must be named")
        warnings.warn(f"backend {backend!r} cannot be found; symc optimises what it compiles", stacklevel=2)
        self.hybridize(True, **kwargs)
        self(x, *args)

    def cast(self, dtype: Any) -> None:
        """Change the element type of all parameters."""
        self._clear()
        super().cast(dtype)

    # -- composing

    def _graph(self, args: Sequence[Any]) -> tuple[list[Symbol], Symbol]:
        """The inputs and the outputs as Symbols."""
        if self._cached_graph is None:
            begin, self._in_form = flatten(_given(args))
            self._absent = [x is None for x in begin]
            flat, form = flatten(list(args))
            given = sum(x is not None for x in flat)
            if not given:
                raise ValueError(f"{type(self).__name__}: all arguments are None")
            inputs: list[Symbol] = []
            filled: list[Symbol | None] = []
            for x in flat:
                if x is not None:
                    inputs.append(Variable(f"data{len(inputs)}" if given > 1 else "data"))
                filled.append(None if x is None else inputs[-1])
            parameters = {name: p.var() for name, p in self._reg_params.items()}
            with self.name_scope():
                made = self.hybrid_forward(symbol, *regroup(filled, form), **parameters)
            outputs, self._out_form = flatten(made)
            self._cached_graph = inputs, outputs[0] if len(outputs) == 1 else symbol.Group(outputs)
        return self._cached_graph

    def _infer(self, what: str, args: Sequence[Any]) -> None:
        """Complete the parameters' shapes ("shape") or types ("dtype") from those of the inputs."""
        inputs, outputs = self._graph(args)
        given = [x for x in flatten(list(args))[0] if x is not None]
        known = {i.name: getattr(x, what) for i, x in zip(inputs, given)}
        infer = outputs.infer_shape if what == "shape" else outputs.infer_type
        arguments, _, states = infer(**known)
        if arguments is None:
            raise ValueError(f"the {what}s of the inputs, {known}, do not determine those of the parameters")
        names = [*outputs.list_arguments(), *outputs.list_auxiliary_states()]
        found = dict(zip(names, [*arguments, *states]))
        for parameter in self.collect_params().values():
            if parameter.name in found:
                setattr(parameter, what, found[parameter.name])

    def infer_shape(self, *args: Any) -> None:
        """Complete the parameters' shapes from those of the inputs."""
        self._infer("shape", args)

    def infer_type(self, *args: Any) -> None:
        """Complete the parameters' types from those of the inputs."""
        self._infer("dtype", args)

    def _finish(self, args: Sequence[Any]) -> None:
        """Give the parameters that wait for their shapes their values."""
        try:
            self.infer_shape(*args)
        except Exception as problem:
            raise ValueError(f"the parameters' shapes do not follow from the data's: {problem}") from problem
        for parameter in self.collect_params().values():
            parameter._finish_deferred_init()

    # -- calling

    def forward(self, x: Any, *args: Any) -> Any:
        """Call `hybrid_forward` with arrays or Symbols, and the parameters; or the compiled Symbol."""
        given = [v for v in flatten([x, *args])[0] if v is not None]
        kinds = {Symbol if isinstance(v, Symbol) else NDArray for v in given if isinstance(v, (Symbol, NDArray))}
        if len(kinds) != 1:
            raise ValueError(
                f"{type(self).__name__} is called with {'both' if kinds else 'neither'} NDArrays "
                f"{'and' if kinds else 'nor'} Symbols; give it either"
            )
        if Symbol in kinds:
            parameters = {name: p.var() for name, p in self._reg_params.items()}
            with self.name_scope():
                return self.hybrid_forward(symbol, x, *args, **parameters)
        first = next(v for v in given if isinstance(v, NDArray))
        if self._active:
            return self._compiled(first, (x, *args))
        ctx = first.context
        try:
            values = {name: p.data(ctx) for name, p in self._reg_params.items()}
        except DeferredInitializationError:
            self._finish((x, *args))
            values = {name: p.data(ctx) for name, p in self._reg_params.items()}
        return self.hybrid_forward(ndarray, x, *args, **values)

    def _compiled(self, first: NDArray, args: Sequence[Any]) -> Any:
        flat, form = flatten(_given(args))
        given = [v for v in flat if v is not None]
        if not all(isinstance(v, NDArray) for v in given) or len({v.context for v in given}) > 1:
            raise ValueError(
                f"{type(self).__name__} is compiled: it takes NDArrays, all on one context, and nothing else"
            )
        if self._cached_op is None:
            self._build(args)
        if form != self._in_form or [v is None for v in flat] != self._absent:
            raise ValueError(
                f"{type(self).__name__} was compiled for arguments of another form: lists, or None, are elsewhere"
            )
        assert self._cached_op is not None
        ctx = first.context
        try:
            arrays = [given[at] if is_input else at.data(ctx) for is_input, at in self._reads]
        except DeferredInitializationError:
            self._finish(args)
            arrays = [given[at] if is_input else at.data(ctx) for is_input, at in self._reads]
        return regroup(self._cached_op(arrays), self._out_form)

    def _build(self, args: Sequence[Any]) -> None:
        inputs, outputs = self._graph(args)
        at = {i.name: number for number, i in enumerate(inputs)}
        parameters = self._parameters()
        names = [*outputs.list_arguments(), *outputs.list_auxiliary_states()]
        unknown = [n for n in names if n not in at and n not in parameters]
        if unknown:
            raise ValueError(f"{type(self).__name__} reads {unknown[0]!r}, which is neither an input nor a parameter")
        self._reads = [(True, at[n]) if n in at else (False, parameters[n]) for n in names]
        self._cached_op = CachedOp(outputs, names)

    def _parameters(self) -> ParameterDict:
        return self.collect_params()

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """What the block computes, with the functions of F. Overridden by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not define hybrid_forward")

    def export(self, path: str, epoch: int = 0, remove_amp_cast: bool = True) -> tuple[str, str]:
        """Write the net as `path-symbol.json` and `path-EPOCH.params`, which Module, Predictor and SymbolBlock.imports
        read. RuntimeError before it was hybridized and called."""
        if self._cached_graph is None or self._cached_op is None:
            raise RuntimeError("there is nothing to export yet: hybridize() the block, and call it with data once")
        _, outputs = self._cached_graph
        outputs.save(f"{path}-symbol.json")
        states = set(outputs.list_auxiliary_states())
        found = [p for is_input, p in self._reads if not is_input]
        arrays = {f"{'aux' if p.name in states else 'arg'}:{p.name}": p._reduce() for p in found}
        save_arrays(f"{path}-{epoch:04d}.params", arrays)
        return f"{path}-symbol.json", f"{path}-{epoch:04d}.params"


def _given(args: Sequence[Any]) -> list[Any]:
    """Arguments without those at the end that are None: they may be left out."""
    count = len(args)
    while count and args[count - 1] is None:
        count -= 1
    return list(args[:count])


#: what a SymbolBlock keeps when it is to be compiled anew
_OF_THE_SYMBOL = ("_cached_graph", "_in_form", "_absent", "_out_form")


class SymbolBlock(HybridBlock):
    """A block that is a Symbol: `outputs` of `inputs`; what else it reads are parameters, under their own names."""

    def __init__(self, outputs: Any, inputs: Any, params: ParameterDict | None = None) -> None:
        super().__init__(prefix="", params=None)
        self._params = ParameterDict("", params)
        variables = flatten(inputs if isinstance(inputs, (list, tuple)) else [inputs])[0]
        if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
            outputs = outputs[0]
        made, self._out_form = flatten(outputs)
        if not isinstance(outputs, (list, tuple)) and len(outputs.list_outputs()) > 1:
            self._out_form = [None] * len(outputs.list_outputs())
        for variable in variables:
            if len(variable.get_internals().list_outputs()) != 1:
                raise AssertionError(f"inputs of a SymbolBlock are Variables; {variable} is computed by operators")
        whole = made[0] if len(made) == 1 else symbol.Group(made)
        names = {v.name for v in variables}
        types = _declared(whole, {v.name: v.attr("__dtype__") for v in variables})
        for name in whole.list_arguments():
            if name not in names:
                _refuse_sparse(whole, name)
                self._params.get(name, allow_deferred_init=True, dtype=types.get(name, "float32"))
        for name in whole.list_auxiliary_states():
            if name not in names:
                self._params.get(name, grad_req="null", allow_deferred_init=True, dtype=types.get(name, "float32"))
        self._in_form = flatten(inputs if isinstance(inputs, (list, tuple)) else [inputs])[1]
        self._absent = [False] * len(variables)
        self._cached_graph = list(variables), whole
        start = len(_common_prefix(list(self._params)))
        self._reg_params: dict[str, Parameter] = {name[start:]: p for name, p in self._params.items()}
        self._active = True

    @staticmethod
    def imports(
        symbol_file: str, input_names: Any, param_file: str | None = None, ctx: Any = None,
        allow_missing: bool = False, ignore_extra: bool = False,
    ) -> SymbolBlock:  # fmt: skip
        """The net of a `-symbol.json` file, with the parameters of a `.params` file; `input_names` are its inputs."""
        loaded = symbol.load(symbol_file)
        names = [input_names] if isinstance(input_names, str) else list(input_names)
        kind = {"dtype": "float32"} if param_file is None else {}
        made = SymbolBlock(loaded, [Variable(name, **kind) for name in names])
        if param_file is not None:
            made.collect_params().load(
                param_file, ctx, allow_missing, ignore_extra, cast_dtype=True, dtype_source="saved"
            )
        return made

    def __repr__(self) -> str:
        assert self._cached_graph is not None
        inputs, outputs = self._cached_graph
        return f"{type(self).__name__}(\n{outputs} : {len(inputs)} -> {len(outputs.list_outputs())}\n)"

    def _clear(self) -> None:
        """The Symbol stays; only what was compiled is forgotten."""
        kept = {name: value for name, value in vars(self).items() if name in _OF_THE_SYMBOL}
        super()._clear()
        vars(self).update(kept)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """A Symbol is compiled anyway."""

    def forward(self, x: Any, *args: Any) -> Any:
        """The Symbol's outputs for arrays, or for other Symbols in the place of its inputs."""
        if isinstance(x, NDArray):
            return self._compiled(x, (x, *args))
        if not isinstance(x, Symbol):
            raise AssertionError(f"a SymbolBlock takes Symbols or NDArrays, not {type(x).__name__}")
        assert self._cached_graph is not None
        inputs, outputs = self._cached_graph
        made = copy.copy(outputs)
        made._compose(**{i.name: v for i, v in zip(inputs, flatten([x, *args])[0])})
        return regroup(list(made), self._out_form)


def _refuse_sparse(whole: Any, name: str) -> None:
    """AssertionError for a parameter that is declared sparse."""
    stype = whole.attr_dict().get(name, {}).get("__storage_type__", "0")
    if stype not in ("-1", "0"):
        raise AssertionError(f"parameter {name!r} of a SymbolBlock is declared sparse; there are dense ones only")


def _declared(outputs: Symbol, given: dict[str, Any]) -> dict[str, Any]:
    """The variables' types as far as they follow from what the Symbol declares."""
    arguments, _, states = outputs.infer_type_partial()
    found = zip([*outputs.list_arguments(), *outputs.list_auxiliary_states()], [*(arguments or ()), *(states or ())])
    return {name: dtype for name, dtype in found if dtype is not None}


def _common_prefix(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = (min(names), max(names)) if names else ("", "")
    count = 0
    while count < min(len(first), len(last)) and first[count] == last[count]:
        count += 1
    return first[:count]

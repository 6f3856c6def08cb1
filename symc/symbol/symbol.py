"""Symbol: a list of outputs of a symbol graph, with MXNet's interface."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symc import attribute
from symc.aliases import standing_elsewhere
from symc.base import MXNetError, NotImplementedForSymbol, those, user_line
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ops.shared.storage import ATTRIBUTE as STORAGE_ATTRIBUTE
from symc.ops.shared.storage import NUMBERS

__getattr__ = standing_elsewhere(__name__)

#: attributes that may be spelled without the underscores that hide them
HIDDEN_KEYS = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")


def is_hidden(key: str) -> bool:
    """Attributes spelled __like_this__ are for the user and the framework, not for the operator."""
    return len(key) > 4 and key.startswith("__") and key.endswith("__")


def hidden_spelling(key: str) -> str:
    """An attribute's name as it is kept. MXNetError for `weight_lr_mult` and its like, which MXNet has given up."""
    if key in HIDDEN_KEYS:
        return f"__{key}__"
    for hidden in HIDDEN_KEYS:
        if key.endswith(f"_{hidden}"):
            owner = key[: -len(hidden) - 1]
            raise MXNetError(
                f"setting variable attributes with {key} is deprecated; instead make the variable yourself: "
                f"w = Variable(..., {hidden}=...), and pass it as {owner}=w"
            )
    return key


class Symbol:
    """Outputs of a graph of operators. Compose with the functions of `mx.sym`, bind to run."""

    __slots__ = ("_outputs", "_graph")
    # numpy's numbers and arrays leave operators with a Symbol on the right to the Symbol
    __array_ufunc__ = None

    def __init__(self, outputs: Sequence[tuple[SymNode, int]]) -> None:
        self._outputs = tuple(outputs)
        self._graph: SymGraph | None = None

    @property
    def graph(self) -> SymGraph:
        """The graph below the outputs, as the compiler takes it."""
        graph = self._graph
        if graph is None or graph.outputs is not self._outputs:  # composing gives a Symbol other outputs
            graph = self._graph = SymGraph(self._outputs)
        return graph

    # -- identity and structure

    @property
    def name(self) -> str | None:
        """The name of the operator or variable; None for a group of several."""
        nodes = {id(n) for n, _ in self._outputs}
        return self._outputs[0][0].name if len(nodes) == 1 else None

    def __repr__(self) -> str:
        if self.name is None:
            return f"<{type(self).__name__} group [{', '.join(n.name for n, _ in self._outputs)}]>"
        return f"<{type(self).__name__} {self.name}>"

    def _repr_svg_(self) -> str:
        """The picture that a notebook shows."""
        from symc.views.notebook import svg_of

        return svg_of(self.graph)

    def __len__(self) -> int:
        return len(self._outputs)

    def __iter__(self) -> Iterator[Symbol]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | str | slice) -> Symbol:
        if isinstance(index, slice):
            return Group([self[i] for i in range(*index.indices(len(self)))])
        if isinstance(index, str):
            names = self.list_outputs()
            found = [i for i, n in enumerate(names) if n == index]
            if len(found) > 1:
                raise ValueError(f"There are multiple outputs with name {index!r}")
            if not found:
                raise ValueError(f"Cannot find output that matches name {index!r}; there are {those(names, index)}")
            index = found[0]
        if not isinstance(index, (int, np.integer)):
            raise TypeError("Symbol only support integer index to fetch i-th output")
        if index >= len(self):
            # the type tells Python's iteration where the outputs end
            raise IndexError(f"index {index} is out of range: {self!r} has {len(self)} outputs")
        if index < -len(self):
            raise MXNetError(f"index {index} is out of range: {self!r} has {len(self)} outputs")
        return Symbol([self._outputs[index]])

    def __bool__(self) -> bool:
        raise NotImplementedForSymbol(self.__bool__, "bool")

    def __iadd__(self, other: Any) -> Symbol:
        raise NotImplementedForSymbol(self.__iadd__, "+=", other)

    def __isub__(self, other: Any) -> Symbol:
        raise NotImplementedForSymbol(self.__isub__, "-=", other)

    def __imul__(self, other: Any) -> Symbol:
        raise NotImplementedForSymbol(self.__imul__, "*=", other)

    def __itruediv__(self, other: Any) -> Symbol:
        raise NotImplementedForSymbol(self.__itruediv__, "/=", other)

    def __copy__(self) -> Symbol:
        return self.__deepcopy__(None)

    def __deepcopy__(self, memo: Any = None) -> Symbol:
        return Symbol(copy_graph(self._outputs, {}))

    def __getstate__(self) -> dict[str, Any]:
        return {"handle": self.tojson()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        from symc.symbol.json import load_json

        self._outputs, self._graph = load_json(state["handle"])._outputs, None

    def get_internals(self) -> Symbol:
        """A group of every output of every node below, in order."""
        entries: list[tuple[SymNode, int]] = []
        for node in self.graph.nodes():
            count = 1 if node.definition is None else node.definition.num_visible_outputs()
            entries.extend((node, i) for i in range(count))
        return Symbol(entries)

    def get_children(self) -> Symbol | None:
        """A group of the inputs of the outputs' operators; None for a variable."""
        nodes = dict.fromkeys(n for n, _ in self._outputs)
        entries = [e for n in nodes for e in n.inputs]
        return Symbol(entries) if entries else None

    @property
    def num_outputs(self) -> int:
        return len(self)

    # -- names

    def list_arguments(self) -> list[str]:
        """Names of the arguments, in order of use."""
        return [n.name for n in self.graph.variables()[0]]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the auxiliary states, in order of use."""
        return [n.name for n in self.graph.variables()[1]]

    def list_inputs(self) -> list[str]:
        """Names of all variables, arguments and states in one order."""
        return [n.name for n in self.graph.nodes() if n.is_variable]

    def list_outputs(self) -> list[str]:
        """Names of the outputs: `<name>_output`, `<name>_output0`, ... or as the operator names them."""
        return [n.output_name(i) for n, i in self._outputs]

    # -- attributes

    def attr(self, key: str) -> str | None:
        """An attribute of a single node; None if it has none of that name, and for a group."""
        if self.name is None:
            return None
        return self._outputs[0][0].attrs.get(f"__{key}__" if key in HIDDEN_KEYS else key)

    def list_attr(self, recursive: bool = False) -> dict[str, str]:
        """All attributes of the (first) node."""
        if recursive:
            raise DeprecationWarning("Symbol.list_attr with recursive=True has been deprecated; use attr_dict instead")
        return _shown(self._outputs[0][0].attrs)

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """Attributes of every node that has any, by node name (nodes of one name share an entry)."""
        found: dict[str, dict[str, str]] = {}
        for node in self.graph.nodes():
            if node.attrs:
                found.setdefault(node.name, {}).update(_shown(node.attrs))
        return found

    def _set_attr(self, **kwargs: str) -> None:
        """Set attributes (strings) of a single node. An operator's parameters may change too; what it does not know it
        refuses, unless it is spelled __like_this__."""
        if self.name is None:
            raise MXNetError("attributes belong to one node; this Symbol is a group")
        node = self._outputs[0][0]
        if not all(isinstance(value, str) for value in kwargs.values()):
            raise ValueError("Set Attr only accepts string values")
        attrs = {**node.attrs, **{hidden_spelling(k): v for k, v in kwargs.items()}}
        if not node.is_variable:
            from symc.symbol.compose import reparse

            node.definition = reparse(node, attrs)
        node.attrs = attrs

    # -- composition

    def __call__(self, *args: Symbol, **kwargs: Any) -> Symbol:
        """A copy in which variables are replaced: positional in the order of the arguments, or by name."""
        made = self.__copy__()
        made._compose(*args, **kwargs)
        return made

    def _gen_atomic_symbol(self) -> Symbol:
        """The operator alone, without name and inputs; composing it gives it both."""
        if self.name is None or self._outputs[0][0].is_variable:
            raise MXNetError(f"{self!r}: only a Symbol of one operator has an operator to take out")
        node = self._outputs[0][0]
        made = SymNode(node.op, "", dict(node.attrs), (), node.definition, node.where, node.subgraphs)
        return Symbol([(made, i) for i in range(made.definition.num_visible_outputs())])  # type: ignore[union-attr]

    def _compose(self, *args: Symbol, **kwargs: Any) -> None:
        name = kwargs.pop("name", None)
        if args and kwargs:
            raise TypeError("compose only accept input Symbols either as positional or keyword arguments, not both")
        for value in (*args, *kwargs.values()):
            if not isinstance(value, Symbol):
                raise TypeError("Compose expect `Symbol` as arguments")
            if len(value) != 1:
                raise MXNetError(f"a variable's place needs a Symbol with one output; {value!r} has {len(value)}")
        head = self._outputs[0][0]
        if self.name is not None and head.definition is not None and not head.inputs:
            from symc.symbol.compose import give_inputs

            return give_inputs(head, name or head.name, args, kwargs)
        nodes = self.graph.nodes()
        variables = [n for n in nodes if n.is_variable]
        arguments = self.graph.variables()[0]
        if len(args) > len(arguments):
            raise MXNetError(f"{self.name}: {len(args)} inputs given for {len(arguments)} arguments")
        replaced = {variable: value._outputs[0] for variable, value in zip(arguments, args)}
        names = list(dict.fromkeys(n.name for n in variables))
        for key, value in kwargs.items():
            if key not in names:
                known = those(names, key)
                raise MXNetError(f"{self.name}: there is no variable {key!r} to replace; it has {known}")
            replaced.update({n: value._outputs[0] for n in variables if n.name == key})
        if name:
            self._outputs[0][0].name = name
        for node in nodes:
            node.inputs = tuple(replaced.get(n, (n, i)) for n, i in node.inputs)
        self._outputs = tuple(replaced.get(n, (n, i)) for n, i in self._outputs)

    # -- inference (see symc.inference)

    def infer_shape(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """(argument shapes, output shapes, state shapes) from known argument shapes, given by position or by name;
        (None, None, None) and a warning where they do not follow. 0 is an unknown dimension. MXNetError where shapes
        contradict each other."""
        from symc.inference import asked_shapes, infer_shapes, warn_unknown

        result = asked_shapes(self, False, args, kwargs)
        if result[1] is None:
            found = infer_shapes(self, True, args, kwargs, False)[0]
            unknown = [f"{n}: {s}" for n, s in zip(self.list_arguments(), found) if not s or 0 in s]
            warn_unknown("shape", " (0s in shape means unknown dimensions)", unknown)
        return result

    def infer_shape_partial(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """As infer_shape, with () for unknown shapes and 0 for unknown dimensions; under mx.np_shape None and -1."""
        from symc.inference import asked_shapes

        return asked_shapes(self, True, args, kwargs)

    def infer_type(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """(argument types, output types, state types) from known argument types, given by position or by name;
        (None, None, None) and a warning if they do not all follow. MXNetError where types contradict each other."""
        from symc.inference import infer_types, warn_unknown

        result = infer_types(self, False, args, kwargs)
        if result[1] is None:
            found = infer_types(self, True, args, kwargs)[0]
            unknown = [f"{n}: {t}" for n, t in zip(self.list_arguments(), found) if t is None]
            warn_unknown("type", "", unknown)
        return result

    def infer_type_partial(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """As infer_type, with None for what does not follow."""
        from symc.inference import infer_types

        return infer_types(self, True, args, kwargs)

    # -- text

    def tojson(self, remove_amp_cast: bool = True) -> str:
        """MXNet 1.9.1's JSON, by default without the casts that mixed precision has put in."""
        from symc.symbol.json import to_json

        return to_json(without_amp_casts(self) if remove_amp_cast else self)

    def save(self, fname: str | os.PathLike[str], remove_amp_cast: bool = True) -> None:
        """Write the JSON to a file."""
        if not isinstance(fname, (str, os.PathLike)):
            raise TypeError("fname need to be string")
        with open(fname, "w", encoding="utf-8") as file:
            file.write(self.tojson(remove_amp_cast))

    def debug_str(self) -> str:
        """Every node with its inputs and attributes."""
        from symc.symbol.json import debug_text

        return debug_text(self)

    # -- running (see symc.symbol.bind)

    def bind(self, ctx: Any, args: Any, args_grad: Any = None, grad_req: Any = "write", aux_states: Any = None,
             group2ctx: Any = None, shared_exec: Any = None) -> Any:  # fmt: skip
        """An Executor over the caller's arrays: `args`, `args_grad`, `aux_states` in order or in dicts by name."""
        from symc.symbol.bind import bind

        return bind(self, ctx, args, args_grad, grad_req, aux_states, group2ctx, shared_exec)

    def simple_bind(self, ctx: Any, grad_req: Any = "write", type_dict: Any = None, stype_dict: Any = None,
                    group2ctx: Any = None, shared_arg_names: Any = None, shared_exec: Any = None,
                    shared_buffer: Any = None, memory_budget: int | None = None, **kwargs: Any) -> Any:  # fmt: skip
        """An Executor over arrays allocated for the given input shapes.

        With `shared_buffer` (arrays by name: it is used where it has memory enough, and filled), the arguments that
        `shared_arg_names` has and all auxiliary states are those of `shared_exec`, of the same shapes and types or
        refused. Without it nothing is shared. `stype_dict` has storage types by name; without, `Variable(stype=...)`
        says them. Gradients of embeddings that ask for it (sparse_grad), and of a csr matrix's factor, are row_sparse.

        `memory_budget`: bytes that the values of a training step may take at a time, 0 for as few as can be; the
        backward half computes again what is not kept (see symc.passes.program.recompute)."""
        from symc.symbol.bind import simple_bind

        return simple_bind(
            self, ctx, grad_req, type_dict, group2ctx, shared_arg_names, shared_exec, shared_buffer, memory_budget,
            kwargs, stype_dict,
        )  # fmt: skip

    def eval(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Outputs for arguments given by name."""
        from symc.context import current_context

        return self.bind(ctx or current_context(), kwargs).forward()

    def gradient(self, wrt: Sequence[str]) -> Symbol:
        """Not offered by MXNet 1.9.1 either: MXNetError."""
        raise MXNetError("Symbol.gradient is not implemented: bind with gradient arrays and call Executor.backward()")

    def optimize_for(self, backend: str, *args: Any, **kwargs: Any) -> Symbol:
        """A copy, and a warning: MXNet's subgraph backends do not exist here, symc optimises when it binds."""
        warnings.warn(f"backend {backend!r} cannot be found; symc optimises a Symbol when it is bound", stacklevel=2)
        return self.__copy__()

    get_backend_symbol = optimize_for

    def as_nd_ndarray(self) -> Symbol:
        """The Symbol itself: there is only the classic interface."""
        return self

    def __hash__(self) -> int:
        return hash(self._outputs)

    # operators and methods are attached by symc.symbol.operators


def _array_only(name: str) -> Any:
    def method(self: Symbol, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedForSymbol(name)

    method.__name__ = name
    method.__doc__ = "Arrays have it, Symbols do not: NotImplementedForSymbol."
    return method


for _name in ("wait_to_read", "asnumpy", "asscalar", "copy", "as_in_context", "detach", "backward"):
    setattr(Symbol, _name, _array_only(_name))


def _shown(attrs: Mapping[str, str]) -> dict[str, str]:
    """Attributes as MXNet lists them: hidden ones that have a plain spelling appear under both."""
    shown: dict[str, str] = {}
    for key, value in attrs.items():
        shown[key] = value
        plain = key[2:-2] if key.startswith("__") and key.endswith("__") else ""
        if plain in HIDDEN_KEYS:
            shown[plain] = value
    return shown


def copy_graph(outputs: Sequence[tuple[SymNode, int]], known: dict[SymNode, SymNode]) -> list[tuple[SymNode, int]]:
    """New nodes for everything below the outputs (those in `known` excepted)."""
    for node in SymGraph(tuple(outputs)).nodes():
        if node not in known:
            inputs = [(known[n], i) for n, i in node.inputs]
            known[node] = SymNode(
                node.op, node.name, dict(node.attrs), inputs, node.definition, node.where, node.subgraphs
            )
            known[node].versions = node.versions
    return [(known[n], i) for n, i in outputs]


def without_amp_casts(symbol: Symbol) -> Symbol:
    """The Symbol with operators reading what amp_cast and amp_multicast cast; itself if there is none. Outputs that are
    such casts stay, as in MXNet."""
    if not any(n.op in ("amp_cast", "amp_multicast") for n in symbol.graph.nodes()):
        return symbol
    made = symbol.__copy__()
    source: dict[tuple[SymNode, int], tuple[SymNode, int]] = {}
    for node in made.graph.nodes():
        node.inputs = tuple(source.get(e, e) for e in node.inputs)
        if node.op in ("amp_cast", "amp_multicast"):
            source.update({(node, i): e for i, e in enumerate(node.inputs)})
    return made


def Group(symbols: Sequence[Symbol], create_fn: type[Symbol] = Symbol) -> Symbol:
    """One Symbol with the outputs of several."""
    symbols = symbols if isinstance(symbols, Symbol) else list(symbols)
    if not symbols or any(not isinstance(s, Symbol) for s in symbols):
        raise TypeError("Expected a list of symbols as input")
    return Symbol([e for s in symbols for e in s._outputs])


def Variable(
    name: str, attr: dict[str, str] | None = None, shape: Any = None, lr_mult: float | None = None,
    wd_mult: float | None = None, dtype: Any = None, init: Any = None, stype: Any = None, **kwargs: Any,
) -> Symbol:  # fmt: skip
    """A variable. `shape` and `dtype` declare its type, `lr_mult`/`wd_mult` scale its learning rate and decay, `init`
    is its initializer, `stype` the storage type of its array; further attributes are spelled __like_this__."""
    if not isinstance(name, str):
        raise TypeError("Expect a string for variable `name`")
    attrs = {hidden_spelling(k): v for k, v in attribute.current().get(attr).items()}
    for key, value in attrs.items():
        if not isinstance(value, str):
            raise ValueError(f"Variable {name!r}: attribute {key!r} needs to be a string, got {value!r}")
    if shape is not None:
        attrs["__shape__"] = str(shape)
    if lr_mult is not None:
        attrs["__lr_mult__"] = str(lr_mult)
    if wd_mult is not None:
        attrs["__wd_mult__"] = str(wd_mult)
    if dtype is not None:
        from symc.ndarray.files import FLAG_BY_DTYPE

        attrs["__dtype__"] = str(FLAG_BY_DTYPE[np.dtype(dtype)])
    if stype is not None:
        if stype not in NUMBERS:
            raise ValueError(
                f"Variable {name!r}: storage type {stype!r} does not exist; there are {', '.join(NUMBERS)}"
            )
        attrs[STORAGE_ATTRIBUTE] = str(NUMBERS[stype])
    if init is not None:
        attrs["__init__"] = init if isinstance(init, str) else init.dumps()
    for key, value in kwargs.items():
        if not (key.startswith("__") and key.endswith("__")):
            raise ValueError(
                f"Attribute name={key} is not supported. Additional attributes must start and end with double "
                "underscores, e.g, __yourattr__"
            )
        attrs[key] = str(value)
    return Symbol([(SymNode("null", name, attrs, where=user_line()), 0)])


var = Variable

"""Symbol: a list of outputs of a symbol graph, with MXNet's interface."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symc.attribute import AttrScope
from symc.base import MXNetError
from symc.ir.symbolic import SymGraph, SymNode
from symc.ops.base import Shapes, Types
from symc.passes.infer_shape import Conflict, propagate

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: attributes that may be spelled without the underscores that hide them
HIDDEN_KEYS = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")


def user_line() -> tuple[str, int]:
    """File and line of the nearest caller outside the package."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)


class Symbol:
    """Outputs of a graph of operators. Compose with the functions of `mx.sym`, bind to run."""

    __slots__ = ("_outputs",)

    def __init__(self, outputs: Sequence[tuple[SymNode, int]]) -> None:
        self._outputs = tuple(outputs)

    @property
    def graph(self) -> SymGraph:
        """The graph below the outputs, as the compiler takes it."""
        return SymGraph(self._outputs)

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
                raise ValueError(f"Cannot find output that matches name {index!r}; there are {', '.join(names[-20:])}")
            index = found[0]
        if not isinstance(index, (int, np.integer)):
            raise TypeError("Symbol only support integer index to fetch i-th output")
        if index >= len(self) or index < -len(self):
            raise IndexError(f"Index {index} out of range of {len(self)} outputs")
        return Symbol([self._outputs[index]])

    def __bool__(self) -> bool:
        raise TypeError("the truth value of a Symbol is not known before it runs")

    def __copy__(self) -> Symbol:
        return self.__deepcopy__(None)

    def __deepcopy__(self, memo: Any = None) -> Symbol:
        return Symbol(copy_graph(self._outputs, {}))

    def __getstate__(self) -> dict[str, Any]:
        return {"handle": self.tojson()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        from symc.symbol.json import load_json

        self._outputs = load_json(state["handle"])._outputs

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
        return [output_name(n, i) for n, i in self._outputs]

    # -- attributes

    def attr(self, key: str) -> str | None:
        """An attribute of a single node; None if it has none of that name."""
        attrs = self._single().attrs
        if key in HIDDEN_KEYS and key not in attrs:
            key = f"__{key}__"
        return attrs.get(key)

    def list_attr(self, recursive: bool = False) -> dict[str, str]:
        """All attributes of a single node."""
        if recursive:
            raise DeprecationWarning("Symbol.list_attr with recursive=True has been deprecated; use attr_dict instead")
        return _shown(self._single().attrs)

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """Attributes of every node that has any, by node name."""
        return {n.name: _shown(n.attrs) for n in self.graph.nodes() if n.attrs}

    def _set_attr(self, **kwargs: str) -> None:
        node = self._single()
        for key, value in kwargs.items():
            if not isinstance(value, str):
                raise ValueError("Set Attr only accepts string values")
            node.attrs[f"__{key}__" if key in HIDDEN_KEYS else key] = value

    def _single(self) -> SymNode:
        if self.name is None:
            raise MXNetError("attributes belong to one node; this Symbol is a group")
        return self._outputs[0][0]

    # -- composition

    def __call__(self, *args: Symbol, **kwargs: Any) -> Symbol:
        """A copy in which variables are replaced: positional in the order of the arguments, or by name."""
        made = self.__copy__()
        made._compose(*args, **kwargs)
        return made

    def _compose(self, *args: Symbol, **kwargs: Any) -> None:
        name = kwargs.pop("name", None)
        if args and kwargs:
            raise TypeError("compose only accept input Symbols either as positional or keyword arguments, not both")
        for value in (*args, *kwargs.values()):
            if not isinstance(value, Symbol):
                raise TypeError("Compose expect `Symbol` as arguments")
            if len(value) != 1:
                raise MXNetError("only a Symbol with one output can take a variable's place")
        arguments = [n for n in self.graph.nodes() if n.is_variable]
        if len(args) > len(arguments):
            raise MXNetError(f"{self.name}: {len(args)} inputs given for {len(arguments)} variables")
        replaced: dict[SymNode, tuple[SymNode, int]] = {}
        for variable, value in zip(arguments, args):
            replaced[variable] = value._outputs[0]
        by_name = {n.name: n for n in arguments}
        for key, value in kwargs.items():
            if key not in by_name:
                raise MXNetError(f"{self.name}: there is no variable {key!r} to replace; it has {', '.join(by_name)}")
            replaced[by_name[key]] = value._outputs[0]
        for node in self.graph.nodes():
            node.inputs = [replaced.get(n, (n, i)) if n in replaced else (n, i) for n, i in node.inputs]
        self._outputs = tuple(replaced.get(n, (n, i)) if n in replaced else (n, i) for n, i in self._outputs)
        if name and self.name is not None:
            self._outputs[0][0].name = name

    # -- inference

    def infer_shape(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """(argument shapes, output shapes, state shapes) from known argument shapes; (None, None, None) and a warning
        where they do not follow."""
        result = self._infer_shape_impl(False, *args, **kwargs)
        if result[0] is None:
            found = self._infer_shape_impl(True, *args, **kwargs)
            arguments = [
                f"\n\t{n}: {s}" for n, s in zip(self.list_arguments(), found[0]) if not s or 0 in s
            ]
            warnings.warn(
                "Cannot decide shape for the following arguments (0s in shape means unknown dimensions). "
                "Consider providing them as input:" + "".join(arguments), stacklevel=2,
            )  # fmt: skip
        return result

    def infer_shape_partial(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """As infer_shape, with () for unknown shapes and 0 for unknown dimensions."""
        return self._infer_shape_impl(True, *args, **kwargs)

    def _infer_shape_impl(self, partial: bool, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        known = self._known(args, kwargs, "shape", lambda s: tuple(0 if d is None or d < 0 else int(d) for d in s))
        known = {e: s for e, s in known.items() if s}
        for node in self.graph.nodes():
            if node.is_variable and (node, 0) not in known and "__shape__" in node.attrs:
                import ast

                declared = ast.literal_eval(node.attrs["__shape__"])
                if declared:
                    known[node, 0] = tuple(0 if d in (None, -1) else int(d) for d in declared)
        try:
            found = propagate(self.graph, known, Shapes, lambda n, row: n.definition.complete(row))  # type: ignore[union-attr]
        except Conflict as problem:
            raise _explain(problem, "shape", self) from None

        def pick(entries: Sequence[tuple[SymNode, int]]) -> list[tuple[int, ...]]:
            return [tuple(found.get(e) or ()) for e in entries]

        arguments, states = self.graph.variables()
        result = pick([(n, 0) for n in arguments]), pick(self._outputs), pick([(n, 0) for n in states])
        if not partial and any(not s or 0 in s for part in result for s in part):
            return None, None, None
        return result

    def infer_type(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """(argument types, output types, state types) from known argument types; (None, None, None) if they do not
        all follow."""
        result = self.infer_type_partial(*args, **kwargs)
        if any(t is None for part in result for t in part):
            return None, None, None
        return result

    def infer_type_partial(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """As infer_type, with None for what does not follow."""
        known = self._known(args, kwargs, "type", np.dtype)
        for node in self.graph.nodes():
            if node.is_variable and (node, 0) not in known and node.attrs.get("__dtype__", "-1") != "-1":
                from symc.params import DTYPE_BY_FLAG

                known[node, 0] = np.dtype(DTYPE_BY_FLAG[int(node.attrs["__dtype__"])])
        try:
            found = propagate(self.graph, known, Types, lambda n, row: n.definition.complete_types(row))  # type: ignore[union-attr]
        except Conflict as problem:
            raise _explain(problem, "type", self) from None

        def pick(entries: Sequence[tuple[SymNode, int]]) -> list[Any]:
            return [found[e].type if found.get(e) is not None else None for e in entries]

        arguments, states = self.graph.variables()
        return pick([(n, 0) for n in arguments]), pick(self._outputs), pick([(n, 0) for n in states])

    def _known(self, args: Sequence[Any], kwargs: Mapping[str, Any], what: str, read: Any) -> dict[tuple[SymNode, int], Any]:
        if args and kwargs:
            raise ValueError(f"Can only specify known argument {what}s either by positional or kwargs way.")
        arguments, states = self.graph.variables()
        known: dict[tuple[SymNode, int], Any] = {}
        if args:
            if len(args) > len(arguments):
                raise MXNetError(f"{self.name}: {len(args)} {what}s given for {len(arguments)} arguments")
            pairs = list(zip(arguments, args))
        else:
            by_name = {n.name: n for n in (*states, *arguments)}
            pairs = []
            for key, value in kwargs.items():
                if key in by_name:
                    pairs.append((by_name[key], value))
                elif what == "shape" and value is not None and not isinstance(value, (tuple, list)):
                    raise TypeError(f"Arguments need to be shapes (tuple), but argument {key} is {type(value)}")
        for node, value in pairs:
            if value is None:
                continue
            if what == "shape" and not isinstance(value, (tuple, list)):
                raise TypeError(f"Arguments need to be shapes (tuple), but argument {node.name} is {type(value)}.")
            known[node, 0] = read(value)
        return known

    # -- text

    def tojson(self, remove_amp_cast: bool = True) -> str:
        """MXNet 1.9.1's JSON."""
        from symc.symbol.json import to_json

        return to_json(self)

    def save(self, fname: str, remove_amp_cast: bool = True) -> None:
        """Write the JSON to a file."""
        if not isinstance(fname, (str, os.PathLike)):
            raise TypeError("fname need to be string")
        with open(fname, "w", encoding="utf-8") as file:
            file.write(self.tojson(remove_amp_cast))

    def debug_str(self) -> str:
        """Every node with its inputs and attributes."""
        lines = ["Symbol Outputs:"]
        lines += [f"\toutput[{i}]={n.name}({k})" for i, (n, k) in enumerate(self._outputs)]
        for node in self.graph.nodes():
            if node.is_variable:
                lines.append(f"Variable:{node.name}")
                continue
            lines += ["--------------------", f"Op:{node.op}, Name={node.name}", "Inputs:"]
            for i, (source, k) in enumerate(node.inputs):
                version = 1 if i >= node.aux_from else 0
                lines.append(f"\targ[{i}]={source.name}({k}) version={version}")
            if node.attrs:
                lines.append("Attrs:")
                lines += [f"\t{k}={v}" for k, v in sorted(node.attrs.items())]
        return "\n".join(lines) + "\n"

    # -- running (see symc.symbol.bind)

    def bind(self, ctx: Any, args: Any, args_grad: Any = None, grad_req: Any = "write", aux_states: Any = None,
             group2ctx: Any = None, shared_exec: Any = None) -> Any:  # fmt: skip
        """An Executor over the caller's arrays: `args`, `args_grad`, `aux_states` as lists in order or dicts by name."""
        from symc.symbol.bind import bind

        return bind(self, ctx, args, args_grad, grad_req, aux_states, group2ctx, shared_exec)

    def simple_bind(self, ctx: Any, grad_req: Any = "write", type_dict: Any = None, stype_dict: Any = None,
                    group2ctx: Any = None, shared_arg_names: Any = None, shared_exec: Any = None,
                    shared_buffer: Any = None, **kwargs: Any) -> Any:  # fmt: skip
        """An Executor over arrays allocated for the given input shapes."""
        from symc.symbol.bind import simple_bind

        return simple_bind(self, ctx, grad_req, type_dict, group2ctx, shared_exec, shared_buffer, kwargs)

    def eval(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Outputs for arguments given by name."""
        from symc.context import cpu

        return self.bind(ctx or cpu(), kwargs).forward()

    def grad(self, wrt: Sequence[str]) -> Symbol:
        """Not offered by MXNet 1.9.1 either: bind with gradients and call backward instead."""
        raise NotImplementedError("Currently not implemented: bind with gradient arrays and call Executor.backward()")

    def gradient(self, wrt: Sequence[str]) -> Symbol:
        """As grad."""
        return self.grad(wrt)

    def optimize_for(self, backend: str, *args: Any, **kwargs: Any) -> Symbol:
        """Every backend of MXNet is gone; symc optimises when it binds."""
        raise NotImplementedError(f"backend {backend!r} is not available: symc optimises a Symbol when it is bound")

    def __hash__(self) -> int:
        return hash(self._outputs)

    # operators and methods are attached by symc.symbol.operators


def output_name(node: SymNode, index: int) -> str:
    """MXNet's name of an output."""
    if node.definition is None:
        return node.name
    names = node.definition.list_outputs()
    return f"{node.name}_{names[index]}"


def _shown(attrs: Mapping[str, str]) -> dict[str, str]:
    """Attributes as MXNet lists them: hidden ones that have a plain spelling appear under both."""
    shown: dict[str, str] = {}
    for key, value in attrs.items():
        shown[key] = value
        plain = key[2:-2] if key.startswith("__") and key.endswith("__") else ""
        if plain in HIDDEN_KEYS:
            shown[plain] = value
    return shown


def copy_graph(
    outputs: Sequence[tuple[SymNode, int]], known: dict[SymNode, SymNode]
) -> list[tuple[SymNode, int]]:
    """New nodes for everything below the outputs (those in `known` excepted)."""
    for node in SymGraph(tuple(outputs)).nodes():
        if node not in known:
            inputs = [(known[n], i) for n, i in node.inputs]
            known[node] = SymNode(node.op, node.name, dict(node.attrs), inputs, node.definition, node.where, node.subgraphs)
    return [(known[n], i) for n, i in outputs]


def _explain(problem: Conflict, what: str, symbol: Symbol) -> MXNetError:
    node = problem.node
    file, line = node.where
    where = f" ({file}:{line})" if file else ""
    inputs = ", ".join(n.name for n, _ in node.inputs)
    reason = str(problem.reason)
    return MXNetError(f"Error in operator {node.name}: {node.op}({inputs}){where}: {what} inference failed: {reason}")


def Group(symbols: Sequence[Symbol], create_fn: type[Symbol] = Symbol) -> Symbol:
    """One Symbol with the outputs of several."""
    symbols = list(symbols)
    if not symbols or any(not isinstance(s, Symbol) for s in symbols):
        raise TypeError("Expected a list of symbols as input")
    return Symbol([e for s in symbols for e in s._outputs])


def Variable(
    name: str, attr: dict[str, str] | None = None, shape: Any = None, lr_mult: float | None = None,
    wd_mult: float | None = None, dtype: Any = None, init: Any = None, stype: Any = None, profiler_scope: Any = None,
    **kwargs: Any,
) -> Symbol:  # fmt: skip
    """A variable. `shape` and `dtype` declare its type, `lr_mult`/`wd_mult` scale its learning rate and decay, `init` is
    its initializer; further attributes are spelled __like_this__."""
    if not isinstance(name, str):
        raise TypeError("Expect a string for variable `name`")
    if stype not in (None, "default"):
        raise MXNetError(f"Variable {name!r}: storage type {stype!r} is not supported; symc's arrays are dense: leave stype out")
    attrs = AttrScope.current().get(attr)
    attrs = {f"__{k}__" if k in HIDDEN_KEYS else k: v for k, v in attrs.items()}
    if shape is not None:
        attrs["__shape__"] = str(tuple(shape) if isinstance(shape, (tuple, list)) else (shape,))
    if lr_mult is not None:
        attrs["__lr_mult__"] = str(lr_mult)
    if wd_mult is not None:
        attrs["__wd_mult__"] = str(wd_mult)
    if dtype is not None:
        from symc.params import FLAG_BY_DTYPE

        attrs["__dtype__"] = str(FLAG_BY_DTYPE[np.dtype(dtype)])
    if init is not None:
        attrs["__init__"] = init if isinstance(init, str) else init.dumps()
    for key, value in kwargs.items():
        if not (key.startswith("__") and key.endswith("__")):
            raise ValueError(f"Attribute name={key} is not supported. Additional attributes must start and end with double underscores, e.g, __yourattr__")
        attrs[key] = str(value)
    return Symbol([(SymNode("null", name, attrs, where=user_line()), 0)])


var = Variable

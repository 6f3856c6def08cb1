"""decompose: MXNet's operators become primitives, with types.

Takes a SymbolModule (a symbol graph and its completed types), gives a tensor graph: arguments and states are
inputs, state changes become updates, every node carries the Symbol and the user's line it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Sequence
from typing import Any

from symc.ir.errors import IRError, TypeMismatch, VerifyError
from symc.ir.modules import SymbolModule
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import Origin
from symc.ir.prims.control import custom_grad
from symc.ir.prims.random import fold_key
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.tensor.graph import Graph, Update, finish, fresh_name
from symc.ir.types import U32, TensorType
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter

__all__ = ["Context", "Decompose", "SymbolModule", "key_input"]

KEY = TensorType(U32, (2,))
#: what an operator's code raises by mistake
_ACCIDENTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def key_input(taken: Container[str]) -> Node:
    """The input that seeds a program's random numbers with fresh bits for every run; its name is none of those."""
    return input_node(fresh_name("random.key", taken), KEY, "key")


class Context:
    """What operators may ask while they build (see symc.ops.base.BuildContext)."""

    def __init__(self, train: bool, taken: Container[str] = (), backward: Container[SymNode] = ()) -> None:
        """`taken`: names of other inputs; `backward`: the operators whose backward half runs."""
        self.train, self.taken, self.backward = train, taken, backward
        self.name = ""
        self.output_shapes: tuple[tuple[int, ...], ...] = ()
        self.inner = False
        self.node: SymNode | None = None
        #: what variables are for the operators that follow, and after the forward half
        self.rebound: dict[SymNode, Node] = {}
        self._forward: dict[str, Node] = {}
        self._backward: dict[str, list[tuple[Node, Callable[[Node], Node] | None, Origin]]] = {}
        self.key: Node | None = None
        self.keys_given = 0

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None:
        assert self.node is not None
        target, _ = self.node.inputs[position]
        if not target.is_variable:
            return
        if phase == "forward":
            self._forward[target.name] = value
            self.becomes(position, value)
        elif self.node in self.backward:
            self._backward.setdefault(target.name, []).append((value, again, self.node.origin()))

    def becomes(self, position: int, value: Node) -> None:
        assert self.node is not None
        target, _ = self.node.inputs[position]
        if target.is_variable:
            self.rebound[target] = value

    def updates(self, recorder: Recorder) -> list[Update]:
        """All updates. The backward half runs through the operators from the last to the first."""
        made = [Update(name, value) for name, value in self._forward.items()]
        for name, values in self._backward.items():
            (held, _, _), *others = reversed(values)
            for value, again, origin in others:
                with recorder.at(origin):
                    held = value if again is None else again(held)
            made.append(Update(name, held, "backward"))
        return made

    def random_key(self) -> Node:
        if self.key is None:
            self.key = key_input(self.taken)
        self.keys_given += 1
        return fold_key(self.key, self.keys_given)


@register_pass("decompose", takes="symbol", gives="tensor", numerics="exact")
class Decompose(Pass):
    """Build every operator's program over primitives."""

    train: bool = option(False, "the training form: dropout drops, batch norm uses the batch")
    backward: bool = option(True, "gradients follow; without, what backward changes stays as it is")
    wrt: tuple[str, ...] = option((), "arguments whose gradients follow, joined by ':' (all float arguments if none)")

    def run(self, module: SymbolModule, rw: Rewriter) -> Graph:
        values: dict[tuple[SymNode, int], Node] = {}
        inputs: list[Node] = []
        arguments, states = module.graph.variables()
        asked = [v for v in arguments if (v.name in self.wrt if self.wrt else module.types[v.name].dtype.is_float)]
        context = Context(
            self.train,
            {variable.name for variable in (*arguments, *states)},
            running_backward(module.graph, asked) if self.train and self.backward else (),
        )
        names: dict[Node, str] = {}
        for variable in [*arguments, *states]:
            role = module.roles.get(variable.name, "aux" if variable in set(states) else "arg")
            node = input_node(variable.name, module.types[variable.name], role)
            values[variable, 0] = node
            inputs.append(node)
        origins: dict[Node, Origin] = {}
        with Recorder() as recorder:
            for symbol in module.graph.nodes():
                if symbol.is_variable:
                    origins[values[symbol, 0]] = symbol.origin()
                    continue
                assert symbol.definition is not None
                context.name, context.node = symbol.name, symbol
                context.output_shapes = module.shapes.get(symbol.name, ())
                first = symbol.inputs[0][0] if symbol.inputs else symbol
                context.inner = not first.is_variable and first in context.backward
                operands = [self._read(entry, values, context, recorder) for entry in symbol.inputs]
                with recorder.at(symbol.origin()):
                    try:
                        made = symbol.definition.build(context, *operands)
                    except IRError as problem:
                        raise problem.within(f"in operator {symbol.op} {symbol.name!r}{_where(symbol)}") from None
                    except _ACCIDENTS as problem:
                        # an operator's own code, or attributes that it did not check
                        refusal = TypeMismatch(f"{type(problem).__name__}: {problem}")
                        raise refusal.within(f"in operator {symbol.op} {symbol.name!r}{_where(symbol)}") from problem
                results = built_results(symbol, made, module.inferred.get(symbol, ()))
                for at, node in enumerate(results):
                    values[symbol, at] = node
                    names.setdefault(node, symbol.name if len(results) == 1 else f"{symbol.name}.{at}")
            if context.key is not None:
                inputs.append(context.key)
            results = [self._read(entry, values, context, recorder) for entry in module.graph.outputs]
            updates = context.updates(recorder)
        origins.update({n: o for n, o in recorder.origins.items() if n not in origins})
        outputs = list(zip(module.output_names, results))
        return finish(module.name, inputs, outputs, updates, names, origins)

    @staticmethod
    def _read(
        entry: tuple[SymNode, int], values: dict[tuple[SymNode, int], Node], context: Context, recorder: Recorder
    ) -> Node:
        """The value of an entry. An argument that an operator has overwritten gets the gradients of all who read it,
        whatever it was to them."""
        new = context.rebound.pop(entry[0], None)
        if new is not None:
            with recorder.at(entry[0].origin()):
                made = custom_grad([values[entry], new], lambda old, new: new, lambda ins, outs, cts: [cts[0], None])
            assert isinstance(made, Node)
            values[entry] = made
        return values[entry]


def running_backward(graph: SymGraph, asked: Collection[SymNode]) -> set[SymNode]:
    """The operators whose backward half runs where the gradients of these variables are asked for: those that depend on
    one through operators whose gradient is not zero, whatever comes after them. As in MXNet, nothing else's is run: a
    BatchNorm of a net's frozen part leaves its moving averages as they are."""
    found = set(asked)
    for node in graph.nodes():
        if node.definition is not None and node.definition.gradient != "zero":
            if any(source in found for source, _ in node.inputs):
                found.add(node)
    return found


def built_results(symbol: SymNode, made: Any, inferred: Sequence[TensorType | None]) -> list[Node]:
    """What an operator's `build` made, one value an output. VerifyError M6 where that is not what the operator lists,
    or not what inference said (None: it does not know): found later, the reader of the value would be blamed."""
    assert symbol.definition is not None
    names = symbol.definition.list_outputs()
    results = [made] if isinstance(made, Node) else list(made) if isinstance(made, (list, tuple)) else [made]
    problem = ""
    if not all(isinstance(node, Node) for node in results):
        wrong = next(node for node in results if not isinstance(node, Node))
        problem = f"gives a {type(wrong).__name__}, not a value of the program"
    elif len(results) != len(names):
        problem = f"gives {len(results)} values, but it lists {len(names)} outputs ({', '.join(names)})"
    for name, node, wanted in zip(names, results, inferred):
        if not problem and wanted is not None and node.type != wanted:
            problem = f"gives its {name} as {node.type}, but what completes shapes and types says {wanted}"
    if problem:
        raise VerifyError(
            "M6", f"the program (build) of operator {symbol.op} {symbol.name!r}{_where(symbol)} {problem}"
        )
    return results


def _where(symbol: SymNode) -> str:
    file, line = symbol.where
    return f" ({file}:{line})" if file else ""

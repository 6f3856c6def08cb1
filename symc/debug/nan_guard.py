"""Where the first nan or inf arises: in the user's own maths, or in a pass.

The program as it came, over primitives and not optimised, runs in the interpreter. If a result is not finite, the first
operator on the way to it that made something not finite of finite operands is told. If all are finite, the passes run
one by one, and the interpreter after each: the first whose program gives nan or inf is at fault. What comes out in the
end runs as machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.op import Input, Node
from symc.ir.origins import Origin, SymOrigin, named_symbol, passed
from symc.ir.prims.elementwise import Const
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Program, operands_of, origin_of, results_of
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import Results, values_of
from symc.ir.types import Array, TupleType
from symc.passes.manager.manager import Manager, Module, Pass
from symc.passes.tensor.inline import Inline

Values = Callable[[Module], Mapping[str, Array]]


@dataclass(frozen=True)
class NotFinite:
    """A value that is nan or inf somewhere.

    `blame` is "your maths", "the input", "pass NAME", "its loops" or "machine code"; `index` the first element that is
    not finite, `what` its value, `count` how many of `size` are not. `operands` are texts: what the operator was given
    there."""

    blame: str
    value: str
    index: tuple[int, ...]
    what: float
    count: int
    size: int
    operator: str = ""
    operands: tuple[str, ...] = ()
    symbol: SymOrigin | None = None
    backward: bool = False


def nan_guard(
    graph: Graph, module: Module, passes: Sequence[Pass], values: Values, native: Callable[[LoopModule], Results]
) -> NotFinite | None:
    """The first value that is not finite. `graph` is the program as it came, over primitives; `passes` run on `module`,
    which is the same program or the Symbol it was made of; `values` gives the inputs of a program, `native` the results
    of its machine code. None if every result is finite, in every program."""
    found = in_graph(graph, values(graph))
    if found is not None:
        return found
    manager = Manager(verify=False)
    for pass_ in passes:
        before, module = module, manager.step(pass_, module)
        if module is before or isinstance(module, (SymbolModule, LoopModule)):
            continue
        found = in_module(module, values(module))
        if found is not None:
            return replace(found, blame=f"pass {pass_.name}")
    if not isinstance(module, LoopModule):
        return None
    results = native(module)
    bad = next(((n, v) for n, v in {**results.outputs, **results.updates}.items() if not _finite(v)), None)
    if bad is None:
        return None
    found = in_module(module, values(module))  # where the interpreter knows of it, it knows more
    return replace(found or _told(*bad, "", (), None), blame="its loops" if found else "machine code")


def in_module(module: Module, arrays: Mapping[str, Array]) -> NotFinite | None:
    """The first value of a program that is not finite, if one of its results is not."""
    if isinstance(module, Graph):
        return in_graph(module, arrays)
    program: Program = module.program if isinstance(module, LoopModule) else module
    seen: dict[str, Array] = {}
    if isinstance(module, LoopModule):
        results = run_loop_module(module, arrays, seen=seen.__setitem__)
    else:
        results = run_program(program, arrays, seen=seen.__setitem__)
    if all(map(_finite, [*results.outputs.values(), *results.updates.values()])):
        return None
    known = {**{p.name: arrays[p.name] for p in program.params if p.name in arrays}, **seen}
    bad = {name for name, value in known.items() if not _finite(value)}
    makers = {r.name: (step, number) for step in program.steps for number, r in enumerate(results_of(step))}

    def sources(name: str) -> list[str]:
        return [o for o in operands_of(makers[name][0]) if o in bad] if name in makers else []

    wanted, todo = set(), [end.value for end in (*program.outputs, *program.updates) if end.value in bad]
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += sources(name)
    first = next((name for name in known if name in wanted and not sources(name)), None)
    if first is None:
        return None
    if first not in makers:
        return replace(_told(first, known[first], "", (), None), blame="the input")
    step, number = makers[first]
    operands = tuple(_range(f"%{o}", known[o]) for o in operands_of(step) if o in known)
    return _told(first, known[first], step.label, operands, origin_of(step, number))


def in_graph(graph: Graph, arrays: Mapping[str, Array]) -> NotFinite | None:
    """The first value of a graph that is not finite though its operands are, on the way to a result that is not."""
    graph = Manager(verify=False).run([Inline()], graph)
    nodes = [n for n in graph.nodes() if not isinstance(n.type, TupleType)]
    values = values_of(graph, arrays, nodes)
    bad = {n for n in nodes if not isinstance(n.op, Const) and not _finite(values[n])}
    wanted, todo = set(), [n for n in graph.roots if n in bad]
    while todo:
        node = todo.pop()
        if node not in wanted:
            wanted.add(node)
            todo += [n for n in _sources(node) if n in bad]
    first = next((n for n in nodes if n in wanted and not any(s in bad for s in _sources(n))), None)
    if first is None:
        return None
    name = graph.names.get(first, first.op.name)
    if isinstance(first.op, Input):
        found = _told(name, values[first], "", (), graph.origins.get(first))
        return replace(found, blame="the input")
    sources = _sources(first)
    maker = (
        first if first.inputs == sources else first.inputs[0]
    )  # a part of what an operator with several results gave
    at = _where(values[first])
    operands = tuple(_operand(graph, n, values[n], first, at) for n in sources)
    return _told(name, values[first], maker.op.name, operands, graph.origins.get(first))


def _sources(node: Node) -> tuple[Node, ...]:
    """The operands of a value; of a part of a tuple those of the operator that gave it."""
    if len(node.inputs) == 1 and isinstance(node.inputs[0].type, TupleType):
        return node.inputs[0].inputs
    return node.inputs


def _finite(value: Array) -> bool:
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def _where(value: Array) -> tuple[int, ...]:
    """The first element that is not finite."""
    return tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])


def _told(name: str, value: Array, operator: str, operands: tuple[str, ...], origin: Origin | None) -> NotFinite:
    at = _where(value)
    count = int((~np.isfinite(value)).sum())
    symbol = named_symbol(origin, name)
    backward = origin is not None and passed(origin, "autodiff")
    return NotFinite(
        "your maths", name, at, float(value[at]), count, value.size, operator, operands, symbol, backward
    )  # fmt: skip


def _operand(graph: Graph, node: Node, value: Array, user: Node, at: tuple[int, ...]) -> str:
    """What an operand was where its user gave something that is not finite: its element there, or its range."""
    if node not in graph.names:
        return f"{value[()]:.6g}" if value.ndim == 0 else node.op.name
    name = f"%{graph.names[node]}"
    if value.shape == user.tensor.shape:
        return f"{name} = {value[at]:.6g}"
    return _range(name, value)


def _range(name: str, value: Array) -> str:
    if not value.size:
        return f"{name} without elements"
    return f"{name} between {value.min():.6g} and {value.max():.6g}"


def report(found: NotFinite) -> str:
    """For people: whose fault, the value, the operator on its operands, the Symbol and its line."""
    at = f" at {list(found.index)}" if found.index else ""
    others = f" ({found.count} of {found.size} elements are not finite)" if found.size > 1 else ""
    lines = [f"{found.blame}: %{found.value} is {found.what:g}{at}{others}"]
    if found.operator:
        lines.append(f"  operator  {found.operator}({', '.join(found.operands)})")
    if found.symbol is not None:
        s = found.symbol
        half = "the gradient of " if found.backward else ""
        lines.append(f"  Symbol    {half}{s.name!r} ({s.op}){f', {s.file}:{s.line}' if s.file else ''}")
    return "\n".join(lines)

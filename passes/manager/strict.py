"""Strict regions: values that keep the rounding that their operators say.

A Symbol's attribute `__strict__` marks it; what passes make of it, its gradient too, has an origin that is strict. A
pass that promises less than exact values (`reassoc`, `approx`) takes no part there: the rewriter refuses its actions
(`Rewriter.act`), fuse stores every value, tile leaves sums in the order of their axes, and rule M11 looks at what came
out, for passes that do not ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from symc.ir.errors import VerifyError
from symc.ir.loop.nodes import For, LoopKernel, walk
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.origins import Origin, SymOrigin, symbols_of
from symc.ir.program.nodes import KernelStep, Program, programs_of
from symc.ir.symbol.nodes import SymGraph
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph


def may_round(numerics: str) -> bool:
    """Whether a pass of that promise may round values in another way."""
    return numerics not in ("exact", "extends")


def has_strict(module: Any) -> bool:
    """Whether a module of any level has a strict region."""
    if isinstance(module, SymbolModule):
        return _marked(module.graph)
    return any(origin.strict for origin in _origins(module))


def reorders(kernel: LoopKernel) -> bool:
    """Whether a schedule may take what the kernel sums up in another order."""
    return any(isinstance(stmt, For) and stmt.carries for stmt in walk(kernel.body))


def check_strict(name: str, numerics: str, before: Any, after: Any) -> None:
    """VerifyError M11 where a pass of such a promise has changed how a value of a strict region is computed."""
    if type(before) is not type(after):
        return
    has = {value: how for value, how, _ in _computed(after)}
    for value, how, origin in _computed(before):
        if origin is not None and origin.strict and has.get(value, how) != how:
            symbol = next(s for s in symbols_of(origin) if s.strict)
            raise VerifyError(
                "M11", f"pass {name}, which is {numerics}, changes {value}, which is in a strict region ({_at(symbol)})"
            )


def _at(symbol: SymOrigin) -> str:
    return f"Symbol {symbol.name!r}" + (f", {symbol.file}:{symbol.line}" if symbol.file else "")


def _marked(graph: SymGraph) -> bool:
    return any(node.strict or any(map(_marked, node.subgraphs)) for node in graph.nodes())


def _origins(module: Any) -> Iterator[Origin]:
    if isinstance(module, Graph):
        yield from module.origins.values()
        for node in module.nodes():
            if node.op.is_control:
                for _, region in regions_of(node.op):
                    yield from _origins(region)
    elif isinstance(module, Program):
        for program in programs_of(module):
            yield from (step.origin for step in program.steps)
    elif isinstance(module, LoopModule):
        yield from _origins(module.program)


def _computed(module: Any) -> Iterator[tuple[str, object, Origin | None]]:
    """The values of a module: name, how it is computed, origin. Of loops, kernels that sum up."""
    if isinstance(module, SymbolModule):
        yield from ((f"%{n.name}", (n.op, n.definition), n.origin()) for n in module.graph.nodes())
    elif isinstance(module, Graph):
        named = [(name, node) for node, name in module.names.items() if not node.op.is_control]
        yield from ((f"%{name}", node.op, module.origins.get(node)) for name, node in named)
    elif isinstance(module, Program):
        steps = [s for program in programs_of(module) for s in program.steps if isinstance(s, KernelStep)]
        yield from ((f"%{s.results[0].name}", (s.key(), s.form), s.origin) for s in steps)
    elif isinstance(module, LoopModule):
        yield from ((f"@{k.name}", (k.body if reorders(k) else ()), k.origin) for k in module.kernels)

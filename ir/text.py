"""The text form `.sir` of every level. `symc.ir.parse.parse` reads it back; printing what was read gives the same
text, byte for byte.

    symc ir 1 level=symbol|tensor|fused|planned|loop
    ...
    !1 = sym "fc1" FullyConnected at "mlp.py":5
    !2 = autodiff#3(!1)

Constants of more than `elide` elements are printed as a hash; `collect_constants` gives their data, and
`save_constants` writes it beside the text. `locs=False` leaves the origins out.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from symc.ir.loop.nodes import LoopKernel
from symc.ir.loop.text import kernel_lines, loops_lines
from symc.ir.modules import SymbolModule
from symc.ir.prims.elementwise import Const
from symc.ir.program.nodes import KernelStep, Program, programs_of
from symc.ir.program.text import is_planned, program_lines
from symc.ir.symbol.nodes import SymGraph
from symc.ir.symbol.text import symbol_lines
from symc.ir.syntax.printing import ELIDE, Printer, data_hash, regions_of
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.text import graph_lines
from symc.ir.types import Array


def level_of(module: Any) -> str:
    """symbol, tensor, fused (a program before memory is planned), planned, or loop. TypeError for anything else.

    A symbol module is anything with `graph` and `types`, a loop module anything with `program` and `kernels`."""
    if isinstance(module, Graph):
        return "tensor"
    if isinstance(module, Program):
        return "planned" if is_planned(module) else "fused"
    if isinstance(module, SymGraph) or hasattr(module, "graph") and hasattr(module, "types"):
        return "symbol"
    if hasattr(module, "program") and hasattr(module, "kernels"):
        return "loop"
    raise TypeError(f"a {type(module).__name__} is not IR: expected a symbol, tensor, program or loop module")


def print_graph(graph: Graph, *, elide: int = ELIDE, locs: bool = True) -> str:
    """The text of a tensor graph."""
    printer = Printer(elide, locs)
    return printer.finish("tensor", graph_lines(graph, printer))


def print_program(program: Program, *, elide: int = ELIDE, locs: bool = True) -> str:
    """The text of a program, planned or not."""
    printer = Printer(elide, locs)
    return printer.finish(level_of(program), program_lines(program, printer))


def print_loops(module: Any, *, elide: int = ELIDE, locs: bool = True) -> str:
    """The text of a loop module: its kernels and the program that calls them."""
    printer = Printer(elide, locs)
    return printer.finish("loop", loops_lines(module, printer))


def print_kernel(kernel: LoopKernel, *, locs: bool = False) -> str:
    """One loop kernel alone (for messages and dumps: it does not parse back by itself)."""
    printer = Printer(ELIDE, locs)
    return "\n".join([*kernel_lines(kernel, printer), *printer.origins.lines]) + "\n"


def print_symbols(module: Any, *, locs: bool = True) -> str:
    """The text of a symbol graph (SymGraph), or of one with its types (SymbolModule)."""
    printer = Printer(ELIDE, locs)
    whole = SymbolModule("main", module) if isinstance(module, SymGraph) else module
    return printer.finish("symbol", symbol_lines(whole, printer))


def print_module(module: Any, *, elide: int = ELIDE, locs: bool = True) -> str:
    """The text of a module of any level."""
    level = level_of(module)
    if level == "symbol":
        return print_symbols(module, locs=locs)
    if level == "tensor":
        return print_graph(module, elide=elide, locs=locs)
    if level == "loop":
        return print_loops(module, elide=elide, locs=locs)
    return print_program(module, elide=elide, locs=locs)


def save_constants(module: Any, path: str | PathLike[str], elide: int = ELIDE) -> None:
    """The data of the constants that the text of `module` in the file `path` elides, into the .npz beside it, where
    whoever reads the file finds it. Arrays that are in it stay; without such constants nothing is written."""
    found = collect_constants(module, elide)
    if found:
        beside = Path(path).with_suffix(".npz")
        if beside.exists():
            with np.load(beside) as archive:
                found = {**{name: archive[name] for name in archive.files}, **found}
        np.savez(beside, **found)  # type: ignore[arg-type]


def collect_constants(module: Any, elide: int = ELIDE) -> dict[str, Array]:
    """The data of the constants that the text of `module` elides, by hash: what `parse(text, data=...)` needs."""
    level = level_of(module)
    graphs: list[Graph] = []
    found: dict[str, Array] = {}

    def keep(op: Any) -> None:
        if isinstance(op, Const) and op.tensor.size > elide:
            found[data_hash(op.data)] = op.array()

    if level == "tensor":
        graphs.append(module)
    elif level != "symbol":
        for program in programs_of(module if isinstance(module, Program) else module.program):
            for _, node in program.constants:
                keep(node.op)
            graphs += [step.body for step in program.steps if isinstance(step, KernelStep)]
    while graphs:
        for node in graphs.pop().nodes():
            keep(node.op)
            graphs += [region for _, region in regions_of(node.op)]
    return found

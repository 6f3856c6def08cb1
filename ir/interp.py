"""The door to the interpreters: one call for a program of any level, and what those who look into one need.

They say what a program means, in numpy: every pass and all machine code is judged by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symc.ir.errors import IRError
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import Results, evaluate, evaluate_nodes, values_of
from symc.ir.types import Array

__all__ = ["Results", "evaluate", "evaluate_nodes", "interpret", "values_of"]


def interpret(module: Any, inputs: Mapping[str, Array], f64: bool = False) -> Results:
    """The outputs and updates of a tensor graph, a program or loops, on arrays by input name (they are not changed).

    With `f64` every float is computed as float64, and arrays are taken so: the truth that compiled programs are
    compared with. IRError for a missing or ill-shaped input, and for a symbol graph, whose operators mean what the
    pass decompose makes of them."""
    precision = "f64" if f64 else "declared"
    if isinstance(module, LoopModule):
        return run_loop_module(module, inputs, precision=precision)
    if isinstance(module, Program):
        return run_program(module, inputs, precision)
    if isinstance(module, Graph):
        return evaluate(module, inputs, precision)
    raise IRError(f"{type(module).__name__} has no interpreter: expected a Graph, a Program or a LoopModule")

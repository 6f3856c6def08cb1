"""What an Executor tells of itself: its Symbol as it runs, its programs as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symc.compile import pipeline, refusals
from symc.ir.modules import SymbolModule
from symc.ir.program.nodes import Program
from symc.ir.symbol.nodes import SymNode
from symc.ops.base import OPERATORS
from symc.passes.edits import active
from symc.passes.manager.manager import Manager
from symc.progress import compiling
from symc.settings import verification

Entry = tuple[SymNode, int]


def merged(symbol: Any) -> Any:
    """A copy of the Symbol with one operator in the place of all that have its attributes and inputs. What draws
    numbers, changes a state or holds Symbols of its own stays. Different outputs stay different: the second is a copy
    of the first."""
    made = symbol.__copy__()
    kept: dict[tuple[object, ...], SymNode] = {}
    instead: dict[SymNode, SymNode] = {}
    for node in made.graph.nodes():
        node.inputs = tuple((instead.get(source, source), at) for source, at in node.inputs)
        definition = node.definition
        if definition is None or definition.random or definition.written_inputs() or node.subgraphs:  # type: ignore[attr-defined]
            continue
        instead[node] = kept.setdefault((node.op, *sorted(node.attrs.items()), *node.inputs), node)
    outputs: list[Entry] = []
    given: dict[Entry, Entry] = {}
    for entry in made._outputs:
        node, at = instead.get(entry[0], entry[0]), entry[1]
        if given.setdefault((node, at), entry) == entry:
            outputs.append((node, at))
        else:
            copy = OPERATORS["_copy"]
            outputs.append((SymNode("_copy", f"{node.name}_{at}_copy", {}, [(node, at)], copy(), node.where), 0))
    return type(symbol)(outputs)


def planned(module: SymbolModule, train: bool, wrt: Sequence[str], add: Sequence[str]) -> Program:
    """The program that `compile_symbol` makes machine code of, with its memory planned. MXNetError as there."""
    passes = [pass_ for pass_ in active().apply(pipeline(train, wrt, add)) if pass_.gives != "loop"]
    with refusals(module.name), compiling(module.name):
        program: Program = Manager(verify=verification()).run(passes, module)
    return program


def listing(outputs: Sequence[str], programs: Mapping[bool, Program]) -> str:
    """Programs, by whether they train: steps, places and the planned memory. The last lines are MXNet's, which programs
    parse: whole MB, and how many operators ask for scratch space (here it lies in the arena)."""
    from symc.ir.text import print_program

    parts = [f"Symbol Outputs:\n\toutput[0]={', '.join(outputs)}"]
    for train, program in sorted(programs.items()):
        parts.append(f"// {'training' if train else 'prediction'}\n{print_program(program)}")
        parts.append(f"// an arena of {program.arena} bytes; the largest live set has {program.lower_bound}")
    largest = max(program.arena for program in programs.values())
    return "\n".join([*parts, f"Total {largest >> 20} MB allocated", "Total 0 TempSpace resource requested\n"])

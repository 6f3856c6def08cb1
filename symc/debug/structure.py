"""Two programs compared up to the names of their values and kernels: what differs, and by how much work and memory."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.op import Node
from symc.ir.prims.flow import Branch, Loop
from symc.ir.prims.linear import Contraction
from symc.ir.program.nodes import KernelStep, Program, ViewStep, programs_of, results_of
from symc.ir.program.work import flops_of
from symc.ir.syntax.printing import graphs_of
from symc.ir.tensor.graph import Graph
from symc.ir.text import print_module
from symc.ir.types import TensorType
from symc.passes.manager.manager import Module

_NAME = r'"(?:[^"\\]|\\.)*"|[\w.$/-]+'
#: a value; a place in a parameter's buffer; a kernel or function (not a place in the arena or in a result's buffer); a
#: result in a signature
_TOKEN = re.compile(
    rf"%(?P<value>{_NAME})|@arg\.(?P<place>{_NAME})|@(?!A\b|out\.)(?P<kernel>{_NAME})"
    rf"|(?<![%@\w.$/-])(?P<result>{_NAME})(?=: [a-z]+\d+\b)"
)
#: the results of a symbol graph, which have no types there
_RESULTS = re.compile(r"(?<=-> \().*(?=\) \{$)")
#: what follows a name where it is defined; operands of kernels are followed by how they are read
_DEFINES = re.compile(r"\s*(?:: (?!element\b|row\b|whole\b|along\[|carry\b|test\b)|=(?!=)|in \d)")


@dataclass(frozen=True)
class Line:
    """A line as it is, and with its names replaced by numbers in the order of their definition."""

    text: str
    plain: str


def lines_of(module: Module) -> list[Line]:
    """The text of a module without origins."""
    scopes: list[dict[str, str]] = [{}]
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        kind = match.lastgroup or ""
        if kind == "result":
            return "result"
        name = ("@" if kind == "kernel" else "%") + match.group(kind)
        known = next((scope[name] for scope in reversed(scopes) if name in scope), None)
        if known is None or kind == "value" and _DEFINES.match(match.string, match.end()):
            count += 1
            known = scopes[-1][name] = str(count)
        return f"{'@arg.' if kind == 'place' else name[0]}{known}"

    made = []
    heading = False
    for text in print_module(module, locs=False).splitlines():
        bare = text.strip()
        if bare.startswith("}"):
            scopes.pop()
        outer, inner = "", text
        if not heading and bare.endswith(("(", "{")):
            # what a header defines behind `=` is seen inside only
            left, equals, right = text.partition(" = ")
            if equals and bare.startswith(("%", "(")):
                outer, inner = _TOKEN.sub(number, left), right
            scopes.append({})
        heading = bare.endswith("(") or heading and not bare.endswith("{")
        plain = outer + _TOKEN.sub(number, inner)
        made.append(Line(text, _RESULTS.sub(_numbered, plain) if bare.startswith("graph ") else plain))
    return made


def _numbered(names: re.Match[str]) -> str:
    return "result, " * (names[0].count(",") + 1)


def side_by_side(one: list[Line], other: list[Line], width: int) -> list[str]:
    """The lines that differ, and one around them, beside each other in `width` characters; empty if none do."""
    column = (width - 3) // 2
    matcher = difflib.SequenceMatcher(None, [x.plain for x in one], [x.plain for x in other], autojunk=False)
    if all(tag == "equal" for tag, *_ in matcher.get_opcodes()):
        return []
    rows: list[str] = []
    for group in matcher.get_grouped_opcodes(1):
        if rows:
            rows.append(f"{'...':{column}}   ...")
        for tag, a, b, c, d in group:
            rows += _rows(tag, [x.text for x in one[a:b]], [x.text for x in other[c:d]], column)
    return [row.rstrip() for row in rows]


def _rows(tag: str, left: list[str], right: list[str], column: int) -> Iterator[str]:
    for at in range(max(len(left), len(right))):
        a, b = (side[at] if at < len(side) else "" for side in (left, right))
        mark = " " if tag == "equal" else "|" if at < min(len(left), len(right)) else "<" if at < len(left) else ">"
        yield f"{_cut(a, column):{column}} {mark} {_cut(b, column)}"


def _cut(text: str, column: int) -> str:
    return text if len(text) <= column else text[: column - 3] + "..."


# --------------------------------------------------------------------------------------------- how much


@dataclass
class Amount:
    """What a program has: operators by name, and numbers by what they count."""

    operators: Counter[str]
    numbers: dict[str, int]


def amount_of(module: Module) -> Amount:
    """Operators, kernels, bytes of values and of the arena, and floating-point operations of contractions."""
    if isinstance(module, SymbolModule):
        return Amount(Counter(node.op for node in module.graph.nodes() if not node.is_variable), {})
    if isinstance(module, Graph):
        values = [n for graph in graphs_of(module) for n in graph.nodes() if n.inputs]
        stored = sum(n.type.nbytes for n in values if isinstance(n.type, TensorType))
        flops = sum(_flops(n) for n in module.nodes())
        return Amount(Counter(n.op.name for n in values), {"bytes of all values": stored, "flops": flops})
    program: Program = module.program if isinstance(module, LoopModule) else module
    parts = programs_of(program)
    steps = [step for part in parts for step in part.steps if not isinstance(step, ViewStep)]
    bodies = [n for step in steps if isinstance(step, KernelStep) for n in step.body.nodes() if n.inputs]
    stored = sum(r.type.nbytes for step in steps for r in results_of(step))
    numbers = {"steps": len(steps), "bytes written": stored, "bytes of arena": program.arena}
    if isinstance(module, LoopModule):
        numbers["kernels"] = len(module.kernels)
    numbers["flops"] = flops_of(program)
    return Amount(Counter(n.op.name for n in bodies), numbers)


def _flops(node: Node) -> int:
    """Floating-point operations of the contractions in a node."""
    if isinstance(node.op, Contraction):
        return 2 * node.op.multiply_adds(node)
    if isinstance(node.op, Loop):
        return node.op.trips * sum(map(_flops, node.op.body.nodes()))
    if isinstance(node.op, Branch):
        return max(sum(map(_flops, side.nodes())) for side in (node.op.then, node.op.other))
    return 0


def deltas(one: Amount, other: Amount) -> list[str]:
    """A line for every number that differs: of one, of the other, and by how much."""
    rows = [(f"operator {name}", one.operators[name], other.operators[name]) for name in _names(one, other)]
    rows.insert(0, ("operators", one.operators.total(), other.operators.total()))
    numbers = dict.fromkeys([*one.numbers, *other.numbers])
    rows += [(name, one.numbers.get(name, 0), other.numbers.get(name, 0)) for name in numbers]
    return [f"{name:24}{a:>14} {b:>14} {b - a:>+14}" for name, a, b in rows if a != b]


def _names(one: Amount, other: Amount) -> list[str]:
    return sorted({*one.operators, *other.operators})

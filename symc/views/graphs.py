"""The picture of a symbol graph, tensor graph or program: one box per operator, node or step.

Parameters are lines in the boxes that read them; what stays are the inputs that a user thinks of as data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from symc.ir.errors import IRError
from symc.ir.origins import Origin, first_symbol
from symc.ir.program.nodes import Program, ViewStep, operands_of, regions_of_step, results_of
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.syntax.printing import Printer
from symc.ir.tensor.graph import Graph, topological
from symc.views.picture import Picture

#: attributes that tell operators apart, in this order; others follow, but for NOISE and what is the default
TELLING = (
    "num_filter", "num_hidden", "kernel", "stride", "pad", "act_type", "pool_type", "global_pool", "num_group", "mode",
    "state_size", "num_layers", "axis", "dim", "shape", "axes", "p", "scalar",
)  # fmt: skip
NOISE = frozenset(
    ("workspace", "cudnn_tune", "cudnn_off", "layout", "num_args", "eps", "momentum", "fix_gamma", "no_bias",
     "use_global_stats", "output_mean_var", "pooling_convention", "count_include_pad", "cover_all", "flatten")
)  # fmt: skip
#: values of `dilate` and `pad` that say nothing
_NOTHING = {"dilate": {"1"}, "stride": {"1"}, "pad": {"0"}, "num_group": {"1"}, "global_pool": {"False", "0"}}
#: inputs of operators that are parameters where nothing else is known of them
_WEIGHTS = frozenset(
    "weight bias gamma beta alpha parameters moving_mean moving_var running_mean running_var i2h_weight i2h_bias "
    "h2h_weight h2h_bias".split()
)
#: roles of inputs that have a box of their own
_SHOWN = frozenset(("data", "label", "head"))
#: lines of attributes in a box
ATTRIBUTES = 5


class NoPicture(IRError):
    """A level that has no picture."""


def picture_of(module: Any) -> Picture:
    """The picture of a module. NoPicture at levels that are text only."""
    if isinstance(module, Graph):
        return _of_graph(module)
    if isinstance(module, Program):
        return _of_program(module)
    graph = module if isinstance(module, SymGraph) else getattr(module, "graph", None)
    if isinstance(graph, SymGraph):
        return _of_symbols(graph, module)
    raise NoPicture("only the levels symbol, tensor, fused and program can be drawn; use --format=text")


def telling(node: SymNode) -> list[str]:
    """`num_filter=64`, `kernel=(3, 3)`, ... of an operator: what tells it apart comes first, defaults do not come."""
    defaults: dict[str, Any] = {}
    definition = node.definition
    if dataclasses.is_dataclass(definition):
        defaults = {f.name: f.default for f in dataclasses.fields(definition)}
    shown = {}
    for name, text in node.attrs.items():
        digits = set(text.strip("()[] ").replace(" ", "").strip(",").split(","))
        told = name in TELLING and name != "axis"
        default = not told and name in defaults and defaults[name] == getattr(definition, name, None)
        if not name.startswith("__") and name not in NOISE and not default and not digits <= _NOTHING.get(name, set()):
            shown[name] = text
    order = sorted(shown, key=lambda n: TELLING.index(n) if n in TELLING else len(TELLING))
    return [f"{name}={_cut(shown[name], 40)}" for name in order[:ATTRIBUTES]]


def _short(name: str, owner: str) -> str:
    """`weight` for `stage1_conv0_weight` of `stage1_conv0` or `stage1_conv0_fwd`."""
    if name.startswith(f"{owner}_"):
        return name[len(owner) + 1 :]
    stem = owner.rpartition("_")[0]
    return name[len(stem) + 1 :] if stem and name.startswith(f"{stem}_") else name


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _of_symbols(graph: SymGraph, module: Any) -> Picture:
    made = Picture()
    types, roles = getattr(module, "types", {}), getattr(module, "roles", {})
    inferred = getattr(module, "inferred", {})
    nodes = graph.nodes()
    states = set(graph.variables()[1])
    folded = _parameters(nodes, roles, states) - {node for node, _ in graph.outputs}
    for node in nodes:
        if node in folded:
            continue
        if node.is_variable:
            known = types.get(node.name)
            made.box(node.name, [node.name, str(known or "")], "input", values=(node.name,), symbol=node.name)
            continue
        own = [source for source, _ in node.inputs if source in folded]
        weights = [f"{_short(source.name, node.name)} {types.get(source.name, '')}".rstrip() for source in own]
        lines = [node.name, node.op, *telling(node), *_some(weights)]
        heavy = any(source.name.endswith(("weight", "parameters")) for source in own)
        names = (node.name, *(source.name for source in own))
        made.box(node.name, lines, "heavy" if heavy else "plain", values=names, symbol=node.name)
        for source, at in node.inputs:
            known = (inferred.get(source) or ())[at : at + 1]
            label = str(known[0]) if known and known[0] is not None else ""
            made.edge(source.name, node.name, label or str(types.get(source.name, "")))
    names = getattr(module, "output_names", ()) or [f"{node.name}_output" for node, _ in graph.outputs]
    _add_outputs(made, [(name, node.name, "") for name, (node, _) in zip(names, graph.outputs)])
    return made


def _parameters(nodes: Iterable[SymNode], roles: Any, states: set[SymNode]) -> set[SymNode]:
    """Variables that are parameters of operators: states, what a module gives the role of one, or is called as one."""
    found = {node for node in states}
    for node in nodes:
        names = node.definition.list_inputs() if node.definition is not None else ()
        for name, (source, _) in zip(names, node.inputs):
            if source.is_variable and roles.get(source.name, "arg") == "arg" and name in _WEIGHTS:
                found.add(source)
    return found


def _some(lines: Sequence[str], most: int = 4) -> list[str]:
    return list(lines) if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more"]


def _symbol(origin: Origin | None) -> str:
    symbol = first_symbol(origin) if origin is not None else None
    return symbol.name if symbol is not None else ""


def _of_graph(graph: Graph) -> Picture:
    made, printer = Picture(), Printer(locs=False)
    forward = set(topological([*graph.inputs, *(end.node for end in graph.outputs if end.phase == "forward")]))
    ends = {output.node for output in graph.outputs}
    weights = {n for n in graph.inputs if getattr(n.op, "role", "") not in _SHOWN and n not in ends}
    read = {source for node in graph.nodes() for source in node.inputs}
    for node in graph.nodes():
        if node.op.is_literal(node) or node in weights and node in read:
            continue
        name = graph.names.get(node, node.op.name)
        own = list(dict.fromkeys(graph.names.get(i, "") for i in node.inputs if i in weights))
        types = {graph.names.get(i, ""): str(i.type) for i in node.inputs}
        attributes = _cut(printer.attributes(node.op, node.type).strip(" {}"), 50) if node.inputs else ""
        kind = "input" if not node.inputs else "heavy" if node.op.cost >= 100 else "plain"
        lines = [f"%{name}", "" if kind == "input" else node.op.name, attributes, str(node.type)]
        lines += _some([f"{w} {types[w]}" for w in own])
        half = "forward" if node in forward else "backward"
        symbol = _symbol(graph.origins.get(node))
        made.box(name, lines, kind, values=(name, *own), symbol=symbol or name, half=half)
        for source in dict.fromkeys(node.inputs):
            if source in graph.names:
                made.edge(graph.names[source], name, str(source.type))
    found = [(o.name, graph.names[o.node], str(o.node.type)) for o in graph.outputs if o.node in graph.names]
    _add_outputs(made, found)
    return made


def _of_program(program: Program) -> Picture:
    made = Picture()
    home: dict[str, str] = {}
    types = {name: str(t) for name, t in program.value_types().items()}
    ends = {output.value for output in program.outputs}
    weights = {p.name for p in program.params if p.role not in _SHOWN and p.name not in ends}
    for p in program.params:
        if p.name not in weights:
            made.box(p.name, [f"%{p.name}", str(p.type), p.role], "input", values=(p.name,), symbol=p.name)
            home[p.name] = p.name
    _add_steps(made, program, home, types, weights, "", "")
    _add_outputs(made, [(o.name, home[o.value], types[o.value]) for o in program.outputs if o.value in home])
    return made


def _add_steps(
    made: Picture, program: Program, home: dict[str, str], types: dict[str, str], weights: set[str], where: str,
    half: str,
) -> None:  # fmt: skip
    """The steps of a program; of those with regions every region's, `where` they are: `2.body/`. `home` are the boxes
    of the values that they read, `half` that of the program where a region's is known already."""
    for at, step in enumerate(program.steps):
        key = f"step {where}{at}"
        here = half or _part_of(program, at)
        written = [f"%{r.name}: {r.type} {r.place}".rstrip() for r in results_of(step)]
        own = [name for name in dict.fromkeys(operands_of(step)) if name in weights]
        lines = [f"{where}{at}: {step.label}", *_some(written), *_some([f"{w} {types.get(w, '')}" for w in own])]
        names = (*(r.name for r in results_of(step)), *own)
        kind = "plain" if isinstance(step, ViewStep) else "heavy"
        made.box(key, lines, kind, values=names, symbol=_symbol(step.origin), half=here)
        for operand in dict.fromkeys(operands_of(step)):
            if operand in home:
                made.edge(home[operand], key, types.get(operand, ""))
        home.update((r.name, key) for r in results_of(step))
        for region in regions_of_step(step):
            inside = {p.name: key for p in region.program.params}
            known = {name: str(t) for name, t in region.program.value_types().items()}
            _add_steps(made, region.program, inside, known, set(), f"{where}{at}.{region.name}/", here)


def _part_of(program: Program, at: int) -> str:
    if at < program.prologue:
        return "prologue"
    return "backward" if program.cut and at >= program.cut else "forward"


def _add_outputs(made: Picture, outputs: Sequence[tuple[str, str, str]]) -> None:
    for name, source, label in outputs:
        key = f"output {name}"
        half = made.boxes[source].half if source in made.boxes else "forward"
        made.box(key, [name], "output", values=(name,), half=half)
        made.edge(source, key, label)

"""The life of a value: where it comes from, what passes make of it, which kernel computes it, where it lies in memory
and how long; and why a pass did not do something with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from symc.base import those
from symc.ir.errors import IRError
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.origins import DerivedOrigin, Origin, SymOrigin, symbols_of
from symc.ir.program.nodes import (
    KernelStep,
    Program,
    Result,
    Step,
    ViewStep,
    bases_of,
    operands_of,
    programs_of,
    regions_of_step,
    results_of,
)
from symc.ir.syntax.printing import graphs_of, value_name
from symc.ir.tensor.graph import Graph
from symc.passes.manager.manager import Instrument, Module, Pass
from symc.passes.manager.watching import Action, Miss, definition
from symc.passes.program.fuse import Fuse, explain_join


class NoSuchValue(IRError):
    """A name that no value of a program has."""


@dataclass
class Stage:
    """A pass, what it was given and gave, and what it did and did not do."""

    pass_: Pass
    before: Module
    after: Module
    actions: list[Action]
    misses: list[Miss]


class History(Instrument):
    """Keeps every stage of a pipeline."""

    watches = True

    def __init__(self, module: Module) -> None:
        self.given = module
        self.stages: list[Stage] = []
        self._actions: list[Action] = []
        self._misses: list[Miss] = []

    def proposed(self, action: Action) -> None:
        self._actions.append(action)

    def missed(self, miss: Miss) -> None:
        self._misses.append(miss)

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.stages.append(Stage(pass_, before, after, self._actions, self._misses))
        self._actions, self._misses = [], []

    @property
    def modules(self) -> list[tuple[str, Module]]:
        """What there was, in order, and by which pass."""
        return [("input", self.given), *((stage.pass_.name, stage.after) for stage in self.stages)]


# --------------------------------------------------------------------------------------------- why


def life(history: History, value: str) -> list[str]:
    """The lines that `symc why` prints. NoSuchValue for a name that no value has at any level."""
    found = [(by, text) for by, module in history.modules for text in [_described(module, value)]]
    if not any(text for _, text in found):
        raise _unknown(history, value)
    found = [(by, text or _absent(module, value)) for (by, text), (_, module) in zip(found, history.modules)]
    lines = [f"{value_name(value)}{_type(history, value)}"]
    lines += _labelled("from", _chain(history, value))
    lines += _labelled("passes", list(_changes(found)))
    name = value_name(value)
    done = [a for stage in history.stages for a in stage.actions if _about(a, name)]
    lines += _labelled("changes", [f"{a.pass_name}#{a.number} {a.rule}: {a.before} -> {a.made}" for a in done])
    program = _last_program(history)
    if program is not None:
        lines += _memory(program, value)
    return lines


def _about(action: Action, name: str) -> bool:
    return action.before == name or action.before.startswith(f"{name} = ")


def _labelled(label: str, lines: list[str]) -> list[str]:
    return [f"  {label if not at else '':9}{line}" for at, line in enumerate(lines)]


def _changes(found: list[tuple[str, str]]) -> Iterator[str]:
    """A line for every pass after which the value is computed in another way."""
    last = ""
    for by, text in found:
        if text != last and (not text.startswith(_ABSENT) or last and not last.startswith(_ABSENT)):
            yield f"{by}: {text}"
        last = text


_ABSENT = "no value of its own any more"


def _absent(module: Module, value: str) -> str:
    """What is said where a module has no value of that name: which ones it has of the Symbol of that name."""
    if not isinstance(module, Graph):
        return _ABSENT
    own = [
        value_name(name)
        for graph in graphs_of(module)
        for node, name in graph.names.items()
        if isinstance(origin := graph.origins.get(node), SymOrigin) and origin.name == value
    ]
    return f"{_ABSENT}; of this Symbol are {those(own, most=6)}" if own else _ABSENT


def _unknown(history: History, value: str) -> NoSuchValue:
    names = dict.fromkeys(name for _, module in history.modules for name in names_of(module))
    return NoSuchValue(f"no value is named %{value}; there are {those(list(names), value, 6)}")


def names_of(module: Module) -> list[str]:
    """The names of a module's values."""
    if isinstance(module, SymbolModule):
        return [node.name for node in module.graph.nodes()]
    if isinstance(module, Graph):
        return [name for graph in graphs_of(module) for name in graph.names.values()]
    names: list[str] = []
    for program in programs_of(_program(module)):
        names += program.value_types()
        names += [n for s in program.steps if isinstance(s, KernelStep) for n in s.body.names.values()]
    return names


def _program(module: Module) -> Program:
    program: Program = module.program if isinstance(module, LoopModule) else module
    return program


def _last_program(history: History) -> Program | None:
    last = history.modules[-1][1]
    return _program(last) if isinstance(last, (Program, LoopModule)) else None


def _described(module: Module, value: str) -> str:
    """How a value is computed, or what it is; empty if the module has none of that name."""
    if isinstance(module, SymbolModule):
        node = next((n for n in module.graph.nodes() if n.name == value), None)
        return "" if node is None else "a variable" if node.is_variable else f"the operator {node.op}"
    if isinstance(module, Graph):
        for graph in graphs_of(module):
            for node, name in graph.names.items():
                if name == value:
                    return definition(node, graph.names) if node.inputs else f"an input, {node.type}"
        return ""
    for where, program in _places(_program(module)):
        if value in [p.name for p in program.params]:
            return "a parameter"
        if value in [name for name, _ in program.constants]:
            return "a constant"
        for at, step in enumerate(program.steps):
            result = next((r for r in results_of(step) if r.name == value), None)
            if result is not None:
                return f"written by step {where}{at}, {step.label}{_placed(result)}"
        inside = [f"{where}{at}, {s.label}" for at, s in _kernels(program) if value in s.body.names.values()]
        if inside:
            return f"computed inside of step {' and step '.join(inside)}: it needs no memory"
    return ""


def _places(program: Program, where: str = "") -> Iterator[tuple[str, Program]]:
    """A program and those of its loops and branches, and where they are, as in `2.body/`."""
    yield where, program
    for at, step in enumerate(program.steps):
        for region in regions_of_step(step):
            yield from _places(region.program, f"{where}{at}.{region.name}/")


def _placed(result: Result) -> str:
    if not result.place.kind:
        return ""
    return f", at {result.place}{f' over {value_name(result.inplace)}' if result.inplace else ''}"


def _kernels(program: Program) -> list[tuple[int, KernelStep]]:
    return [(at, step) for at, step in enumerate(program.steps) if isinstance(step, KernelStep)]


def _type(history: History, value: str) -> str:
    for _, module in reversed(history.modules):
        if isinstance(module, Graph):
            for graph in graphs_of(module):
                for node, name in graph.names.items():
                    if name == value:
                        return f": {node.type}"
        elif not isinstance(module, SymbolModule):
            for program in programs_of(_program(module)):
                if value in program.value_types():
                    return f": {program.value_types()[value]}"
    return ""


def _chain(history: History, value: str) -> list[str]:
    """pass#action rule <- ... <- Symbol at file:line, the last pass first."""
    origin = next((o for _, m in reversed(history.modules) for o in [_origin(m, value)] if o is not None), None)
    if origin is None:
        return []
    rules = {(a.pass_name, a.number): a.rule for stage in history.stages for a in stage.actions}
    parts: list[str] = []
    here: Origin = origin
    while isinstance(here, DerivedOrigin):
        rule = rules.get((here.pass_name, here.action), "")
        parts.append(f"{here.pass_name}#{here.action}{f' ({rule})' if rule else ''}")
        if not here.parents:
            break
        here = here.parents[0]
    if isinstance(here, SymOrigin):
        parts.append(_symbol(here))
    lines = [" <- ".join(parts)]
    others = [_symbol(symbol) for symbol in symbols_of(origin)[1:]]
    return [*lines, *(f"and {other}" for other in others)]


def _symbol(symbol: SymOrigin) -> str:
    where = f", {symbol.file}:{symbol.line}" if symbol.file else ""
    return f'Symbol "{symbol.name}" ({symbol.op}){where}'


def _origin(module: Module, value: str) -> Origin | None:
    if isinstance(module, SymbolModule):
        return next((node.origin() for node in module.graph.nodes() if node.name == value), None)
    if isinstance(module, Graph):
        graphs = graphs_of(module)
        return next((g.origins.get(n) for g in graphs for n, name in g.names.items() if name == value), None)
    for program in programs_of(_program(module)):
        for step in program.steps:
            if isinstance(step, KernelStep):
                for node, name in step.body.names.items():
                    if name == value and node in step.body.origins:
                        return step.body.origins[node]
            if any(r.name == value for r in results_of(step)):
                return step.origin
    return None


def _memory(program: Program, value: str) -> list[str]:
    """Where the value lies, and from when to when."""
    for where, part in _places(program):
        for at, step in enumerate(part.steps):
            result = next((r for r in results_of(step) if r.name == value), None)
            if result is not None:
                lives = _lives(part, at, step, value, where)
                return [*_labelled("memory", _lies(result, where)), *_labelled("lives", [lives])]
    return []


def _lies(result: Result, region: str) -> list[str]:
    place = result.place
    if not place.kind:
        return ["not planned yet"]
    whose = f"the buffer that {region.rstrip('/')} is given for" if region else "the caller's buffer of"
    where = {
        "arena": f"{place}, in the {'frame of its turns' if region else 'arena'}",
        "kept": f"{place}, kept from run to run",
        "arg": f"{place}, {whose} {value_name(place.name)}",
        "out": f"{place}, {whose} output {place.offset}",
    }[place.kind]
    over = f", in place over {value_name(result.inplace)}" if result.inplace else ""
    return [f"{where}, {result.type.nbytes} bytes{over}"]


def _lives(program: Program, at: int, step: Step, value: str, where: str) -> str:
    base = bases_of(program)
    same = {name for name, below in base.items() if below == base[value]}  # read through views, too
    steps = [(n, reader) for n, reader in enumerate(program.steps) if not isinstance(reader, ViewStep)]
    readers = [n for n, reader in steps if not same.isdisjoint(operands_of(reader))]
    kept = [o.name for o in program.outputs if o.value in same]
    kept += [f"the update of %{u.input}" for u in program.updates if u.value in same]
    begin = f"from step {where}{at} ({step.label}), which writes it"
    if kept:
        return f"{begin}, to the end{' of a turn' if where else ''}: it is {', '.join(kept)}"
    if not readers:
        return f"{begin}; nobody reads it"
    last = readers[-1]
    return f"{begin}, to step {where}{last} ({program.steps[last].label}), the last of {len(readers)} that read it"


# --------------------------------------------------------------------------------------------- why not


def why_not(history: History, name: str, value: str, other: str = "") -> list[str]:
    """Why a pass did not do something with a value, or with two: the conditions that failed. NoSuchValue where the pass
    had no value of that name; IRError for a pass that did not run."""
    stages = [stage for stage in history.stages if stage.pass_.name == name]
    if not stages:
        ran = those((stage.pass_.name for stage in history.stages), name, 6)
        raise IRError(f"pass {name} did not run; these did: {ran}")
    stage = stages[-1]
    for one in filter(None, (value, other)):
        if one not in names_of(stage.before):
            known = those(list(dict.fromkeys(names_of(stage.before))), one, 6)
            raise NoSuchValue(f"before {name} no value is named %{one}; there are {known}")
    if isinstance(stage.pass_, Fuse) and other:
        return [_not_joined(stage, value, other)]
    pairs = {(value, other), (other, value)} if other else None
    lines = []
    for miss in stage.misses:
        if (miss.value, miss.other) in pairs if pairs else value in (miss.value, miss.other):
            with_other = f" and {value_name(miss.other)}" if miss.other else ""
            lines.append(f"{name}/{miss.rule}: {value_name(miss.value)}{with_other}: {miss.reason}")
    did = [a for a in stage.actions if _about(a, value_name(value))]
    lines += [f"{name}#{a.number} {a.rule} did apply: {a.before} -> {a.made}" for a in did]
    return list(dict.fromkeys(lines)) or [f"{name}: no rule that looked at {value_name(value)} was about to apply"]


def _not_joined(stage: Stage, value: str, other: str) -> str:
    assert isinstance(stage.pass_, Fuse)
    parts = graphs_of(stage.before) if isinstance(stage.before, Graph) else []
    both = [part for part in parts if {value, other} <= set(part.names.values())]
    if parts and not both:
        pair = f"{value_name(value)} and {value_name(other)}"
        return f"fuse: {pair} are not of one program: what a loop's turn or a branch computes is fused by itself"
    found = explain_join(both[0] if both else stage.before, value, other, stage.pass_)
    names = f"{value_name(value)} and {value_name(other)}"
    if found is None:
        return f"fuse: {names} are computed by one kernel"
    return f"fuse/{found.rule}: {names}: {found.reason}"

"""Changes to a pipeline: passes put in behind others, and passes left out. Those in force while a program is compiled
are set by `with pipeline(...)`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Union

from symc.ir.errors import ParseError
from symc.passes.manager.manager import Pass, PipelineError
from symc.passes.pipeline import PASSES, check_order, few_names, parse_pipeline


@dataclass(frozen=True)
class Edits:
    """`insert`: (name of a pass, what runs right behind it), or ("", what runs before all others); `disable`: names of
    passes that do not run."""

    insert: tuple[tuple[str, Pass], ...] = ()
    disable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.disable, *(after for after, _ in self.insert if after)):
            if name not in PASSES:
                close = difflib.get_close_matches(name, PASSES, 1)
                raise PipelineError(f"there is no pass {name}; " + (f"did you mean {close[0]}?" if close else _known()))
        for name in self.disable:
            if not PASSES[name].optional:
                free = few_names([n for n, p in PASSES.items() if p.optional])
                raise PipelineError(f"pass {name} cannot be left out: what follows needs it; these can: {free}")

    def inserting(self, after: str, pass_: Pass) -> Edits:
        """These edits, and another pass behind one of that name."""
        return Edits((*self.insert, (after, pass_)), self.disable)

    def apply(self, passes: Sequence[Pass], strict: bool = False) -> list[Pass]:
        """The edited pipeline. PipelineError where a pass does not fit its place, and if `strict` where the pipeline
        has no pass that is named (a program that predicts has no gradients, one that is compiled half way no loops)."""
        if not self.insert and not self.disable:
            return list(passes)
        names = [p.name for p in passes]
        for name in (*self.disable, *(after for after, _ in self.insert if after)):
            if strict and name not in names:
                raise PipelineError(f"pass {name} does not run here; these do: {few_names(names, 20)}")
        # one of Symbols has no place before the passes of what never was one
        level = passes[0].takes if passes else ""
        made = [new for after, new in self.insert if not after and (strict or new.takes == level)]
        for pass_ in passes:
            if pass_.name not in self.disable:
                made.append(pass_)
            made += [new for after, new in self.insert if after == pass_.name]
        check_order(made)
        return made


def _known() -> str:
    return f"there are {few_names(PASSES)}"


def insertion(text: str) -> tuple[tuple[str, Pass], ...]:
    """`simplify+mypass{n=2}`: what runs right behind a pass; more may follow, with a + before each. `+mypass`: what
    runs before all others."""
    after, plus, rest = text.partition("+")
    if not plus or not rest.strip():
        raise PipelineError(f"insertion {text!r}: expected PASS+NEW, such as simplify+mypass{{n=2}}, or +NEW")
    name = after.strip().replace("-", "_")
    try:
        return tuple((name, pass_) for one in rest.split("+") for pass_ in parse_pipeline(one))
    except ParseError as problem:
        raise PipelineError(f"insertion {text!r}: {problem.message}") from None


_NONE = Edits()
_active: ContextVar[Edits] = ContextVar("edits", default=_NONE)

#: a pass, or its text
Insertion = Union[Pass, str]


def active() -> Edits:
    """What the innermost `with pipeline(...)` around this code says."""
    return _active.get()


@contextmanager
def using(edits: Edits) -> Iterator[None]:
    """Compile with these edits."""
    token = _active.set(edits)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def pipeline(insert: Mapping[str, Insertion] | None = None, disable: Sequence[str] = ()) -> Iterator[Edits]:
    """Executors, Modules and Predictors that are made in the block compile with other passes.

    `insert` maps the name of a pass to what runs right behind it: a pass, or text such as "mypass{n=2}"; "" stands for
    the beginning, where passes of Symbols have their place. `disable` names passes that do not run (optional ones
    only). Blocks nest: the inner one adds to the outer one. PipelineError for what does not fit.

        with symc.pipeline(insert={"simplify": MyPass()}, disable=["layout"]):
            exe = net.simple_bind(mx.cpu(), data=(32, 784))
    """
    added: list[tuple[str, Pass]] = []
    for after, given in (insert or {}).items():
        news = parse_pipeline(given) if isinstance(given, str) else [given]
        added += [(after.replace("-", "_"), one) for one in news]
    outer = active()
    left_out = dict.fromkeys([*outer.disable, *(name.replace("-", "_") for name in disable)])
    edits = Edits((*outer.insert, *added), tuple(left_out))
    with using(edits):
        yield edits

"""The pass manager: registered passes with typed options, run one step at a time under instruments.

A step runs one pass, verifies what came out, times it and tells the instruments. Everything the tools do
(printing, timing, bisecting, stepping) is an instrument.
"""

from __future__ import annotations

import dataclasses
import difflib
import gc
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from symc.ir.definitions import dataclass_transform, define
from symc.ir.errors import IRError, VerifyError
from symc.ir.process import in_child, lock
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.verify import Checked
from symc.ir.verify import verify
from symc.passes.manager.properties import PROPERTIES, held, level
from symc.passes.manager.rewrite import Rewriter
from symc.passes.manager.signature import Signature, check_signature, signature_of
from symc.passes.manager.strict import check_strict, has_strict, may_round
from symc.passes.manager.watching import Action, Miss

Module = Any  # SymbolModule | Graph | Program | LoopModule: the level is checked by the verifier


class PipelineError(IRError):
    """A pipeline string that names an unknown pass or option, or a pass that does not fit the level."""


class OptionError(PipelineError, ValueError):
    """An option of a pass that has a wrong type or lies outside of its range."""


@dataclasses.dataclass(frozen=True)
class Pass:
    """Base of all passes: a frozen dataclass whose fields are its options.

    `takes` and `gives` are levels; `numerics` is what the pass promises of the values: "exact" (bit for bit),
    "reassoc" (sums may be taken in another order), "approx(r)" (a value that it computes in another way is off by r
    times itself at most, r from 0 to 1) or "extends" (adds results, keeps the others).
    """

    #: of properties (symc.passes.manager.properties): what must hold before, what holds after, what may be lost
    requires: ClassVar[tuple[str, ...]] = ()
    establishes: ClassVar[tuple[str, ...]] = ()
    breaks: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str] = "?"
    takes: ClassVar[str] = "tensor"
    gives: ClassVar[str] = "tensor"
    numerics: ClassVar[str] = "exact"
    #: the program is right without it (tests run every subset of these)
    optional: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """OptionError for an option that is not what `option` declares."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # every program makes its passes anew, most of whose options are what `option` was given
            problem = "" if value is field.default else option_problem(field, value)
            if problem:
                raise OptionError(f"option {dashed(field.name)} of pass {self.name} {problem}")

    def run(self, module: Module, rw: Rewriter) -> Module:
        raise NotImplementedError

    def __str__(self) -> str:
        changed = [
            f"{dashed(f.name)}={option_text(getattr(self, f.name))}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return self.name + (f"{{{' '.join(changed)}}}" if changed else "")

    def spelled(self) -> str:
        """Like str, with every option, whether it has its default or not."""
        options = [f"{dashed(f.name)}={option_text(getattr(self, f.name))}" for f in dataclasses.fields(self)]
        return self.name + (f"{{{' '.join(options)}}}" if options else "")


def option_text(value: Any) -> str:
    """An option's value as pipeline text spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return str(value)


def tolerance(numerics: str) -> float:
    """The r of a promise "approx(r)"; 0 for others."""
    match = re.fullmatch(r"approx\(([0-9.]+(?:e[+-]?[0-9]+)?)\)", numerics)
    return float(match[1]) if match else 0.0


PASSES: dict[str, type[Pass]] = {}
P = TypeVar("P", bound=type[Pass])


@dataclass_transform(frozen_default=True)
def register_pass(
    name: str,
    takes: str = "tensor",
    gives: str = "tensor",
    numerics: str = "exact",
    optional: bool = False,
    requires: Sequence[str] = (),
    establishes: Sequence[str] = (),
    breaks: Sequence[str] = (),
) -> Callable[[P], P]:
    """Register a pass class under its name and make it a frozen dataclass. `requires`, `establishes` and `breaks` are
    names of properties. ValueError for a name that is taken, a promise of another form, and a property of another
    level."""
    if numerics not in ("exact", "reassoc", "extends") and not 0 < tolerance(numerics) < 1:
        known = "exact, reassoc, extends, or approx(r) with r between 0 and 1, such as approx(1e-6)"
        raise ValueError(f"pass {name} promises {numerics!r}; expected {known}")
    for word, at, names in (
        ("requires", takes, requires),
        ("establishes", gives, establishes),
        ("breaks", gives, breaks),
    ):
        for wrong in [n for n in names if n not in PROPERTIES or PROPERTIES[n].level != at]:
            known = ", ".join(p.name for p in PROPERTIES.values() if p.level == at) or "none"
            raise ValueError(f"pass {name} {word} {wrong!r}; the properties of {at} IR are: {known}")

    def register(cls: P) -> P:
        made: Any = dataclasses.dataclass(frozen=True)(cls)
        define(PASSES, [name], cls, "pass")
        made.name, made.takes, made.gives, made.numerics, made.optional = name, takes, gives, numerics, optional
        made.requires, made.establishes, made.breaks = tuple(requires), tuple(establishes), tuple(breaks)
        result: P = made
        return result

    return register


def option(
    default: Any,
    help: str = "",
    *,
    min: float | None = None,
    max: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A pass option with its help text. Values have the default's type, are not below `min` nor above `max`, and are
    one of `choices` (of a tuple: each element); text and constructor refuse others alike."""
    metadata = {"help": help, "min": min, "max": max, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def option_problem(field: dataclasses.Field[Any], value: Any) -> str:
    """What is wrong with an option's value ("must be ..., got ..."), "" if nothing is."""
    default, rules = field.default, field.metadata
    if default is not dataclasses.MISSING and type(value) is not type(default):
        return f"must be {OPTION_KINDS.get(type(default), type(default).__name__)}, got {value!r}"
    if isinstance(value, tuple) and not all(isinstance(v, str) for v in value):
        return f"must be names, got {value!r}"
    least, most, choices = (rules.get(word) for word in ("min", "max", "choices"))
    if least is not None and value < least:
        return f"must be at least {least}, got {value}"
    if most is not None and value > most:
        return f"must be at most {most}, got {value}"
    if choices is not None:
        for given in value if isinstance(value, tuple) else (value,):
            if given not in choices:
                close = difflib.get_close_matches(str(given), list(map(str, choices)), 1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(map(str, choices))}"
                return f"cannot be {given!r}; {hint}"
    return ""


#: how messages call an option's type
OPTION_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a tuple of names"}


def dashed(name: str) -> str:
    """How text spells an option or a pass's argument."""
    return name.replace("_", "-")


# --------------------------------------------------------------------------------------------- instruments


class Instrument:
    """Listens to a pipeline; override what you need. Of what passes try, and of what their changes look like, only
    those are told that `watch`."""

    watches: ClassVar[bool] = False

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        """False skips the pass (only one that keeps its level)."""
        return True

    def gave(self, pass_: Pass, after: Module) -> None:
        """What the pass gave, before anybody has looked at it."""

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None: ...

    def failed_pass(self, pass_: Pass, before: Module, error: BaseException) -> None: ...

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        """False vetoes one rewrite."""
        return True

    def acted(self, pass_name: str, number: int, rule: str) -> None:
        """One rewrite that nobody vetoed."""

    def tried(self, pass_name: str, rule: str) -> None:
        """A rule is about to look at a value."""

    def missed(self, miss: Miss) -> None:
        """A rule did not apply, for a reason that it knows."""

    def proposed(self, action: Action) -> None:
        """What `action` will be asked about next."""


class _Watchers:
    """Tells all instruments that watch."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._told = instruments

    def tried(self, pass_name: str, rule: str) -> None:
        for instrument in self._told:
            instrument.tried(pass_name, rule)

    def missed(self, miss: Miss) -> None:
        for instrument in self._told:
            instrument.missed(miss)

    def proposed(self, action: Action) -> None:
        for instrument in self._told:
            instrument.proposed(action)


class _Pauses(threading.local):
    """How often the running thread has asked for a pause."""

    own = 0


_pauses = _Pauses()
_collector = lock("collector")
#: new objects from which on none is looked at when a pause ends: most are a program's
MANY = 20000
#: threads that have asked for a pause, and whether the collector ran before the first did; guarded by `_collector`
_pausing = 0
_was_on = True


@contextmanager
def collections_paused() -> Iterator[None]:
    """No cyclic garbage collection meanwhile (in the whole process): compiling makes hundreds of thousands of objects
    that stay and no cycles, and every collection would look at all of them, a fifth of the time a large graph takes."""
    global _pausing, _was_on
    with _collector:
        if not _pausing:
            _was_on = gc.isenabled()
            gc.disable()
        _pausing += not _pauses.own
        _pauses.own += 1
    try:
        yield
    finally:
        with _collector:
            _pauses.own -= 1
            _pausing -= not _pauses.own
            _resume()


def _resume() -> None:
    if not _pausing and _was_on:
        if gc.get_count()[0] > MANY and not gc.get_freeze_count():
            gc.freeze()  # what is alive now is old, and will be looked at when all that is old is
            gc.unfreeze()
        gc.enable()


def _forget_other_threads() -> None:
    """Threads that a forked child does not have end no pause there."""
    global _pausing
    if _pausing:
        _pausing = int(_pauses.own > 0)
        _resume()


in_child(_forget_other_threads)


def passes_that_establish(name: str) -> list[str]:
    """The names of the passes after which a property holds."""
    return [p.name for p in PASSES.values() if name in p.establishes]


#: nodes of a graph up to which it is verified by default: beyond, that is a tenth of the time a program takes
LARGE = 8000


def _ran(pass_: Pass, module: Module, rewriter: Rewriter) -> Module:
    """What a pass makes of a module. IRError where it would end the process, as if all was well."""
    try:
        return pass_.run(module, rewriter)
    except SystemExit as leaving:
        raise IRError(f"pass {pass_.name} wants to end the process (SystemExit: {leaving.code})") from leaving


class Manager:
    """Runs passes one by one. What a pass requires is checked before it; after it that it keeps the function's
    signature, gives the level it says, and establishes and keeps the properties it promises (rules M of
    symc.ir.verify); with `verify`, all rules of the level (always in tests and tools). `verify` None, for users, checks
    what the passes of each level leave in the end, unless the graph is LARGE; but no kernel, as they are checked where
    they are compiled for the first time. Where that fails, the passes run again with all checks, to find the one at
    fault."""

    def __init__(self, instruments: Sequence[Instrument] = (), verify: bool | None = True) -> None:
        self.instruments, self.verify = list(instruments), verify
        self.seconds: dict[str, float] = {}
        #: what the last step gave, its properties, its signature, and whether it has strict regions
        self._last: tuple[Module, set[str], Signature, bool] | None = None
        self._checked = Checked()
        #: whether no graph of what ran so far was LARGE
        self._small = True

    def step(self, pass_: Pass, module: Module) -> Module:
        """The module after the pass. PipelineError if the module is not what the pass takes. Errors of the pass or of
        the verifier pass through, after the instruments have been told."""
        return self._step(pass_, module, self.verify is not False)

    def _step(self, pass_: Pass, module: Module, verify: bool) -> Module:
        properties = self._admit(pass_, module)
        if not all([i.before_pass(pass_, module) for i in self.instruments]):
            if pass_.takes != pass_.gives:
                raise PipelineError(
                    f"pass {pass_.name} changes the level from {pass_.takes} to {pass_.gives}: it cannot be skipped"
                )
            return module
        watching = [i for i in self.instruments if i.watches]
        watcher = _Watchers(watching) if watching else None
        strict = self._last[3] if self._last is not None and self._last[0] is module else has_strict(module)
        guarded = strict and may_round(pass_.numerics)
        rewriter = Rewriter(pass_.name, self._may_act if self.instruments else None, watcher, guarded)
        start = time.perf_counter()
        try:
            after = _ran(pass_, module, rewriter)
            seconds = time.perf_counter() - start
            self.seconds[pass_.name] = self.seconds.get(pass_.name, 0.0) + seconds
            for instrument in self.instruments:
                instrument.gave(pass_, after)
            self._check(pass_, module, properties, after, verify, strict)
        except Exception as error:
            for instrument in self.instruments:
                instrument.failed_pass(pass_, module, error)
            raise
        for instrument in self.instruments:
            instrument.after_pass(pass_, module, after, seconds)
        return after

    def run(self, passes: Iterable[Pass], module: Module) -> Module:
        """The module after the passes, as by `step`; it may be what an earlier run has given."""
        order, first = list(passes), module
        small = self._small or self._last is None or self._last[0] is not module
        with collections_paused():
            for at, pass_ in enumerate(order):
                ends = at + 1 == len(order) or order[at + 1].takes != order[at + 1].gives
                small = small and not (isinstance(module, Graph) and len(module.nodes()) > LARGE)
                try:
                    module = self._step(pass_, module, self.verify is True or self.verify is None and ends and small)
                except Exception as error:
                    refused = isinstance(error, IRError) and not isinstance(error, VerifyError)
                    if self.verify is None and at and not refused:
                        Manager(verify=True).run(order, first)
                    raise
        self._small = small
        return module

    def _may_act(self, pass_name: str, number: int, rule: str) -> bool:
        allowed = all([i.action(pass_name, number, rule) for i in self.instruments])
        if allowed:
            for instrument in self.instruments:
                instrument.acted(pass_name, number, rule)
        return allowed

    def _admit(self, pass_: Pass, module: Module) -> set[str]:
        """The properties of the module before the pass; PipelineError if they, or its level, are not what it takes."""
        here = level(module)
        if here != pass_.takes:
            leads = [p.name for p in PASSES.values() if p.gives == pass_.takes != p.takes]
            hint = f"; {' and '.join(leads)} gives {pass_.takes} IR" if leads else ""
            raise PipelineError(f"pass {pass_.name} takes {pass_.takes} IR, but this is {here} IR{hint}")
        found = self._last[1] if self._last is not None and self._last[0] is module else held(module)
        for name in pass_.requires:
            if name not in found:
                missing = PROPERTIES[name].missing(module)
                makers = " or ".join(passes_that_establish(name)) or "no pass"
                raise PipelineError(
                    f"pass {pass_.name} requires that the {here} IR is {name}, but {missing}; {makers} establishes that"
                )
        return found

    def _check(
        self, pass_: Pass, before: Module, properties: set[str], after: Module, verified: bool, strict: bool
    ) -> None:
        start = time.perf_counter()
        try:
            gives = level(after)
        except TypeError as problem:
            raise VerifyError("M2", f"pass {pass_.name} gives no program: {problem}; `run` returns it") from None
        if gives != pass_.gives:
            raise VerifyError("M2", f"pass {pass_.name} gives {pass_.gives} IR, but this is {gives} IR")
        known = self._last[2] if self._last is not None and self._last[0] is before else signature_of(before)
        signature = known if after is before else signature_of(after)
        if after is not before:
            adds = pass_.numerics == "extends"
            check_signature(pass_.name, known, signature, adds, pass_.takes == "symbol")
        found = properties if after is before else held(after)
        kept = [n for n in properties if PROPERTIES[n].level == gives and n not in pass_.breaks]
        for name in [*pass_.establishes, *kept]:
            if name not in found:
                word = "establishes" if name in pass_.establishes else "keeps"
                missing = PROPERTIES[name].missing(after)
                raise VerifyError("M7", f"pass {pass_.name} {word} that the {gives} IR is {name}, but {missing}")
        self._last = after, found, signature, strict
        if strict and may_round(pass_.numerics) and after is not before:
            check_strict(pass_.name, pass_.numerics, before, after)
        if verified:
            if self.verify is None and gives == "loop":
                for kernel in after.kernels:
                    self._checked.add(kernel)
            try:
                verify(after, checked=self._checked)
            except VerifyError as problem:
                raise problem.within(f"after pass {pass_}") from None
        self.seconds["verify"] = self.seconds.get("verify", 0.0) + time.perf_counter() - start

"""The first pass, action and value that make a program wrong: checked after every pass on several kinds of inputs, then
bisected, reduced and written as a file that shows it again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from symc.debug.apart import apart
from symc.debug.blame import Blame, Few, blame, mentioned, native_blame
from symc.debug.checks import Scene, check
from symc.debug.files import write
from symc.debug.native_fault import fault_of
from symc.debug.nearby import nearby
from symc.debug.operator_fault import OPERATOR, files_of_operators
from symc.debug.reading import operators_of
from symc.debug.reduce import reduce
from symc.debug.trial import Failure, Trial
from symc.passes.manager.manager import Manager, Module, Pass

#: kinds of inputs: random numbers, small whole numbers, those at the edges of their type, and small and large ones
KINDS = ("seed", "exact-int", "edge", "wide")
#: seconds that a pass, that the checks behind it or machine code, and that one try of a reduction may take
PASS_LIMIT, SILENT, TRY_LIMIT = 20.0, 1800.0, 5.0
#: and one try where it is known to hang
HANG_LIMIT = 1.0
#: what is said in the place of a pass where no pass is at fault
CODE = "code generation"
#: files of one kind of failure in a folder
KEPT = 10


def trials(
    module: Module,
    passes: Sequence[Pass],
    kinds: Sequence[str],
    seed: int = 0,
    train: bool = True,
    smooth: bool = False,
) -> list[Trial]:
    """One trial for every kind of inputs."""
    made = []
    for kind in kinds:
        common = Trial(module, tuple(passes), seed, train=train, refusable=False, limit=PASS_LIMIT, bound=False)
        if kind == "seed":
            made.append(dataclasses.replace(common, native=True, rules=True))
        else:
            made.append(
                dataclasses.replace(common, whole=kind == "exact-int", edge=kind == "edge", wide=kind == "wide")
            )
    return made


def kind_of(trial: Trial) -> str:
    """The kind of a trial's inputs."""
    return "exact-int" if trial.whole else "edge" if trial.edge else "wide" if trial.wide else "seed"


class Search:
    """The steps of `symc numdiff`, one after the other, so that what is known already can be told."""

    def __init__(self, given: Sequence[Trial], loads: Sequence[str] = ()) -> None:
        self.given = list(given)
        self.loads = tuple(dict.fromkeys([*loads, *files_of_operators(self.given[0].module)]))
        self.trial = self.given[0]
        self.failure: Failure | None = None
        self.blame = Blame()
        self.at = 0
        #: the positions of passes that changed nothing
        self.idle: set[int] = set()
        #: whether every check needs a process of its own: it may not live to tell, or leaves something behind
        self.alone = False
        #: the reduced trial, and how it fails
        self.small: Trial | None = None
        self.shown: Failure | None = None

    @property
    def place(self) -> str:
        """The pass that is at fault; what follows the passes is code generation."""
        if self.blame.maker:
            return self.blame.maker
        return self.given[0].passes[self.at].name if self.at < len(self.given[0].passes) else CODE

    def check(self) -> Failure | None:
        """What fails first, in a process that may die of it."""
        found = apart(self._checked, SILENT)
        if isinstance(found, Failure):  # it died
            self.failure, self.alone = found, True
            self.at = _position(self.trial.passes, found.where)
            if self.at == len(self.trial.passes):
                self._machine_code(self.trial)
        else:
            self.failure, self.at, number, self.blame, self.idle, near = found
            self.trial = self.given[number] if near is None else self._near(near)
            self.alone = self.failure is not None and has_effects(self.failure)
            if self.failure is not None and self.failure.check == "native":
                self._machine_code(self.given[0])
        return self.failure

    def _machine_code(self, trial: Trial) -> None:
        """The pass of loops whose loops the interpreter runs right and machine code wrong, or code generation."""
        found = fault_of(trial, Few)
        if found is not None:
            self.at, self.blame = found.at, native_blame(trial, found, self.blame)

    def _near(self, number: int) -> Trial:
        """A trial of a part of the program that the pass at fault was given."""
        passes, manager = self.given[0].passes, Manager(verify=False)
        before = manager.run(passes[: self.at], self.given[0].module)
        after = manager.step(passes[self.at], before)
        return next(islice(nearby(self.given[0], before, after, passes[self.at]), number, None))

    def _checked(self, say: Callable[[str], None]) -> tuple[Failure | None, int, int, Blame, set[int], int | None]:
        scene = Scene()
        failure = check(self.given[0], say, self.given[1:], scene).failure
        number = 0
        if failure is not None and scene.judges:
            number = self.given.index(scene.judges[0].trial)
        if failure is None or failure.check == "hang":
            found = Blame()
        elif has_effects(failure) and not failure.rule.startswith(OPERATOR):
            found = mentioned(scene.before, failure)
        elif scene.near is not None:
            self.at, alone = scene.at, Scene()
            small = self._near(scene.near)
            check(small, scene=alone)
            found = blame(small, alone, failure)
        else:
            found = blame(self.given[0], scene, failure)
        return failure, scene.at, number, found, scene.idle, scene.near

    def reduce(self, seconds: float) -> tuple[int, int]:
        """A smaller program that fails the same way: its operators, and the tries it took."""
        assert self.failure is not None
        tries = 0
        hangs = self.failure.check == "hang"
        passes = self.trial.passes[: self.at + 1]
        if passes and passes[-1].gives == "symbol":  # a Symbol has values once it is decomposed and differentiated
            tensors = [p for p in self.trial.passes if p.gives == "tensor"]
            passes = (*passes, *(p for p in tensors if p.takes == "symbol" or p.numerics == "extends"))
        limit = HANG_LIMIT if hangs else TRY_LIMIT

        def fails(trial: Trial) -> Failure | None:
            nonlocal tries
            tries += 1
            if not self.alone:
                return check(trial).failure
            found = apart(lambda say: check(trial, say).failure, limit)
            return found if found is None or isinstance(found, Failure) else None

        native = self.trial.native and (self.failure.check == "native" or self.at >= len(self.trial.passes))
        small = dataclasses.replace(self.trial, passes=passes, limit=limit, native=native)
        first = fails(small)
        if first is None or first.signature != self.failure.signature:
            small, first = self.trial, self.failure
        self.small, self.shown = reduce(small, first, fails, seconds)
        return operators_of(self.small.module), tries

    def write(self, folder: Path, source: str) -> Path:
        """The file that shows it again."""
        assert self.failure is not None
        trial, shown = self.small or self.trial, self.shown or self.failure
        words = dict.fromkeys((self.place, self.blame.rule or self.failure.rule))
        stem = re.sub(r"[^\w]+", "_", "_".join(words)).strip("_")
        # the last one of so many is written again and again
        number = next((n for n in range(KEPT) if not (folder / f"{stem}_{n}.sir").exists()), KEPT - 1)
        return write(trial, shown, folder, f"{stem}_{number}", source, self.loads)


def has_effects(failure: Failure) -> bool:
    """Whether a pass is wrong by what it leaves behind when it has run."""
    return failure.check == "again" or (failure.check, failure.rule) == ("verifier", "M8")


def _position(passes: Sequence[Pass], name: str) -> int:
    return next((at for at, p in enumerate(passes) if p.name == name), len(passes))

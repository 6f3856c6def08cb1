"""What the prologue of a program has computed, and of which versions of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from symc.ir.process import turns
from symc.ir.program.nodes import Program, ViewStep, bases_of, operands_of, results_of
from symc.ir.types import Array
from symc.runtime.table import aligned_empty
from symc.runtime.versions import Block, block_of


class Kept:
    """The values that runs of a program on the same parameters find, one after the other or at once: every run asks
    with its own table before it begins. Only those whose parameters may have been written are computed again."""

    def __init__(self, program: Program, buffers: Mapping[str, Array]) -> None:
        self.memory = aligned_empty(max(program.kept, 64))
        names, self._entries = _entries_of(program)
        #: the memory of the parameters; None: nobody knows when it is written
        self._blocks: list[Block | None] = [block_of(buffers[name]) for name in names]
        #: None where nothing has been computed, or not to its end: there may be no parameters at all
        self._seen: list[int | None] | None = None
        self._lock = turns()

    def renew(self, run: Callable[[int, int], None]) -> None:
        """Compute what is not up to date; `run` runs entries of a program's table, of which the first are these."""
        versions = self._versions()
        if versions != self._seen or None in versions:
            with self._lock:
                self._compute(run)

    def _versions(self) -> list[int | None]:
        # a version is read before what it stands for: a write in between is seen the next time
        return [None if b is None or b.loans else b.version for b in self._blocks]

    def _compute(self, run: Callable[[int, int], None]) -> None:
        versions, seen = self._versions(), self._seen
        changed = {at for at, v in enumerate(versions) if v is None or seen is None or v != seen[at]}
        wanted = {entry for sources, needs in self._entries if sources & changed or seen is None for entry in needs}
        self._seen = None  # whatever is stopped in between has to be done again
        for entry in sorted(wanted):
            run(entry, entry + 1)
        self._seen = versions


def _entries_of(program: Program) -> tuple[list[str], list[tuple[set[int], set[int]]]]:
    """The parameters that the prologue reads; and for each entry of its table the numbers of those that its results
    depend on, and of the entries that have to run for it (itself, and whoever leaves it a value that is not kept)."""
    base = bases_of(program)
    params = {p.name for p in program.params}
    names: list[str] = []
    made: dict[str, tuple[set[int], set[int], bool]] = {}
    found: list[tuple[set[int], set[int]]] = []
    for step in program.steps[: program.prologue]:
        if isinstance(step, ViewStep):
            continue
        sources, needs = set[int](), {len(found)}
        for value in dict.fromkeys(base[o] for o in operands_of(step)):
            if value in params:
                if value not in names:
                    names.append(value)
                sources.add(names.index(value))
            elif value in made:
                theirs, entries, kept = made[value]
                sources |= theirs
                needs |= set() if kept else entries
        found.append((sources, needs))
        made.update((r.name, (sources, needs, r.place.kind == "kept")) for r in results_of(step))
    return names, found

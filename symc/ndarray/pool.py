"""Programs of single operators that move from arrays to arrays: only addresses in their tables change between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symc.compile import Executable, Instance
from symc.ir.program.nodes import ViewStep
from symc.ir.types import Array
from symc.runtime.memory import address_of

#: instances kept of one program, and the largest working memory that one may keep
KEEP, LARGEST = 4, 1 << 20


class Pool:
    """Runs one executable on changing arrays. Threads that call it at once get an instance each."""

    def __init__(self, executable: Executable) -> None:
        self.executable = executable
        #: taking from a list and adding to it need no lock
        self._free: list[_Movable] = []
        program = executable.program
        calls = executable.loops.calls
        native = all(calls[at] is not None for at, s in enumerate(program.steps) if not isinstance(s, ViewStep))
        #: Python callbacks hold their arrays, so programs that have some are bound anew for every call
        self._movable = native and program.arena <= LARGEST

    def run(self, buffers: Mapping[str, Array], outputs: Sequence[Array]) -> None:
        """Run on these arrays: parameters by name, and one for each output."""
        places = [*buffers.values(), *outputs]
        addresses = [address_of(a) for a in places]
        if not self._movable:
            self.executable.bind(buffers, outputs).run()
            return
        try:
            found = self._free.pop()
        except IndexError:
            instance = self.executable.bind(buffers, outputs)
            instance.run()
            spans = sorted((start, start + a.nbytes) for start, a in zip(addresses, places))
            if any(end > start for (_, end), (start, _) in zip(spans, spans[1:])) or not all(a.size for a in places):
                return  # which address stands for which array cannot be told here
            found = _Movable(instance, [(start, start + a.nbytes) for start, a in zip(addresses, places)])
        else:
            found.run(addresses)
        if len(self._free) < KEEP:
            self._free.append(found)


class _Movable:
    """An instance without its arrays: where their addresses are in the table."""

    def __init__(self, instance: Instance, spans: Sequence[tuple[int, int]]) -> None:
        executable, table = instance.executable, instance.table
        #: (position in the table's arguments, number of the array, bytes to move its address by)
        self._slots: list[tuple[int, int, int]] = []
        at = 0
        for step in executable.program.steps:
            if isinstance(step, ViewStep):
                continue
            for name in (*step.operands, *(r.name for r in step.results)):
                address = address_of(instance.memory[name])
                for number, (start, end) in enumerate(spans):
                    if start <= address < end:
                        self._slots.append((at, number, int(table.args[at]) - start))
                at += 1
        self._args, self._go = table.args, table.runner()
        self._keep = (table, instance.arena, executable.constants)
        table.release(instance.outputs, instance.buffers)

    def run(self, addresses: Sequence[int]) -> None:
        args = self._args
        for at, number, shift in self._slots:
            args[at] = addresses[number] + shift
        self._go()

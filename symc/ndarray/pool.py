"""Programs of single operators that move from arrays to arrays: only addresses in their tables change between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import c_int64

from symc.compile import Executable, Instance
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
        self._movable = executable.program.arena <= LARGEST

    def run(self, buffers: Mapping[str, Array], outputs: Sequence[Array]) -> None:
        """Run on these arrays: parameters by name, and one for each output."""
        if not self._movable:
            self.executable.bind(buffers, outputs).run()
            return
        try:
            found = self._free.pop()
        except IndexError:
            instance = self.executable.bind(buffers, outputs)
            instance.run()
            found = _Movable(instance)
        else:
            names = found.parameters
            found.run([*(address_of(buffers[name]) for name in names), *map(address_of, outputs)])
        if len(self._free) < KEEP:
            self._free.append(found)


class _Movable:
    """An instance without its arrays: where their addresses are."""

    def __init__(self, instance: Instance) -> None:
        executable, table = instance.executable, instance.table
        self.parameters = [p.name for p in executable.program.params]
        self._words = [(c_int64.from_address(w.address), w.buffer, w.offset) for w in instance.words]
        self._go = table.runner()
        self._keep = (table, instance.arena, executable.constants)
        table.release(instance.outputs, instance.buffers)

    def run(self, addresses: Sequence[int]) -> None:
        for word, buffer, offset in self._words:
            word.value = addresses[buffer] + offset
        self._go()

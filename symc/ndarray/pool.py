"""Programs that move from arrays to arrays: only addresses in their tables change between calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import c_int64

from symc.ir.types import Array
from symc.runtime.executable import Executable, Instance
from symc.runtime.memory import address_of
from symc.runtime.versions import touch

#: instances kept of one program, and the largest working memory that one may keep
KEEP, LARGEST = 4, 1 << 20


class Pool:
    """Runs one executable on changing arrays. Threads that call it at once get an instance each."""

    def __init__(self, executable: Executable, largest: int = LARGEST) -> None:
        """`largest`: bytes of working memory that an instance may keep between calls."""
        self.executable = executable
        #: taking from a list and adding to it need no lock
        self._free: list[_Movable] = []
        self._movable = executable.program.arena <= largest
        #: parameters that a run writes to
        self._written = list(dict.fromkeys(update.input for update in executable.program.updates))

    def run(self, buffers: Mapping[str, Array], outputs: Sequence[Array]) -> None:
        """Run on these arrays: parameters by name, and one for each output."""
        if not self._movable:
            self.executable.bind(buffers, outputs, single=True).run()
            return
        found = self._on(buffers, outputs)
        try:
            found.run()
        finally:
            self._touch(buffers)
        self._give_back(found)

    def begin(self, buffers: Mapping[str, Array], outputs: Sequence[Array]) -> Callable[[], None]:
        """Run the forward half; what is given runs the backward half, once. Arrays that only that half reads or writes
        may be filled until then."""
        if not self._movable:
            instance = self.executable.bind(buffers, outputs, single=True)
            instance.run_forward()
            return instance.run_backward
        found = self._on(buffers, outputs)
        try:
            found.forward()
        finally:
            self._touch(buffers)

        def finish(keep: object = (buffers, outputs)) -> None:
            try:
                found.backward()
            finally:
                self._touch(buffers)
            self._give_back(found)

        return finish

    def _on(self, buffers: Mapping[str, Array], outputs: Sequence[Array]) -> _Movable:
        """An instance on these arrays."""
        try:
            found = self._free.pop()
        except IndexError:
            return _Movable(self.executable.bind(buffers, outputs, single=True))
        found.move([*(address_of(buffers[name]) for name in found.parameters), *map(address_of, outputs)])
        return found

    def _touch(self, buffers: Mapping[str, Array]) -> None:
        for name in self._written:
            touch(buffers[name])

    def _give_back(self, found: _Movable) -> None:
        if len(self._free) < KEEP:
            self._free.append(found)


class _Movable:
    """An instance without its arrays: where their addresses are."""

    def __init__(self, instance: Instance) -> None:
        executable, table = instance.executable, instance.table
        self.parameters = [p.name for p in executable.program.params]
        self._words = [(c_int64.from_address(w.address), w.buffer, w.offset) for w in instance.words]
        self.run = table.runner()
        self.forward = table.runner(0, instance.forward_entries)
        self.backward = table.runner(instance.forward_entries, instance.entries)
        self._keep = (table, instance.arena, executable.constants)
        table.release(instance.outputs, instance.buffers)

    def move(self, addresses: Sequence[int]) -> None:
        for word, buffer, offset in self._words:
            word.value = addresses[buffer] + offset

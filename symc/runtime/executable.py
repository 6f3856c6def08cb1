"""Compiled programs, and programs on their buffers: what is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symc.base import those
from symc.codegen.emit.description import NativeKernel
from symc.codegen.target import Target
from symc.ir.modules import Calls, LoopModule
from symc.ir.op import Node
from symc.ir.process import once
from symc.ir.program.nodes import Program, ProgramParam, programs_of
from symc.ir.types import Array
from symc.passes.manager.manager import collections_paused
from symc.runtime.kept import Kept
from symc.runtime.keys import next_key
from symc.runtime.link import Linker, Word
from symc.runtime.memory import constant, empty
from symc.runtime.recording import RECORDING
from symc.runtime.table import Table, aligned_empty
from symc.runtime.versions import give_away, touch, touching


@dataclass(frozen=True)
class Executable:
    """A compiled program: bind it to buffers to run it, as often as wanted."""

    program: Program
    #: the kernels that its steps call, by their numbers
    called: Calls
    target: Target
    kernels: tuple[NativeKernel, ...]
    addresses: tuple[int, ...]
    _loops: Callable[[], LoopModule]

    @once
    def loops(self) -> LoopModule:
        """The program with its kernels' loops. Those of a program from the cache are made when somebody looks."""
        return self._loops()

    def __repr__(self) -> str:
        """`<Executable of <Program mlp: ...>: 3 kernels for avx2>`."""
        return f"<Executable of {self.program!r}: {len(self.kernels)} kernels for {self.target.name}>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the program that runs, and its memory over time."""
        return self.program._repr_html_()

    @once
    def constants(self) -> Mapping[Node, Array]:
        """The tensors that are part of the program, or of one inside of it. Whatever is bound reads the same ones."""
        programs = programs_of(self.program)
        return {node: constant(node) for node in dict.fromkeys(n for p in programs for _, n in p.constants)}

    def bind(
        self, buffers: Mapping[str, Array], outputs: Sequence[Array] | None = None, single: bool = False,
        kept: Kept | None = None,
    ) -> Instance:  # fmt: skip
        """Ready to run on these buffers (parameters by name; C-contiguous). Output arrays are made if not given.
        `single`: there is but one run on these outputs. `kept`: what the prologue computes of those parameters, whose
        memory is NDArrays' or never written; without it the prologue runs every time."""
        return Instance(self, buffers, outputs, single, kept)

    def kept_of(self, buffers: Mapping[str, Array]) -> Kept | None:
        """Memory for what the prologue computes of these parameters, if there is one."""
        return Kept(self.program, buffers) if self.program.prologue else None

    def __call__(self, /, **arrays: Any) -> dict[str, Array]:
        """The outputs by name, of arrays (or what numpy makes them of) by parameter name; these are not changed. A key
        of random numbers that is not given is drawn. What the program updates is seen by those who `bind` buffers.
        ValueError for missing, unknown and ill-shaped parameters."""
        params = {p.name: p for p in self.program.params}
        for name in arrays:
            if name not in params:
                raise ValueError(f"{self.program.name} has no parameter {name!r}; it has {those(list(params), name)}")
        missing = [_lacked(p) for p in params.values() if p.name not in arrays and p.role != "key"]
        if missing:
            raise ValueError(f"{self.program.name} needs {', '.join(missing)}")
        buffers: dict[str, Array] = {}
        for name, p in params.items():
            value = arrays[name] if name in arrays else next_key()
            made = np.array(value, p.type.dtype.numpy, order="C")
            if made.shape != p.type.shape:
                raise ValueError(f"{name}: needs {p.type}, got shape {list(made.shape)}")
            buffers[name] = made
        instance = self.bind(buffers)
        instance.run()
        return {output.name: array for output, array in zip(self.program.outputs, instance.outputs)}


def _lacked(param: ProgramParam) -> str:
    """A parameter as an error names it."""
    return f"{param.name}: {param.type}{f' (the gradient of the output {param.of})' if param.role == 'head' else ''}"


@dataclass
class Instance:
    """An executable on its buffers. `run_forward` and `run_backward` are one native call each."""

    executable: Executable
    buffers: Mapping[str, Array]
    given: Sequence[Array] | None = None
    single: bool = False
    kept: Kept | None = None
    outputs: list[Array] = field(init=False)
    table: Table = field(init=False)
    #: entries of the table that are the prologue, and those up to the end of the forward half
    prologue_entries: int = field(init=False, default=0)
    forward_entries: int = field(init=False, default=0)
    entries: int = field(init=False, default=0)
    #: where the addresses of the buffers are: of the program's parameters in order, then of its outputs
    words: list[Word] = field(init=False)

    def __repr__(self) -> str:
        return f"<Instance of {self.executable!r}>"

    def __post_init__(self) -> None:
        program = self.executable.program
        types = program.value_types()
        if self.given is not None:
            self.outputs = list(self.given)
        else:
            self.outputs = [empty(types[o.value].shape, types[o.value].dtype.numpy) for o in program.outputs]
        for p in program.params:
            array = self.buffers[p.name]
            if array.shape != p.type.shape or array.dtype != p.type.dtype.numpy or not array.flags.c_contiguous:
                raise ValueError(f"buffer {p.name}: needs contiguous {p.type}, got {array.dtype}{list(array.shape)}")
        if not self.single:
            for array in self.outputs:
                give_away(array)
        self.arena = aligned_empty(max(program.arena, 64))
        exe, kept = self.executable, self.kept.memory if self.kept is not None else aligned_empty(max(program.kept, 64))
        linker = Linker(exe.kernels, exe.addresses, exe.constants)
        with collections_paused():
            linked = linker.link(program, exe.called, self.buffers, self.outputs, self.arena, kept)
        self.table, self.prologue_entries, self.forward_entries = linked.table, linked.prologue, linked.forward
        self.entries = len(self.table.entries)
        self.words = linker.words

    @once
    def draws(self) -> bool:
        """Whether the program takes random bits."""
        return bool(self.executable.program.key)

    @once
    def _go_forward(self) -> Callable[[], None]:
        if self.kept is None or self._written["forward"]:
            return self._ready(0, self.forward_entries, "forward")
        renew, some, rest = (
            self.kept.renew,
            self.table.run,
            self.table.runner(self.prologue_entries, self.forward_entries),
        )

        def run() -> None:
            renew(some)
            rest()

        return run

    def run_forward(self) -> None:
        if RECORDING[0] is None:
            self._go_forward()
        else:
            self._run(0, self.forward_entries, "forward")

    @once
    def _go_backward(self) -> Callable[[], None]:
        return self._ready(self.forward_entries, self.entries, "backward")

    def run_backward(self) -> None:
        if RECORDING[0] is None:
            self._go_backward()
        else:
            self._run(self.forward_entries, self.entries, "backward")

    @once
    def _go(self) -> Callable[[], None]:
        return self._ready(0, self.entries, "forward", "backward")

    def run(self) -> None:
        if RECORDING[0] is None:
            self._go()
        else:
            self._run(0, self.entries, "forward", "backward")

    def _ready(self, first: int, last: int, *halves: str) -> Callable[[], None]:
        """`_run` with these arguments, with what can be found out once found out."""
        if self.kept is not None and not first:
            return functools.partial(self._run, first, last, *halves)
        runner = self.table.runner(first, last)
        written = touching([array for half in halves for array in self._written[half]])
        if written is None:
            return runner
        touch_all = written

        def run() -> None:
            try:
                runner()
            finally:
                touch_all()

        return run

    def _run(self, first: int, last: int, *halves: str) -> None:
        """Run entries of the table that update parameters in these halves."""
        run = self.table.run
        if (recording := RECORDING[0]) is not None:
            run = functools.partial(recording.run, self.executable.program, self.table)
        try:
            if self.kept is not None and not first:
                self.kept.renew(run)
                first = self.prologue_entries
            run(first, last)
        finally:
            for half in halves:
                for array in self._written[half]:
                    touch(array)

    @once
    def _written(self) -> dict[str, list[Array]]:
        """The buffers that each half updates."""
        made: dict[str, list[Array]] = {"forward": [], "backward": []}
        for update in self.executable.program.updates:
            made[update.phase].append(self.buffers[update.input])
        return made

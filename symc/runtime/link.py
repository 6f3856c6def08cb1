"""Linking: a program on its buffers becomes a table of kernel calls, and the programs inside of its steps tables that a
native kernel runs (symc.runtime.control).

All is decided before: here addresses are put together. In a loop a value may be the row of the turn, which lies further
on in every turn. The addresses of such rows are words in tables and records that the loop's kernel moves on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from symc.base import LateError, MXNetError, UserCodeError
from symc.codegen.emit.description import NativeKernel
from symc.ir.modules import Calls
from symc.ir.op import Node, parameter
from symc.ir.origins import called
from symc.ir.program.nodes import BranchStep, ControlStep, KernelStep, LoopStep, Program, ViewStep
from symc.ir.tensor.interp import evaluate
from symc.ir.types import BOOL, Array, TensorType
from symc.runtime.control import BRANCH, COPY, LOOP, MOVE, REST, START, branch_kernel, loop_kernel
from symc.runtime.memory import address_of, empty
from symc.runtime.table import Entry, Table, host_callback, make_table

#: elements touched by a thread that are worth waking it for
GRAIN = 16384
TRUTH = TensorType(BOOL, ())


class Held(NamedTuple):
    """The memory of a value: where it begins in the first turn of all loops around, its type, by how many bytes which
    loops move it on after every turn, and in which of the caller's buffers it lies (-1: in none). Large programs have
    thousands of values, and few of them are ever looked at as arrays."""

    address: int
    type: TensorType
    moves: tuple[tuple[int, int], ...] = ()
    buffer: int = -1


class Word(NamedTuple):
    """The address of a word that holds an address in one of the caller's buffers, `offset` bytes from its beginning."""

    address: int
    buffer: int
    offset: int


class Linked(NamedTuple):
    """A table, the numbers of its entries in the prologue and up to the end of the forward half, and the memory of the
    program's values."""

    table: Table
    prologue: int
    forward: int
    held: Mapping[str, Held]


def entry_of(kernel: NativeKernel, code: int, args: Sequence[int]) -> Entry:
    """The call of a kernel whose machine code is at an address, with the addresses of its buffers."""
    shared = kernel.extent > 1 and kernel.work * kernel.extent > 2 * GRAIN
    grain = max(1, GRAIN // max(kernel.work, 1)) if shared else 0
    return Entry(code, [*args, *kernel.numbers], kernel.extent, grain)


class Linker:
    """Links one program: `kernels` and `addresses` are those of its loop kernels, `constants` its constants' memory.
    Afterwards `words` are those that other buffers' addresses may be written into."""

    def __init__(
        self, kernels: Sequence[NativeKernel], addresses: Sequence[int], constants: Mapping[Node, Array]
    ) -> None:
        self.kernels, self.addresses, self.constants = kernels, addresses, constants
        self.words: list[Word] = []
        self._begins: list[int] = []
        self._kept = 0
        #: for every loop: the words that it moves on, and by how many bytes
        self._moving: list[list[tuple[int, int]]] = []
        #: all such words with what they hold at first, and how many loops are around what is being linked
        self._moved: list[tuple[int, Held, int]] = []
        self._depth = 0

    def link(
        self, program: Program, called: Calls, buffers: Mapping[str, Array], outputs: Sequence[Array], arena: Array,
        kept: Array,
    ) -> Linked:  # fmt: skip
        """The table of a program on the caller's buffers: parameters by name, then outputs. `kept`: where its prologue
        leaves values."""
        types = program.value_types()
        names = [p.name for p in program.params]
        self._begins = [address_of(array) for array in (*(buffers[name] for name in names), *outputs)]
        known = [*(p.type for p in program.params), *(types[output.value] for output in program.outputs)]
        held = [Held(begin, t, (), number) for number, (begin, t) in enumerate(zip(self._begins, known))]
        keep = [arena, kept, outputs, buffers, self.constants]
        self._kept = address_of(kept)
        return self._link(program, called, dict(zip(names, held)), held[len(names) :], address_of(arena), keep)

    def _link(
        self, program: Program, called: Calls, buffers: Mapping[str, Held], outputs: Sequence[Held], arena: int,
        keep: list[Any],
    ) -> Linked:  # fmt: skip
        """The table of a program on buffers by parameter name, outputs' buffers and an arena, by its address; `keep` is
        what else must live as long."""
        held = dict(buffers)
        held.update((name, Held(address_of(self.constants[node]), node.tensor)) for name, node in program.constants)
        _place(program, held, outputs, {"arena": arena, "kept": self._kept})
        entries: list[Entry] = []
        read: list[Sequence[Held]] = []
        scratch = prologue = forward = 0
        for at, step in enumerate(program.steps):
            if isinstance(step, ViewStep):
                continue
            if isinstance(step, (LoopStep, BranchStep)):
                entry, values = self._control(step, called.regions[at], held, arena, keep), []
            else:
                call = called.calls[at]
                values = [held[name] for name in (*step.operands, *(r.name for r in step.results))]
                if call is None:
                    entry = _host_entry(step, values)
                else:
                    kernel = self.kernels[call]
                    args = [value.address + shift for value, shift in zip(values, kernel.shifts)]
                    for i, elements in enumerate(called.shifts[at] if at < len(called.shifts) else ()):
                        args[i] += elements * values[i].type.dtype.itemsize
                    entry = entry_of(kernel, self.addresses[call], args)
                    scratch = max(scratch, kernel.scratch)
            entries.append(entry)
            read.append(values)
            prologue += at < program.prologue
            forward += at < program.cut
        table = make_table(entries, scratch, keep)
        for at, (values, entry) in enumerate(zip(read, entries)):
            for i, (value, address) in enumerate(zip(values, entry.args)):
                if value.moves or value.buffer >= 0:
                    self._note(table.address(at) + 8 * i, value, address)
        return Linked(table, prologue, forward, held)

    def _note(self, word: int, value: Held, address: int) -> None:
        """This word holds an address in the memory of the value."""
        for loop, nbytes in value.moves:
            self._moving[loop].append((word, nbytes))
        if value.moves:
            self._moved.append((word, value, address))
        elif value.buffer >= 0:
            self.words.append(Word(word, value.buffer, address - self._begins[value.buffer]))

    def _control(
        self, step: ControlStep, inside: Sequence[Calls], held: Mapping[str, Held], arena: int, keep: list[Any]
    ) -> Entry:
        """A loop or branch: one call of its native kernel, on a record that says what to run."""
        operands, results = [held[o] for o in step.operands], [held[r.name] for r in step.results]
        frame = arena + step.frame.offset
        loop, first = len(self._moving), len(self._moved)
        self._moving.append([])
        self._depth += isinstance(step, LoopStep)
        tables: list[Table] = []
        for region, calls in zip(step.regions, inside, strict=True):
            buffers: list[Held] = []
            own: list[Any] = []
            for bound in (*region.params, *region.outputs):
                if bound.of == "truth":
                    buffers.append(Held(frame + step.frame_size - 1, TRUTH))
                    continue
                whole = (operands if bound.of == "operand" else results)[bound.number]
                buffers.append(_row(whole, loop, step, own) if bound.moves else whole)
            names = [p.name for p in region.program.params]
            linked = self._link(region.program, calls, dict(zip(names, buffers)), buffers[len(names) :], frame, own)
            tables.append(linked.table)
        keep += tables
        if isinstance(step, BranchStep):
            record = np.zeros((), BRANCH)
            self._put(record, "truth", operands[0])
            record["then"], record["other"] = (table.launch() for table in tables)
            keep.append(record)
            return Entry(branch_kernel(), [address_of(record)])
        self._depth -= 1
        record = self._loop(step, loop, operands, results, tables, frame, keep)
        if not self._depth:
            self._list(record, "starts", self._starts(first), keep)
        keep.append(record)
        return Entry(loop_kernel(), [address_of(record)])

    def _loop(
        self, step: LoopStep, loop: int, operands: Sequence[Held], results: Sequence[Held], tables: Sequence[Table],
        frame: int, keep: list[Any],
    ) -> Array:  # fmt: skip
        """The record of a loop."""
        head = step.head
        begins = [at for at in range(step.carries) if step.results[head + at].inplace != step.operands[at]]
        copies = np.zeros(len(begins), COPY)
        for at, carry in enumerate(begins):
            copies["nbytes"][at] = operands[carry].type.nbytes
            self._put(copies, "target", results[head + carry], at)
            self._put(copies, "source", operands[carry], at)
        stacked = results[head + step.carries :] if step.cond is not None else []
        rests = np.zeros(len(stacked), REST)
        for at, result in enumerate(stacked):
            rests["nbytes"][at] = result.type.nbytes // max(step.trips, 1)
            self._put(rests, "target", result, at)
        moving = np.array(self._moving[loop], MOVE)
        record = np.zeros((), LOOP)
        record["trips"], record["body"] = step.trips, tables[0].launch()
        if step.cond is not None:
            record["cond"], record["truth"] = tables[1].launch(), frame + step.truth
            self._put(record, "count", results[0])
        for name, listed in (("copies", copies), ("moving", moving), ("rests", rests)):
            self._list(record, name, listed, keep)
        return record

    def _starts(self, first: int) -> Array:
        """What the words that an outermost loop and those in it move on hold at first."""
        starts = np.zeros(len(self._moved) - first, START)
        for at, (word, value, address) in enumerate(self._moved[first:]):
            starts["word"][at] = word
            self._put(starts, "address", value._replace(moves=()), at, address)
        return starts

    @staticmethod
    def _list(record: Array, name: str, listed: Array, keep: list[Any]) -> None:
        record[name] = address_of(listed), len(listed)
        keep.append(listed)

    def _put(self, records: Array, name: str, value: Held, at: int = 0, address: int = 0) -> None:
        """An address in the value's memory (its first, if none is given), in a field of a record."""
        dtype, address = records.dtype, address or value.address
        assert dtype.fields is not None
        records.reshape(-1)[name][at] = address
        self._note(address_of(records) + at * dtype.itemsize + dtype.fields[name][1], value, address)


def _row(whole: Held, loop: int, step: ControlStep, keep: list[Any]) -> Held:
    """The row of an array that the first turn of a loop takes, which moves on with the loop."""
    t, backwards = whole.type, isinstance(step, LoopStep) and step.backwards
    row = t.with_shape(t.shape[1:])
    if not t.shape[0]:  # no turn is taken
        keep.append(empty(row.shape, row.dtype.numpy))
        return Held(address_of(keep[-1]), row)
    first = whole.address + (t.nbytes - row.nbytes if backwards else 0)
    by = -row.nbytes if backwards else row.nbytes
    return Held(first, row, (*whole.moves, (loop, by)), whole.buffer)


def _place(program: Program, held: dict[str, Held], outputs: Sequence[Held], own: Mapping[str, int]) -> None:
    """Give every value of the program the memory of its place; `own`: where the program's own begins, by kind."""
    for step in program.steps:
        if isinstance(step, ViewStep):
            source, t = held[step.operand], step.result.type
            held[step.result.name] = source._replace(address=source.address + step.offset * t.dtype.itemsize, type=t)
            continue
        for result in step.results:
            place, t = result.place, result.type
            if place.kind in own:
                held[result.name] = Held(own[place.kind] + place.offset, t)
            else:
                found = outputs[place.offset] if place.kind == "out" else held[place.name]
                held[result.name] = found._replace(type=t)


class MatrixError(LateError, np.linalg.LinAlgError):
    """A matrix that a factorisation does not take: numpy's error, too."""


def _host_entry(step: KernelStep, values: Sequence[Held]) -> Entry:
    """A step without a loop nest: operators written by users, and what numpy does, run in Python."""
    inputs = [parameter(i).input_name for i in step.body.inputs]
    results = [output.name for output in step.body.outputs]

    def run(args: int) -> None:
        arrays = _arrays(args, values)
        try:
            made = evaluate(step.body, dict(zip(inputs, arrays))).outputs
        except UserCodeError:
            raise
        except (MXNetError, np.linalg.LinAlgError) as problem:
            whose = called(step.origin)
            remark = f"{whose}: {problem}" if whose else str(problem)
            if isinstance(problem, np.linalg.LinAlgError):
                raise MatrixError(remark) from problem
            late = isinstance(problem, LateError)
            raise (LateError.of(problem, remark) if late else MXNetError(remark)) from problem
        for name, array in zip(results, arrays[len(inputs) :]):
            array[...] = made[name]

    return Entry(host_callback(run), [value.address for value in values])


def _arrays(args: int, values: Sequence[Held]) -> list[Array]:
    """The values at the addresses that a table's arguments hold now."""
    addresses = (ctypes.c_uint64 * len(values)).from_address(args)
    made: list[Array] = []
    for address, value in zip(addresses, values):
        t = value.type
        memory = (ctypes.c_uint8 * t.nbytes).from_address(address) if t.nbytes else b""
        made.append(np.frombuffer(memory, t.dtype.numpy).reshape(t.shape))
    return made

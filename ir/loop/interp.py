"""The reference interpreter of the loop level: it does what the machine does.

Serial loops run turn by turn, and so do parallel ones where order could show: where memory that the turns share is
both loaded and stored. The turns of a jam loop, and those in one chunk of a vector loop (width * unroll), run in
lockstep: every statement for all of them before the next one, as axes of numpy arrays. What they carry are partial
results, one a turn, that start from the combination's neutral value and are folded as registers and lanes are. So an
illegal vector loop gives the wrong numbers of native code. Where no order can show, whole loops run in lockstep.

`serial=True` runs every loop turn by turn: what the loops would mean without their schedule. `precision` "f64" takes
floats as f64: the truth that a schedule's rounding is compared with.

A scalar is an array with one axis for every open lockstep loop (extent 1 where it does not depend on it). Guards
are kept: memory is not touched where they fail, and an access outside of a buffer is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np
from numpy.lib.stride_tricks import as_strided

from symc.ir.errors import IRError
from symc.ir.index import Affine, Quotient, Var
from symc.ir.loop.nodes import Alloc, Carry, For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store, walk
from symc.ir.modules import LoopModule
from symc.ir.op import Ref
from symc.ir.prims import numeric
from symc.ir.program.interp import POISON, Memory, Seen, run_body, run_control, tell
from symc.ir.program.nodes import BranchStep, ControlStep, KernelStep, LoopStep, Program, ViewStep
from symc.ir.tensor.interp import Results
from symc.ir.types import F64, Array, DType, TensorType, strides_of

#: turns taken at once over all open lockstep loops: longer loops go in pieces, to bound memory
LANES = 1 << 20
Kernels = Union[Mapping[int, LoopKernel], Sequence["LoopKernel | None"]]
Inside = Callable[[int], "list[LoopModule]"]


class _Storage:
    """A buffer's elements in a row. `lanes` is the shape of the open lockstep loops a scratch buffer is private to."""

    def __init__(self, name: str, tensor: TensorType, flat: Array, lanes: tuple[int, ...] = ()) -> None:
        self.name, self.tensor, self.flat, self.lanes = name, tensor, flat, lanes
        self.strides = strides_of(tensor.shape)

    def shares(self, other: _Storage) -> bool:
        """Whether both have memory in common."""
        first, second = self.flat.ctypes.data, other.flat.ctypes.data
        return first < second + other.flat.nbytes and second < first + self.flat.nbytes


class _Machine:
    """The state of one kernel's run."""

    def __init__(self, kernel: LoopKernel, serial: bool, wide: bool) -> None:
        self.kernel, self.serial, self.wide = kernel, serial, wide
        self.values: dict[str, Array] = {}
        self.variables: dict[str, Array] = {}
        self.buffers: dict[str, _Storage] = {}
        self.lanes: tuple[int, ...] = ()
        self.mask: Array | None = None
        #: whether order could show in a loop, by its identity
        self._ordered: dict[int, bool] = {}

    def type(self, tensor: TensorType) -> TensorType:
        """A type at the precision of this run."""
        return tensor.with_dtype(F64) if self.wide and tensor.dtype.is_float else tensor

    def dtype(self, dtype: DType) -> DType:
        return F64 if self.wide and dtype.is_float else dtype

    # -- scalars

    def spread(self, value: Array) -> Array:
        """A scalar with an axis for every open lockstep loop."""
        missing = len(self.lanes) - value.ndim
        return value.reshape(value.shape + (1,) * missing) if missing else value

    def ref(self, ref: Ref) -> Array:
        """The value of a scalar operand."""
        if ref.is_literal:
            with np.errstate(over="ignore"):
                return self.spread(np.asarray(ref.value, self.dtype(ref.dtype).numpy))
        return self.spread(self.values[ref.name])

    def index(self, index: Affine) -> Array:
        """The value of an index expression (i64)."""
        total: Any = np.int64(index.const)
        for atom, factor in index.terms:
            if isinstance(atom, Var):
                held = self.values[atom.name] if atom.dynamic else self.variables[atom.name]
                value: Any = held.astype(np.int64)
                value = self.spread(value)
            elif isinstance(atom, Quotient):
                value = np.floor_divide(self.index(atom.expr), atom.divisor)
            else:
                value = np.mod(self.index(atom.expr), atom.divisor)
            total = total + value * factor
        return self.spread(np.asarray(total))

    # -- memory

    def inside(self, guard: Sequence[tuple[Affine, int, int]]) -> Array | None:
        """Where an access happens: the guard holds and all enclosing conditions do. None: everywhere."""
        found = None if self.mask is None else self.spread(self.mask)
        for index, lo, hi in guard:
            value = self.index(index)
            test = (lo <= value) & (value < hi)
            found = test if found is None else found & test
        return found

    def offsets(self, storage: _Storage, indices: Sequence[Affine], where: Array | None, what: str) -> Array:
        """The places of an access among the elements; 0 where it does not happen."""
        total = self.spread(np.zeros((), np.int64))
        for axis, (index, extent, stride) in enumerate(zip(indices, storage.tensor.shape, storage.strides)):
            value = self.index(index)
            wrong = (value < 0) | (value >= extent)
            if where is not None:
                wrong = wrong & where
            if wrong.any():
                bad = int(np.broadcast_to(value, wrong.shape)[wrong].flat[0])
                where_text = f"index {axis} of %{storage.name}: {storage.tensor} is {bad} ({index})"
                raise IRError(f"kernel @{self.kernel.name}: {what}: {where_text}")
            total = total + value * stride
        if storage.lanes:
            count = np.arange(int(np.prod(storage.lanes)), dtype=np.int64).reshape(storage.lanes)
            total = total + self.spread(count) * storage.tensor.size
        return np.where(where, total, 0) if where is not None else total

    def load(self, stmt: Load) -> None:
        """A load; `other` (or zero) where it does not happen."""
        storage = self.buffers[stmt.buffer]
        where = self.inside(stmt.guard)
        if where is not None and not where.any():
            found = self.spread(np.zeros((), self.dtype(stmt.dtype).numpy))
        else:
            found = storage.flat[self.offsets(storage, stmt.index, where, f"load %{stmt.name}")]
        if where is not None:
            other = self.ref(stmt.other) if stmt.other is not None else np.zeros((), self.dtype(stmt.dtype).numpy)
            found = np.where(where, found, other)
        self.values[stmt.name] = np.asarray(found)

    def store(self, stmt: Store) -> None:
        """A store, in the order of the loops."""
        storage = self.buffers[stmt.buffer]
        where = self.inside(stmt.guard)
        if where is not None and not where.any():
            return
        offsets = self.offsets(storage, stmt.index, where, f"store to %{stmt.buffer}")
        value = self.ref(stmt.value)
        shape = self.lanes
        places, values = np.broadcast_to(offsets, shape), np.broadcast_to(value, shape)
        if where is not None:
            happens = np.broadcast_to(where, shape)
            places, values = places[happens], values[happens]
        with np.errstate(all="ignore"):
            if stmt.add:
                np.add.at(storage.flat, places.reshape(-1), values.reshape(-1))
            else:
                storage.flat[places.reshape(-1)] = values.reshape(-1)

    # -- statements

    def run(self, body: Sequence[Stmt]) -> None:
        """A body, statement by statement."""
        for stmt in body:
            if isinstance(stmt, Let):
                args = [self.ref(a) for a in stmt.args]
                with np.errstate(all="ignore"):
                    made = stmt.op.value(args, [self.type(TensorType(stmt.dtype, ()))])
                self.values[stmt.name] = np.asarray(made)
            elif isinstance(stmt, Load):
                self.load(stmt)
            elif isinstance(stmt, Store):
                self.store(stmt)
            elif isinstance(stmt, IndexValue):
                self.values[stmt.name] = numeric.cast(self.index(stmt.index), self.dtype(stmt.dtype))
            elif isinstance(stmt, For):
                self.loop(stmt)
            elif isinstance(stmt, Alloc):
                tensor = self.type(stmt.buffer.type)
                count = int(np.prod(self.lanes, dtype=np.int64))
                flat = np.full(tensor.nbytes * count, POISON, np.uint8).view(tensor.dtype.numpy)
                self.buffers[stmt.buffer.name] = _Storage(stmt.buffer.name, tensor, flat, self.lanes)
            else:
                self.branch(stmt)

    def branch(self, stmt: If) -> None:
        """Turns where the condition fails do not touch memory."""
        cond = self.ref(stmt.cond)
        outer = self.mask
        inside = cond if outer is None else cond & self.spread(outer)
        if inside.any():
            self.mask = inside
            self.run(stmt.body)
            self.mask = outer

    def loop(self, loop: For) -> None:
        """A loop, turn by turn or many turns at once."""
        turns = np.arange(loop.trips, dtype=np.int64) * loop.step + loop.lo
        at_once = 0 if self.serial else self.turns_at_once(loop)
        if at_once:
            self.lockstep(loop, turns, at_once)
            return
        carried = [self.ref(c.init) for c in loop.carries]
        for turn in turns:
            self.variables[loop.var] = np.asarray(turn)
            for c, value in zip(loop.carries, carried):
                self.values[c.name] = value
            self.run(loop.body)
            carried = [self.ref(c.yields) for c in loop.carries]
        for c, value in zip(loop.carries, carried):
            self.values[c.result] = value

    def turns_at_once(self, loop: For) -> int:
        """How many turns go in lockstep; 0: one after the other."""
        if loop.kind == "jam":
            return loop.trips
        if loop.kind == "vector" and (loop.carries or self.ordered(loop)):
            return loop.width * loop.unroll
        if loop.kind not in ("vector", "parallel") or loop.carries or self.ordered(loop):
            return 0
        return max(1, LANES // max(1, int(np.prod(self.lanes, dtype=np.int64))))

    def ordered(self, loop: For) -> bool:
        """Whether a loop loads and stores memory that its turns share."""
        found = self._ordered.get(id(loop))
        if found is None:
            inside = list(walk(loop.body))
            own = {s.buffer.name for s in inside if isinstance(s, Alloc)}
            stored = {s.buffer for s in inside if isinstance(s, Store)} - own
            loaded = {s.buffer for s in inside if isinstance(s, Load)} - own
            held = self.buffers
            found = any(held[a].shares(held[b]) for a in stored for b in loaded)
            self._ordered[id(loop)] = found
        return found

    def lockstep(self, loop: For, turns: Array, at_once: int) -> None:
        """The turns, `at_once` of them at a time; the last ones, if they are fewer, start from new partial results."""
        outer = self.lanes
        totals = [self.ref(c.init) for c in loop.carries]
        parts: list[Array] = []
        for some in _pieces(loop, turns, at_once):
            self.lanes = (*outer, len(some))
            self.variables[loop.var] = some.reshape((1,) * len(outer) + (len(some),))
            if parts and len(some) < at_once:
                totals, parts = self.folded(loop, totals, parts), []
            for at, c in enumerate(loop.carries):
                self.values[c.name] = parts[at] if parts else self.ref(Ref("", c.init.dtype, _neutral(c)))
            self.run(loop.body)
            parts = [
                np.broadcast_to(value, (*value.shape[:-1], len(some)))
                for value in (self.ref(c.yields) for c in loop.carries)
            ]
        self.lanes = outer
        for c, total in zip(loop.carries, self.folded(loop, totals, parts) if parts else totals):
            self.values[c.result] = total

    def folded(self, loop: For, totals: list[Array], parts: list[Array]) -> list[Array]:
        """Partial results and what they continue as one: registers pair by pair, then their lanes half by half."""
        made = []
        for c, total, part in zip(loop.carries, totals, parts):
            dtype = self.dtype(c.init.dtype)

            def both(a: Array, b: Array, c: Carry = c, dtype: DType = dtype) -> Array:
                assert c.combine is not None
                with np.errstate(all="ignore"):
                    found = c.combine.value([a, b], [TensorType(dtype, ())])
                assert isinstance(found, np.ndarray)
                return found

            width = loop.width or 1
            missing = -part.shape[-1] % width
            filled = np.concatenate([part, np.full((*part.shape[:-1], missing), _neutral(c), part.dtype)], -1)
            registers = list(np.moveaxis(filled.reshape(*part.shape[:-1], -1, width), -2, 0))
            while len(registers) > 1:
                paired = [both(a, b) for a, b in zip(registers[::2], registers[1::2])]
                registers = paired + registers[2 * len(paired) :]
            lanes = registers[0]
            while lanes.shape[-1] > 1:
                half = lanes.shape[-1] // 2
                lanes = both(lanes[..., :half], lanes[..., half:])
            made.append(both(total, lanes[..., 0]))
        return made


def _pieces(loop: For, turns: Array, at_once: int) -> Iterator[Array]:
    """The turns that go together. Of a given vector loop, those that fill no chunk go as vectors, then one by one."""
    sizes = [at_once, loop.width, 1] if loop.given and loop.kind == "vector" else [at_once]
    for size in sizes:
        end = len(turns) // size * size if size != sizes[-1] else len(turns)
        yield from (turns[at : at + size] for at in range(0, end, size))
        turns = turns[end:]


def _neutral(carry: Carry) -> float | int | bool:
    """What a carry's partial results start from."""
    found = carry.combine.neutral(carry.init.dtype) if carry.combine is not None else None
    if found is None:
        raise IRError(f"the turns of a loop that carries %{carry.name} cannot be taken at once: it combines nothing")
    return found


def run_kernel(
    kernel: LoopKernel, arrays: Mapping[str, Array] | Sequence[Array], serial: bool = False,
    precision: str = "declared",
) -> None:  # fmt: skip
    """Run one kernel on its parameters' arrays (by name, or in order), writing into those it stores to.

    Arrays are C-contiguous and of the parameters' types (at the precision). IRError for an access outside of a buffer,
    and for turns at once that carry what does not combine."""
    machine = _Machine(kernel, serial, precision == "f64")
    given = [arrays[b.name] for b in kernel.buffers] if isinstance(arrays, Mapping) else list(arrays)
    for buffer, array in zip(kernel.buffers, given, strict=True):
        tensor = machine.type(buffer.type)
        if array.shape != tensor.shape or array.dtype != tensor.dtype.numpy or not array.flags.c_contiguous:
            got = f"{array.dtype}{list(array.shape)}"
            raise IRError(f"kernel @{kernel.name}: %{buffer.name} needs contiguous {tensor}, got {got}")
        machine.buffers[buffer.name] = _Storage(buffer.name, tensor, array.reshape(-1))
    machine.run(kernel.body)


def run_loops(
    program: Program, kernels: Kernels, buffers: Mapping[str, Array], serial: bool = False,
    shifts: Sequence[tuple[int, ...]] = (), inside: Inside = lambda step: [], precision: str = "declared",
    seen: Seen | None = None,
) -> Results:  # fmt: skip
    """Run a program by loop kernels (`kernels[i]` is that of step i; a step without one runs by its body), in the
    arena. `buffers` are arrays by parameter name; they are not changed. `shifts[i]` are the elements by which the
    kernel of step i sees its operands moved on, `inside(i)` the regions of step i with their kernels. `seen` is told
    every value of the program when it has been written."""
    memory = Memory(program, buffers, precision)
    _run_steps(memory, kernels, shifts, serial, inside, seen)
    return memory.results()


def _run_steps(
    memory: Memory, kernels: Kernels, shifts: Sequence[tuple[int, ...]], serial: bool, inside: Inside,
    seen: Seen | None = None,
) -> None:  # fmt: skip
    for at, step in enumerate(memory.program.steps):
        if isinstance(step, ViewStep):
            memory.view(step)
        elif isinstance(step, (LoopStep, BranchStep)):
            _run_control(step, memory, inside(at), serial)
        else:
            _run_kernel(at, step, memory, kernels, shifts, serial)
        tell(seen, step, memory)


def _run_kernel(
    at: int, step: KernelStep, memory: Memory, kernels: Kernels, shifts: Sequence[tuple[int, ...]], serial: bool
) -> None:
    kernel = kernels.get(at) if isinstance(kernels, Mapping) else kernels[at]
    if kernel is None:
        run_body(step, memory, memory.precision)
    else:
        arrays = [*(memory.held[o] for o in step.operands), *(memory.result(r) for r in step.results)]
        # A kernel may see a buffer under another shape; the memory is one and the same.
        seen = [a.reshape(b.type.shape) for a, b in zip(arrays, kernel.buffers, strict=True)]
        for i, shift in enumerate(shifts[at] if at < len(shifts) else ()):
            if shift:
                # what lies beyond the operand's end is never read: the kernel was made for its slice
                seen[i] = as_strided(seen[i].reshape(-1)[shift:], seen[i].shape, seen[i].strides)
        run_kernel(kernel, seen, serial, memory.precision)


def _run_control(step: ControlStep, memory: Memory, regions: Sequence[LoopModule], serial: bool) -> None:
    def run(number: int, own: Memory) -> None:
        if not regions:
            _run_steps(own, {}, (), serial, lambda step: [])
        else:
            module = regions[number]
            _run_steps(own, _called(module), module.shifts, serial, module.inside)

    run_control(step, memory, run)


def _called(module: LoopModule) -> list[LoopKernel | None]:
    return [None if number is None else module.kernels[number] for number in module.calls]


def run_loop_module(
    module: LoopModule, buffers: Mapping[str, Array], serial: bool = False, precision: str = "declared",
    seen: Seen | None = None,
) -> Results:  # fmt: skip
    """Run a loop module on arrays by parameter name."""
    return run_loops(module.program, _called(module), buffers, serial, module.shifts, module.inside, precision, seen)

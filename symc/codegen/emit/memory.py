"""Loads, stores and scratch memory of the lockstep emitter.

An access is affine where its offset is a sum over lane variables with constant strides: consecutive lanes become
vector loads and stores (masked in a partly used register), equal lanes one scalar, strided lanes a shuffle or
single elements. Everything else computes each lane's address.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from symc.codegen.emit.description import scratch_layout, shifts_of
from symc.codegen.emit.lanes import Coordinate, Lane, Val, coordinates, mask_text, project
from symc.codegen.emit.parts import store_first
from symc.codegen.emit.text import Lines, literal, splat, suffix, type_name
from symc.codegen.emit.transposed import groups, load_group, store_group
from symc.ir.index import Affine, Var, linear
from symc.ir.loop.nodes import Buffer, Load, Store
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, I64, U8, DType, strides_of

if TYPE_CHECKING:
    from symc.codegen.emit.kernel import _Emitter


class Memory:
    """Buffers of one kernel."""

    def __init__(self, emitter: _Emitter) -> None:
        self.e = emitter
        self.lines: Lines = emitter.lines
        self.buffers: dict[str, Buffer] = {}
        self.pointers: dict[str, str] = {}
        self.lanes_of: dict[str, tuple[Lane, ...]] = {}
        self.offsets, self.scratch_bytes = scratch_layout(emitter.kernel)
        self.shifts = shifts_of(emitter.kernel)

    def parameters(self, buffers: tuple[Buffer, ...]) -> None:
        for at, buffer in enumerate(buffers):
            self.pointers[buffer.name] = self.argument(at, "ptr")
            self.buffers[buffer.name] = buffer
        self.lines.externals["!0"] = "!0 = !{}"

    def argument(self, at: int, of: str) -> str:
        """A word of the kernel's arguments."""
        slot = "%args" if at == 0 else self.lines.value(f"getelementptr i8, ptr %args, i64 {8 * at}")
        return self.lines.value(f"load {of}, ptr {slot}, align 8, !invariant.load !0")

    def alloc(self, buffer: Buffer) -> None:
        """Scratch for every open lane: lanes are the innermost axis, so that a vector's lanes lie side by side."""
        self.buffers[buffer.name] = buffer
        self.lanes_of[buffer.name] = self.e.open
        offset = self.offsets[buffer.name]
        self.pointers[buffer.name] = self.lines.value(f"getelementptr i8, ptr %scratch, i64 {offset}")

    # -- addresses

    def offset(self, name: str, index: tuple[Affine, ...]) -> tuple[Affine, dict[Lane, int], bool]:
        """(offset in elements without the lanes' part, strides over lane dimensions, whether that is all)."""
        buffer = self.buffers[name]
        offset = linear(index, strides_of(buffer.type.shape)) - self.shifts.get(name, 0)
        own = self.lanes_of.get(name, ())
        strides: dict[Lane, int] = {}
        if own:
            per = prod(d.count * max(d.width, 1) for d in own)
            offset = offset * per
            for d in own:
                per //= d.count * max(d.width, 1)
                strides[d] = per
        uniform: list[tuple[object, int]] = []
        regular = True
        const = offset.const
        for atom, factor in offset.terms:
            place = self.e.vars.get(atom.name) if isinstance(atom, Var) and not atom.dynamic else None
            if isinstance(place, Lane):
                strides[place] = strides.get(place, 0) + factor * place.step
                if place.width or place.base != "0":
                    uniform.append((_Base(place), factor))
            elif self.e._index_dims(Affine(((atom, 1),), 0)):
                regular = False
            else:
                uniform.append((atom, factor))
        if not regular:
            return offset, strides, False
        return Uniform(uniform, const), strides, True  # type: ignore[return-value]

    def uniform_pointer(self, name: str, offset: object, itemsize: int) -> str:
        """Base pointer plus the part of the offset that all lanes share, outermost terms first."""
        assert isinstance(offset, Uniform)
        e, v = self.e, self.lines.value
        total = ""

        def depth(atom: object) -> int:
            if isinstance(atom, _Base):
                return e.depth.get(atom.lane.var, 0)
            variables = Affine(((atom, 1),), 0).variables()  # type: ignore[arg-type]
            return max((1 << 20 if x.dynamic else e.depth.get(x.name, 0) for x in variables), default=0)

        const = offset.const
        for atom, factor in sorted(offset.terms, key=lambda t: depth(t[0])):
            value = atom.lane.base if isinstance(atom, _Base) else e._atom(atom).items[()]  # type: ignore[arg-type]
            if not value.startswith("%"):
                const += int(value) * factor
                continue
            scaled = v(f"mul nsw i64 {value}, {factor * itemsize}")
            total = scaled if not total else v(f"add nsw i64 {total}, {scaled}")
        pointer = self.pointers[name]
        if total:
            pointer = v(f"getelementptr i8, ptr {pointer}, i64 {total}")
        return v(f"getelementptr i8, ptr {pointer}, i64 {const * itemsize}") if const else pointer

    def at(self, pointer: str, elements: int, itemsize: int) -> str:
        if not elements:
            return pointer
        return self.lines.value(f"getelementptr i8, ptr {pointer}, i64 {elements * itemsize}")

    # -- loads

    def load(self, stmt: Load) -> Val:
        e, dtype = self.e, stmt.dtype
        itemsize = dtype.itemsize
        guard = self._guard(stmt.guard)
        offset, strides, regular = self.offset(stmt.buffer, stmt.index)
        if not regular:
            return self._load_any(stmt, offset, guard)
        varying = {d for d, s in strides.items() if s} | (set(guard.dims) if guard else set())
        dims = tuple(d for d in e.open if d in varying)
        vector = next((d for d in dims if d.width), None)
        pointer = self.uniform_pointer(stmt.buffer, offset, itemsize)
        other = e.operand(stmt.other) if stmt.other is not None else None
        items = {}
        if guard is None and vector is not None:
            for group in groups(dims, strides, dtype, lambda i: self.at(pointer, i, itemsize)):
                made = load_group(self.lines, dtype, vector.width, group)
                items.update(zip(group.registers, made))
        for at in coordinates(dims):
            if at in items:
                continue
            shift = sum(strides.get(d, 0) * k * max(d.width, 1) for d, k in zip(dims, at))
            here = self.at(pointer, shift, itemsize)
            condition = project(guard, dims, at) if guard else ""
            if vector is None:
                items[at] = self._load_one(here, dtype, stmt, condition, other and project(other, dims, at))
            else:
                wide = guard is not None and bool(guard.lanes)
                fill = project(other, dims, at) if other else ""
                items[at] = self._load_vector(
                    here, dtype, vector, at[dims.index(vector)], strides.get(vector, 0), condition, wide, fill, stmt
                )
        return Val(dtype, dims, items)

    def _load_one(self, pointer: str, dtype: DType, stmt: Load, condition: str, other: str | None) -> str:
        """A scalar; where the condition fails the buffer's first element is read instead and not used."""
        v = self.lines.value
        if condition:
            pointer = v(f"select i1 {condition}, ptr {pointer}, ptr {self.pointers[stmt.buffer]}")
        value = self._typed_load(pointer, dtype, 0)
        if condition:
            t = type_name(dtype)
            value = v(f"select i1 {condition}, {t} {value}, {t} {other}")
        return value

    def _typed_load(self, pointer: str, dtype: DType, lanes: int) -> str:
        v = self.lines.value
        if dtype == BOOL:
            raw = v(f"load {type_name(U8, lanes)}, ptr {pointer}, align 1")
            zero = "zeroinitializer" if lanes else "0"
            return v(f"icmp ne {type_name(U8, lanes)} {raw}, {zero}")
        return v(f"load {type_name(dtype, lanes)}, ptr {pointer}, align {dtype.itemsize}")

    def _load_vector(
        self, pointer: str, dtype: DType, lane: Lane, register: int, stride: int, condition: str, wide: bool,
        fill: str, stmt: Load,
    ) -> str:  # fmt: skip
        v, width = self.lines.value, lane.width
        t = type_name(dtype, width)
        used = lane.mask(register)
        if stride == 1 and not condition and (used == width or self._goes_on(stmt)):
            return self._typed_load(pointer, dtype, width)
        if stride == 0:
            scalar = self._load_one(pointer, dtype, stmt, "" if wide else condition, fill if not wide else None)
            return (
                splat(self.lines, scalar, dtype, width)
                if not wide
                else self._blend(condition, scalar, fill, dtype, width)
            )
        if stride == 1 and dtype.itemsize >= 4:
            mask = condition if wide else self._mask(lane, register, condition)
            if wide and used < width:
                mask = v(f"and <{width} x i1> {condition}, {self._mask(lane, register, '')}")
            passthrough = self._splat_of(fill, dtype, width) if fill else "zeroinitializer"
            return self._masked_load(pointer, dtype, width, mask, passthrough)
        if not condition and used == width and stride == 2 and width > 1 and dtype != BOOL:
            return self._load_even(pointer, dtype, width)
        if not condition and used == width and stride == -1 and dtype != BOOL:
            first = self.at(pointer, -(width - 1), dtype.itemsize)
            raw = self._typed_load(first, dtype, width)
            order = ", ".join(f"i32 {i}" for i in reversed(range(width)))
            return v(f"shufflevector {t} {raw}, {t} poison, <{width} x i32> <{order}>")
        result = (
            self._splat_of(fill, dtype, width) if fill else "zeroinitializer" if dtype != BOOL else "zeroinitializer"
        )
        for i in range(used):
            one = condition
            if wide:
                one = v(f"extractelement <{width} x i1> {condition}, i64 {i}")
            element = self._load_one(
                self.at(pointer, i * stride, dtype.itemsize), dtype, stmt, one, self._lane_of(fill, dtype, width, i)
            )
            result = v(f"insertelement {t} {result}, {type_name(dtype)} {element}, i64 {i}")
        return result

    def _goes_on(self, stmt: Load) -> bool:
        """Whether there is memory behind every element of a buffer, which lanes that are not in use may read. Numbers
        that no operation traps on do not matter there."""
        return self.buffers[stmt.buffer].mode == "scratch" and stmt.dtype.is_float

    def load_first(self, pointer: str, dtype: DType, width: int, used: int) -> str:
        """The first lanes of a register (zero or less: none) from memory side by side."""
        if used >= width:
            return self._typed_load(pointer, dtype, width)
        if used <= 0:
            return "poison"
        mask = "<" + ", ".join(f"i1 {'true' if i < used else 'false'}" for i in range(width)) + ">"
        return self._masked_load(pointer, dtype, width, mask, "zeroinitializer")

    def _lane_of(self, fill: str, dtype: DType, width: int, lane: int) -> str | None:
        """`fill` is a scalar operand in every case: loads' other values do not differ between vector lanes."""
        return fill or None

    def _splat_of(self, fill: str, dtype: DType, width: int) -> str:
        return splat(self.lines, fill, dtype, width)

    def _blend(self, condition: str, scalar: str, fill: str, dtype: DType, width: int) -> str:
        t = type_name(dtype, width)
        a = splat(self.lines, scalar, dtype, width)
        b = self._splat_of(fill, dtype, width) if fill else "zeroinitializer"
        return self.lines.value(f"select <{width} x i1> {condition}, {t} {a}, {t} {b}")

    def _load_even(self, pointer: str, dtype: DType, width: int) -> str:
        """Elements 0, 2, 4...: two loads that end exactly at the last one, and a shuffle."""
        v, t = self.lines.value, type_name(dtype, width)
        low = self._typed_load(pointer, dtype, width)
        high = self._typed_load(self.at(pointer, width - 1, dtype.itemsize), dtype, width)
        order = [2 * i if 2 * i < width else width + 2 * i - (width - 1) for i in range(width)]
        return v(f"shufflevector {t} {low}, {t} {high}, <{width} x i32> <{', '.join(f'i32 {i}' for i in order)}>")

    def _masked_load(self, pointer: str, dtype: DType, width: int, mask: str, other: str) -> str:
        t = type_name(dtype, width)

        name = f"llvm.masked.load.{suffix(dtype, width)}.p0"
        call = self.lines.intrinsic(
            name, t, [f"ptr {pointer}", f"i32 {dtype.itemsize}", f"<{width} x i1> {mask}", f"{t} {other}"]
        )
        return self.lines.value(call)

    def _mask(self, lane: Lane, register: int, condition: str) -> str:
        """The lanes in use, if the (scalar) condition holds."""
        mask = mask_text(lane, register)
        if not condition:
            return mask
        wide = splat(self.lines, condition, BOOL, lane.width)
        return self.lines.value(f"and <{lane.width} x i1> {wide}, {mask}")

    def _load_any(self, stmt: Load, offset: Affine, guard: Val | None) -> Val:
        """Every lane computes its address."""
        e, dtype, v = self.e, stmt.dtype, self.lines.value
        own = self.lanes_of.get(stmt.buffer, ())
        where = e.index(offset)
        for d in own:
            where = e._add(where, self._own_part(stmt.buffer, d))
        dims = e.union([where, *([guard] if guard else [])])
        vector = next((d for d in dims if d.width), None)
        other = e.operand(stmt.other) if stmt.other is not None else None
        items = {}
        for at in coordinates(dims):
            index = project(where, dims, at)
            condition = project(guard, dims, at) if guard else ""
            fill = project(other, dims, at) if other else ""
            if vector is None or not where.lanes:
                pointer = self._pointer_at(stmt.buffer, index, dtype)
                if vector is None:
                    items[at] = self._load_one(pointer, dtype, stmt, condition, fill or None)
                    continue
                scalar = self._load_one(self.pointers[stmt.buffer] if condition else pointer, dtype, stmt, "", None)
                if condition:
                    raise NotImplementedError("a guard that differs between lanes of an equal address")
                items[at] = splat(self.lines, scalar, dtype, vector.width)
                continue
            t = type_name(dtype, vector.width)
            result = "poison"
            for i in range(vector.width):
                if i >= vector.mask(at[dims.index(vector)]):
                    result = v(f"insertelement {t} {result}, {type_name(dtype)} {literal(0, dtype)}, i64 {i}")
                    continue
                one = v(f"extractelement <{vector.width} x i64> {index}, i64 {i}")
                test = condition
                if condition and guard is not None and guard.lanes:
                    test = v(f"extractelement <{vector.width} x i1> {condition}, i64 {i}")
                element = self._load_one(self._pointer_at(stmt.buffer, one, dtype), dtype, stmt, test, fill or None)
                result = v(f"insertelement {t} {result}, {type_name(dtype)} {element}, i64 {i}")
            items[at] = result
        return Val(dtype, dims, items)

    def _own_part(self, name: str, lane: Lane) -> Val:
        """The offset of a lane in scratch memory that every lane has for itself."""
        own = self.lanes_of[name]
        per = prod(d.count * max(d.width, 1) for d in own[own.index(lane) + 1 :])
        items = {}
        for k in range(lane.count):
            if lane.width:
                ramp = ", ".join(f"i64 {(k * lane.width + i) * per}" for i in range(lane.width))
                items[(k,)] = f"<{ramp}>"
            else:
                items[(k,)] = str(k * per)
        return Val(I64, (lane,), items)

    def _pointer_at(self, name: str, index: str, dtype: DType) -> str:
        scaled = self.lines.value(f"mul nsw i64 {index}, {dtype.itemsize}")
        return self.lines.value(f"getelementptr i8, ptr {self.pointers[name]}, i64 {scaled}")

    def _guard(self, guard: tuple[tuple[Affine, int, int], ...]) -> Val | None:
        """The truth value of all conditions, in the lanes they depend on."""
        result: Val | None = None
        for index, lo, hi in guard:
            low, high = index.bounds()
            value = self.e.index(index)
            for op, limit, needed in ((ew.ge, lo, low < lo), (ew.lt, hi, high >= hi)):
                if needed:
                    test = self.e.apply(op, [value, Val(I64, (), {(): str(limit)})], BOOL)
                    result = test if result is None else self.e.apply(ew.and_, [result, test], BOOL)
        return result

    # -- stores

    def store(self, stmt: Store) -> None:
        e = self.e
        value = e.operand(stmt.value)
        dtype = value.dtype
        guard = self._guard(stmt.guard)
        offset, strides, regular = self.offset(stmt.buffer, stmt.index)
        if not regular:
            self._store_any(stmt, value, offset, guard)
            return
        varying = {d for d, s in strides.items() if s} | set(value.dims) | (set(guard.dims) if guard else set())
        dims = tuple(d for d in e.open if d in varying)
        vector = next((d for d in dims if d.width), None)
        pointer = self.uniform_pointer(stmt.buffer, offset, dtype.itemsize)
        spread = e.spread(value, dims)
        done: set[Coordinate] = set()
        if guard is None and not stmt.add and vector is not None:
            for group in groups(dims, strides, dtype, lambda i: self.at(pointer, i, dtype.itemsize)):
                registers = [spread.items[at] for at in group.registers]
                store_group(self.lines, registers, dtype, vector.width, group)
                done.update(group.registers)
        for at in coordinates(dims):
            if at in done:
                continue
            shift = sum(strides.get(d, 0) * k * max(d.width, 1) for d, k in zip(dims, at))
            here = self.at(pointer, shift, dtype.itemsize)
            condition = project(guard, dims, at) if guard else ""
            if vector is None:
                self._store_one(here, spread.items[at], dtype, stmt.add, condition)
            else:
                wide = guard is not None and bool(guard.lanes)
                register = at[dims.index(vector)]
                self._store_vector(
                    here, spread.items[at], dtype, vector, register, strides.get(vector, 0), stmt.add, condition, wide
                )

    def _store_one(self, pointer: str, value: str, dtype: DType, add: bool, condition: str) -> None:
        lines = self.lines
        after = ""
        if condition:
            yes, after = lines.label("put"), lines.label("kept")
            lines.do(f"br i1 {condition}, label %{yes}, label %{after}")
            self.e.block(yes)
        if add:
            value = self._sum(pointer, value, dtype, 0)
        self._typed_store(pointer, value, dtype, 0)
        if condition:
            lines.do(f"br label %{after}")
            self.e.block(after)

    def _sum(self, pointer: str, value: str, dtype: DType, lanes: int) -> str:
        old = self._typed_load(pointer, dtype, lanes)
        if dtype.name == "f16":
            from symc.ir.types import F32

            cast = self.e.ops.cast
            total = self.lines.value(
                f"fadd {type_name(F32, lanes)} {cast(old, dtype, F32, lanes)}, {cast(value, dtype, F32, lanes)}"
            )
            return cast(total, F32, dtype, lanes)
        return self.lines.value(f"{'f' if dtype.is_float else ''}add {type_name(dtype, lanes)} {old}, {value}")

    def _typed_store(self, pointer: str, value: str, dtype: DType, lanes: int) -> None:
        if dtype == BOOL:
            value = self.lines.value(f"zext {type_name(BOOL, lanes)} {value} to {type_name(U8, lanes)}")
            self.lines.do(f"store {type_name(U8, lanes)} {value}, ptr {pointer}, align 1")
            return
        self.lines.do(f"store {type_name(dtype, lanes)} {value}, ptr {pointer}, align {dtype.itemsize}")

    def _store_vector(
        self, pointer: str, value: str, dtype: DType, lane: Lane, register: int, stride: int, add: bool,
        condition: str, wide: bool,
    ) -> None:  # fmt: skip
        v, width = self.lines.value, lane.width
        used = lane.mask(register)
        t = type_name(dtype, width)
        if stride == 1 and not condition and used == width:
            if add:
                value = self._sum(pointer, value, dtype, width)
            self._typed_store(pointer, value, dtype, width)
            return
        if stride == 1 and not condition and not add and dtype != BOOL:
            store_first(self.lines, pointer, value, dtype, width, used)
            return
        if stride == 1 and dtype.itemsize >= 4:
            mask = self._mask(lane, register, "" if wide else condition)
            if wide:
                mask = condition if used == width else v(f"and <{width} x i1> {condition}, {mask}")
            if add:
                old = self._masked_load(pointer, dtype, width, mask, "zeroinitializer")
                value = v(f"{'f' if dtype.is_float else ''}add {t} {old}, {value}")

            name = f"llvm.masked.store.{suffix(dtype, width)}.p0"
            call = self.lines.intrinsic(
                name, "void", [f"{t} {value}", f"ptr {pointer}", f"i32 {dtype.itemsize}", f"<{width} x i1> {mask}"]
            )
            self.lines.do(call)
            return
        for i in range(used):
            one = v(f"extractelement {t} {value}, i64 {i}")
            test = condition
            if condition and wide:
                test = v(f"extractelement <{width} x i1> {condition}, i64 {i}")
            self._store_one(self.at(pointer, i * stride, dtype.itemsize), one, dtype, add, test)

    def _store_any(self, stmt: Store, value: Val, offset: Affine, guard: Val | None) -> None:
        e, v = self.e, self.lines.value
        where = e.index(offset)
        for d in self.lanes_of.get(stmt.buffer, ()):
            where = e._add(where, self._own_part(stmt.buffer, d))
        dims = e.union([where, value, *([guard] if guard else [])])
        vector = next((d for d in dims if d.width), None)
        where, value = e.spread(where, dims), e.spread(value, dims)
        test_of = e.spread(guard, dims) if guard else None
        for at in coordinates(dims):
            index, item = where.items[at], value.items[at]
            condition = test_of.items[at] if test_of else ""
            if vector is None:
                self._store_one(
                    self._pointer_at(stmt.buffer, index, value.dtype), item, value.dtype, stmt.add, condition
                )
                continue
            for i in range(vector.mask(at[dims.index(vector)])):
                one = v(f"extractelement <{vector.width} x i64> {index}, i64 {i}")
                element = v(f"extractelement {type_name(value.dtype, vector.width)} {item}, i64 {i}")
                test = v(f"extractelement <{vector.width} x i1> {condition}, i64 {i}") if condition else ""
                self._store_one(self._pointer_at(stmt.buffer, one, value.dtype), element, value.dtype, stmt.add, test)


class _Base:
    """The first turn of a lane dimension, as a term of an offset."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def __str__(self) -> str:
        return f"base of {self.lane.var}"


class Uniform:
    """The part of an offset that all lanes share: (atom or _Base, factor) terms and a constant."""

    def __init__(self, terms: list[tuple[object, int]], const: int) -> None:
        self.terms, self.const = terms, const

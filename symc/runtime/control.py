"""Native loops and branches over tables, as LLVM IR text.

`@symc_loop` and `@symc_branch` are kernels for tables: their one argument is a record of words (64 bits each) that says
which other tables to run, and what to move before and after. The words of a loop:

    turns, launch of the body, launch of the condition (0: none), address of its truth value, address for the number of
    turns taken (0: nobody asks), then four lists of moves (address, number): once before, before a turn, after a
    turn, once after

and of a branch: address of the truth value, then for the side that is taken if it holds, and for the other: its
launch, moves before, moves after. A launch is what `@symc_launch` takes. A move is five words: destination, source
(0: zeros), bytes, and by how many bytes turn after turn the destination and the source go on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from symc.codegen.jit.compile import compile_kernels
from symc.codegen.target import host_target
from symc.runtime.table import Table, launch_address

Words = NDArray[np.int64]


class Move(NamedTuple):
    """Bytes copied from `source` to `target` (0: zeros), addresses that go on by a step from turn to turn."""

    target: int
    source: int
    nbytes: int
    target_step: int = 0
    source_step: int = 0


def loop_record(
    trips: int,
    body: Table,
    cond: Table | None,
    truth: int,
    count: int,
    moves: tuple[Sequence[Move], Sequence[Move], Sequence[Move], Sequence[Move]],
) -> tuple[Words, list[object]]:
    """The record of a loop, and what must live as long. `truth` and `count` are addresses; `moves` the lists in the
    order of the module text."""
    words = [trips, body.launch(), cond.launch() if cond is not None else 0, truth, count]
    return _record(words, moves, [body, cond])


def branch_record(
    truth: int, sides: Sequence[tuple[Table, Sequence[Move], Sequence[Move]]]
) -> tuple[Words, list[object]]:
    """The record of a branch, and what must live as long: (table, moves before, moves after) for true, then false."""
    words: list[int] = [truth]
    keep: list[object] = []
    for table, before, after in sides:
        made, held = _record([table.launch()], (before, after), [table])
        words += made.tolist()
        keep += held
    return np.array(words, np.int64), keep


def _record(words: list[int], moves: Sequence[Sequence[Move]], keep: list[object]) -> tuple[Words, list[object]]:
    for listed in moves:
        array = np.array(listed, np.int64).reshape(-1, len(Move._fields))
        keep.append(array)
        words += [int(array.ctypes.data), len(listed)]
    return np.array(words, np.int64), keep


@functools.cache
def loop_kernel() -> int:
    """Address of the kernel that runs loops."""
    return _compiled("symc_loop")


@functools.cache
def branch_kernel() -> int:
    """Address of the kernel that runs branches."""
    return _compiled("symc_branch")


def _compiled(name: str) -> int:
    return compile_kernels([(name, name, _TEXT)], host_target(), {"symc_launch": launch_address()})[name]


_TEXT = """
declare i64 @symc_launch(ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define internal i64 @word(ptr %record, i64 %at) alwaysinline nounwind {
  %p = getelementptr i64, ptr %record, i64 %at
  %w = load i64, ptr %p
  ret i64 %w
}

; The moves of list %at of the record, in turn %t.
define internal void @moves(ptr %record, i64 %at, i64 %t) nounwind {
entry:
  %where = call i64 @word(ptr %record, i64 %at)
  %list = inttoptr i64 %where to ptr
  %at1 = add i64 %at, 1
  %count = call i64 @word(ptr %record, i64 %at1)
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %next, label %done
next:
  %i = phi i64 [ 0, %entry ], [ %i1, %moved ]
  %move = getelementptr [5 x i64], ptr %list, i64 %i
  %target0 = call i64 @word(ptr %move, i64 0)
  %source0 = call i64 @word(ptr %move, i64 1)
  %bytes = call i64 @word(ptr %move, i64 2)
  %tstep = call i64 @word(ptr %move, i64 3)
  %sstep = call i64 @word(ptr %move, i64 4)
  %tmoved = mul i64 %tstep, %t
  %smoved = mul i64 %sstep, %t
  %target1 = add i64 %target0, %tmoved
  %source1 = add i64 %source0, %smoved
  %target = inttoptr i64 %target1 to ptr
  %source = inttoptr i64 %source1 to ptr
  %clear = icmp eq i64 %source0, 0
  br i1 %clear, label %zero, label %copy
zero:
  call void @llvm.memset.p0.i64(ptr %target, i8 0, i64 %bytes, i1 false)
  br label %moved
copy:
  call void @llvm.memcpy.p0.p0.i64(ptr %target, ptr %source, i64 %bytes, i1 false)
  br label %moved
moved:
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %count
  br i1 %more, label %next, label %done
done:
  ret void
}

; Run the table of word %at; whether it ended well.
define internal i1 @launch(ptr %record, i64 %at) nounwind {
  %address = call i64 @word(ptr %record, i64 %at)
  %launch = inttoptr i64 %address to ptr
  %stopped = call i64 @symc_launch(ptr %launch)
  %well = icmp slt i64 %stopped, 0
  ret i1 %well
}

define i32 @symc_loop(ptr %args, i64 %lo, i64 %hi, ptr %scratch) nounwind {
entry:
  %record = load ptr, ptr %args
  call void @moves(ptr %record, i64 5, i64 0)
  %trips = call i64 @word(ptr %record, i64 0)
  %test = call i64 @word(ptr %record, i64 2)
  %tests = icmp ne i64 %test, 0
  %flag0 = call i64 @word(ptr %record, i64 3)
  %flag = inttoptr i64 %flag0 to ptr
  br label %turn
turn:
  %t = phi i64 [ 0, %entry ], [ %t1, %ran ]
  %more = icmp slt i64 %t, %trips
  br i1 %more, label %begin, label %ended
begin:
  call void @moves(ptr %record, i64 7, i64 %t)
  br i1 %tests, label %ask, label %body
ask:
  %asked = call i1 @launch(ptr %record, i64 2)
  br i1 %asked, label %look, label %failed
look:
  %held = load i8, ptr %flag
  %go = icmp ne i8 %held, 0
  br i1 %go, label %body, label %ended
body:
  %well = call i1 @launch(ptr %record, i64 1)
  br i1 %well, label %ran, label %failed
ran:
  call void @moves(ptr %record, i64 9, i64 %t)
  %t1 = add i64 %t, 1
  br label %turn
ended:
  %count0 = call i64 @word(ptr %record, i64 4)
  %counted = icmp ne i64 %count0, 0
  br i1 %counted, label %tell, label %out
tell:
  %count = inttoptr i64 %count0 to ptr
  store i64 %t, ptr %count
  br label %out
out:
  call void @moves(ptr %record, i64 11, i64 0)
  ret i32 0
failed:
  ret i32 1
}

define i32 @symc_branch(ptr %args, i64 %lo, i64 %hi, ptr %scratch) nounwind {
entry:
  %record = load ptr, ptr %args
  %flag0 = call i64 @word(ptr %record, i64 0)
  %flag = inttoptr i64 %flag0 to ptr
  %held = load i8, ptr %flag
  %holds = icmp ne i8 %held, 0
  %at = select i1 %holds, i64 1, i64 6
  %before = add i64 %at, 1
  %after = add i64 %at, 3
  call void @moves(ptr %record, i64 %before, i64 0)
  %well = call i1 @launch(ptr %record, i64 %at)
  br i1 %well, label %ran, label %failed
ran:
  call void @moves(ptr %record, i64 %after, i64 0)
  ret i32 0
failed:
  ret i32 1
}
"""

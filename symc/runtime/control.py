"""Native loops and branches over tables, as LLVM IR text.

`@symc_loop` and `@symc_branch` are kernels for tables: their one argument is a record (`LOOP`, `BRANCH`) that says
which other tables to run. A loop first copies what its carries begin with. After every turn it moves on the words that
hold addresses of rows (`MOVE`), and puts them back when it ends, so that loops may lie in loops. Then it clears the
rows of turns that were not taken (`REST`) and tells how many were. An outermost loop begins by putting all words where
they start (`START`): a run that failed, or of which a forked child has but a part, leaves them anywhere.
"""

from __future__ import annotations

import functools

import numpy as np

from symc.codegen.jit.compile import compile_kernels
from symc.codegen.target import host_target
from symc.runtime.table import launch_address

#: bytes copied once, before the first turn
COPY = np.dtype([("target", "<i8"), ("source", "<i8"), ("nbytes", "<i8")])
#: the address of a word that holds an address, and by how many bytes that goes on after every turn
MOVE = np.dtype([("word", "<i8"), ("nbytes", "<i8")])
#: the address of a word that is moved, and what it holds at first
START = np.dtype([("word", "<i8"), ("address", "<i8")])
#: an array of one row a turn: its address, and the bytes of a row
REST = np.dtype([("target", "<i8"), ("nbytes", "<i8")])
#: the address and length of an array of the above
_LIST = (np.int64, 2)
#: `body` and `cond` (0: none) are what `@symc_launch` takes; `truth` is where the condition puts its answer, `count`
#: where the number of turns goes (0: nowhere)
LOOP = np.dtype(
    [
        ("trips", "<i8"), ("body", "<i8"), ("cond", "<i8"), ("truth", "<i8"), ("count", "<i8"),
        ("copies", *_LIST), ("moving", *_LIST), ("rests", *_LIST), ("starts", *_LIST),
    ]
)  # fmt: skip
#: the address of the truth value, and the launches of the two sides
BRANCH = np.dtype([("truth", "<i8"), ("then", "<i8"), ("other", "<i8")])


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

define internal ptr @pointer(ptr %record, i64 %at) alwaysinline nounwind {
  %w = call i64 @word(ptr %record, i64 %at)
  %p = inttoptr i64 %w to ptr
  ret ptr %p
}

; Run the table of word %at; whether it ended well.
define internal i1 @launch(ptr %record, i64 %at) nounwind {
  %launch = call ptr @pointer(ptr %record, i64 %at)
  %stopped = call i64 @symc_launch(ptr %launch)
  %well = icmp slt i64 %stopped, 0
  ret i1 %well
}

define internal void @copies(ptr %record) nounwind {
entry:
  %list = call ptr @pointer(ptr %record, i64 5)
  %count = call i64 @word(ptr %record, i64 6)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %next, label %done
next:
  %copy = getelementptr [3 x i64], ptr %list, i64 %i
  %target = call ptr @pointer(ptr %copy, i64 0)
  %source = call ptr @pointer(ptr %copy, i64 1)
  %bytes = call i64 @word(ptr %copy, i64 2)
  call void @llvm.memcpy.p0.p0.i64(ptr %target, ptr %source, i64 %bytes, i1 false)
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; Put moved words where they begin.
define internal void @start(ptr %record) nounwind {
entry:
  %list = call ptr @pointer(ptr %record, i64 11)
  %count = call i64 @word(ptr %record, i64 12)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %next, label %done
next:
  %start = getelementptr [2 x i64], ptr %list, i64 %i
  %place = call ptr @pointer(ptr %start, i64 0)
  %address = call i64 @word(ptr %start, i64 1)
  store i64 %address, ptr %place
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; Move the words on by %turns turns.
define internal void @move(ptr %record, i64 %turns) nounwind {
entry:
  %list = call ptr @pointer(ptr %record, i64 7)
  %count = call i64 @word(ptr %record, i64 8)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %next, label %done
next:
  %move = getelementptr [2 x i64], ptr %list, i64 %i
  %place = call ptr @pointer(ptr %move, i64 0)
  %bytes = call i64 @word(ptr %move, i64 1)
  %by = mul i64 %bytes, %turns
  %old = load i64, ptr %place
  %new = add i64 %old, %by
  store i64 %new, ptr %place
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; Clear the rows from %taken on.
define internal void @clear(ptr %record, i64 %taken) nounwind {
entry:
  %list = call ptr @pointer(ptr %record, i64 9)
  %count = call i64 @word(ptr %record, i64 10)
  %trips = call i64 @word(ptr %record, i64 0)
  %left = sub i64 %trips, %taken
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %next, label %done
next:
  %rest = getelementptr [2 x i64], ptr %list, i64 %i
  %first = call ptr @pointer(ptr %rest, i64 0)
  %row = call i64 @word(ptr %rest, i64 1)
  %skipped = mul i64 %row, %taken
  %target = getelementptr i8, ptr %first, i64 %skipped
  %bytes = mul i64 %row, %left
  call void @llvm.memset.p0.i64(ptr %target, i8 0, i64 %bytes, i1 false)
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

define i32 @symc_loop(ptr %args, i64 %lo, i64 %hi, ptr %scratch) nounwind {
entry:
  %record = load ptr, ptr %args
  call void @start(ptr %record)
  call void @copies(ptr %record)
  %trips = call i64 @word(ptr %record, i64 0)
  %test = call i64 @word(ptr %record, i64 2)
  %tests = icmp ne i64 %test, 0
  %flag = call ptr @pointer(ptr %record, i64 3)
  br label %turn
turn:
  %t = phi i64 [ 0, %entry ], [ %t1, %ran ]
  %more = icmp slt i64 %t, %trips
  br i1 %more, label %begin, label %ended
begin:
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
  call void @move(ptr %record, i64 1)
  %t1 = add i64 %t, 1
  br label %turn
ended:
  %back = sub i64 0, %t
  call void @move(ptr %record, i64 %back)
  call void @clear(ptr %record, i64 %t)
  %count = call ptr @pointer(ptr %record, i64 4)
  %counted = icmp ne ptr %count, null
  br i1 %counted, label %tell, label %out
tell:
  store i64 %t, ptr %count
  br label %out
out:
  ret i32 0
failed:
  ret i32 1
}

define i32 @symc_branch(ptr %args, i64 %lo, i64 %hi, ptr %scratch) nounwind {
entry:
  %record = load ptr, ptr %args
  %flag = call ptr @pointer(ptr %record, i64 0)
  %held = load i8, ptr %flag
  %holds = icmp ne i8 %held, 0
  %at = select i1 %holds, i64 1, i64 2
  %well = call i1 @launch(ptr %record, i64 %at)
  %status = select i1 %well, i32 0, i32 1
  ret i32 %status
}
"""

"""Shared by the tests of the machine layer: small kernels as LLVM IR text, and other processes to run them in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable

import numpy as np

from symc.codegen.jit import compile as jit
from symc.codegen.target import host_target
from symc.runtime import table as runtime
from symc.runtime.table import Entry, make_table

HEAD = """
define i32 @kernel(ptr %args, i64 %lo, i64 %hi, ptr %scratch) {
entry:
  %p = load ptr, ptr %args
"""
# p[i] = p[i] * 3 + i, an order-sensitive step over a sub-range, through a private helper and a scratch slot
STEP = (
    HEAD
    + """
  %some = icmp slt i64 %lo, %hi
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [ %lo, %entry ], [ %next, %loop ]
  %q = getelementptr i64, ptr %p, i64 %i
  %v = load i64, ptr %q
  %w = call i64 @helper(i64 %v)
  store i64 %w, ptr %scratch
  %s = load i64, ptr %scratch
  %r = add i64 %s, %i
  store i64 %r, ptr %q
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %hi
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}
define i64 @helper(i64 %v) alwaysinline {
  %w = mul i64 %v, 3
  ret i64 %w
}
"""
)
FAIL = "define i32 @kernel(ptr %args, i64 %lo, i64 %hi, ptr %scratch) {\n  ret i32 7\n}\n"
# non-zero in the last part only
FAIL_LAST = (
    "define i32 @kernel(ptr %args, i64 %lo, i64 %hi, ptr %scratch) {\n"
    "  %late = icmp sgt i64 %lo, 0\n  %r = zext i1 %late to i32\n  ret i32 %r\n}\n"
)


def constant_kernel(value: int) -> str:
    """A kernel that stores `value`, through a helper whose name all such kernels share."""
    return (
        HEAD + "  %v = call i64 @helper()\n  store i64 %v, ptr %p\n  ret i32 0\n}\n"
        f"define i64 @helper() noinline {{\n  ret i64 {value}\n}}\n"
    )


def compile_one(text: str) -> int:
    return jit.compile_kernels([("test", "kernel", text)], host_target())["test"]


def table_of(fn: int, array: np.ndarray, extent: int, grain: int, times: int = 1) -> runtime.Table:
    return make_table([Entry(fn, [array.ctypes.data], extent, grain)] * times, scratch_bytes=8, keep=[array])


def stepped(n: int, times: int) -> np.ndarray:
    want = np.arange(n, dtype=np.int64)
    for _ in range(times):
        want = want * 3 + np.arange(n)
    return want


def check_steps(n: int = 1001, times: int = 20) -> None:
    array = np.arange(n, dtype=np.int64)
    table_of(compile_one(STEP), array, n, 7, times).run()
    np.testing.assert_array_equal(array, stepped(n, times))


def in_child(work: Callable[[], None]) -> int:
    """The exit code of `work` in a forked child, which is killed after ten seconds."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_new_process(code: str, **env: str) -> str:
    """What a fresh interpreter prints for `code`; fails the test if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Protects the machine layer: targets, the JIT, the object cache, and the native runner with its thread pool.

Programs must give the same result for any number of threads, any number of callers, in a forked child, and with any
cache contents; errors of callbacks and of LLVM must come out as Python exceptions.
"""
from __future__ import annotations

import ctypes
import dataclasses
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from symc.codegen import cache, jit, runner, runtime
from symc.codegen.cache import ObjectCache
from symc.codegen.errors import CompileError, KernelError, TargetError
from symc.codegen.runtime import Entry, host_callback, make_table
from symc.codegen.target import host_features, host_target, is_x86, named_target

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

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


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYMC_CACHE_DIR", str(tmp_path / "objects"))
    monkeypatch.delenv("SYMC_CACHE", raising=False)
    return tmp_path / "objects"


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = runtime.num_threads()
    runtime.set_num_threads(request.param)
    yield request.param
    runtime.set_num_threads(before)


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


# ---- targets


def test_host_target_is_the_widest_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYMC_TARGET", raising=False)
    target = host_target()
    if is_x86():
        wide = all(host_features().get(f) for f in ("avx512f", "avx512vl", "avx512dq", "avx512bw"))
        assert target.name == ("avx512" if wide else "avx2" if host_features().get("avx2") else "baseline")
    assert target.lanes(4) * 4 == target.vector_bytes


def test_target_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMC_TARGET", "baseline")
    assert host_target().name == "baseline" and host_target().vector_bytes == 16
    monkeypatch.setenv("SYMC_TARGET", "avx1024")
    with pytest.raises(TargetError, match="unknown target 'avx1024': expected one of avx512, avx2, baseline"):
        host_target()


@pytest.mark.skipif(not is_x86(), reason="x86 levels")
def test_target_the_host_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMC_TARGET", "avx512")
    monkeypatch.setattr("symc.codegen.target.host_features", lambda: {"avx": True, "avx2": True, "fma": True})
    with pytest.raises(TargetError, match="this host lacks avx512f, avx512vl, avx512dq, avx512bw"):
        host_target()


@pytest.mark.skipif(not is_x86(), reason="x86 levels")
@pytest.mark.parametrize(("name", "register"), [("baseline", "%xmm"), ("avx2", "%ymm"), ("avx512", "%zmm")])
def test_a_target_emits_its_own_registers_only(name: str, register: str) -> None:
    text = """
    define void @kernel(ptr %p) {
      %a = load <16 x float>, ptr %p
      %b = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %a, <16 x float> splat (float 2.5))
      %c = fadd <16 x float> %b, %a
      store <16 x float> %c, ptr %p
      ret void
    }
    declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
    """
    if name == "baseline":  # no fma instruction: LLVM would call the C library for each element
        text = text.replace("llvm.fma.", "llvm.fmuladd.")
    printed = jit.assembly(text, named_target(name))
    assert {r for r in ("%xmm", "%ymm", "%zmm") if r in printed} == {register}


def test_targets_without_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symc.codegen.target.platform.machine", lambda: "aarch64")
    arm = named_target.__wrapped__("baseline")
    assert (arm.features, arm.cpu, arm.vector_bytes, arm.has_fma) == ("", "generic", 16, True)
    with pytest.raises(TargetError, match="needs an x86 processor"):
        named_target.__wrapped__("avx2")


# ---- jit


def test_kernels_may_share_function_and_helper_names() -> None:
    out = np.zeros(50, np.int64)
    modules = [(f"constant {i}", "kernel", functools.partial(constant_kernel, i)) for i in range(50)]
    addresses = jit.compile_kernels(modules, host_target())
    assert len(set(addresses.values())) == 50
    make_table([Entry(addresses[f"constant {i}"], [out[i:].ctypes.data]) for i in range(50)], keep=[out]).run()
    np.testing.assert_array_equal(out, np.arange(50))


def test_a_text_is_made_once_per_process_and_once_per_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def text() -> str:
        made.append(1)
        return constant_kernel(5)

    def compile_it() -> int:
        return jit.compile_kernels([("made once", "kernel", text)] * 2, host_target())["made once"]

    first = compile_it()
    assert compile_it() == first and len(made) == 1
    monkeypatch.setattr(jit, "_addresses", {})
    assert compile_it() != first and len(made) == 1  # linked anew from the cache
    monkeypatch.setattr(jit, "_addresses", {})
    monkeypatch.setenv("SYMC_CACHE", "0")
    compile_it()
    assert len(made) == 2


def test_code_is_kept_apart_by_target_and_by_text() -> None:
    host = host_target()
    a = jit.compile_kernels([("k", "kernel", constant_kernel(1))], host)["k"]
    assert jit.compile_kernels([("k", "kernel", constant_kernel(2))], host)["k"] != a
    assert jit.compile_kernels([("k", "kernel", constant_kernel(1))], dataclasses.replace(host, name="other"))["k"] != a


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("define i32 @kernel( nonsense", "expected"),
        ("define i32 @kernel() {\n  ret i64 0\n}", "value doesn't match function result type"),
        ("define i32 @other() {\n  ret i32 0\n}", "does not define @kernel"),
    ],
)
def test_refused_text_is_kept_for_reading(text: str, reason: str) -> None:
    with pytest.raises(CompileError, match=f"(?s)kernel 'broken one'.*{reason}") as caught:
        jit.compile_kernels([("broken one", "kernel", text)], host_target())
    path = Path(str(caught.value).split("its text is in ")[1].split(";")[0])
    assert path.read_text() == text
    path.unlink()
    check_steps()  # the compiler is still usable


def test_a_call_to_a_function_nowhere_is_an_error() -> None:
    text = "declare i32 @symc_nowhere()\ndefine i32 @kernel() {\n  %r = call i32 @symc_nowhere()\n  ret i32 %r\n}"
    with pytest.raises(CompileError, match="cannot be linked"):
        compile_one(text)
    seven = compile_one(FAIL)
    linked = jit.compile_kernels([("with import", "kernel", text)], host_target(), {"symc_nowhere": seven})
    assert ctypes.CFUNCTYPE(ctypes.c_int32)(linked["with import"])() == 7


def test_dumps_are_optimised() -> None:
    target = host_target()
    assert "@helper(i64 " not in jit.llvm_ir(STEP, target).split("define i64 @helper")[0]
    assert "kernel:" in jit.assembly(STEP, target)


def test_compiling_from_many_threads() -> None:
    results: list[dict[str, int]] = []
    modules = [(f"shared {i}", "kernel", functools.partial(constant_kernel, i)) for i in range(12)]
    workers = [
        threading.Thread(target=lambda: results.append(jit.compile_kernels(modules, host_target()))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4 and all(result == results[0] for result in results)


# ---- object cache

DIGEST = bytes(range(32))
OTHER = bytes(range(1, 33))


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_flip(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[-3] ^= 1
    path.write_bytes(bytes(blob))


def damage_foreign(path: Path) -> None:
    path.write_bytes(b"\x7fELF" + bytes(200))


def damage_wrong_place(path: Path) -> None:
    objects = ObjectCache(path.parent)
    objects.put(OTHER, b"another kernel")
    objects.path(OTHER).replace(path)


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_cut_header, damage_empty, damage_flip, damage_foreign, damage_wrong_place],
)
def test_a_bad_entry_is_a_miss_and_is_replaced(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    objects = ObjectCache(tmp_path / "deep" / "down")
    assert objects.get(DIGEST) is None
    objects.put(DIGEST, b"payload" * 100)
    assert objects.get(DIGEST) == b"payload" * 100
    damage(objects.path(DIGEST))
    assert objects.get(DIGEST) is None
    objects.put(DIGEST, b"new")
    assert objects.get(DIGEST) == b"new"


def test_bad_object_files_are_compiled_anew(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_addresses", {})
    check_steps()
    for path in own_cache.glob("*.o"):
        damage_flip(path)
    monkeypatch.setattr(jit, "_addresses", {})
    check_steps()


def test_an_unusable_directory_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SYMC_CACHE_DIR", str(tmp_path / "file" / "objects"))
    monkeypatch.setattr(jit, "_addresses", {})
    with pytest.warns(RuntimeWarning, match="cannot be used") as caught:
        check_steps()
    assert len(caught) == 1
    monkeypatch.setattr(jit, "_addresses", {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_steps()


def test_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SYMC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_directory() == tmp_path / "symc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_directory() == tmp_path / "home" / ".cache" / "symc"
    monkeypatch.setenv("SYMC_CACHE", "0")
    assert cache.default_cache() is None


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    objects = ObjectCache(tmp_path, limit_bytes=10_000)
    digests = [bytes([i]) * 32 for i in range(20)]
    for age, digest in enumerate(digests[:9]):
        objects.put(digest, bytes(1000))
        os.utime(objects.path(digest), (0, 1000 + age))
    assert objects.get(digests[0]) is not None  # used again: now the youngest
    stale, fresh = tmp_path / "a.o.1.tmp", tmp_path / "b.o.2.tmp"
    stale.touch()
    os.utime(stale, (0, 0))
    fresh.touch()
    for digest in digests[9:12]:
        objects.put(digest, bytes(1000))
    objects.trim()
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 10_000
    assert objects.get(digests[0]) is not None and objects.get(digests[11]) is not None
    assert objects.get(digests[1]) is None
    assert fresh.exists() and not stale.exists()


def test_writing_bounds_the_directory_by_itself(tmp_path: Path) -> None:
    objects = ObjectCache(tmp_path, limit_bytes=50_000)
    for i in range(200):
        objects.put(i.to_bytes(32, "big"), bytes(1000))
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 100_000


def write_many(directory: Path, seed: int) -> None:
    objects = ObjectCache(directory)
    for i in range(150):
        digest = bytes([i % 5]) * 32
        objects.put(digest, bytes([i % 5]) * (1000 * (1 + (i + seed) % 3)))
        found = objects.get(digest)
        if found is None or set(found) != {i % 5}:
            sys.exit(1)


def test_concurrent_writers_never_show_half_an_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path, seed)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert not list(tmp_path.glob("*.tmp"))


def test_processes_share_the_cache(own_cache: Path) -> None:
    code = (
        "from symc.codegen import jit; from symc.codegen.target import host_target\n"
        "jit._compile = None if {strict} else jit._compile\n"
        "text = 'define i32 @kernel() {{ ret i32 3 }}'\n"
        "print(len(jit.compile_kernels([(f'k{{i}}', 'kernel', lambda: text) for i in range(5)], host_target())))"
    )
    assert in_new_process(code.format(strict=False)) == "5\n"
    assert len(list(own_cache.glob("*.o"))) == 5
    assert in_new_process(code.format(strict=True)) == "5\n"


# ---- runner and pool


@pytest.mark.parametrize("extent", [0, 1, 2, 3, 13, 14, 1000])
def test_results_do_not_depend_on_threads(threads: int, extent: int) -> None:
    array = np.arange(1000, dtype=np.int64)
    table_of(compile_one(STEP), array, extent, 7, times=50).run()
    want = np.arange(1000, dtype=np.int64)
    want[:extent] = stepped(extent, 50)
    np.testing.assert_array_equal(array, want)


def test_each_part_runs_once_with_its_own_scratch(threads: int) -> None:
    # every part stores (hi - lo) at out[lo] and its scratch address at out[lo + n]
    text = HEAD + (
        "  %q = getelementptr i64, ptr %p, i64 %lo\n  %n = sub i64 %hi, %lo\n  store i64 %n, ptr %q\n"
        "  %r = getelementptr i64, ptr %q, i64 60\n  %s = ptrtoint ptr %scratch to i64\n  store i64 %s, ptr %r\n"
        "  ret i32 0\n}\n"
    )
    out = np.zeros(120, np.int64)
    make_table([Entry(compile_one(text), [out.ctypes.data], 60, 10)], scratch_bytes=100, keep=[out]).run()
    starts = np.flatnonzero(out[:60])
    used = min(threads, 6) if runner.has_pool() else 1
    assert out[:60].sum() == 60 and len(starts) == used
    places = out[60:][starts]
    assert len(set(places)) == used and not (places % 64).any()
    assert used == 1 or np.diff(np.sort(places)).min() >= 100


def test_ranges_and_rebinding() -> None:
    a, b = np.ones(4, np.int64), np.ones(4, np.int64)
    table = table_of(compile_one(STEP), a, 4, 0, times=3)
    table.run(1, 2)
    np.testing.assert_array_equal(a, [3, 4, 5, 6])
    table.arguments(2)[0] = b.ctypes.data
    last = table.runner(2)
    last()
    np.testing.assert_array_equal(b, [3, 4, 5, 6])
    table.run(1, 1)
    np.testing.assert_array_equal(a, [3, 4, 5, 6])
    with pytest.raises(IndexError, match=r"range 1:4 is not within the table's 3 entries"):
        table.run(1, 4)


@pytest.mark.parametrize("text", [FAIL, FAIL_LAST])
def test_a_failing_kernel_stops_the_program(text: str) -> None:
    runtime.set_num_threads(2)
    if text is FAIL_LAST and not runner.has_pool():
        pytest.skip("one part only")
    array = np.zeros(100, np.int64)
    step = Entry(compile_one(STEP), [array.ctypes.data], 100, 10)
    table = make_table([step, step._replace(fn=compile_one(text)), step], scratch_bytes=8, keep=[array])
    with pytest.raises(KernelError, match="kernel 1 stopped the program"):
        table.run()
    np.testing.assert_array_equal(array, np.arange(100))


def test_workers_sleep_and_wake(threads: int) -> None:
    for _ in range(10):
        check_steps()
        time.sleep(0.002)


def test_threads_that_never_spin(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "default_spins", lambda: 0)  # read by the child's new pool

    def many_steps() -> None:
        for _ in range(50):
            check_steps(times=30)

    assert in_child(many_steps) == 0


def test_many_python_threads_at_once(threads: int) -> None:
    kernel, errors = compile_one(STEP), []

    def work() -> None:
        try:
            array = np.arange(3000, dtype=np.int64)
            table_of(kernel, array, 3000, 10, times=200).run()
            np.testing.assert_array_equal(array, stepped(3000, 200))
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not errors and not any(worker.is_alive() for worker in workers)


def test_a_forked_child_starts_its_own_workers(threads: int) -> None:
    check_steps()
    assert in_child(check_steps) == 0
    check_steps()

    def fork_again() -> None:
        check_steps()
        assert in_child(check_steps) == 0

    assert in_child(fork_again) == 0


def test_fork_while_the_pool_runs(threads: int) -> None:
    kernel, stop = compile_one(STEP), threading.Event()

    def keep_busy() -> None:
        array = np.zeros(20_000, np.int64)
        busy = table_of(kernel, array, 20_000, 10, times=20).runner()
        while not stop.is_set():
            busy()

    worker = threading.Thread(target=keep_busy)
    worker.start()
    try:
        assert [in_child(check_steps) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        worker.join(30)
    assert not worker.is_alive()


def test_thread_count_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (0, -1, 100_000):
        with pytest.raises(ValueError, match=f"set_num_threads\\({wrong}\\): expected 1 to"):
            runtime.set_num_threads(wrong)
    code = "from symc.codegen import runtime; print(runtime.num_threads())"
    if runner.has_pool():
        assert in_new_process(code, SYMC_NUM_THREADS="3") == "3\n"
    monkeypatch.setenv("SYMC_NUM_THREADS", "two")
    with pytest.raises(ValueError, match="SYMC_NUM_THREADS='two': expected a whole number"):
        runtime._initial_threads()


def test_without_a_pool_programs_run_on_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def serial() -> None:
        monkeypatch.setattr(runner, "has_pool", lambda: False)
        runtime._native_launch.cache_clear()
        runtime.set_num_threads(3)
        assert runtime.num_threads() == 1
        check_steps()
        assert runtime._pool._words[runner.STARTED // 4] == 0

    assert in_child(serial) == 0


def test_the_interpreter_exits_while_workers_spin_or_sleep() -> None:
    code = (
        "import sys, time; sys.argv=['']; import numpy as np\n"
        "from symc.codegen import jit, runtime; from symc.codegen.target import host_target\n"
        f"text = {STEP!r}\n"
        "fn = jit.compile_kernels([('k', 'kernel', text)], host_target())['k']\n"
        "a = np.zeros(1000, np.int64)\nruntime.set_num_threads(4)\n"
        "t = runtime.make_table([runtime.Entry(fn, [a.ctypes.data], 1000, 1)] * 9, 8, [a])\nt.run()\n"
        "time.sleep({pause})\nprint('ran')"
    )
    for pause in (0, 0.05):
        assert in_new_process(code.replace("{pause}", str(pause))) == "ran\n"


# ---- host callbacks


def test_callbacks_get_their_arguments_in_order(threads: int) -> None:
    array = np.zeros(100, np.int64)
    seen: list[list[int]] = []

    def look(args: int) -> None:
        first = ctypes.cast(args, ctypes.POINTER(ctypes.c_uint64))[0]
        assert first == array.ctypes.data
        seen.append(array[:3].tolist())
        array[0] = 100

    step = Entry(compile_one(STEP), [array.ctypes.data], 100, 10)
    make_table([step, Entry(host_callback(look), [array.ctypes.data]), step], scratch_bytes=8, keep=[array]).run()
    assert seen == [[0, 1, 2]]
    np.testing.assert_array_equal(array[:3], [300, 4, 8])


def test_a_callback_error_comes_back_with_its_traceback() -> None:
    def raise_it(args: int) -> None:
        raise LookupError("from inside")

    array = np.zeros(10, np.int64)
    step = Entry(compile_one(STEP), [array.ctypes.data], 10)
    table = make_table([step, Entry(host_callback(raise_it), []), step], scratch_bytes=8, keep=[array])
    for times in (1, 2):
        with pytest.raises(LookupError, match="from inside") as caught:
            table.run()
        assert "raise_it" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        np.testing.assert_array_equal(array, np.arange(10) * (1, 4)[times - 1])
    with pytest.raises(KernelError):  # no error is left behind for an unrelated failure
        table_of(compile_one(FAIL), array, 1, 0).run()


def test_a_callback_may_run_programs_itself(threads: int) -> None:
    def divide(args: int) -> None:
        raise ZeroDivisionError

    def nested(args: int) -> None:
        check_steps()
        with pytest.raises(ZeroDivisionError):
            make_table([Entry(host_callback(divide), [])]).run()

    make_table([Entry(host_callback(nested), [])] * 3).run()
    check_steps()


def test_callbacks_may_not_be_divided() -> None:
    with pytest.raises(ValueError, match=r"entry 0 calls Python.*expected grain 0"):
        make_table([Entry(host_callback(lambda args: None), [], 10, 1)])


# ---- memory


@pytest.mark.parametrize("nbytes", [0, 1, 1000, (2 << 20) - 1, 2 << 20, 5_000_001])
def test_aligned_memory(nbytes: int) -> None:
    memory = runtime.aligned_empty(nbytes)
    assert memory.nbytes == nbytes and memory.flags.writeable
    memory[:] = 7
    if nbytes:  # numpy gives an empty array no address of its own
        assert memory.ctypes.data % (2 << 20 if nbytes >= 2 << 20 else 64) == 0
        assert runtime.aligned_empty(nbytes, 4096).ctypes.data % 4096 == 0

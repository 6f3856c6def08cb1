"""Protects the compiler's machine layer: targets, the JIT and the object cache, with any contents of the cache."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import gc
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native import (
    FAIL,
    STEP,
    check_steps,
    compile_one,
    constant_kernel,
    in_child,
    in_new_process,
)

from symc.codegen.errors import CompileError, TargetError
from symc.codegen.jit import cache, llvm
from symc.codegen.jit import compile as jit
from symc.codegen.jit.cache import ObjectCache
from symc.codegen.target import host_features, host_target, is_x86, named_target
from symc.runtime.table import Entry, make_table

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


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
    with pytest.raises(TargetError, match="unknown target 'avx1024': expected one of avx512, avx2, aarch64, baseline"):
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
    arm = named_target.__wrapped__("aarch64")
    assert (arm.cpu, arm.vector_bytes, arm.has_fma, arm.registers, arm.triple) == ("generic", 16, True, 32, "")
    x86 = named_target.__wrapped__("avx2")
    assert x86.triple.startswith("x86_64")  # code to look at
    monkeypatch.setenv("SYMC_TARGET", "avx2")
    monkeypatch.setattr("symc.codegen.target.named_target", named_target.__wrapped__)
    with pytest.raises(TargetError, match="SYMC_TARGET=avx2: this host is aarch64"):
        host_target()
    monkeypatch.setattr("symc.codegen.target.platform.machine", lambda: "riscv64")
    assert named_target.__wrapped__("baseline").cpu == "generic"


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


def test_listings_are_kept_by_text_form_and_target(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who dumps a program again waits for LLVM only where kernels are others; a damaged entry is made anew."""
    host = host_target()
    texts = {f"k{i}": functools.partial(constant_kernel, i) for i in range(3)}
    first = jit.listings(texts, host, ("llvm", "asm"))
    made = jit._listing
    listed: list[str] = []
    monkeypatch.setattr(jit, "_listing", lambda text, *rest: listed.append(text) or made(text, *rest))
    assert jit.listings(texts, host, ("llvm", "asm")) == first and not listed
    assert jit.listings(texts, host, ("asm",)) == {name: {"asm": forms["asm"]} for name, forms in first.items()}
    jit.listings({**texts, "new": functools.partial(constant_kernel, 7)}, host, ("llvm",))
    assert listed == [constant_kernel(7)]
    for path in own_cache.glob("*.o"):
        damage_truncate(path)
    assert jit.listings(texts, host, ("llvm", "asm")) == first and len(listed) == 4
    assert jit.assembly(constant_kernel(1), host) == first["k1"]["asm"]


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


class Slow:
    """A text that is made when it is told to, and how often it was."""

    def __init__(self, text: str) -> None:
        self.text, self.made = text, 0
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.made += 1
        self.asked.set()
        assert self.go_on.wait(30)
        return self.text


def compiling(key: str, text: Slow, results: list[object]) -> threading.Thread:
    """A thread that is about to compile `text`."""

    def work() -> None:
        try:
            results.append(jit.compile_kernels([(key, "kernel", text)], host_target())[key])
        except CompileError as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_kernel_that_another_thread_makes_is_waited_for_and_others_are_not() -> None:
    text, results = Slow(constant_kernel(71)), []
    first = compiling("slow", text, results)
    assert text.asked.wait(30)
    second = compiling("slow", text, results)
    assert jit.compile_kernels([("quick", "kernel", constant_kernel(72))], host_target())
    assert not results
    text.go_on.set()
    for thread in (first, second):
        thread.join(30)
    assert text.made == 1 and len(results) == 2 and results[0] == results[1]


def test_a_kernel_that_another_thread_fails_to_make_is_tried_again() -> None:
    text, results = Slow("define i32 @kernel() {\n  ret i64 0\n}"), []
    threads = [compiling("slow and bad", text, results) for _ in range(2)]
    assert text.asked.wait(30)
    text.go_on.set()
    for thread in threads:
        thread.join(30)
    assert [type(r) for r in results] == [CompileError] * 2 and text.made == 2


def test_a_child_makes_what_a_thread_of_its_parent_was_making() -> None:
    text, results = Slow(constant_kernel(73)), []
    thread = compiling("slow in the parent", text, results)
    assert text.asked.wait(30)

    def child() -> None:
        text.go_on.set()
        assert jit.compile_kernels([("slow in the parent", "kernel", text)], host_target())
        assert text.made == 2

    assert in_child(child) == 0
    text.go_on.set()
    thread.join(30)
    assert text.made == 1 and len(results) == 1


def test_without_threads_to_start_the_calling_one_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    modules = [(f"alone {i}", "kernel", functools.partial(constant_kernel, 500 + i)) for i in range(5)]
    assert len(jit.compile_kernels(modules, host_target())) == 5


def test_a_refused_kernel_leaves_nothing_behind() -> None:
    bad = "define i32 @kernel() {\n  ret i64 0\n}"
    for round_ in range(8):
        good = [(f"good {round_} {i}", "kernel", functools.partial(constant_kernel, i)) for i in range(4)]
        with pytest.raises(CompileError, match="kernel 'bad'"):
            jit.compile_kernels([*good, ("bad", "kernel", bad)], host_target())
        gc.collect()  # must not free a context before its module
        assert len(jit.compile_kernels(good, host_target())) == 4


def test_llvm_runs_without_a_lock_around_it() -> None:
    wrapper = type(llvm.binding().ffi.lib.LLVMPY_GetBufferStart)
    for name in ("RunNewModulePassManager", "RunNewFunctionPassManager", "TargetMachineEmitToMemory"):
        assert not isinstance(llvm._unlocked(f"LLVMPY_{name}"), wrapper)


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
        "from symc.codegen.jit import compile as jit; from symc.codegen.target import host_target\n"
        "jit._compile = None if {strict} else jit._compile\n"
        "text = 'define i32 @kernel() {{ ret i32 3 }}'\n"
        "print(len(jit.compile_kernels([(f'k{{i}}', 'kernel', lambda: text) for i in range(5)], host_target())))"
    )
    assert in_new_process(code.format(strict=False)) == "5\n"
    assert len(list(own_cache.glob("*.o"))) == 6  # the kernels, and the fingerprint of what made them
    assert in_new_process(code.format(strict=True)) == "5\n"

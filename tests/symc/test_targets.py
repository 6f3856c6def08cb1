"""Protects the targets this machine may not be: baseline and AVX2 code runs, AVX-512 code is what it should be, and
half precision is right without the instructions for it."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from compiling import arrays_for, assert_close, graph_of, to_program
from loading import module_at

import symc as mx
from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.jit.compile import _compile, assembly
from symc.codegen.target import CACHES, Target, host_features, host_target, is_x86, named_target
from symc.compile import emit, loop_passes, pipeline
from symc.ir.prims import cast, dot, relu, tanh
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F16, F32, F64, TensorType, dtype_of
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager
from symc.typed import module_of

HERE = Path(__file__).parent


def kernel_cases() -> dict:
    return module_at(HERE / "test_kernels.py").CASES


CASES = kernel_cases()
x86_only = pytest.mark.skipif(not is_x86(), reason="x86 levels")

#: kernels of every generator, and every way of vectorising
QUICK = (
    "bias or softmax or (dot and (packed or f16 or i32 or epilogue)) or half "
    "or (conv and (depthwise or strided or tap)) or cumsum or pad or slice or argmax or scatter_add or random"
)
WIDE = (
    "map", "bias", "dot", "dot, packed", "dot, epilogue", "dot, both", "dot, one row", "dot f64", "dot f16", "sum rows",
    "sum columns", "softmax", "batch norm", "conv", "conv strided, grouped", "conv one tap, epilogue",
    "conv depthwise, padded", "conv depthwise, strided", "conv_dx gathered", "conv_dw", "max pool",
    "max pool grad, apart", "slice, evens and odds", "transpose", "gather", "scatter_add", "cumsum", "random", "half",
)  # fmt: skip


@x86_only
@pytest.mark.parametrize("name", ["baseline", "avx2"])
def test_kernels_are_right_on_lower_targets(name: str) -> None:
    if name == "avx2" and not all(host_features().get(f) for f in ("avx2", "fma")):
        pytest.skip("this machine has no AVX2")
    chosen = ["-p", "no:cacheprovider", "-k", QUICK, str(HERE / "test_kernels.py")]
    command = [sys.executable, "-m", "pytest", "-q", *chosen]
    env = {**os.environ, "SYMC_TARGET": name}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("name", WIDE)
def test_registers_of_64_bytes_compute_the_same(name: str) -> None:
    """The schedule of AVX-512 on whatever machine this is: LLVM splits the vectors."""
    function, types = CASES[name]
    graph = graph_of(function, **types)
    arrays = arrays_for(graph)
    passes = [Lower(), Choose(vector_bytes=64, registers=32), Tile()]
    instance = emit(Manager(verify=True).run(passes, to_program(graph)), host_target()).bind(arrays)
    instance.run()
    tolerance = 2e-3 if any(t.dtype == F16 for t in types.values()) else 2e-5
    want = evaluate(graph, arrays, "f64" if all(t.dtype == F32 for t in types.values()) else "declared").outputs
    for got, value in zip(instance.outputs, want.values()):
        assert_close(got, value, tolerance)


# --------------------------------------------------------------------------------------------- what code calls


def lenet() -> mx.sym.Symbol:
    net = mx.sym.Variable("data")
    for filters in (4, 6):
        net = mx.sym.Convolution(net, kernel=(3, 3), num_filter=filters)
        net = mx.sym.Pooling(mx.sym.Activation(net, act_type="tanh"), pool_type="max", kernel=(2, 2), stride=(2, 2))
    net = mx.sym.Activation(mx.sym.FullyConnected(net, num_hidden=40), act_type="tanh")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(net, num_hidden=10), name="softmax")


def training_kernels(target: Target) -> Iterator[str]:
    """The assembly of every kernel of LeNet's forward and backward run."""
    net = lenet()
    shapes, _, _ = net.infer_shape(data=(8, 1, 20, 20))
    types = {n: TensorType(dtype_of(np.float32), s) for n, s in zip(net.list_arguments(), shapes)}
    wrt = [n for n in types if n not in ("data", "softmax_label")]
    loops = Manager(verify=False).run(pipeline(True, wrt, (), target), module_of(net, types))
    for kernel in loops.kernels:
        yield assembly(emit_kernel(kernel, target), target)


#: of targets how a register of their width is written, and those of wider ones
REGISTERS = {
    "avx512": (r"%zmm\d", r"\bv\d+\.4s"),
    "avx2": (r"%ymm\d", r"%zmm\d"),
    "baseline": (r"%xmm\d", r"%[yz]mm\d"),
    "aarch64": (r"\b(?:v\d+\.4s|q\d+)", r"%[xyz]mm\d|\bz\d+\.s"),
}


@x86_only
@pytest.mark.parametrize("name", REGISTERS)
def test_training_steps_use_their_registers_and_call_nothing(name: str) -> None:
    texts = list(training_kernels(named_target(name)))
    own, others = REGISTERS[name]
    assert sum(re.search(own, text) is not None for text in texts) >= len(texts) // 2
    for text in texts:
        assert re.search(others, text) is None
        defined = set(re.findall(r"^([\w.$]+):", text, re.M))
        called = set(re.findall(r"\b(?:callq?|jmp|bl?)\s+\*?([A-Za-z_][\w.$]*)(?:@\w+(?:\(%rip\))?)?\s*$", text, re.M))
        assert called - defined - {"memset", "memcpy", "memmove"} == set()


def test_objects_for_arm_are_what_an_arm_machine_links() -> None:
    """ELF for AArch64: the kernel is the one global function, and nothing is left to find but the C library's own."""
    target = named_target("aarch64")
    graph = graph_of(lambda a, b: tanh(dot(a, b)), a=TensorType(F32, (9, 40)), b=TensorType(F32, (40, 33)))
    (kernel,) = Manager().run(loop_passes(target), to_program(graph)).kernels
    code = _compile("arm", "kernel", emit_kernel(kernel, target), "exported", target)
    assert code[:6] == b"\x7fELF\x02\x01" and struct.unpack_from("<H", code, 18) == (183,)
    symbols = {name: section for name, section, info in elf_symbols(code) if info >> 4 == 1}
    assert [n for n, section in symbols.items() if section] == ["exported"]
    assert {n for n, section in symbols.items() if not section} <= {"memset", "memcpy", "memmove"}


def elf_symbols(code: bytes) -> Iterator[tuple[str, int, int]]:
    """Of every symbol of an ELF object (64 bits, little endian) its name, section and kind."""
    at, size, count = (struct.unpack_from(f, code, o)[0] for f, o in (("<Q", 40), ("<H", 58), ("<H", 60)))
    headers = [struct.unpack_from("<IIQQQQIIQQ", code, at + i * size) for i in range(count)]
    for kind, offset, length, link in ((h[1], h[4], h[5], h[6]) for h in headers):
        if kind != 2:
            continue
        names = headers[link][4]
        for entry in range(offset, offset + length, 24):
            name, info, _, section = struct.unpack_from("<IBBH", code, entry)
            yield code[names + name : code.index(b"\0", names + name)].decode(), section, info


# --------------------------------------------------------------------------------------------- half precision


def converted(source: np.ndarray, to: str, lanes: bool = True) -> np.ndarray:
    """A cast by code for the baseline target."""
    graph = graph_of(lambda x: cast(x, dtype_of(to)), x=TensorType(dtype_of(source.dtype), source.shape))
    target = named_target("baseline")
    passes = [Lower(), Choose(vector_bytes=16, registers=16), Tile()] if lanes else [Lower()]
    instance = emit(Manager().run(passes, to_program(graph)), target).bind({"x": source})
    instance.run()
    return instance.outputs[0]


@x86_only
@pytest.mark.parametrize("lanes", [True, False], ids=["vectors", "scalars"])
def test_every_half_widens_exactly(lanes: bool) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    for to in ("float32", "float64"):
        got = converted(halves, to, lanes)
        np.testing.assert_array_equal(got, halves.astype(to))
        np.testing.assert_array_equal(np.signbit(got), np.signbit(halves))


def edges() -> np.ndarray:
    """Floats at, beside and between all halves; the ends of the range; denormals; nans."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[:-1] + halves[1:]) / 2
    exact = np.concatenate([halves, middle, [65504, 65519.996, 65520, 65536, 1e30, np.inf, np.nan]]).astype(np.float32)
    near = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    tiny = np.array([1, 2, 0x7FFFFF, 0x800000], np.uint32).view(np.float32)
    payloads = np.array([0x7F800001, 0x7FFFFFFF, 0x7FC00000], np.uint32).view(np.float32)
    made = np.concatenate([*near, tiny, payloads])
    return np.concatenate([made, -made])


@x86_only
@pytest.mark.parametrize("lanes", [True, False], ids=["vectors", "scalars"])
def test_floats_narrow_to_the_nearest_half(lanes: bool) -> None:
    floats = edges()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        want = floats.astype(np.float16)
    got = converted(floats, "float16", lanes)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    kept = ~np.isnan(want)
    np.testing.assert_array_equal(got.view(np.uint16)[kept], want.view(np.uint16)[kept])


@x86_only
def test_arithmetic_on_halves_calls_nothing() -> None:
    half = TensorType(F16, (77,))
    graph = graph_of(lambda a, b: [tanh(a) * b + a, relu(a - b), cast(cast(a, F64), F16)], a=half, b=half)
    target = named_target("baseline")
    loops = Manager().run([Lower(), Choose(vector_bytes=16, registers=16), Tile()], to_program(graph))
    for kernel in loops.kernels:
        assert "__extendhfsf2" not in (text := assembly(emit_kernel(kernel, target), target))
        assert "__trunc" not in text
    arrays = arrays_for(graph)
    instance = emit(loops, target).bind(arrays)
    instance.run()
    for got, want in zip(instance.outputs, evaluate(graph, arrays).outputs.values()):
        assert_close(got, want, 2e-3)


def test_caches_are_those_of_the_host_unless_a_target_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What sizes of panels are chosen by: of the machine, within bounds, and the same everywhere for a named target, so
    that its results can be reproduced."""
    monkeypatch.delenv("SYMC_TARGET", raising=False)
    host = host_target()
    assert CACHES[0] <= host.cache <= CACHES[1]
    (choose,) = [p for p in loop_passes(host) if p.name == "choose"]
    assert choose.cache == host.cache
    monkeypatch.setenv("SYMC_TARGET", "baseline")
    assert host_target().cache == named_target("baseline").cache == Choose().cache

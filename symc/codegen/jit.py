"""LLVM IR text to callable machine code: in-process table, then object cache, then LLVM.

Every kernel is compiled on its own, since batching texts into one module saves nothing (parsing, optimising and
emitting cost per instruction), and per-kernel objects can be cached and reused by any program. Linking is different:
a link costs 0.15 ms plus 0.1 ms an object, so one call links all its kernels at once.

Compiled code lives until the process exits. Programs share kernels through the table, code is small (a few KiB a
kernel), and freeing it would need every holder of an address to be known.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from symc.codegen.cache import default_cache, generator_fingerprint
from symc.codegen.errors import CompileError
from symc.codegen.target import Target, host_target

if TYPE_CHECKING:
    from llvmlite.binding import ModuleRef, PassBuilder, TargetMachine

Text = str | Callable[[], str]
KernelModule = tuple[str, str, Text]
"""(key, function name, text or a function that makes it): key stands for everything the text depends on."""

_lock = threading.RLock()
_addresses: dict[bytes, int] = {}
_links = itertools.count()

if hasattr(os, "register_at_fork"):  # a child must not inherit the lock from a thread that does not exist in it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@functools.cache
def _llvm() -> Any:
    """llvmlite's binding, ready for this machine. Imported on first use, as it costs more than a cached program."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()
    return binding


@functools.cache
def _machine(target: Target) -> TargetMachine:
    # Position-independent small-model code reaches its constants relative to the program counter. The JIT's default,
    # the large model, spends an instruction and a register on each address.
    triple = _llvm().Target.from_default_triple()
    return triple.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small", jit=True
    )


@functools.cache
def _pass_builder(target: Target) -> PassBuilder:
    options = _llvm().create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = options.loop_interleaving = False
    return _llvm().create_pass_builder(_machine(target), options)


@functools.cache
def _linker(target: Target) -> Any:
    return keep_forever(_llvm().create_lljit_compiler(_machine(target), use_jit_link=True))


def keep_forever(thing: Any) -> Any:
    """`thing`, which is now never freed, not even while the interpreter shuts down: native threads may still use it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    return thing


def compile_kernels(
    modules: Sequence[KernelModule], target: Target, imports: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Addresses, by key, of the functions that the self-contained texts of `modules` define.

    A text is made and compiled only if its key is new to this process and to the object cache. Definitions other than
    the named function become private to their module. Texts may call functions of the C library, and those that
    `imports` gives addresses for; a key must always be used with the same imports. Thread safe.

    Raises CompileError, naming the key and the file the text was written to, if LLVM refuses a text, if a text does not
    define its function, or if a function that it calls exists nowhere. LLVM aborts the process on instructions
    that the target lacks (an AVX-512 intrinsic in an `avx2` module): emitters ask `target` first.
    """
    digests = {key: _digest(key, text, target) for key, _, text in modules}
    with _lock:
        objects: dict[bytes, bytes] = {}
        cache = default_cache()
        for key, function_name, text in modules:
            digest = digests[key]
            if digest in _addresses or digest in objects:
                continue
            code = cache.get(digest) if cache else None
            if code is None:
                code = _compile(key, function_name, text() if callable(text) else text, _symbol(digest), target)
                if cache:
                    cache.put(digest, code)
            objects[digest] = code
        if objects:
            _link(objects, target, imports or {})
        return {key: _addresses[digest] for key, digest in digests.items()}


def llvm_ir(text: str, target: Target | None = None) -> str:
    """The module `text` after optimisation for `target` (default: the host's), as LLVM prints it."""
    with _lock:
        module = _parse("dump", text)
        _optimise(module, target or host_target())
        return str(module)


def assembly(text: str, target: Target) -> str:
    """The assembly that the module `text` becomes on `target`, which need not be a machine this host can run."""
    with _lock:
        module = _parse("dump", text)
        _optimise(module, target)
        return str(_machine(target).emit_assembly(module))


@functools.cache
def _target_fingerprint(target: Target) -> bytes:
    from llvmlite import __version__

    tools = (__version__, _llvm().llvm_version_info, _llvm().get_default_triple())
    machine = (target.name, target.features, target.cpu)
    return hashlib.sha256(repr((tools, machine)).encode() + generator_fingerprint()).digest()


def _digest(key: str, text: Text, target: Target) -> bytes:
    """What a kernel's code is known by: its key (and text, if at hand), the generator, LLVM and the target."""
    digest = hashlib.sha256(_target_fingerprint(target))
    digest.update(key.encode())
    if isinstance(text, str):
        digest.update(b"\0" + text.encode())
    return digest.digest()


def _symbol(digest: bytes) -> str:
    """A symbol no other kernel has: texts may use one function name for many kernels, and a link has one namespace."""
    return "symc_" + digest.hex()[:40]


def _compile(key: str, function_name: str, text: str, symbol: str, target: Target) -> bytes:
    """Object code that exports the function as `symbol`."""
    module = _parse(key, text)
    _privatise(module, key, function_name, symbol, text)
    _optimise(module, target)
    return bytes(_machine(target).emit_object(module))


def _parse(key: str, text: str) -> ModuleRef:
    try:
        module = _llvm().parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise _refusal(key, str(error).strip(), text) from None
    return module


def _privatise(module: ModuleRef, key: str, function_name: str, symbol: str, text: str) -> None:
    found = False
    for value in (*module.functions, *module.global_variables):
        if value.is_declaration:
            continue
        if value.name == function_name:
            value.name = symbol
            found = True
        else:
            value.linkage = "internal"
    if not found:
        raise _refusal(key, f"it does not define @{function_name}", text)


def _optimise(module: ModuleRef, target: Target) -> None:
    """Inline the helpers, then simplify each function once (mem2reg, common subexpressions, invariant code, ...).

    Whole-module level 1 takes twice the time for the same kernel speed: it simplifies everything again after inlining.
    The code is already vectorised and unrolled as its generator wants it.
    """
    builder = _pass_builder(target)
    passes = _llvm().create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    simplify = builder.getFunctionPassManager()
    for function in module.functions:
        if not function.is_declaration:
            simplify.run(function, builder)


def _refusal(key: str, reason: str, text: str) -> CompileError:
    handle, path = tempfile.mkstemp(prefix="symc-refused-", suffix=".ll")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return CompileError(
        f"LLVM refused kernel {key!r}: {reason}\n  its text is in {path}; this is a bug in its generator"
    )


def _link(objects: Mapping[bytes, bytes], target: Target, imports: Mapping[str, int]) -> None:
    builder = _llvm().JITLibraryBuilder().add_current_process()
    for name, address in imports.items():
        builder.import_symbol(name, address)
    for digest, code in objects.items():
        builder.add_object_img(code).export_symbol(_symbol(digest))
    try:
        tracker = keep_forever(builder.link(_linker(target), f"symc{next(_links)}"))  # else the code is unmapped
    except RuntimeError as error:
        raise CompileError(
            f"{len(objects)} kernels cannot be linked: {error}; LLVM has printed the missing function, if one is: "
            f"it is neither in the C library nor among the imports ({', '.join(imports) or 'none'})"
        ) from None
    for digest in objects:
        _addresses[digest] = tracker[_symbol(digest)]

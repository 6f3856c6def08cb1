"""LLVM IR text to callable machine code: in-process table, then object cache, then LLVM.

Every kernel is compiled on its own, since batching texts into one module saves nothing (parsing, optimising and
emitting cost per instruction), per-kernel objects can be cached and reused by any program, and threads can share the
work: while Python writes the text of one kernel, LLVM compiles those before it. Linking is different: a link costs
0.15 ms plus 0.1 ms an object, so one call links all its kernels at once.

Threads that want the same kernel at once wait for the one that came first; kernels of different programs are compiled
side by side. A fork waits for the kernels and links that have begun, and not for those that are still to come.

Compiled code lives until the process exits. Programs share kernels through the table, code is small (a few KiB a
kernel), and freeing it would need every holder of an address to be known.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from symc.codegen.errors import CompileError
from symc.codegen.jit.cache import default_cache, generator_fingerprint
from symc.codegen.jit.llvm import binding, compiler, machine_for, parsed
from symc.codegen.jit.threads import share
from symc.codegen.target import Target, host_target
from symc.ir.process import forks_wait, in_child, lock
from symc.leftovers import Crumbs, new_file
from symc.progress import Compilation

if TYPE_CHECKING:
    from llvmlite.binding import ModuleRef

Text = str | Callable[[], str]
KernelModule = tuple[str, str, Text]
"""(key, function name, text or a function that makes it): key stands for everything the text depends on."""

_code = lock("code")
#: where linked kernels are, and who makes the next; guarded by `_code`
_addresses: dict[bytes, int] = {}
_making: dict[bytes, threading.Event] = {}
_links = itertools.count()

in_child(_making.clear)  # whoever made them is not there: the child makes them itself


@functools.cache
def _linker(target: Target) -> Any:
    return keep_forever(binding().create_lljit_compiler(keep_forever(machine_for(target)), use_jit_link=True))


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
    wanted = {digests[module[0]]: module for module in modules}
    while True:
        with _code:
            missing = [digest for digest in wanted if digest not in _addresses]
            if not missing:
                return {key: _addresses[digest] for key, digest in digests.items()}
            own = {digest: wanted[digest] for digest in missing if digest not in _making}
            others = [_making[digest] for digest in missing if digest in _making]
            done = threading.Event()
            _making.update(dict.fromkeys(own, done))
        if own:
            try:
                linked = _link(_objects(own, target), target, imports or {})
                with _code:
                    _addresses.update(linked)
            finally:
                with _code:
                    for digest in own:
                        _making.pop(digest, None)
                done.set()
        for made in others:  # those that fail there are made here in the next turn, for an error of its own
            made.wait()


def llvm_ir(text: str, target: Target | None = None) -> str:
    """The module `text` after optimisation for `target` (default: the host's), as LLVM prints it."""
    return _listing(text, target or host_target(), ("llvm",))["llvm"]


def assembly(text: str, target: Target) -> str:
    """The assembly that the module `text` becomes on `target`, which need not be a machine this host can run."""
    return _listing(text, target, ("asm",))["asm"]


def listings(texts: Mapping[str, Callable[[], str]], target: Target, forms: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of every text by name its `forms`, as llvm_ir ("llvm") and assembly ("asm") give them; made by as many threads as
    kernels may use, and kept in the object cache: who looks at a program looks at it again."""
    made: dict[str, dict[str, str]] = {}
    cache = default_cache()
    compilation = Compilation(len(texts), cache is not None)

    def listed(job: tuple[str, str]) -> None:
        name, text = job
        digests = {form: _digest(f"listing of {form}", text, target) for form in forms}
        kept = {form: cache.get(digests[form]) for form in forms} if cache else {}
        found = {form: zlib.decompress(blob).decode() for form, blob in kept.items() if blob is not None}
        if len(found) < len(digests):
            found = _listing(text, target, forms)
            for form in digests if cache else ():
                cache.put(digests[form], zlib.compress(found[form].encode(), 1))
        made[name] = found

    share(((name, text()) for name, text in texts.items()), listed, len(texts), lambda: compilation.show(len(made)))
    compilation.end()
    return made


def _listing(text: str, target: Target, forms: Sequence[str]) -> dict[str, str]:
    with compiler(target) as own, _parsed("dump", text) as module:
        own.optimise(module)
        made = {"llvm": str(module)} if "llvm" in forms else {}
        if "asm" in forms:
            made["asm"] = own.emit(module, as_text=True).decode()
        return made


@functools.cache
def target_fingerprint(target: Target) -> bytes:
    """A digest of what machine code depends on besides its kernel: the emitters, LLVM and the target."""
    from llvmlite import __version__

    tools = (__version__, binding().llvm_version_info, binding().get_default_triple())
    machine = (target.name, target.features, target.cpu, target.triple)
    return hashlib.sha256(repr((tools, machine)).encode() + generator_fingerprint()).digest()


def _digest(key: str, text: Text, target: Target) -> bytes:
    """What a kernel's code is known by: its key (and text, if at hand), the generator, LLVM and the target."""
    digest = hashlib.sha256(target_fingerprint(target))
    digest.update(key.encode())
    if isinstance(text, str):
        digest.update(b"\0" + text.encode())
    return digest.digest()


def _symbol(digest: bytes) -> str:
    """A symbol no other kernel has: texts may use one function name for many kernels, and a link has one namespace."""
    return "symc_" + digest.hex()[:40]


def _objects(modules: Mapping[bytes, KernelModule], target: Target) -> dict[bytes, bytes]:
    """Object code by digest, from the cache or from LLVM."""
    cache = default_cache()
    if cache is None:
        return _compile_all(modules, target)
    objects = {digest: code for digest in modules if (code := cache.get(digest)) is not None}
    made = _compile_all({digest: m for digest, m in modules.items() if digest not in objects}, target)
    for digest, code in made.items():
        cache.put(digest, code)
    return objects | made


def _compile_all(modules: Mapping[bytes, KernelModule], target: Target) -> dict[bytes, bytes]:
    """Object code by digest, made by as many threads as kernels may use."""
    texts = ((digest, key, name, text() if callable(text) else text) for digest, (key, name, text) in modules.items())
    compilation = Compilation(len(modules), default_cache() is not None)
    objects: dict[bytes, bytes] = {}

    crumbs = Crumbs("compiling", ".ll")

    def compiled(job: tuple[bytes, str, str, str]) -> None:
        digest, key, name, text = job
        crumbs.say(f"; the process ended when LLVM was given this, for {target.name}\n{text}")
        objects[digest] = _compile(key, name, text, _symbol(digest), target)

    try:
        share(texts, compiled, len(modules), lambda: compilation.show(len(objects)))
    finally:
        crumbs.end()
    compilation.end()
    return objects


def _compile(key: str, function_name: str, text: str, symbol: str, target: Target) -> bytes:
    """Object code that exports the function as `symbol`."""
    with compiler(target) as own, _parsed(key, text) as module:
        _privatise(module, key, function_name, symbol, text)
        own.optimise(module)
        return own.emit(module)


@contextlib.contextmanager
def _parsed(key: str, text: str) -> Iterator[ModuleRef]:
    try:
        with parsed(text) as module:
            yield module
    except RuntimeError as error:
        raise _refusal(key, str(error).strip(), text) from None


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


def _refusal(key: str, reason: str, text: str) -> CompileError:
    path = new_file("refused", ".ll")
    path.write_text(text, encoding="utf-8")
    return CompileError(
        f"LLVM refused kernel {key!r}: {reason}\n  its text is in {path}; this is a bug in its generator"
    )


def _link(objects: Mapping[bytes, bytes], target: Target, imports: Mapping[str, int]) -> dict[bytes, int]:
    """Addresses by digest."""
    with forks_wait():
        builder = binding().JITLibraryBuilder().add_current_process()
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
        return {digest: tracker[_symbol(digest)] for digest in objects}

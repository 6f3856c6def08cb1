"""LLVM by way of llvmlite, in many threads at once.

llvmlite lets one thread at a time into all of LLVM. LLVM itself asks for less: that no two threads share a context, a
module or a target machine. Here every module has a context of its own, machines are lent to one thread at a time, and
the two calls that take the time (running passes, emitting code) are made without llvmlite's lock.

llvmlite and LLVM have locks of their own, which nobody can renew in a forked child. So whoever enters them does so
within `forks_wait`. The two long calls are exempt: they work on what is their thread's alone, and all that they share
is the registry of code generation's passes, which they read. They write to it, and set up what else LLVM makes once,
when the first kernel of a process is compiled: for that one forks wait to its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from symc.codegen.target import Target
from symc.ir.process import forks_go_on, forks_wait

if TYPE_CHECKING:
    from llvmlite.binding import ModuleRef


@functools.cache
def binding() -> Any:
    """llvmlite's binding, ready for this machine. Imported on first use, as it costs more than a cached program."""
    with forks_wait():
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        binding.initialize_native_asmparser()
        return binding


#: the first kernel has been compiled
_ready = threading.Event()


def _unlocked(name: str) -> Callable[..., Any]:
    """A function of LLVM's C interface without llvmlite's lock; with it, slower but right, if llvmlite hides it."""
    locked: Callable[..., Any] = getattr(binding().ffi.lib, name)
    return getattr(locked, "_cfn", locked)


def _alone(name: str, *arguments: Any) -> Any:
    """Call such a function, whose arguments nobody else has."""
    function = _unlocked(name)
    if function is getattr(binding().ffi.lib, name) or not _ready.is_set():
        return function(*arguments)
    with forks_go_on():
        return function(*arguments)


@contextlib.contextmanager
def parsed(text: str) -> Iterator[ModuleRef]:
    """The verified module that `text` spells, for as long as the block runs: a module must go before its context, which
    the garbage collector does not know. Raises RuntimeError with LLVM's words if the text is wrong."""
    with binding().create_context() as context, binding().parse_assembly(text, context) as module:
        module.verify()
        yield module


@functools.cache
def _all_targets() -> None:
    """Make every machine known to LLVM, for code that is only looked at."""
    binding().initialize_all_targets()
    binding().initialize_all_asmprinters()


def machine_for(target: Target) -> Any:
    """LLVM's target machine."""
    if target.triple:
        _all_targets()
    llvm = binding()
    # Position-independent small-model code reaches its constants relative to the program counter. The JIT's
    # default, the large model, spends an instruction and a register on each address.
    return llvm.Target.from_triple(target.triple or llvm.get_default_triple()).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small", jit=True
    )


class Compiler:
    """A target machine and its passes. Not to be shared: `compiler` lends it to one thread at a time."""

    def __init__(self, target: Target) -> None:
        llvm = binding()
        self.machine = machine_for(target)
        self._builder = llvm.create_pass_builder(self.machine, llvm.create_pipeline_tuning_options(speed_level=1))
        # made once: llvmlite never frees what it builds for a pipeline, some 20 KiB
        self._inline = llvm.create_new_module_pass_manager()
        self._inline.add_always_inliner_pass()
        self._inline.add_global_dead_code_eliminate_pass()

    def optimise(self, module: ModuleRef) -> None:
        """Inline the helpers, and no more: the text is in SSA form, vectorised and unrolled as its generator wants it,
        and code generation finds common and invariant values itself. LLVM's pipelines for functions make no kernel
        faster, and would take a quarter to a third of the time of compiling."""
        _alone("LLVMPY_RunNewModulePassManager", self._inline, module, self._builder)

    def emit(self, module: ModuleRef, as_text: bool = False) -> bytes:
        """Relocatable object code, or assembly; the module is used up. Raises RuntimeError with LLVM's words if it has
        none for this target."""
        ffi = binding().ffi
        with ffi.OutputString() as error:
            buffer = _alone("LLVMPY_TargetMachineEmitToMemory", self.machine, module, 0 if as_text else 1, error)
            if not buffer:
                raise RuntimeError(str(error))
        _ready.set()
        try:
            return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer))
        finally:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


#: machines that nobody uses just now: adding to a list and taking from it need no lock
_idle: dict[Target, list[Compiler]] = {}


@contextlib.contextmanager
def compiler(target: Target) -> Iterator[Compiler]:
    """A compiler for `target`, for this thread alone as long as the block runs, within `forks_wait`."""
    idle = _idle.setdefault(target, [])
    with forks_wait():
        try:
            found = idle.pop()
        except IndexError:
            found = Compiler(target)
        try:
            yield found
        finally:
            idle.append(found)

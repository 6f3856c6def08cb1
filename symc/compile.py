"""The whole compiler on one page: from a Symbol with known types to native code.

types   = infer_shape, infer_type          complete what the user left out        (Symbol.infer_*, bind)
graph   = decompose(symbol, types)         MXNet's operators become primitives, with types
graph   = batch(graph)                     products by one weight of the steps of an unrolled net are one product
graph   = autodiff(graph, wrt)             gradients join the graph, as its backward half; loss heads keep their rule
graph   = stack(graph)                     ... and so are those of their gradients; sums of parts are the whole
graph   = merge_loops(graph)               turns that a gradient takes again are taken once
graph   = inline(graph)                    ... and from here all is ordinary arithmetic
graph   = prune(graph)                     what nobody takes of a loop is not computed
graph   = norms(simplify(graph))           fewer, canonical nodes for fuse to see; a norm is one multiply-add
graph   = layout(winograd_dw(graph))       where blocked layouts are chosen
graph   = winograd(graph)                  convolutions with fewer multiplications; winograd_dw: weight gradients
graph   = pack(graph)                      weights lie as they are read, where a prologue can see to it
program = fuse(graph)                      which values get memory, and which kernels compute them
program = schedule(program)                the order of the kernels
program = own_results(program)             a value of its own for every output and update, copied where it must be
program = hoist(program)                   what depends on parameters only runs when they change
program = plan_memory(program)             offsets in one arena
loops   = lower(program)                   every kernel a loop nest
loops   = choose(loops)                    how they are to run: threads, vectors, register tiles
loops   = tile(loops)                      ... and they do
table   = emit(loops)                      LLVM IR, machine code, one table of kernels to run

This module is a function, too: `symc.compile(module, types)` does all of it, from any level on (docs/library.md).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Union

from symc.base import MXNetError, those
from symc.codegen.emit.description import NativeKernel, describe
from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.target import Target, host_target
from symc.ir.errors import TypeMismatch, VerifyError
from symc.ir.loop.verify import verify_kernel
from symc.ir.modules import Calls
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph, with_origins
from symc.passes.edits import active
from symc.passes.loop.lower import Kernels, LoopModule, Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Instrument, Manager, Module, Pass, PipelineError, collections_paused
from symc.passes.manager.properties import held, level
from symc.passes.pipeline import parse_pipeline
from symc.passes.program.fuse import Fuse
from symc.passes.program.hoist import Hoist
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.batch import Batch
from symc.passes.tensor.decompose import Decompose, SymbolModule
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.layout import Layout
from symc.passes.tensor.merge_loops import MergeLoops
from symc.passes.tensor.norms import Norms
from symc.passes.tensor.pack import Pack
from symc.passes.tensor.pack_steps import PackSteps
from symc.passes.tensor.prune import Prune
from symc.passes.tensor.simplify import Simplify
from symc.passes.tensor.stack import Stack
from symc.passes.tensor.winograd import WinogradConvolutions
from symc.passes.tensor.winograd_dw import WinogradDw
from symc.progress import compiling
from symc.runtime.executable import Executable
from symc.runtime.known import facts_of, remember
from symc.runtime.memory import need_for
from symc.runtime.programs import program_of
from symc.runtime.stored import Key, key_of, key_of_graph, load, save
from symc.runtime.table import link_kernels
from symc.settings import filtering, verification
from symc.tracing import dumping, tracing
from symc.tuned import tuned_file
from symc.typed import HasGraph, Known, complete, module_of, roles_of

#: Terms of a block of a long sum. Short blocks cost a tenth of a convolution's speed. Gradients need them, as they turn
#: on the signs of values near zero, which rounding decides; a prediction does not.
TRAINING_BLOCK, INFERENCE_BLOCK = Choose().block, 256
#: Innermost turns of a kernel that take a few microseconds: its code is kept short. Large tiles would take LLVM 15 ms
#: more, and spare a microsecond at most.
SMALL = 1 << 16


#: what machine code is made of: a Symbol, or a program of any level
Source = Union[HasGraph, Graph, Program, LoopModule]


def symbol_passes(train: bool = False, wrt: Sequence[str] = (), add: Sequence[str] = ()) -> list[Pass]:
    """From a symbol graph to a tensor graph with its gradients."""
    decompose = Decompose(train=True, backward=bool(wrt), wrt=tuple(wrt)) if train else Decompose()
    return [decompose, Batch(), *gradient_passes(wrt, add)]


def gradient_passes(wrt: Sequence[str], add: Sequence[str] = ()) -> list[Pass]:
    """What joins gradients to a tensor graph."""
    return [Autodiff(wrt=tuple(wrt), add=tuple(add)), Stack(), MergeLoops()] if wrt else []


def tensor_passes(target: Target | None = None, train: bool = False) -> list[Pass]:
    """From a tensor graph to a planned program."""
    target = target or host_target()
    width, asked = target.vector_bytes, filtering()
    fewer = WinogradConvolutions(vector_bytes=width, tile=2 if train else 0, gradients=train and asked is None)
    taps, maps = ([WinogradDw()], [fewer]) if asked is not False else ([], [])
    packing = Pack(vector_bytes=width, registers=target.registers)
    # an element that is spread over a register serves as many vectors as multiply-adds begin in a cycle
    steps = PackSteps(vector_bytes=width, vectors=target.ports)
    return [
        Inline(), Prune(), Simplify(), Norms(), *taps, Layout(), *maps, packing, steps,
        Fuse(), Schedule(), OwnResults(), Hoist(), PlanMemory(),
    ]  # fmt: skip


def pipeline(
    train: bool = False, wrt: Sequence[str] = (), add: Sequence[str] = (), target: Target | None = None
) -> list[Pass]:
    """The passes from a symbol graph to loops. `wrt`: arguments whose gradients are wanted; `add`: those of them whose
    gradient is added to what its buffer holds."""
    target, training = target or host_target(), train or bool(wrt)
    loops = loop_passes(target, TRAINING_BLOCK if training else INFERENCE_BLOCK)
    return [*symbol_passes(train, wrt, add), *tensor_passes(target, training), *loops]


def loop_passes(target: Target, block: int = TRAINING_BLOCK) -> list[Pass]:
    """From a planned program to scheduled loops; `block`: terms of a block of a long sum."""
    width, registers, ports = target.vector_bytes, target.registers, target.ports
    choose = Choose(
        vector_bytes=width,
        registers=registers,
        ports=ports,
        block=block,
        cache=target.cache,
        small=SMALL,
        tuned=tuned_file(target),
    )
    return [Lower(), choose, Tile()]


def remaining(module: Module, train: bool = False, wrt: Sequence[str] = ()) -> list[Pass]:
    """The passes from the level of a module to loops. PipelineError where gradients are asked of a program."""
    here = level(module)
    if here == "symbol":
        return pipeline(train, wrt)
    if wrt and here != "tensor":
        raise PipelineError(f"gradients are made of a Symbol or a tensor graph; this is {here} IR")
    training = train or bool(wrt) or has_backward(module)
    target = host_target()
    loops = loop_passes(target, TRAINING_BLOCK if training else INFERENCE_BLOCK)
    if here == "tensor":
        return [*gradient_passes(wrt), *tensor_passes(target, training), *loops]
    if here == "loop":
        return [p for p in loops if p.takes == "loop"]
    plan = [] if "planned" in held(module) else [p for p in tensor_passes(target) if p.takes == "program"]
    return [*plan, *loops]


def has_backward(module: Module) -> bool:
    """Whether a program, of any level below the Symbol's, has a backward half: it is compiled for training then."""
    if isinstance(module, Graph):
        return module.halved
    program: Program = module.program if isinstance(module, LoopModule) else module
    return "backward" in [end.phase for end in (*program.outputs, *program.updates)]


def compile(
    source: Source,
    types: Mapping[str, Known] | None = None,
    pipeline: str | Sequence[Pass] | None = None,
    *,
    train: bool = False,
    wrt: Sequence[str] = (),
    instruments: Sequence[Instrument] = (),
) -> Executable:
    """Native code for a Symbol, or for a program of any level: passes go on from there.

    `types` are those of a Symbol's variables by name, or their shapes; what follows from others may be left out.
    `pipeline` replaces the compiler's own passes, as passes or text; it has to end with loops. Those of `with
    symc.pipeline(...)` are edits of the compiler's own. `train`: as a training program runs (Dropout drops). `wrt`:
    arguments whose gradients are outputs, too; each output that is no loss has its own gradient among the parameters
    then, as OUTPUT.head. `instruments` see the passes run.

    MXNetError for types that do not fit, and for what cannot be built with them; PipelineError for a pipeline that does
    not fit the module.
    """
    module = _typed(source, types, wrt)
    passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    if passes is None and not instruments and isinstance(module, SymbolModule):
        return compile_symbol(module, train, wrt)
    if passes is None:
        passes = active().apply(remaining(module, train, wrt))
    elif train or wrt:
        raise PipelineError("a pipeline says itself how it trains: decompose{train=true},...,autodiff{wrt=...}")
    end = passes[-1].gives if passes else level(module)
    if end != "loop":
        raise PipelineError(
            f"the pipeline ends with {end} IR; machine code is made of loop IR, by lower, choose and tile"
        )
    with refusals(getattr(module, "name", "the program")):
        return _made(passes, module, host_target(), instruments)


def _typed(source: Any, types: Mapping[str, Known] | None, wrt: Sequence[str]) -> Module:
    """What passes take: of a Symbol, its graph with the types of all variables."""
    if not hasattr(source, "list_arguments"):
        level(source)
        if types is not None:
            raise TypeError(f"types are for Symbols; a {type(source).__name__} has its own")
        return with_origins(source) if isinstance(source, Graph) else source
    names = source.list_arguments()
    for name in [*wrt, *(types or ())]:
        if name not in names and (name in wrt or name not in source.list_auxiliary_states()):
            raise MXNetError(f"{source!r} has no argument {name!r}; it has {those(names, name)}")
    found, missing = complete(source, types or {})
    if missing:
        raise MXNetError(f"{source!r}: the shape of {', '.join(missing)} is not known; give it in types")
    return module_of(source, found, roles_of(found, [n for n in types or {} if n not in wrt and n in names]))


def compile_symbol(
    module: SymbolModule,
    train: bool = False,
    wrt: Sequence[str] = (),
    add: Sequence[str] = (),
    manager: Manager | None = None,
) -> Executable:
    """Native code for a symbol graph with known types. A program that is in use already is not made again, unless a
    `manager` is to see how it is made. MXNetError for operators that cannot be built with these types."""
    target = host_target()
    passes = active().apply(pipeline(train, wrt, add, target))
    with refusals(module.name), compiling(module.name):
        if manager is not None:
            return emit(manager.run(passes, module), target)
        chosen = next((pass_.spelled() for pass_ in passes if isinstance(pass_, Choose)), "")
        options = (train, filtering(), chosen)
        return program_of(
            module,
            (tuple(wrt), tuple(add), *options, target, active()),
            lambda: _kept(passes, module, target, lambda: key_of(module, wrt, add, options, target)),
        )


def _kept(passes: Sequence[Pass], module: Module, target: Target, key_of_it: Callable[[], Key | None]) -> Executable:
    """A program that an earlier process has kept, or what is made of the module now, which is kept. Whoever wants to
    see passes run, or others than the compiler's own, gets a new one."""
    edits = active()
    key = None if edits.insert or edits.disable or verification() or dumping() else key_of_it()
    with collections_paused():
        found = load(key) if key is not None else None
    if found is None:
        made = _made(passes, module, target)
        if key is not None:
            save(key, made.program, made.called, made.kernels)
        return made
    program, called, kernels = found
    last = [pass_ for pass_ in passes if pass_.gives == "loop"]
    return _linked(program, called, kernels, target, lambda: Manager(verify=verification()).run(last, program))


def _made(passes: Sequence[Pass], module: Module, target: Target, instruments: Sequence[Instrument] = ()) -> Executable:
    """What passes and code generation make of a module, seen by instruments and written where it is traced."""
    with tracing(module, passes) as writers:
        watching = [*instruments, *writers]
        manager = Manager(watching, verify=verification())
        last = [pass_ for pass_ in passes if pass_.gives == "loop"]
        if (
            watching
            or verification()
            or level(module) == "loop"
            or [type(pass_) for pass_ in last] != [Lower, Choose, Tile]
        ):
            return emit(manager.run(passes, module), target)
        program = manager.run(passes[: -len(last)], module)
        found = Kernels(program)
        known = facts_of(found.keys, last, target)
        if known is not None:
            return _linked(
                program, found.calls, known, target, lambda: Manager(verify=verification()).run(last, program)
            )
        made = emit(manager.run(last, program), target)
        remember(found.keys, last, target, made.kernels)
        return made


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """What an operator's program, or the lack of memory for its constants, refuses is a refusal of the Symbol."""
    try:
        yield
    except TypeMismatch as problem:
        raise MXNetError(str(problem)) from problem
    except VerifyError as problem:
        if problem.rule != "M6":  # the compiler's own fault
            raise
        raise MXNetError(str(problem)) from problem
    except MemoryError as problem:
        raise MXNetError(f"compiling {name} needs more memory than there is: {problem}") from None


def compile_graph(graph: Graph) -> Executable:
    """Native code for a tensor graph."""
    target = host_target()
    passes = active().apply([*tensor_passes(target, train=True), *loop_passes(target)])
    with compiling(graph.name):
        return _kept(passes, graph, target, lambda: key_of_graph(graph, passes, target))


def emit(loops: LoopModule, target: Target) -> Executable:
    """Machine code for every kernel; equal kernels are compiled once, in this process and on disk. MXNetError if the
    program needs more memory than there is."""
    kernels = tuple(describe(kernel, target) for kernel in loops.kernels)
    called = Calls(loops.calls, loops.shifts, loops.regions)
    return _linked(loops.program, called, kernels, target, lambda: loops)


def _linked(
    program: Program, called: Calls, kernels: tuple[NativeKernel, ...], target: Target, loops: Callable[[], LoopModule]
) -> Executable:
    """A program with the machine code of its kernels; `loops` gives those, for whoever looks at them."""
    need_for(program)
    once_made = functools.cache(loops)
    # the text is written only where neither this process nor the cache has the code
    wanted = [(k.key, "kernel", functools.partial(_text, once_made, at, target)) for at, k in enumerate(kernels)]
    found = link_kernels(wanted, target) if wanted else {}
    return Executable(program, called, target, kernels, tuple(found[k.key] for k in kernels), once_made)


def _text(loops: Callable[[], LoopModule], number: int, target: Target) -> str:
    """The LLVM IR of a kernel that is compiled for the first time: equal ones have been verified then."""
    kernel = loops().kernels[number]
    if verification() is not False:
        verify_kernel(kernel, origins=False)
    return emit_kernel(kernel, target)


class _Compile(ModuleType):
    """symc.compile: this module, which is called as its function is."""

    __call__ = staticmethod(compile)


sys.modules[__name__].__class__ = _Compile

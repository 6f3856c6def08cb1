"""Programs of every level on arrays: as machine code, or in the interpreters, which say what is right."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symc.base import those
from symc.cli.inputs import Loaded, passes_for
from symc.cli.opt import run_passes
from symc.cli.report import INPUT, CliError
from symc.cli.values import arrays_of
from symc.codegen.target import host_target
from symc.compile import emit
from symc.debug.compare import Reference, compare, reference_of, reference_of_kernels
from symc.debug.nan_guard import NotFinite, in_module, nan_guard
from symc.debug.probe import probed
from symc.debug.reading import inputs_of
from symc.debug.trial import Trial
from symc.ir.interp import Results, interpret
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph
from symc.ir.types import Array, TensorType
from symc.passes.manager.manager import Module
from symc.runtime.memory import fits, need
from symc.runtime.recording import Recording, record

Kernels = (Program, LoopModule)
#: runs that a profile takes at most, and seconds after which it begins no other
RUNS, LONGEST = 50, 2.0
#: roles of a Symbol's variables that are trained, or kept beside what is trained
PARAMETERS = ("arg", "aux")


@dataclass(frozen=True)
class Kind:
    """What inputs are that nobody gives: random numbers of a seed, ones, or small whole numbers."""

    word: str = "seed"
    seed: int = 0

    def data(self, name: str, shape: tuple[int, ...]) -> Array:
        """The value of a net's input."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        if self.word == "ones":
            return np.ones(shape)
        return rng.integers(-4, 5, shape) if self.word == "exact-int" else rng.uniform(-2.0, 2.0, shape)

    def parameter(self, name: str, shape: tuple[int, ...]) -> Array:
        """The value of a net's parameter or state. Random weights are scaled by the terms of their
        sums, as initialisers do, or a deep net would overflow; variances and scales are positive."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        if self.word == "ones":
            return np.ones(shape)
        if self.word == "exact-int":
            return rng.integers(1, 3, shape) if name.endswith(("var", "gamma")) else rng.integers(-2, 3, shape)
        if name.endswith(("var", "gamma")):
            return rng.uniform(0.5, 1.5, shape)
        if len(shape) < 2:
            return rng.uniform(-0.1, 0.1, shape)
        return rng.uniform(-1.0, 1.0, shape) * np.sqrt(3.0 / max(1, int(np.prod(shape[1:]))))


def kind_of(items: Sequence[str]) -> tuple[Kind | None, dict[str, Array]]:
    """What `--inputs` asks for: a kind of values, and the arrays of .npz files."""
    kind: Kind | None = None
    word_given = ""
    arrays: dict[str, Array] = {}
    for item in items:
        word, equals, number = item.partition("=")
        if item.endswith(".npz"):
            arrays |= arrays_of(item)
            continue
        if word in ("ones", "exact-int") and not equals:
            made = Kind(word)
        elif word == "seed" and number.isdecimal():
            made = Kind(word, int(number))
        else:
            raise CliError(f"--inputs {item}: expected seed=N, ones, exact-int or FILE.npz")
        if kind not in (None, made):
            raise CliError(f"--inputs {word_given} and --inputs {item} are two kinds of values; give one of them")
        kind, word_given = made, item
    return kind, arrays


@dataclass(frozen=True)
class Job:
    """A program and the values of its inputs."""

    loaded: Loaded
    train: bool
    given: Mapping[str, Array]
    kind: Kind
    #: glob patterns of values that are shown, too
    probes: Sequence[str] = ()
    #: the inputs that --input gives
    typed: Collection[str] = ()

    def __post_init__(self) -> None:
        types = {name: tensor for name, _, tensor in inputs_of_module(self.loaded.module)}
        if not set(self.given) <= set(types):  # keys and head gradients of a Symbol, which only its program has
            types |= {name: tensor for name, _, tensor in inputs_of_module(self.graph())}
        for name, array in self.given.items():
            if name not in types:
                option = "--input" if name in self.typed else "--inputs"
                raise CliError(f"{option}: the program has no input {name}; it has {those(types, name, 6)}")
            if array.shape != types[name].shape:
                raise CliError(f"--input: {name} has shape {array.shape}; the program needs {types[name]}", INPUT)

    def values(self, module: Module) -> dict[str, Array]:
        """Arrays for all inputs of a program that was made of the job's, by name; C-contiguous and of their types."""
        made: dict[str, Array] = {}
        need_for_inputs(module)
        with np.errstate(all="ignore"):
            for name, role, tensor in inputs_of_module(module):
                value = self.given[name] if name in self.given else self._value(name, role, tensor)
                made[name] = np.array(value, tensor.dtype.numpy, order="C").reshape(tensor.shape)
        return made

    def _value(self, name: str, role: str, tensor: TensorType) -> Array:
        if tensor.dtype.is_float and role in PARAMETERS:
            return self.kind.parameter(name, tensor.shape)
        if tensor.dtype.is_float and role == "data":
            return self.kind.data(name, tensor.shape)
        if role == "label":  # of the first class, whatever the number of classes
            return np.zeros(tensor.shape)
        if self.kind.word == "ones" and role != "key":
            return np.ones(tensor.shape)
        return self._trial(self.loaded.module).value(name, role, tensor)

    def _trial(self, module: Module) -> Trial:
        return Trial(module, (), self.kind.seed, whole=self.kind.word == "exact-int")

    def graph(self) -> Module:
        """The program as the interpreters take it: as it came, or a Symbol over primitives."""
        if self.loaded.level != "symbol":
            return self.loaded.module
        passes = [p for p in passes_for(self.loaded, self.train) if p.takes == "symbol" or p.name == "autodiff"]
        return run_passes(passes, self.loaded.module)[0]

    def loops(self) -> LoopModule:
        """The program as machine code is made of it, with the probes as outputs."""
        module, passes = self.loaded.module, passes_for(self.loaded, self.train)
        if self.probes:
            at = next((i for i, p in enumerate(passes) if p.name == "inline"), None)
            if at is None:
                raise CliError("--probe: values of a program of kernels have no memory of their own; probe its Symbol")
            module = run_passes(passes[: at + 1], module)[0]
            assert isinstance(module, Graph)
            try:
                module = probed(module, self.probes)
            except ValueError as problem:
                raise CliError(f"--probe: {problem}") from None
            passes = passes[at + 1 :]
        made = run_passes(passes, module)[0]
        assert isinstance(made, LoopModule)
        return made

    def guarded(self) -> NotFinite | None:
        """The first value that is not finite, in the program as it came or as it is compiled."""
        graph = self.graph()
        if not isinstance(graph, Graph):
            return in_module(graph, self.values(graph))
        passes = passes_for(self.loaded, self.train)
        return nan_guard(graph, self.loaded.module, passes, self.values, lambda m: run_native(m, self.values))

    def native(self) -> Results:
        """What machine code gives."""
        return run_native(self.loops(), self.values)

    def profiled(self) -> tuple[Results, Recording]:
        """What machine code gives, and a recording of some runs of it."""
        recording = Recording()
        return run_native(self.loops(), self.values, recording), recording

    def interpreted(self, f64: bool = False) -> Results:
        """What the interpreter of the program's level gives."""
        module = self.graph()
        return interpret(module, self.values(module), f64)

    def differs(self, found: Results) -> str:
        """How values differ from the program in double precision by more than rounding explains; empty if they do
        not."""
        module = self.graph()
        trial, arrays = self._trial(module), self.values(module)
        reference: Reference
        if isinstance(module, Kernels):
            reference = reference_of_kernels(trial, module, arrays)
        else:
            reference = reference_of(trial, module, arrays)
        return compare(trial, reference, found)[0]


def run_native(
    loops: LoopModule, values: Callable[[Module], dict[str, Array]], recording: Recording | None = None
) -> Results:
    """What machine code of a program gives: outputs, and the inputs that it updates. Further runs are recorded."""
    executable = emit(loops, host_target())
    buffers = values(loops)
    instance = executable.bind(buffers)
    instance.run()
    outputs = {output.name: array.copy() for output, array in zip(loops.program.outputs, instance.outputs)}
    results = Results(outputs, {u.input: buffers[u.input].copy() for u in loops.program.updates})
    if recording is not None:
        until = time.perf_counter() + LONGEST
        record(recording)
        try:
            for _ in range(RUNS):
                instance.run()
                if time.perf_counter() > until:
                    break
        finally:
            record(None)
    return results


def need_for_inputs(module: Module) -> None:
    """MXNetError for a program for whose inputs, drawn in double precision, there is no room."""
    inputs = inputs_of_module(module)
    total = sum(8 * tensor.size for _, _, tensor in inputs)
    if inputs and not fits(total):
        name, _, largest = max(inputs, key=lambda row: row[2].size)
        need(
            total,
            f"drawing the inputs of {getattr(module, 'name', 'the program')}",
            f"; the largest is %{name}: {largest}",
        )


def inputs_of_module(module: Module) -> list[tuple[str, str, TensorType]]:
    """Name, role and type of every input (of a Symbol: whose type is known)."""
    if isinstance(module, SymbolModule):
        names = [node.name for part in module.graph.variables() for node in part if node.name in module.types]
        return [(name, module.roles.get(name, "arg"), module.types[name]) for name in names]
    if isinstance(module, Graph):
        return inputs_of(module)
    program: Program = module.program if isinstance(module, LoopModule) else module
    return [(p.name, p.role, p.type) for p in program.params]

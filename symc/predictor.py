"""Predictor: a net with its parameters that any number of threads may ask at once.

    predictor = mx.Predictor("model", 3, {"data": (1, 3, 224, 224)})      # model-symbol.json, model-0003.params
    probabilities = predictor.predict(data=image)[0]

One compiled program and one set of parameters serve all threads. What a run writes to (its inputs, its working memory,
its outputs) is of the run alone, and is used again by later ones.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.checkpoint import load_params
from symc.compile import Executable, compile_symbol
from symc.inference import infer_shapes, infer_types
from symc.ir.process import turns
from symc.ir.program.nodes import Program, ViewStep, operands_of, results_of
from symc.ir.types import Array, TensorType, dtype_of
from symc.ndarray import NDArray
from symc.ndarray.ndarray import aligned, array
from symc.ndarray.storages import read
from symc.ops.shared.inferred import choosers
from symc.passes.edits import active, using
from symc.runtime.keys import next_key
from symc.runtime.memory import empty
from symc.sharing import keep
from symc.symbol import Symbol, load, load_json
from symc.typed import check_names, module_of, roles_of

#: programs kept of one predictor, one for each set of input shapes; and idle working memories kept of one program
PROGRAMS, IDLE = 16, max(8, os.cpu_count() or 1)

Shape = tuple[int, ...]


class Predictor:
    """A Symbol with its parameters, for prediction only; `predict` may be called by any number of threads at once.

    symbol: a Symbol, the file or the text of its JSON, or the prefix of a checkpoint (`prefix-symbol.json`).
    params: arrays by name (`arg:` and `aux:` before a name are taken off), a pair of such dictionaries (as
    `Module.get_params` gives), a file of them, the epoch of a checkpoint (`prefix-0003.params`), or None: no
    parameters, or the only ones of the checkpoint. They are copied: what becomes of the given arrays does not matter.
    Arrays that the Symbol has no use for are left out.
    shapes: the shapes of the inputs by name, or (name, shape) pairs.
    types: element types of inputs that are not float32 and do not follow from the parameters'.

    Labels of loss operators need neither a shape nor a value. Parameters and auxiliary states never change. Random
    operators draw from `mx.random.seed`'s sequence, in the order in which calls happen to come.
    """

    def __init__(
        self,
        symbol: Symbol | str | os.PathLike[str],
        params: Any = None,
        shapes: Mapping[str, Sequence[int]] | Sequence[Any] = (),
        types: Mapping[str, Any] | None = None,
    ) -> None:
        self.symbol, prefix = _symbol(symbol)
        self._edits = active()
        label = self._label = f"Predictor of {self.symbol.name or 'Group'}"
        check_names(self.symbol, label)
        self._refuse_choosers()
        pairs = shapes.items() if isinstance(shapes, Mapping) else [(s[0], s[1]) for s in shapes]
        given = {name: tuple(int(d) for d in shape) for name, shape in pairs}
        arguments, states = self.symbol.list_arguments(), self.symbol.list_auxiliary_states()
        unknown = [n for n in [*given, *(types or {})] if n not in arguments]
        if unknown:
            raise MXNetError(f"{label}: there is no input {unknown[0]!r}; it has {', '.join(arguments)}")
        held = {n: a for n, a in _parameters(params, prefix, label).items() if n in {*arguments, *states}}
        held = {n: a for n, a in held.items() if n not in given}
        labels = _labels(self.symbol) - held.keys()
        missing = [n for n in [*arguments, *states] if n not in given and n not in held and n not in labels]
        if missing:
            raise MXNetError(
                f"{label}: no parameter {', '.join(map(repr, missing[:10]))}{' ...' if len(missing) > 10 else ''}; "
                "give parameters in params, and the shapes of inputs in shapes"
            )
        self._shapes = given
        self.output_names: list[str] = self.symbol.list_outputs()
        self._types = self._infer_types(held, dict(types or {}))
        self._held = {n: aligned(a.astype(self._types[n], copy=False)) for n, a in held.items()}
        self._compiling = turns()
        self._clock = itertools.count()
        first = self._compile(given)
        absent = [n for n in first.inputs if n not in given]
        if absent:
            raise MXNetError(f"{label}: its outputs depend on {absent[0]!r}, too: give its shape in shapes")
        #: what a call must give, and labels, which make no difference
        self._needed = [n for n in arguments if n in first.inputs or (n in given and n not in labels)]
        self._ignored = labels.difference(self._needed)
        self._programs = {tuple(given[n] for n in self._needed): first}

    def __repr__(self) -> str:
        """`<Predictor of softmax: data: f32[32,784], 4 parameters, 1 program>`."""
        program = next(iter(self._programs.values()))
        inputs = [f"{name}: {program.inputs[name]}" if name in program.inputs else name for name in self._needed]
        count = f"{len(self._programs)} program{'s' if len(self._programs) > 1 else ''}"
        return f"<{self._label}: {', '.join(inputs)}, {len(self._held)} parameters, {count}>"

    @property
    def input_shapes(self) -> dict[str, Shape]:
        """The shapes that the predictor was made for, by input."""
        return {n: self._shapes[n] for n in self._needed}

    def predict(self, /, *arrays: Any, **named: Any) -> list[Array]:
        """The Symbol's outputs, in its order, as numpy arrays that belong to the caller.

        Inputs are NDArrays, numpy arrays or what numpy makes arrays of, by name or in the order of the arguments; they
        are converted to the input's type. Other shapes than the predictor was made for are fine where the parameters
        have the shapes that they need: their program is compiled when they first come, and the last sixteen are kept.
        Raises MXNetError for inputs that are unknown, missing, of other ranks, or of shapes that do not fit.
        """
        given = self._inputs(arrays, named)
        key = tuple([given[n].shape for n in self._needed])
        program = self._programs.get(key) or self._program(key)
        program.used = next(self._clock)
        run = program.idle_run()
        try:
            return run.predict(given)
        finally:
            program.done(run)

    __call__ = predict

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes what it takes to compile there."""
        types = {n: np.dtype(self._types[n]).name for n in self._shapes}
        params = {n: NDArray._of(a) for n, a in self._held.items()}
        return type(self), (self.symbol, params, self._shapes, types)

    # -- making it

    def _refuse_choosers(self) -> None:
        found = choosers(self.symbol.graph)
        if found:
            node = found[0]
            raise MXNetError(
                f"{self._label}: the size of the output of {node.op} {node.name!r} depends on values, so that no "
                "one program serves all calls; give every thread an Executor of its own"
            )

    def _infer_types(self, held: Mapping[str, Array], given: dict[str, Any]) -> dict[str, Any]:
        """The types of all variables. Parameters have their own, unless the inputs' that are given ask for others."""
        names = [*self.symbol.list_arguments(), *self.symbol.list_auxiliary_states()]

        def infer(known: Mapping[str, Any]) -> dict[str, Any]:
            arg_types, _, aux_types = infer_types(self.symbol, True, (), known, bound=True)
            return dict(zip(names, [*arg_types, *aux_types]))

        asked = {n: t for n, t in infer(given).items() if t is not None} if given else {}
        found = infer({**{n: a.dtype for n, a in held.items()}, **asked})
        return {n: np.dtype(t or np.float32).type for n, t in found.items()}

    def _program(self, key: tuple[Shape, ...]) -> _Program:
        """The program for inputs of these shapes. Threads that ask for a new one take turns."""
        with self._compiling:
            found = self._programs.get(key)
            if found is None:
                found = self._compile(dict(zip(self._needed, key)))
                found.used = next(self._clock)
                if len(self._programs) >= PROGRAMS:
                    del self._programs[min(self._programs, key=lambda k: self._programs[k].used)]
                self._programs[key] = found
            return found

    def _compile(self, shapes: Mapping[str, Shape]) -> _Program:
        for name, shape in shapes.items():
            if len(shape) != len(self._shapes[name]):
                raise MXNetError(
                    f"{self._label}: input {name!r} has shape {shape}, but its shape was given as "
                    f"{self._shapes[name]}: the number of axes differs"
                )
            if 0 in shape:
                raise MXNetError(f"{self._label}: input {name!r} has shape {shape}, which is empty")
        needed = self._infer_shapes(shapes)
        advice = f"that is for inputs of shapes {', '.join(f'{n}: {s}' for n, s in shapes.items())}"
        for name, held in self._held.items():
            shape = needed[name]
            if shape and (len(shape) != held.ndim or any(a not in (0, b) for a, b in zip(shape, held.shape))):
                keep(self._label, self.symbol, name, NDArray._of(held), shape, None, advice)
        needed = self._infer_shapes({**shapes, **{n: a.shape for n, a in self._held.items()}})
        unknown = [n for n, s in needed.items() if not s or 0 in s]
        if unknown:
            raise MXNetError(
                f"{self._label}: the shape of {unknown[0]!r} does not follow from the inputs'; give it in shapes"
            )
        types = {n: TensorType(dtype_of(self._types[n]), s) for n, s in needed.items()}
        with using(self._edits):
            program = compile_symbol(module_of(self.symbol, types, roles_of(needed, needed.keys() - self._held.keys())))
        return _Program(program, self._held, len(self.output_names))

    def _infer_shapes(self, known: Mapping[str, Shape]) -> dict[str, Shape]:
        arg_shapes, _, aux_shapes = infer_shapes(self.symbol, True, (), known)
        names = [*self.symbol.list_arguments(), *self.symbol.list_auxiliary_states()]
        return dict(zip(names, [*arg_shapes, *aux_shapes]))

    # -- a call's inputs

    def _inputs(self, arrays: Sequence[Any], named: dict[str, Any]) -> dict[str, Array]:
        if arrays:
            if len(arrays) > len(self._needed):
                raise MXNetError(
                    f"{self._label}: {len(arrays)} inputs given, but it has {', '.join(self._needed) or 'none'}"
                )
            both = [n for n, _ in zip(self._needed, arrays) if n in named]
            if both:
                raise MXNetError(f"{self._label}: input {both[0]!r} is given twice")
            named = {**dict(zip(self._needed, arrays)), **named}
        given: dict[str, Array] = {}
        for name, value in named.items():
            made = value._read if isinstance(value, NDArray) else np.asarray(value)
            if name not in self._needed:
                if name in self._ignored:
                    continue
                what = "is a parameter" if name in self._held else "does not exist"
                raise MXNetError(f"{self._label}: input {name!r} {what}; the inputs are {', '.join(self._needed)}")
            if made.dtype.kind not in "fiub":
                raise TypeError(f"{self._label}: input {name!r} must be an array of numbers, got {made.dtype}")
            given[name] = made
        for name in self._needed:
            if name not in given:
                raise MXNetError(f"{self._label}: input {name!r} is missing; it needs {', '.join(self._needed)}")
        return given


class _Program:
    """A compiled program with the parameters, and working memory for as many runs at once as there have been."""

    def __init__(self, executable: Executable, held: Mapping[str, Array], outputs: int) -> None:
        self.executable, self.count = executable, outputs
        read, written = _uses(executable.program)
        self.inputs = {p.name: p.type for p in executable.program.params if p.name in read and p.name not in held}
        #: the name of the input that seeds random numbers, if the program draws some
        self.key = executable.program.key
        self.inputs.pop(self.key, None)
        #: what all runs read, and what each has to itself, as it writes there
        self.shared: dict[str, Array] = {}
        self.own: dict[str, Array] = {}
        for p in executable.program.params:
            if p.name in held:
                (self.own if p.name in written else self.shared)[p.name] = held[p.name]
            elif p.name not in read:
                self.shared[p.name] = np.zeros(p.type.shape, p.type.dtype.numpy)
        #: what the program computes of the parameters, for all runs
        self.kept = executable.kept_of(self.shared)
        self.used = 0
        #: taking from a list and adding to it need no lock
        self._idle: list[_Run] = []

    def idle_run(self) -> _Run:
        """Memory for one run, which nobody else uses until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return _Run(self)

    def done(self, run: _Run) -> None:
        if len(self._idle) < IDLE:
            self._idle.append(run)


class _Run:
    """Everything one run at a time writes to."""

    def __init__(self, program: _Program) -> None:
        self._inputs = {n: empty(t.shape, t.dtype.numpy) for n, t in program.inputs.items()}
        own = {n: empty(a.shape, a.dtype) for n, a in program.own.items()}
        self._own = [(own[n], a) for n, a in program.own.items()]
        self._key = np.zeros(2, np.uint32) if program.key else None
        buffers = {**program.shared, **own, **self._inputs}
        if self._key is not None:
            buffers[program.key] = self._key
        self._instance = program.executable.bind(buffers, kept=program.kept)
        self._go = self._instance.run_forward
        self._outputs = self._instance.outputs[: program.count]

    def predict(self, given: Mapping[str, Array]) -> list[Array]:
        for name, buffer in self._inputs.items():
            np.copyto(buffer, given[name], casting="unsafe")
        for copy, before in self._own:
            copy[...] = before
        if self._key is not None:
            self._key[:] = next_key()
        self._go()
        return [output.copy() for output in self._outputs]


def _labels(symbol: Symbol) -> set[str]:
    """Variables that nothing reads but loss operators, as their label."""
    readers: dict[str, set[str]] = {}
    for node in symbol.graph.nodes():
        for (source, _), word in zip(node.inputs, node.definition.list_inputs() if node.definition else ()):
            if source.is_variable:
                readers.setdefault(source.name, set()).add(word)
    return {name for name, words in readers.items() if words == {"label"}}


def _uses(program: Program) -> tuple[set[str], set[str]]:
    """Names of what steps read, and of the parameters in whose memory they write."""
    read, written = set(), set()
    for step in program.steps:
        read.update(operands_of(step))
        if not isinstance(step, ViewStep):
            written.update(r.place.name for r in results_of(step) if r.place.kind == "arg")
    return read, written


# --------------------------------------------------------------------------------------------- files


def _symbol(given: Symbol | str | os.PathLike[str]) -> tuple[Symbol, str | None]:
    """The Symbol, and the prefix of the checkpoint it was read from."""
    if isinstance(given, Symbol):
        return given, None
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"Predictor: symbol must be a Symbol, its file or its JSON text, got {type(given).__name__}")
    text = os.fspath(given)
    if text.lstrip().startswith("{"):
        return load_json(text), None
    if os.path.exists(f"{text}-symbol.json"):
        return load(f"{text}-symbol.json"), text
    prefix = text.removesuffix("-symbol.json")
    return load(text), prefix if prefix != text else None


def _parameters(given: Any, prefix: str | None, label: str) -> dict[str, Array]:
    """Parameters and states by name."""
    if given is None and prefix is not None:
        files = sorted(glob.glob(f"{glob.escape(prefix)}-[0-9][0-9][0-9][0-9].params"))
        if len(files) > 1:
            raise MXNetError(f"{label}: there are {', '.join(files)}; say which, as params={files[-1]!r}")
        given = files[0] if files else None
    if given is None:
        return {}
    if isinstance(given, int) and not isinstance(given, bool):
        if prefix is None:
            raise MXNetError(f"{label}: params={given} is an epoch, which needs a checkpoint's prefix as the symbol")
        given = load_params(prefix, given)
    elif isinstance(given, (str, os.PathLike)):
        given = read(given)
        if not isinstance(given, dict) and given:
            raise MXNetError(f"{label}: the arrays in the file of parameters have no names")
    found: dict[str, Array] = {}
    for part in given if isinstance(given, (tuple, list)) else (given,):
        if not isinstance(part, Mapping):
            raise TypeError(f"{label}: params must be arrays by name, a file or an epoch, got {type(part).__name__}")
        for name, value in part.items():
            kind, colon, rest = name.partition(":")
            made = value if isinstance(value, NDArray) else array(value, dtype=_type_of(value))
            found[rest if colon and kind in ("arg", "aux") else name] = made._read
    return found


def _type_of(value: Any) -> Any:
    """The type of a parameter that is no NDArray: numpy's double precision is mostly nobody's choice."""
    found = np.asarray(value).dtype
    return np.float32 if found == np.float64 else found

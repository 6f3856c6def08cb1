"""`symc run`: a model or a program on arrays, or a summary of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symc.base import those
from symc.cli.execute import Job, Kind, inputs_of_module, kind_of
from symc.cli.inputs import Loaded, is_text, level_of, load, load_symbol, passes_for, symbol_input, typed_input
from symc.cli.report import BAD, FINE, INPUT, CliError, some
from symc.cli.values import Shape, read_inputs, read_parameters, text_of
from symc.cli.views import bare
from symc.debug.nan_guard import report
from symc.ir.types import Array
from symc.profiler import document, table
from symc.typed import distinct

#: names that a message spells out
NAMED = 6


#: what a run shows of values; a mode that shows something else heeds none of it
_SHOWN = ("stats", "top", "labels", "output")
#: for each mode what it does not heed: the option, and why
_UNHEEDED = {
    "summary": (
        "runs nothing",
        ("nan_guard", "profile", "probe", "compare", "save_inputs", "train", "inputs", "insert", "disable", *_SHOWN),
    ),
    "nan_guard": ("tells where nan begins, in both backends", ("profile", "probe", "compare", "f64", *_SHOWN)),
    "profile": ("tells of time, not of values", ("probe", "compare", *_SHOWN)),
}  # fmt: skip


def _refuse(options: argparse.Namespace) -> None:
    """CliError for options that do not go together: none is silently left out."""
    for mode, (what, unheeded) in _UNHEEDED.items():
        if getattr(options, mode) in (False, None):
            continue
        for name in unheeded:
            if getattr(options, name) not in (None, False, 0, []):  # of --profile alone it is ""
                raise CliError(f"--{mode.replace('_', '-')} {what}: --{name.replace('_', '-')} has no meaning there")
    if options.backend == "ref":
        for name in ("summary", "nan_guard", "insert", "disable"):
            if getattr(options, name):
                raise CliError(f"--backend=ref interprets the input as it is: --{name.replace('_', '-')} is not for it")
    if options.f64 and options.backend != "ref":
        raise CliError("--f64 is for the interpreter: give --backend=ref, too")
    if options.labels and not options.top:
        raise CliError("--labels are names for --top: give both")
    if options.stats and options.top:
        raise CliError("--stats and --top both say how outputs are shown; give one of them")
    if options.output and not options.output.endswith((".npy", ".npz")):
        raise CliError(f"--output {options.output}: expected a name that ends in .npy (one output) or .npz")
    if options.save_inputs and not options.save_inputs.endswith(".npz"):
        raise CliError(f"--save-inputs {options.save_inputs}: expected a name that ends in .npz")
    for name in ("output", "save_inputs", "profile"):
        file = getattr(options, name)
        if file and not Path(file).parent.is_dir():
            raise CliError(f"--{name.replace('_', '-')} {file}: there is no folder {Path(file).parent}", INPUT)


def run(options: argparse.Namespace) -> int:
    """Run a model or a program once, print its outputs; exit code 1 if `--compare` finds them wrong."""
    _refuse(options)
    kind, arrays = kind_of(options.inputs)
    options.probe = [bare(pattern) for pattern in options.probe]  # as texts spell values
    shapes: dict[str, Shape] = dict(options.shapes)
    if is_text(options.input):
        loaded = load(options.input, options.shapes)
    else:
        symbol = load_symbol(options.input)
        if hasattr(symbol, "list_arguments"):
            return _model(options, symbol, kind, arrays, shapes)
        loaded = Loaded(symbol, level_of(symbol, options.input))
    if options.params or options.shapes or options.summary:
        raise CliError("--params, --shapes and --summary are for models; a program has its types")
    names = [name for name, _, _ in inputs_of_module(loaded.module)]
    typed = read_inputs(options.values, shapes, [n for n in names if n not in arrays])
    typed |= {name: np.zeros(shape) for name, shape in shapes.items()}
    return _program(options, Job(loaded, options.train, {**arrays, **typed}, kind or Kind(), options.probe, typed))


def _model(
    options: argparse.Namespace, symbol: Any, kind: Kind | None, arrays: Mapping[str, Array], shapes: dict[str, Shape]
) -> int:
    parameters = read_parameters(options.params) if options.params else {}
    known = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    open_names = [n for n in known if n not in parameters and n not in arrays and not n.endswith("label")]
    # what a file has beside may be for inputs of the program that is made of the model: keys, head gradients
    inputs = {**{n: a for n, a in arrays.items() if n in known}, **read_inputs(options.values, shapes, open_names)}
    unknown = sorted({*inputs, *shapes} - set(known))
    if unknown:
        option = "--shapes" if unknown[0] in options.shapes else "--input"
        raise CliError(
            f"{option}: the model has no argument {', '.join(unknown)}; it has {those(known, unknown[0], NAMED)}"
        )
    if options.summary:
        return _summarise(symbol, {**shapes, **_shapes_of(inputs)}, _shapes_of(parameters))
    executor = _bound(symbol, parameters, inputs, shapes, kind)
    plain = options.backend == "native" and not (options.train or options.compare or options.nan_guard)
    plain = plain and not (options.probe or options.save_inputs) and set(arrays) <= set(known)
    if plain and options.profile is None:
        outputs = executor.forward(is_train=False)
        return _show(options, {n: a.asnumpy() for n, a in zip(distinct(symbol.list_outputs()), outputs)})
    values = {n: a.asnumpy() for n, a in {**executor.arg_dict, **executor.aux_dict}.items()}
    values = {**arrays, **values}
    named = [*options.shapes, *(n for n in inputs if n not in parameters and n not in arrays)]
    # a file that holds everything does not say what is data
    loaded = typed_input(symbol, values, named or [n for n in inputs if n not in parameters])
    return _program(options, Job(loaded, options.train, values, kind or Kind(), options.probe))


def _program(options: argparse.Namespace, job: Job) -> int:
    """Run a program as the options ask."""
    passes_for(job.loaded, options.train)  # refuses what does not fit the program, also where they do not run
    if options.probe and options.backend != "native":
        raise CliError("--probe shows what machine code computes; leave --backend=ref out")
    if options.save_inputs:
        np.savez(options.save_inputs, **job.values(job.graph()))  # type: ignore[arg-type]
    if options.nan_guard:
        problem = job.guarded()
        print(report(problem) if problem else "every result is finite, before and after all passes")
        return BAD if problem else FINE
    if options.profile is not None:
        return _profile(options, job)
    found = job.native() if options.backend == "native" else job.interpreted(options.f64)
    _show(options, {**found.outputs, **{f"{name} (updated)": value for name, value in found.updates.items()}})
    difference = job.differs(found) if options.compare else ""
    if options.compare:
        print(f"differs from the interpreter: {difference}" if difference else "agrees with the interpreter")
    return BAD if difference else FINE


def _profile(options: argparse.Namespace, job: Job) -> int:
    """Print where the time goes, or write it as a trace."""
    if options.backend != "native":
        raise CliError("--profile is of machine code; leave --backend=ref out")
    _, recording = job.profiled()
    if options.profile:
        Path(options.profile).write_text(json.dumps(document(recording.events)), encoding="utf-8")
        print(f"wrote {options.profile}; open it in https://ui.perfetto.dev or chrome://tracing")
    else:
        print(table(recording.events))
    return FINE


def _show(options: argparse.Namespace, results: Mapping[str, Array]) -> int:
    """Print outputs, and write them where the user wants them."""
    labels = text_of(options.labels).splitlines() if options.labels else []
    for name, array in results.items():
        if options.top:
            print("\n".join(_top(name, array, options.top, labels)))
        else:
            print(_stats(name, array) if options.stats else f"{name}: {array.dtype}{list(array.shape)}\n{array}")
    if options.output:
        _save(options.output, results)
    return FINE


def _shapes_of(arrays: Mapping[str, Array]) -> dict[str, Shape]:
    return {n: tuple(a.shape) for n, a in arrays.items()}


def _summarise(symbol: Any, inputs: dict[str, Shape], parameters: dict[str, Shape]) -> int:
    from symc.cli.summary import summarise

    arguments = symbol.list_arguments()
    given = {n: s for n, s in parameters.items() if n in arguments}
    module = symbol_input(symbol, {**given, **inputs}).module
    labels = [n for n in arguments if n.endswith("label") and n not in given]
    print(summarise(symbol, module, [*inputs, *labels]))
    return 0


def _bound(
    symbol: Any,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    kind: Kind | None,
) -> Any:
    """An Executor whose arrays hold what was given; what has only a shape is zeros, the rest is of a `kind`."""
    from symc.context import cpu

    given = {**parameters, **inputs}
    arguments, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    missing = [n for n in (*arguments, *states) if n not in given and n not in shapes and not n.endswith("label")]
    if missing and kind is None:
        if parameters and 2 * len(missing) > len(arguments) + len(states):  # those of another model
            has, lacks = some(list(parameters), NAMED), some(missing, NAMED)
            raise CliError(f"--params: the file has nothing for {lacks} of this model; it has {has}", INPUT)
        file = "--params FILE" if len(missing) > 1 or missing[0] in states else ""
        hint = " or ".join(filter(None, [file, f"--input {missing[0]}=FILE.npy", "--inputs seed=0"]))
        raise CliError(f"no values for {some(missing, NAMED)}; give {hint}", INPUT)
    unused = [n for n in given if n not in arguments and n not in states]
    if unused:
        print(f"symc: the model does not use {some(unused, NAMED)}", file=sys.stderr)
    # inputs are cast to what the parameters need, as arrays are; without such a need they keep their type
    types = {n: a.dtype for n, a in parameters.items() if n in arguments}
    needed = dict(zip(arguments, symbol.infer_type_partial(**types)[0]))
    types |= {n: a.dtype for n, a in inputs.items() if n in arguments and needed[n] is None and kind is None}
    executor = symbol.simple_bind(
        cpu(),
        grad_req="null",
        type_dict=types,
        **_needed(symbol, {**_shapes_of(inputs), **shapes}, _shapes_of(parameters)),
    )
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        if name in given:
            if array.shape != given[name].shape:
                raise CliError(
                    f"{name} has shape {given[name].shape}; for these inputs the model needs {array.shape}", INPUT
                )
            array[:] = given[name]
        elif kind is not None and not name.endswith("label"):
            data = name in shapes
            array[:] = kind.data(name, array.shape) if data else kind.parameter(name, array.shape)
    return executor


def _needed(symbol: Any, inputs: Mapping[str, Shape], parameters: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes to bind with: the inputs', and of parameters those that do not follow from them, so that a parameter
    that does not fit is named beside what would."""
    from symc.inference import infer_shapes

    arguments = symbol.list_arguments()
    inputs = {n: s for n, s in inputs.items() if n in arguments}
    found, _, _ = infer_shapes(symbol, True, (), inputs)
    follows = {n for n, s in zip(arguments, found or ()) if s and 0 not in s}
    return {**{n: s for n, s in parameters.items() if n in arguments and n not in follows}, **inputs}


def _save(path: str, results: Mapping[str, Array]) -> None:
    if path.endswith(".npz"):
        np.savez(path, **dict(results))  # type: ignore[arg-type]
    elif len(results) == 1:
        np.save(path, next(iter(results.values())))
    else:
        raise CliError(f"--output {path}: the model has {len(results)} outputs, which need a .npz file")


def _top(name: str, array: Array, count: int, labels: Sequence[str]) -> list[str]:
    """The largest values of every row, with their positions (and names)."""
    lines = [f"{name}: {array.dtype}{list(array.shape)}"]
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    for at, row in enumerate(rows):
        if len(rows) > 1:
            lines.append(f"row {at}")
        for index in np.argsort(-row.astype(np.float64), kind="stable")[:count]:
            label = f"  {labels[index]}" if index < len(labels) else ""
            lines.append(f"  {index:6}  {row[index]:.6g}{label}")
    return lines


def _stats(name: str, array: Array) -> str:
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array.reshape(-1)
    if not finite.size:
        return f"{name}: {array.dtype}{list(array.shape)} no finite elements"
    wide = finite.astype(np.float64)
    broken = array.size - finite.size
    tail = f"  {broken} not finite" if broken else ""
    return (
        f"{name}: {array.dtype}{list(array.shape)}  min {wide.min():.6g}  max {wide.max():.6g}  "
        f"mean {wide.mean():.6g}  norm {np.sqrt((wide**2).sum()):.6g}{tail}"
    )

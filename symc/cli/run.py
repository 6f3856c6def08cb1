"""`symc run`: a saved model on arrays, or a summary of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.base import those
from symc.cli.inputs import load_symbol, symbol_input
from symc.cli.report import INPUT, CliError, some
from symc.cli.values import Shape, read_inputs, read_parameters, text_of
from symc.ir.types import Array

#: names that a message spells out
NAMED = 6


def run(options: argparse.Namespace) -> int:
    """Bind the model to its parameters and inputs, run it once, print the outputs."""
    symbol = load_symbol(options.model)
    shapes: dict[str, Shape] = dict(options.shapes)
    inputs = read_inputs(options.input, shapes)
    parameters = read_parameters(options.params) if options.params else {}
    known = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    unknown = sorted({*inputs, *shapes} - set(known))
    if unknown:
        option = "--shapes" if unknown[0] in options.shapes else "--input"
        raise CliError(f"{option}: the model has no argument {', '.join(unknown)}; it has {those(known, unknown[0])}")
    if options.summary:
        return _summarise(symbol, {**shapes, **_shapes_of(inputs)}, _shapes_of(parameters))
    results = _results(symbol, parameters, inputs, shapes)
    labels = text_of(options.labels).splitlines() if options.labels else []
    for name, array in results.items():
        if options.top:
            print("\n".join(_top(name, array, options.top, labels)))
        else:
            print(_stats(name, array) if options.stats else f"{name}: {array.dtype}{list(array.shape)}\n{array}")
    if options.output:
        _save(options.output, results)
    return 0


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


def _results(
    symbol: Any, parameters: Mapping[str, Array], inputs: Mapping[str, Array], shapes: Mapping[str, Shape]
) -> dict[str, Array]:
    """Outputs by name, for arrays of all arguments and states; what has only a shape is zeros."""
    from symc.context import cpu

    given = {**parameters, **inputs}
    arguments, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    missing = [n for n in (*arguments, *states) if n not in given and n not in shapes and not n.endswith("label")]
    if missing:
        file = "--params FILE" if len(missing) > 1 or missing[0] in states else ""
        hint = " or ".join(filter(None, [file, f"--input {missing[0]}=FILE.npy"]))
        raise CliError(f"no values for {some(missing, NAMED)}; give {hint}", INPUT)
    unused = [n for n in given if n not in arguments and n not in states]
    if unused:
        print(f"symc: the model does not use {some(unused, NAMED)}", file=sys.stderr)
    # inputs are cast to what the parameters need, as arrays are; without such a need they keep their type
    types = {n: a.dtype for n, a in parameters.items() if n in arguments}
    needed = dict(zip(arguments, symbol.infer_type_partial(**types)[0]))
    types |= {n: a.dtype for n, a in inputs.items() if n in arguments and needed[n] is None}
    executor = symbol.simple_bind(
        cpu(),
        grad_req="null",
        type_dict=types,
        **_needed(symbol, {**_shapes_of(inputs), **shapes}, _shapes_of(parameters)),
    )
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        if name not in given:
            continue
        if array.shape != given[name].shape:
            raise CliError(
                f"{name} has shape {given[name].shape}; for these inputs the model needs {array.shape}", INPUT
            )
        array[:] = given[name]
    return {n: a.asnumpy() for n, a in zip(symbol.list_outputs(), executor.forward(is_train=False))}


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

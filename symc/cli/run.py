"""`symc run`: a saved model on arrays."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from symc.cli.inputs import load_symbol
from symc.cli.report import INPUT, CliError


def run(options: argparse.Namespace) -> int:
    """Bind the model to its parameters and inputs, run it once, print the outputs."""
    from symc.context import cpu

    symbol = load_symbol(options.model)
    arguments, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    inputs = _read_inputs(options.input)
    parameters = _read_parameters(options.params) if options.params else {}
    unknown = sorted(set(inputs) - set(arguments))
    if unknown:
        raise CliError(f"--input: the model has no argument {', '.join(unknown)}; it has {', '.join(arguments)}")
    given: dict[str, Any] = {**parameters, **inputs}
    shapes = {n: tuple(v.shape) for n, v in given.items() if n in arguments}
    types = {n: np.dtype(v.dtype) for n, v in given.items() if n in arguments}
    executor = symbol.simple_bind(cpu(), grad_req="null", type_dict=types, **shapes)
    arrays = {**executor.arg_dict, **executor.aux_dict}
    missing = [n for n in (*arguments, *states) if n not in given and not n.endswith("label")]
    if missing:
        hint = f"give --params FILE or --input {missing[0]}=FILE.npy"
        raise CliError(f"no values for {', '.join(missing)}; {hint}", INPUT)
    for name, value in given.items():
        if name in arrays:
            arrays[name][:] = value
    results = {n: a.asnumpy() for n, a in zip(symbol.list_outputs(), executor.forward(is_train=False))}
    for name, array in results.items():
        print(_summary(name, array) if options.summary else f"{name}: {array.dtype}{list(array.shape)}\n{array}")
    if options.save:
        np.savez(options.save, **results)
    return 0


def _read_inputs(items: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals:
            raise CliError(f"--input {item}: expected NAME=FILE.npy")
        try:
            found[name] = np.load(path, allow_pickle=False)
        except ValueError as problem:
            raise CliError(f"{path} is not a .npy file: {problem}", INPUT) from None
    return found


def _read_parameters(path: str) -> dict[str, Any]:
    """Arrays of a .params file by name, without the arg: and aux: that checkpoints put before them."""
    from symc import ndarray

    if not Path(path).exists():
        raise FileNotFoundError(2, "no such file", path)
    try:
        loaded = ndarray.load(path)
    except Exception as problem:
        raise CliError(f"{path} is not a .params file: {problem}", INPUT) from None
    if not isinstance(loaded, dict):
        raise CliError(f"{path} holds arrays without names", INPUT)
    return {name.partition(":")[2] if name[:4] in ("arg:", "aux:") else name: value for name, value in loaded.items()}


def _summary(name: str, array: Any) -> str:
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

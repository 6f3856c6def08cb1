"""Checkpoints: a Symbol's JSON and the parameters of an epoch, in files that share a prefix."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from symc import ndarray, symbol
from symc.ndarray import NDArray
from symc.ndarray.storages import read

Params = dict[str, NDArray]


class BatchEndParam(NamedTuple):
    """What callbacks get."""

    epoch: int
    nbatch: int
    eval_metric: Any
    locals: Any


def save_checkpoint(
    prefix: str, epoch: int, symbol: Any, arg_params: Params, aux_params: Params, remove_amp_cast: bool = True
) -> None:
    """Write `prefix-symbol.json` (unless symbol is None) and `prefix-NNNN.params`."""
    if symbol is not None:
        symbol.save(f"{prefix}-symbol.json", remove_amp_cast=remove_amp_cast)
    name = f"{prefix}-{epoch:04d}.params"
    save_params(name, arg_params, aux_params)
    logging.info('Saved checkpoint to "%s"', name)


def save_params(fname: str, arg_params: Params, aux_params: Params) -> None:
    """Write parameters and states under `arg:` and `aux:` names."""
    named = {f"arg:{k}": v for k, v in arg_params.items()}
    named.update({f"aux:{k}": v for k, v in aux_params.items()})
    ndarray.save(fname, named)


def split_params(loaded: Any, fname: str) -> tuple[Params, Params]:
    """(parameters, states) of a file's named arrays. ValueError for other names."""
    args: Params = {}
    states: Params = {}
    if not isinstance(loaded, dict):
        if loaded:
            raise ValueError(f"Invalid param file {fname}: its arrays have no names")
        logging.warning("Params file '%s' is empty", fname)
        return args, states
    for key, value in loaded.items():
        kind, _, name = key.partition(":")
        if kind not in ("arg", "aux") or not name:
            raise ValueError(f"Invalid param file {fname}: {key!r} begins with neither arg: nor aux:")
        (args if kind == "arg" else states)[name] = value
    return args, states


def load_params(prefix: str, epoch: int) -> tuple[Params, Params]:
    """(parameters, states) of `prefix-NNNN.params`."""
    name = f"{prefix}-{epoch:04d}.params"
    return split_params(read(name), name)


def load_checkpoint(prefix: str, epoch: int) -> tuple[Any, Params, Params]:
    """(symbol, parameters, states) of a checkpoint."""
    return symbol.load(f"{prefix}-symbol.json"), *load_params(prefix, epoch)

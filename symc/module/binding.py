"""What a group of executors is bound with: gradient requests, and the shapes of all inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from symc.inference import infer_shapes


def gradient_requests(
    symbol: Any, given: Any, params: Collection[str], fixed: Collection[str], inputs: Collection[str]
) -> dict[str, str]:
    """The gradient request of every argument. One word is for `params` that are not `fixed`, and for `inputs`; a dict
    by name says what differs from "write" for those; a list is for all arguments. ValueError for anything else."""
    arguments = symbol.list_arguments()
    if isinstance(given, (list, tuple)):
        if len(given) != len(arguments):
            raise AssertionError(f"grad_req has {len(given)} entries for {len(arguments)} arguments")
        return dict(zip(arguments, given))
    if not isinstance(given, (str, Mapping)):
        raise ValueError(f"grad_req is a word, a list or a dict by name, not {type(given).__name__}")
    word = given if isinstance(given, str) else "write"
    reqs = {n: word if (n in params and n not in fixed) or n in inputs else "null" for n in arguments}
    return reqs if isinstance(given, str) else {**reqs, **{n: given[n] for n in arguments if n in given}}


def with_labels(
    symbol: Any, given: Mapping[str, tuple[int, ...]], labels: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Shapes of all inputs: those of `labels` that nobody gave follow from the others'."""
    names = symbol.list_arguments()
    known = {n: s for n, s in given.items() if n in names}
    inferred = dict(zip(names, infer_shapes(symbol, True, (), known)[0]))
    return {n: s for n, s in inferred.items() if n in labels and s and all(s)} | known

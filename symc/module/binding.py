"""What a module asks its executor for: which gradients, and the shapes of all inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from symc.inference import infer_shapes


def gradient_requests(symbol: Any, given: Any, silent: Collection[str]) -> dict[str, str]:
    """The gradient request of every argument, of one word, a list or a dict by name; "null" for the `silent` ones."""
    arguments = symbol.list_arguments()
    if isinstance(given, str):
        reqs = dict.fromkeys(arguments, given)
    elif isinstance(given, Mapping):
        reqs = {n: given.get(n, "null") for n in arguments}
    else:
        reqs = dict(zip(arguments, given))
    return {n: "null" if n in silent else r for n, r in reqs.items()}


def with_labels(
    symbol: Any, given: Mapping[str, tuple[int, ...]], labels: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Shapes of all inputs: those of `labels` that nobody gave follow from the others'."""
    names = symbol.list_arguments()
    known = {n: s for n, s in given.items() if n in names}
    inferred = dict(zip(names, infer_shapes(symbol, True, (), known)[0]))
    return {n: s for n, s in inferred.items() if n in labels and s and all(s)} | known

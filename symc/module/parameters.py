"""Values for a module's parameters: given ones, an initializer's, and what is said where there are neither."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from symc.initializer import InitDesc
from symc.ndarray import NDArray, zeros
from symc.sharing import copy_all, warn_left

Params = Mapping[str, NDArray]


def start_values(
    who: str, symbol: Any, pairs: Sequence[tuple[Params, Params | None]], initializer: Any, allow_missing: bool,
    fresh: bool,
) -> None:  # fmt: skip
    """Fill arrays, in pairs of (arrays, what was given for them): from what was given, and by `initializer` what was
    not. RuntimeError for a missing one, unless `allow_missing`: what nobody fills then keeps its value, with a warning
    if it is `fresh`."""
    missing: dict[str, NDArray] = {}
    for own, given in pairs:
        names = [n for n in sorted(own) if n not in (given or {})]
        if names and (initializer is None if given is None else not allow_missing):
            filled = "have the initializer fill it" if initializer is not None else "leave it as it is"
            raise RuntimeError(f"{names[0]} is not presented; pass allow_missing=True to {filled}")
        missing.update((n, own[n]) for n in names)
    copy_all(who, symbol, [(n, given[n], a) for own, given in pairs if given for n, a in own.items() if n in given])
    if initializer is None:
        warn_left(missing if fresh else (), "parameters that were neither given nor initialized")
        return
    attributes = symbol.attr_dict()
    for name, array in missing.items():
        initializer(InitDesc(name, attributes.get(name)), array)


def warn_of_extra(symbol: Any, arg_params: Params | None, aux_params: Params | None) -> None:
    """MXNet says that it refuses parameters that the symbol does not have, but ignores them here, and scripts that cut
    a net rely on that."""
    for given, known in ((arg_params, symbol.list_arguments()), (aux_params, symbol.list_auxiliary_states())):
        extra = [n for n in given or () if n not in known]
        if extra:
            warnings.warn(
                f"the symbol has no parameter {extra[0]!r}, which is ignored (with {len(extra) - 1} others); "
                "pass allow_extra=True if that is meant",
                stacklevel=4,
            )


def known_values(
    who: str, held: tuple[Params, Params], given: tuple[dict[str, NDArray], dict[str, NDArray]]
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """The values given for the parameters and states of a net, which are `held`: zeros for missing ones, with a
    warning, and without those of others. ValueError for both at once, as it is another net's file."""
    wanted, known = [{*held[0], *held[1]}, {*given[0], *given[1]}]
    missing, extra = sorted(wanted - known), sorted(known - wanted)
    if not missing and not extra:
        return given
    if missing and extra:
        raise ValueError(
            f"{who}: the parameters are those of another net: there is {extra[0]!r}, but not {missing[0]!r}"
        )
    warn_left(missing, f"{who}: parameters that the file does not have")
    args, states = ({**zeros_like(h), **{n: g[n] for n in h if n in g}} for h, g in zip(held, given))
    return args, states


def zeros_like(arrays: Params) -> dict[str, NDArray]:
    """Zeros of the arrays' shapes and types."""
    return {name: zeros(a.shape, dtype=a.dtype, stype=a.stype) for name, a in arrays.items()}

"""Updater: an optimizer with the states of its parameters."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from typing import Any

from symc.base import MXNetError
from symc.ndarray import NDArray
from symc.optimizer.base import Optimizer, State
from symc.optimizer.states import read_states

__all__ = ["Updater", "get_updater"]


class Updater:
    """`updater(index, grad, weight)` updates a parameter (or lists of them), making its state the first time."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.states: dict[Any, State] = {}
        self.states_synced: dict[Any, bool] = {}
        self.aggregate_updates = False

    def state_of(self, index: Any, weight: NDArray) -> State:
        """The state of a parameter, made if there is none. MXNetError if one that was loaded is not what the optimizer
        keeps for the parameter."""
        if not self.states_synced.get(index, False):
            made = self.optimizer.create_state_multi_precision(index, weight)
            held = self.states.setdefault(index, made)
            if _form(held) != _form(made):
                name = self.optimizer.idx2name.get(index, index)
                raise MXNetError(
                    f"the optimizer state that was loaded for {name!r} is {_shown(held)}, but "
                    f"{type(self.optimizer).__name__} keeps {_shown(made)} for it: it is of another optimizer or net"
                )
            self.states_synced[index] = True
        return self.states[index]

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        if isinstance(index, (list, tuple)):
            for i, g, w in zip(index, grad, weight):
                self(i, g, w)
            return
        if isinstance(index, bytes):
            index = index.decode()
        self.optimizer.update_multi_precision(index, weight, grad, self.state_of(index, weight))

    def set_states(self, states: bytes) -> None:
        """What `get_states` gave, here or in another process. MXNetError for bytes that are nothing of the kind."""
        loaded = read_states(states)
        found, optimizer = loaded if isinstance(loaded, tuple) and len(loaded) == 2 else (loaded, self.optimizer)
        if not isinstance(found, dict) or not isinstance(optimizer, Optimizer):
            raise MXNetError(f"these are not the states of an optimizer: {type(loaded).__name__}")
        _try_out(optimizer, found)
        self.states, self.optimizer = found, optimizer
        self.states_synced = dict.fromkeys(self.states, False)

    def get_states(self, dump_optimizer: bool = False) -> bytes:
        """The states as bytes, with the optimizer if wanted."""
        return pickle.dumps((self.states, self.optimizer) if dump_optimizer else self.states)


def get_updater(optimizer: Optimizer) -> Updater:
    """An Updater, as Module and KVStore use it."""
    return Updater(optimizer)


def _form(state: State) -> Any:
    """What two states have in common that one optimizer made: how arrays nest, their shapes and types."""
    if isinstance(state, (list, tuple)):
        return tuple(map(_form, state))
    return (state.shape, state.dtype) if isinstance(state, NDArray) else type(state)


def _shown(state: State) -> str:
    if isinstance(state, (list, tuple)):
        return f"({', '.join(map(_shown, state))})"
    return f"{state._read.dtype}{state.shape}" if isinstance(state, NDArray) else type(state).__name__


def _try_out(optimizer: Optimizer, indices: Iterable[Any]) -> None:
    """MXNetError for an optimizer out of damaged bytes: one that lacks what it needs for a step."""
    try:
        probe = copy.deepcopy(optimizer)
        probe.rule_key()
        for index in indices:
            probe._update_count(index)
            if type(probe).update is Optimizer.update:
                probe.scalars(index)
        missing = vars(Optimizer()).keys() - vars(optimizer).keys()
    except Exception as problem:
        raise MXNetError(f"optimizer states cannot be read: {type(problem).__name__}: {problem}") from None
    if missing:
        raise MXNetError(f"optimizer states cannot be read: the optimizer has no {min(missing)}")

"""Updater: an optimizer with the states of its parameters."""

from __future__ import annotations

import pickle
from typing import Any

from symc.ndarray import NDArray
from symc.optimizer.base import Optimizer, State

__all__ = ["Updater", "get_updater"]


class Updater:
    """`updater(index, grad, weight)` updates a parameter (or lists of them), making its state the first time."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.states: dict[Any, State] = {}
        self.states_synced: dict[Any, bool] = {}
        self.aggregate_updates = False

    def state_of(self, index: Any, weight: NDArray) -> State:
        """The state of a parameter, made if there is none."""
        if index not in self.states:
            self.states[index] = self.optimizer.create_state_multi_precision(index, weight)
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
        """What `get_states` gave, here or in another process."""
        loaded = pickle.loads(states)
        if isinstance(loaded, tuple) and len(loaded) == 2:
            self.states, self.optimizer = loaded
        else:
            self.states = loaded
        self.states_synced = dict.fromkeys(self.states, False)

    def get_states(self, dump_optimizer: bool = False) -> bytes:
        """The states as bytes, with the optimizer if wanted."""
        return pickle.dumps((self.states, self.optimizer) if dump_optimizer else self.states)


def get_updater(optimizer: Optimizer) -> Updater:
    """An Updater, as Module and KVStore use it."""
    return Updater(optimizer)

"""What the programs share: parameters that are the same everywhere, and how they tell their losses."""

import json
import sys

import mxnet as mx
import numpy as np


class Start(mx.init.Initializer):
    """Values that depend on a seed alone; parameters get theirs in the order of their names."""

    def __init__(self, seed, size):
        super().__init__(seed=seed, size=size)
        self.size, self.rng = size, np.random.RandomState(seed)

    def __call__(self, desc, arr):
        drawn = self.rng.uniform(-self.size, self.size, arr.shape)
        if desc.endswith(("gamma", "moving_var")):
            drawn = np.ones(arr.shape)
        elif "moving" in desc:
            drawn = np.zeros(arr.shape)
        arr[:] = mx.nd.array(drawn)


def fill(module, seed=0, size=0.1):
    """Give a bound module its first parameters."""
    module.init_params(Start(seed, size))


def cross_entropy(probabilities, labels, ignore=None):
    """Mean of -log of what the labels were given."""
    labels = labels.ravel().astype(int)
    probabilities = probabilities.reshape(len(labels), -1)
    kept = np.arange(len(labels)) if ignore is None else np.flatnonzero(labels != ignore)
    return float(-np.log(np.maximum(probabilities[kept, labels[kept]], 1e-12)).mean())


def finish(losses, fall):
    """Write the losses (to the file that is named on the command line), and fail unless the last ten are on average
    below `fall` times the first one."""
    last = float(np.mean(losses[-10:]))
    print(f"loss {losses[0]:.4f} -> {last:.4f} in {len(losses)} steps")
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            json.dump(losses, file)
    assert last < fall * losses[0], f"the loss has fallen to {last:.4f} only"

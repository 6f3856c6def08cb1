"""Trial number i of a seed: the same whatever was made before it."""

from __future__ import annotations

import numpy as np

from symc.debug.trial import Trial
from symc.fuzz.graphs import random_graph
from symc.fuzz.nets import random_net
from symc.fuzz.pipelines import graph_pipeline, symbol_pipeline
from symc.fuzz.varied import flip, one_of
from symc.passes.tensor.autodiff import Autodiff

LEVELS = ("symbol", "tensor")


def make_trial(seed: int, number: int, level: str = "both", native: float = 0.1) -> tuple[Trial, set[str]]:
    """A trial, and the operators (or primitives) in it. `native`: the share of trials that become machine code."""
    if level == "both":
        level = LEVELS[number % 2]
    rng = np.random.default_rng([seed, number, LEVELS.index(level)])
    return (_symbol if level == "symbol" else _tensor)(rng, number, bool(rng.random() < native))


def _symbol(rng: np.random.Generator, number: int, native: bool) -> tuple[Trial, set[str]]:
    net = random_net(rng)
    module = net.module()
    train = flip(rng, 0.8)
    arguments = [n.name for n in module.graph.variables()[0]]
    wanted = [n for n in net.wrt if n in arguments]
    everywhere = flip(rng, 0.3)
    requests = {n: "write" if everywhere else one_of(rng, "write", "write", "write", "add", "null") for n in wanted}
    wrt = [n for n in wanted if requests[n] != "null"] if train else []
    add = [n for n in wrt if requests[n] == "add"]
    passes = symbol_pipeline(rng, train, wrt, add)
    written = tuple(n for n in wrt if n not in add)
    if net.second and written and flip(rng, 0.1):
        first = next(at for at, p in enumerate(passes) if isinstance(p, Autodiff))
        passes = (*passes[: first + 1], Autodiff(wrt=written), *passes[first + 1 :])
    veto = float(one_of(rng, 0, 0, 0, 0.1, 0.5))
    trial = Trial(
        module, passes, number, net.whole, net.smooth, native, train, veto, requests if train else {}, net.given
    )
    return trial, net.ops


def _tensor(rng: np.random.Generator, number: int, native: bool) -> tuple[Trial, set[str]]:
    whole = flip(rng, 0.6)
    graph = random_graph(rng, whole)
    passes = graph_pipeline(rng)
    veto = float(one_of(rng, 0, 0, 0, 0.1, 0.5))
    trial = Trial(graph, passes, number, whole, native=native, veto=veto)
    return trial, {node.op.name for node in graph.nodes()}

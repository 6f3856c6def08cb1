"""Workloads with MXNet's API: symc and MXNet itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from graph import Graph


def build(
    graph: Graph, arrays: dict[str, np.ndarray], threads: int, way: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The run, and what reads its first output."""
    mx = importlib.import_module(way)
    net = mx.sym.load_json(graph.symbol)
    return _trained(mx, net, graph, arrays) if graph.kind == "train" else _bound(mx, net, graph, arrays)


def _bound(mx: Any, net: Any, graph: Graph, arrays: dict[str, np.ndarray]) -> Any:
    grads = graph.kind == "grad"
    exe = net.simple_bind(mx.cpu(), grad_req="write" if grads else "null", **graph.data)
    for name, array in {**exe.arg_dict, **exe.aux_dict}.items():
        array[:] = arrays[name]
    if not grads:

        def run() -> None:
            exe.forward(is_train=False)
            exe.outputs[0].wait_to_read()
    else:
        ones = [mx.nd.ones(o.shape) for o in exe.outputs]
        found = [g for g in exe.grad_arrays if g is not None]

        def run() -> None:
            exe.forward(is_train=True)
            exe.backward(ones)
            for gradient in found:
                gradient.wait_to_read()

    return run, lambda: exe.outputs[0].asnumpy()


def _trained(mx: Any, net: Any, graph: Graph, arrays: dict[str, np.ndarray]) -> Any:
    labels = [graph.label] if graph.label else []
    data = [n for n in graph.data if n not in labels]
    module = mx.mod.Module(net, data_names=data, label_names=labels, context=mx.cpu())
    module.bind([(n, graph.data[n]) for n in data], [(n, graph.data[n]) for n in labels])
    given = {n: mx.nd.array(a) for n, a in arrays.items()}
    module.init_params(arg_params=given, aux_params=given, allow_missing=False, allow_extra=True)
    module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 1e-3, "momentum": 0.9})
    batch = mx.io.DataBatch([given[n] for n in data], [given[n] for n in labels])

    def run() -> None:
        module.forward_backward(batch)
        module.update()
        mx.nd.waitall()

    return run, lambda: _cross_entropy(module.get_outputs()[0].asnumpy(), arrays[graph.label or ""])


def _cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = probabilities.reshape(labels.size, -1)
    return -np.log(rows[np.arange(labels.size), labels.ravel().astype(int)] + 1e-30).mean(keepdims=True)

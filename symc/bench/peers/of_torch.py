"""Workloads with PyTorch: as it runs by itself, with channels last, or compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from graph import ARITHMETIC, Graph, Node, Unsupported, cells, product

_ACTIVATIONS = {"relu": "F.relu(%s)", "tanh": "torch.tanh(%s)", "sigmoid": "torch.sigmoid(%s)"}


def _convolution(n: Node, x: str, w: str, b: str = "None") -> str:
    places = n.pair("stride", 1), n.pair("pad", 0), n.pair("dilate", 1)
    return "F.conv2d({}, {}, {}, {!r}, {!r}, {!r}, {!r})".format(x, w, b, *places, n.get("num_group", 1))


def _dense(n: Node, x: str, w: str, b: str) -> str:
    flat = n.get("flatten", True) and len(n.inputs[0].shape) > 2
    return "F.linear({}, {}, {})".format(x + ".flatten(1)" if flat else x, w, b)


def _norm(n: Node, x: str, gamma: str, beta: str, mean: str, var: str) -> str:
    rest = 1 - n.get("momentum", 0.9), n.get("eps", 1e-3)
    return "F.batch_norm({}, {}, {}, {}, {}, training, {!r}, {!r})".format(x, mean, var, gamma, beta, *rest)


def _pool(n: Node, x: str) -> str:
    if n.get("global_pool"):
        return f"{x}.mean((2, 3), keepdim=True)"
    kind = {"max": "max", "avg": "avg"}[n.get("pool_type")]
    return "F.{}_pool2d({}, {!r}, {!r}, {!r})".format(
        kind, x, n.pair("kernel", 1), n.pair("stride", 1), n.pair("pad", 0)
    )


def _rnn(n: Node, x: str, parameters: str, state: str, cell: str) -> str:
    return f"lstm({x}, {parameters}, {state}, {cell}, {n.get('num_layers')}, {n.get('state_size')}, training)"


def lstm(x: Any, parameters: Any, state: Any, cell: Any, layers: int, width: int, training: bool) -> Any:
    """The gates' order is MXNet's."""
    weights = [part for layer in cells(parameters, layers, x.shape[-1], width) for part in layer]
    return torch._VF.lstm(x, (state, cell), weights, True, layers, 0.0, training, False, False)[0]


#: operator -> what writes it
EMIT: dict[str, Any] = {
    "Convolution": _convolution,
    "FullyConnected": _dense,
    "BatchNorm": _norm,
    "Pooling": _pool,
    "Activation": lambda n, x: _ACTIVATIONS[n.get("act_type")] % x,
    "LeakyReLU": lambda n, x: {"gelu": "F.gelu(%s)"}[n.get("act_type")] % x,
    "Flatten": lambda n, x: f"{x}.flatten(1)",
    "clip": lambda n, x: "torch.clamp({}, {!r}, {!r})".format(x, n.get("a_min"), n.get("a_max")),
    "Concat": lambda n, *xs: f"torch.cat([{', '.join(xs)}], {n.get('dim', 1)})",
    "softmax": lambda n, x: "torch.softmax({}, {!r})".format(x, n.get("axis", -1)),
    "SoftmaxOutput": lambda n, x, label: f"F.cross_entropy({x}, {label})",
    "LayerNorm": lambda n, x, g, b: f"F.layer_norm({x}, {n.shape[-1:]}, {g}, {b}, {n.get('eps', 1e-5)})",
    "reshape": lambda n, x: f"{x}.reshape({n.shape!r})",
    "Reshape": lambda n, x: f"{x}.reshape({n.shape!r})",
    "transpose": lambda n, x: "{}.permute({!r})".format(x, n.get("axes")),
    "dot": product,
    "batch_dot": product,
    "Embedding": lambda n, x, w: f"F.embedding({x}, {w})",
    "RNN": _rnn,
    "_zeros": lambda n: f"torch.zeros({n.shape!r})",
    "sum": lambda n, x: "torch.sum({}{})".format(x, "" if n.get("axis") is None else ", {!r}".format(n.get("axis"))),
    "exp": lambda n, x: f"torch.exp({x})",
    "tanh": lambda n, x: f"torch.tanh({x})",
    "sigmoid": lambda n, x: f"torch.sigmoid({x})",
    "broadcast_maximum": lambda n, a, b: f"torch.maximum({a}, {b})",
    **ARITHMETIC,
}


def build(
    graph: Graph, arrays: dict[str, np.ndarray], threads: int, way: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The run, and what reads its result: the outputs, or a training step's loss."""
    torch.set_num_threads(threads)
    values = {n: torch.from_numpy(a) for n, a in arrays.items()}
    for name in graph.whole:
        values[name] = values[name].long()
    if graph.label:
        values[graph.label] = values[graph.label].reshape(-1)
    if way == "channels-last":
        if not any(n.op == "Convolution" for n in graph.nodes):
            raise Unsupported("convolution here")
        values = {n: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for n, v in values.items()}
    names: dict[str, Any] = {"torch": torch, "F": F, "lstm": lstm}
    exec(graph.source(EMIT), names)
    net = torch.compile(names["net"]) if way == "compile" else names["net"]
    last: list[Any] = [None]
    if graph.kind == "predict":

        def run() -> None:
            with torch.inference_mode():
                last[0] = net(values, False).contiguous()
    else:
        trained = [v for n, v in values.items() if n in graph.parameters]
        if graph.kind == "grad":
            trained += [v for n, v in values.items() if n in graph.data and n not in graph.whole]
        for value in trained:
            value.requires_grad_(True)
        if graph.kind == "grad":

            def run() -> None:
                last[0] = net(values, True)
                torch.autograd.grad(last[0], trained, torch.ones_like(last[0]))
        else:
            optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9)

            def run() -> None:
                optimizer.zero_grad(set_to_none=True)
                last[0] = net(values, True)
                last[0].backward()
                optimizer.step()

    return run, lambda: last[0].detach().numpy()

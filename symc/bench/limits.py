"""The machine's limits, measured with kernels of our own."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from symc.bench.cases import Case
from symc.codegen.target import host_target
from symc.compile import compile_graph
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import add, const
from symc.ir.prims.elementwise import Fma
from symc.ir.program.nodes import Program
from symc.ir.program.work import flops_of
from symc.ir.tensor.graph import finish
from symc.ir.types import F32, TensorType
from symc.runtime.memory import empty
from symc.runtime.table import num_threads


def _time(build: Callable[..., Node], *shapes: tuple[int, ...]) -> float:
    origin = SymOrigin("limit", "limit")
    inputs = [input_node(f"in{i}", TensorType(F32, s)) for i, s in enumerate(shapes)]
    with Recorder() as recorder, recorder.at(origin):
        out = build(*inputs)
    origins = {**recorder.origins, **{i: origin for i in inputs}}
    graph = finish("limit", inputs, [("out", out)], (), {}, origins)
    arrays = {}
    for i, shape in enumerate(shapes):
        arrays[f"in{i}"] = empty(shape, np.float32)
        arrays[f"in{i}"][...] = 1.0
    instance = compile_graph(graph).bind(arrays)
    instance.run()
    best = 1e9
    for _ in range(100):
        start = time.perf_counter()
        instance.run()
        best = min(best, time.perf_counter() - start)
    return best


def flops_per_second() -> float:
    """Multiply-adds (counted as two) of all threads at once: chains of them on elements of the caches, short enough
    for the processor to overlap, and so many that loads and stores do not count."""
    count, links = 1 << 17, 12

    def chain(x: Node) -> Node:
        for _ in range(links):
            x = Node.make(Fma(), [x, const(0.5, F32), const(1.0, F32)])
        return x

    return 2.0 * links * count / _time(chain, (count,))


def bytes_per_second() -> float:
    """Reading two large arrays and writing one."""
    n = 1 << 23
    return 12.0 * n / _time(add, (n,), (n,))


def describe() -> str:
    """One line on the machine."""
    target = host_target()
    return (
        f"{target.name}, {num_threads()} threads; limits measured here: {flops_per_second() / 1e9:.0f} GFLOP/s, "
        f"{bytes_per_second() / 1e9:.1f} GB/s"
    )


def least_seconds(program: Program, case: Case) -> float:
    """The time in which the machine could do a workload's arithmetic; of what memory bounds, read its inputs and write
    its outputs. Measured beside the case, since a shared machine's speed changes. 0.0 for what neither bounds."""
    if case.family == "memory":
        types = program.value_types()
        moved = [*(p.name for p in program.params), *(o.value for o in program.outputs)]
        return sum(types[name].nbytes for name in moved) / bytes_per_second()
    return flops_of(program) / flops_per_second()

"""What workers read of a workload: the net with its shapes, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from symc.bench.cases import Case


def write(case: Case, path: Path) -> None:
    """Describe a case in a file, for `peers/graph.py`."""
    import symc as mx

    with mx.name.NameManager():
        net = case.build(mx)
    if len(net.list_outputs()) != 1:
        raise ValueError(f"{case.name}: a workload has one output, this one has {len(net.list_outputs())}")
    internals = net.get_internals()
    _, found, _ = internals.infer_shape(**case.shapes)
    shapes = dict(zip(internals.list_outputs(), found))
    arguments, _, states = net.infer_shape(**case.shapes)
    told = json.loads(net.tojson())
    parameters = {n: s for n, s in zip(net.list_arguments(), arguments) if n not in case.shapes}
    description: dict[str, Any] = {
        "name": case.name,
        "kind": case.kind,
        "symbol": net.tojson(),
        "data": case.shapes,
        "parameters": parameters,
        "states": dict(zip(net.list_auxiliary_states(), states)),
        "whole": case.whole,
        "nodes": [
            {
                "op": n["op"],
                "name": n["name"],
                "attrs": n.get("attrs", {}),
                "inputs": [i[0] for i in n["inputs"]],
                "shape": shapes[n["name"] if n["op"] == "null" else n["name"] + "_output"],
            }
            for n in told["nodes"]
        ],
        "output": told["heads"][0][0],
    }
    path.write_text(json.dumps(description))


def compiled(case: Case) -> Any:
    """The executable of a case: what Module trains with, or what an Executor runs."""
    import symc as mx
    from symc.compile import compile_symbol
    from symc.ir.types import F32, TensorType
    from symc.typed import module_of

    with mx.name.NameManager():
        net = case.build(mx)
    arguments, _, states = net.infer_shape(**case.shapes)
    names = [*net.list_arguments(), *net.list_auxiliary_states()]
    if case.kind == "train":
        labels = [n for n in case.shapes if n.endswith("label")]
        module = mx.mod.Module(net, data_names=[n for n in case.shapes if n not in labels], label_names=labels)
        given = [[(n, s) for n, s in case.shapes.items() if (n in labels) == wanted] for wanted in (False, True)]
        module.bind(*given)
        arrays = {n: mx.nd.zeros(s) for n, s in zip(names, [*arguments, *states])}
        module.init_params(arg_params=arrays, aux_params=arrays, allow_extra=True)
        module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.001, "momentum": 0.9})
        return module._fused_step().executable
    types = {n: TensorType(F32, s) for n, s in zip(names, [*arguments, *states])}
    if case.kind == "grad":
        return compile_symbol(module_of(net, types), wrt=net.list_arguments())
    return compile_symbol(module_of(net, types))

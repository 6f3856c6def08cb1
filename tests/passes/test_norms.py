"""Protects norms by given statistics as one multiply-add: where they are, that they stay within the stated error, that
a write to a parameter is seen, and that what others read stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.compile import symbol_passes
from symc.ir.op import Node
from symc.ir.prims.elementwise import Fma
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.passes.manager.manager import Manager, Pass
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.norms import Norms
from symc.passes.tensor.simplify import Simplify
from symc.typed import complete, module_of, roles_of

SHAPE = (2, 6, 5, 7)


def conv(x: Any, **attributes: Any) -> Any:
    given = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 8, **attributes}
    return mx.sym.Convolution(x, name="conv", **given)


def norm(x: Any, **attributes: Any) -> Any:
    return mx.sym.BatchNorm(x, name="bn", **{"fix_gamma": False, "eps": 1e-3, **attributes})


DATA = mx.sym.Variable("data")
#: a net of one norm, and the operations that it has on every element behind the sums
NETS = {
    "conv": norm(conv(DATA)),
    "no bias": norm(conv(DATA, no_bias=True)),
    "fixed": norm(conv(DATA), fix_gamma=True),
    "depthwise": mx.sym.clip(norm(conv(DATA, num_filter=6, num_group=6)), 0, 6),
    "before": conv(mx.sym.Activation(norm(DATA), act_type="relu")),
    "dense": norm(mx.sym.FullyConnected(DATA, num_hidden=16, name="fc")),
    "residual": mx.sym.Activation(norm(conv(DATA, num_filter=6)) + DATA, act_type="relu"),
}


def graph_of(net: Any, passes: tuple[Pass, ...] = (Norms(),), train: bool = False) -> Graph:
    types = complete(net, {"data": SHAPE})[0]
    module = module_of(net, types, roles_of(types, ["data"]))
    wrt = [a for a in net.list_arguments() if a != "data"] if train else []
    made = Manager(verify=True).run([*symbol_passes(train, wrt), Inline(), Simplify(), *passes], module)
    assert isinstance(made, Graph)
    return made


def fused(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if isinstance(node.op, Fma)]


def arrays_of(graph: Graph) -> dict[str, np.ndarray]:
    rs = np.random.RandomState(0)
    made = {}
    for node in graph.inputs:
        name, shape = node.op.input_name, node.shape
        made[name] = rs.uniform(0.5, 2, shape) if name.endswith("var") else rs.standard_normal(shape)
    return {name: a.astype("float32") for name, a in made.items()}


@pytest.mark.parametrize("name", NETS)
def test_a_norm_is_one_multiply_add(name: str):
    graph, plain = graph_of(NETS[name]), graph_of(NETS[name], ())
    (node,) = fused(graph)
    big = [n for n in graph.nodes() if n.op.name in ("add", "sub", "mul") and n.shape == node.shape]
    assert len(big) == (1 if name == "residual" else 0)
    arrays = arrays_of(graph)
    found, want = (evaluate(g, arrays, precision="f64").outputs for g in (graph, plain))
    for output in want:
        np.testing.assert_allclose(found[output], want[output], rtol=1e-12, atol=1e-12)


def bound(net: Any) -> Any:
    exe = net.simple_bind(mx.cpu(), grad_req="null", data=SHAPE)
    for name, array in arrays_of(graph_of(net)).items():
        held = exe.arg_dict.get(name, exe.aux_dict.get(name))
        held[:] = array
    return exe


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_error_is_bounded(offset: float):
    """Of means far from zero, too."""
    exe = norm(DATA).simple_bind(mx.cpu(), grad_req="null", data=(4, 16, 9, 9))
    rs = np.random.RandomState(1)
    args = {n: rs.standard_normal(a.shape).astype("float32") for n, a in exe.arg_dict.items()}
    mean = (rs.standard_normal(16) + offset).astype("float32")
    var = rs.uniform(0.1, 4, 16).astype("float32")
    args["data"] += np.float32(offset)
    for name, value in args.items():
        exe.arg_dict[name][:] = value
    exe.aux_dict["bn_moving_mean"][:], exe.aux_dict["bn_moving_var"][:] = mean, var
    x, gamma, beta, mean, var = (
        v.astype("float64").reshape((-1, 1, 1)) if v.ndim == 1 else v.astype("float64")
        for v in (args["data"], args["bn_gamma"], args["bn_beta"], mean, var)
    )
    scale = gamma / np.sqrt(var + 1e-3)
    limit = 4 * 2.0**-24 * (abs(x * scale) + abs(mean * scale) + abs(beta))
    assert (abs(exe.forward()[0].asnumpy() - ((x - mean) * scale + beta)) <= limit).all()


@pytest.mark.parametrize("name", ["conv", "depthwise", "dense", "before"])
def test_a_write_to_a_parameter_is_seen(name: str):
    exe = bound(NETS[name])
    exe.forward()
    for at, held in enumerate([*exe.arg_dict.values(), *exe.aux_dict.values()]):
        held[:] = held.asnumpy() * 1.25 + 0.01 * at
        fresh = exe._symbol.bind(mx.cpu(), exe.arg_dict, grad_req="null", aux_states=exe.aux_dict)
        np.testing.assert_array_equal(exe.forward()[0].asnumpy(), fresh.forward()[0].asnumpy())


def test_whole_numbers_stay_exact():
    """Where nothing is rounded, no bit differs from the plain form."""
    net = norm(conv(DATA), eps=0.0)
    made = []
    for off in ((), ("norms",)):
        with mx.pipeline(disable=off):
            exe = net.simple_bind(mx.cpu(), grad_req="null", data=SHAPE)
        rs = np.random.RandomState(2)
        for array in (*exe.arg_dict.values(), *exe.aux_dict.values()):
            array[:] = rs.randint(-3, 4, array.shape)
        exe.aux_dict["bn_moving_var"][:] = 4
        assert ("norms" not in off) == any("fma" in s.label for s in exe._instance(False).executable.program.steps)
        made.append(exe.forward()[0].asnumpy())
    np.testing.assert_array_equal(*made)


def test_training_keeps_its_norms():
    assert not fused(graph_of(norm(conv(DATA), use_global_stats=True), train=True))
    assert not fused(graph_of(norm(conv(DATA)), train=True))


def test_what_others_read_stays_as_it_is():
    biased = conv(DATA, num_filter=6)
    graph = graph_of(mx.sym.Group([norm(biased), biased * 2]))
    (node,) = fused(graph)
    assert node.inputs[0].op.name == "add" and len([n for n in graph.nodes() if n.op.name == "conv"]) == 1


def test_what_only_adds_stays_as_it_is():
    assert not fused(graph_of(mx.sym.broadcast_sub(conv(DATA), mx.sym.Variable("m", shape=(1, 8, 1, 1)))))


def test_strict_regions_keep_their_rounding():
    net = mx.sym.BatchNorm(conv(DATA), name="bn", fix_gamma=False, attr={"__strict__": "True"})
    assert not fused(graph_of(net))

"""Protects: symbol JSON of every age loads as MXNet 1.9.1 loads it, and what cannot be loaded says why.

The expected attributes are MXNet 1.9.1's answers to the same files.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

import symc as mx

DATA = {"op": "null", "name": "data", "inputs": []}


def variable(name: str, **more: Any) -> dict[str, Any]:
    return {"op": "null", "name": name, "inputs": [], **more}


def text(*nodes: dict[str, Any], version: int | None = None, heads: Any = None) -> str:
    document: dict[str, Any] = {
        "nodes": list(nodes),
        "arg_nodes": [i for i, n in enumerate(nodes) if isinstance(n, dict) and n["op"] == "null"],
        "heads": [[len(nodes) - 1, 0]] if heads is None else heads,
    }
    if version is not None:
        document["attrs"] = {"mxnet_version": ["int", version]}
    return json.dumps(document)


def dense(**more: Any) -> tuple[dict[str, Any], ...]:
    layer = {"op": "FullyConnected", "name": "fc", "inputs": [[0, 0], [1, 0], [2, 0]], **more}
    return DATA, variable("w"), variable("b"), layer


def test_the_oldest_form():
    net = mx.sym.load_json(text(*dense(param={"num_hidden": "3"}, attr={"lr_mult": "2"}, backward_source_id=-1)))
    assert net.list_arguments() == ["data", "w", "b"]
    assert net.attr_dict() == {"fc": {"num_hidden": "3", "__lr_mult__": "2", "lr_mult": "2"}}


@pytest.mark.parametrize("version", [None, 903, 1000, 10800])
def test_keys_of_inputs_move_to_their_variables(version):
    """By the name of the input, whatever the variable is called."""
    attrs = {"num_hidden": "3", "weight_lr_mult": "2", "bias_wd_mult": "0"}
    found = mx.sym.load_json(text(*dense(attr=attrs), version=version)).attr_dict()
    assert found["w"] == {"__lr_mult__": "2", "lr_mult": "2"}
    assert found["b"] == {"__wd_mult__": "0", "wd_mult": "0"}
    assert found["fc"] == {"num_hidden": "3"}


def test_keys_about_no_input():
    """Refused where the operator has parameters, kept where it takes anything."""
    with pytest.raises(mx.MXNetError, match=r"FullyConnected 'fc' has the attribute 'gamma_lr_mult'"):
        mx.sym.load_json(text(*dense(attr={"num_hidden": "3", "gamma_lr_mult": "2"})))
    flat = {"op": "Flatten", "name": "f", "inputs": [[0, 0]], "attr": {"weight_lr_mult": "2"}}
    assert mx.sym.load_json(text(DATA, flat)).attr_dict() == {"f": {"weight_lr_mult": "2"}}


def norm(given: int, version: int | None) -> dict[str, dict[str, str]]:
    names = ["data", "g", "b", "m", "v"][:given]
    layer = {"op": "BatchNorm", "name": "bn", "inputs": [[i, 0] for i in range(given)], "attr": {"eps": "0.1"}}
    net = mx.sym.load_json(text(*map(variable, names), layer, version=version))
    assert net.list_auxiliary_states() == (["m", "v"] if given == 5 else ["bn_moving_mean", "bn_moving_var"])
    return net.attr_dict()


@pytest.mark.parametrize("version", [None, 903])
def test_initializers_of_states_are_added_to_old_files(version):
    assert norm(5, version) == {
        "m": {"__init__": '["zero", {}]'},
        "v": {"__init__": '["one", {}]'},
        "bn": {"eps": "0.1"},
    }
    assert norm(3, version)["bn_moving_var"] == {"__init__": '["one", {}]', "eps": "0.1"}


@pytest.mark.parametrize("version", [904, 1000, 10901])
def test_and_not_to_newer_ones(version):
    assert norm(5, version) == {"bn": {"eps": "0.1"}}


def test_initializers_that_operators_want():
    x = mx.sym.Variable("x")
    up = mx.sym.UpSampling(x, scale=2, sample_type="bilinear", num_filter=3, num_args=2, name="u")
    assert up.attr_dict()["u_weight"]["__init__"] == '["bilinear", {}]'
    sparse = mx.sym.IdentityAttachKLSparseReg(x, name="k")
    assert sparse.attr_dict()["k_moving_avg"]["__init__"] == '["zero", {}]'


@pytest.mark.parametrize(
    ("version", "shape"), [(None, (1,)), (904, (1,)), (905, (2, 3)), (1000, (2, 3)), (10901, (2, 3))]
)
def test_argmax_of_old_files_meant_all_axes(version, shape):
    layer = {"op": "argmax", "name": "a", "inputs": [[0, 0]], "attr": {"axis": "-1"}}
    _, out, _ = mx.sym.load_json(text(DATA, layer, version=version)).infer_shape(data=(2, 3, 4))
    assert out == [shape]


def test_versions_of_inputs_are_kept():
    """States that old files left out are saved with version 0, as MXNet saves them; new ones count their writers."""
    layer = {"op": "BatchNorm", "name": "bn", "inputs": [[0, 0], [1, 0], [2, 0]]}
    old = mx.sym.load_json(text(DATA, variable("g"), variable("b"), layer))
    assert json.loads(old.tojson())["nodes"][-1]["inputs"][3:] == [[3, 0, 0], [4, 0, 0]]
    new = mx.sym.BatchNorm(mx.sym.Variable("x"), name="bn")
    assert json.loads(new.tojson())["nodes"][-1]["inputs"][3:] == [[3, 0, 1], [4, 0, 1]]


def test_nodes_of_one_name_share_their_attributes():
    one = {"op": "_plus_scalar", "name": "n", "inputs": [[0, 0]], "attrs": {"scalar": "1", "__a__": "x"}}
    two = {"op": "_plus_scalar", "name": "n", "inputs": [[1, 0]], "attrs": {"scalar": "2", "__b__": "y"}}
    net = mx.sym.load_json(text(DATA, one, two, version=10901))
    assert net.attr_dict() == {"n": {"scalar": "2", "__a__": "x", "__b__": "y"}}


FOREIGN = {
    "_sg_mkldnn_conv": "save the model again without",
    "_TensorRT": "save the model again without",
    "_contrib_quantized_conv": "use the floating-point model",
    "_contrib_intgemm_fully_connected": "use the floating-point model",
    "_contrib_dgl_subgraph": "outside of the model",
    "_npi_add": "classic operators",
    "_Native": "CustomOp",
    "WarpCTC": "use CTCLoss",
    "Proposal": "did you mean _contrib_Proposal",
    "MyLayer": "registered first",
}


@pytest.mark.parametrize("op", FOREIGN)
def test_unknown_operators(op):
    layer = {"op": op, "name": "conv7", "inputs": [[0, 0]]}
    with pytest.raises(mx.MXNetError) as caught:
        mx.sym.load_json(text(DATA, layer))
    assert op in str(caught.value) and "conv7" in str(caught.value) and FOREIGN[op] in str(caught.value)


def test_unknown_custom_operator():
    layer = {"op": "Custom", "name": "c7", "inputs": [[0, 0]], "attr": {"op_type": "mine"}}
    with pytest.raises(mx.MXNetError, match=r"node 'c7': Custom: op_type='mine' is not registered with mx.operator"):
        mx.sym.load_json(text(DATA, layer))


GARBLED = {
    "truncated": text(DATA)[:-9],
    "no nodes": "{}",
    "a list": "[1]",
    "node not an object": text("x", heads=[[0, 0]]),  # type: ignore[arg-type]
    "name not text": text(variable(3)),  # type: ignore[arg-type]
    "operator not text": text(DATA, {"op": None, "name": "a", "inputs": []}),
    "attributes not an object": text(variable("x", attr=7)),
    "inputs not pairs": text(DATA, {"op": "Flatten", "name": "f", "inputs": [[]]}),
    "input that comes later": text(DATA, {"op": "Flatten", "name": "f", "inputs": [[5, 0]]}),
    "output that is not there": text(DATA, heads=[[0, 3]]),
    "no heads": text(DATA, heads=[]),
    "version not a number": json.dumps({**json.loads(text(DATA)), "attrs": {"mxnet_version": ["int", "x"]}}),
    "attrs not an object": json.dumps({**json.loads(text(DATA)), "attrs": True}),
    "inputs too many": text(DATA, {"op": "Flatten", "name": "f", "inputs": [[0, 0], [0, 0]]}),
}


@pytest.mark.parametrize("case", GARBLED)
def test_garbled_files_are_refused(case):
    with pytest.raises(mx.MXNetError, match="symbol JSON"):
        mx.sym.load_json(GARBLED[case])

"""Workloads with what reads ONNX (opset 20): onnxruntime and OpenVINO. They predict only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from graph import Graph, Node, Unsupported, cells
from onnx import TensorProto, helper, numpy_helper

_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
_SIMPLE = {
    "exp": "Exp", "tanh": "Tanh", "sigmoid": "Sigmoid", "broadcast_maximum": "Max",
    **dict.fromkeys(("elemwise_add", "_plus", "_Plus", "broadcast_add"), "Add"),
    **dict.fromkeys(("elemwise_mul", "_mul", "_Mul", "broadcast_mul"), "Mul"),
}  # fmt: skip
_SCALAR = {"_mul_scalar": "Mul", "_plus_scalar": "Add", "_minus_scalar": "Sub"}


class Model:
    """An ONNX graph as it grows."""

    def __init__(self, graph: Graph, arrays: dict[str, np.ndarray]) -> None:
        self.graph, self.arrays = graph, arrays
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        for node in graph.nodes:
            self._add(node)

    def const(self, array: Any) -> str:
        name = f"const{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str = "", **attrs: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attrs))
        return output

    def _add(self, n: Node) -> None:
        names, out = [i.value for i in n.inputs], n.value
        if n.op == "null":
            if n.name not in self.graph.data:
                self.constants.append(numpy_helper.from_array(self.arrays[n.name], out))
            return
        if n.op in _SIMPLE:
            self.node(_SIMPLE[n.op], names, out)
        elif n.op in _SCALAR:
            self.node(_SCALAR[n.op], [*names, self.const(np.float32(n.get("scalar")))], out)
        elif n.op == "Activation":
            self.node(_ACTIVATIONS[n.get("act_type")], names, out)
        elif hasattr(self, "add_" + n.op.lower()):
            getattr(self, "add_" + n.op.lower())(n, names, out)
        else:
            raise Unsupported(n.op)

    def add_convolution(self, n: Node, names: list[str], out: str) -> None:
        pads = [*n.pair("pad", 0)] * 2
        self.node(
            "Conv", names, out, kernel_shape=n.pair("kernel", 1), strides=n.pair("stride", 1), pads=pads,
            dilations=n.pair("dilate", 1), group=n.get("num_group", 1),
        )  # fmt: skip

    def add_fullyconnected(self, n: Node, names: list[str], out: str) -> None:
        x, weight, bias = names
        rank = len(n.inputs[0].shape)
        if n.get("flatten", True) or rank == 2:
            self.node("Gemm", [self.node("Flatten", [x]) if rank > 2 else x, weight, bias], out, transB=1)
            return
        turned = self.const(self.arrays[n.inputs[1].name].T)
        self.node("Add", [self.node("MatMul", [x, turned]), bias], out)

    def add_batchnorm(self, n: Node, names: list[str], out: str) -> None:
        self.node("BatchNormalization", names, out, epsilon=n.get("eps", 1e-3))

    def add_pooling(self, n: Node, names: list[str], out: str) -> None:
        if n.get("global_pool"):
            self.node("GlobalAveragePool", names, out)
            return
        largest = n.get("pool_type") == "max"
        rest = {} if largest else {"count_include_pad": 1}
        self.node(
            "MaxPool" if largest else "AveragePool", names, out, kernel_shape=n.pair("kernel", 1),
            strides=n.pair("stride", 1), pads=[*n.pair("pad", 0)] * 2, **rest,
        )  # fmt: skip

    def add_leakyrelu(self, n: Node, names: list[str], out: str) -> None:
        if n.get("act_type") != "gelu":
            raise Unsupported("LeakyReLU " + n.get("act_type"))
        self.node("Gelu", names, out)

    def add_flatten(self, n: Node, names: list[str], out: str) -> None:
        self.node("Flatten", names, out)

    def add_clip(self, n: Node, names: list[str], out: str) -> None:
        self.node("Clip", [*names, *(self.const(np.float32(n.get(k))) for k in ("a_min", "a_max"))], out)

    def add_concat(self, n: Node, names: list[str], out: str) -> None:
        self.node("Concat", names, out, axis=n.get("dim", 1))

    def add_softmax(self, n: Node, names: list[str], out: str) -> None:
        self.node("Softmax", names, out, axis=n.get("axis", -1))

    def add_layernorm(self, n: Node, names: list[str], out: str) -> None:
        self.node("LayerNormalization", names, out, epsilon=n.get("eps", 1e-5))

    def add_reshape(self, n: Node, names: list[str], out: str) -> None:
        self.node("Reshape", [*names, self.const(np.array(n.shape, np.int64))], out)

    def add_transpose(self, n: Node, names: list[str], out: str) -> None:
        self.node("Transpose", names, out, perm=n.get("axes"))

    def add_batch_dot(self, n: Node, names: list[str], out: str) -> None:
        rank = len(n.shape)
        turned = [*range(rank - 2), rank - 1, rank - 2]
        flags = (n.get("transpose_a"), n.get("transpose_b"))
        self.node("MatMul", [self.node("Transpose", [x], perm=turned) if f else x for x, f in zip(names, flags)], out)

    def add_dot(self, n: Node, names: list[str], out: str) -> None:
        self.node("Gemm", names, out, transA=int(bool(n.get("transpose_a"))), transB=int(bool(n.get("transpose_b"))))

    def add_sum(self, n: Node, names: list[str], out: str) -> None:
        axis = n.get("axis")
        axes = [] if axis is None else [self.const(np.array([axis], np.int64))]
        self.node("ReduceSum", [*names, *axes], out, keepdims=0)

    def add_embedding(self, n: Node, names: list[str], out: str) -> None:
        self.node("Gather", [names[1], names[0]], out)

    def add__zeros(self, n: Node, names: list[str], out: str) -> None:
        self.constants.append(numpy_helper.from_array(np.zeros(n.shape, np.float32), out))

    def add_rnn(self, n: Node, names: list[str], out: str) -> None:
        """A layer each; ONNX orders the gates input, output, forget, cell."""
        layers, width = n.get("num_layers"), n.get("state_size")
        x = names[0]
        for layer, parts in enumerate(cells(self.arrays[n.inputs[1].name], layers, n.inputs[0].shape[-1], width)):
            gates = [part.reshape(4, width, -1)[[0, 3, 1, 2]].reshape(part.shape) for part in parts]
            inner, outer = (self.const(w[None]) for w in gates[:2])
            bias = self.const(np.concatenate(gates[2:])[None])
            y = self.node("LSTM", [x, inner, outer, bias], hidden_size=width)
            last = layer == layers - 1
            x = self.node("Squeeze", [y, self.const(np.array([1], np.int64))], out if last else "")

    def build(self) -> bytes:
        whole = self.graph.whole
        inputs = [
            helper.make_tensor_value_info(n.value, TensorProto.INT64 if n.name in whole else TensorProto.FLOAT, n.shape)
            for n in self.graph.nodes
            if n.op == "null" and n.name in self.graph.data
        ]
        output = self.graph.output
        outputs = [helper.make_tensor_value_info(output.value, TensorProto.FLOAT, output.shape)]
        body = helper.make_graph(self.nodes, "net", inputs, outputs, self.constants)
        return helper.make_model(
            body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        ).SerializeToString()  # fmt: skip


def build(
    graph: Graph, arrays: dict[str, np.ndarray], threads: int, way: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The run, and what reads its result."""
    if graph.kind != "predict":
        raise Unsupported("gradients")
    model = Model(graph, arrays).build()
    given = {
        n.value: arrays[n.name].astype(np.int64) if n.name in graph.whole else arrays[n.name]
        for n in graph.nodes
        if n.op == "null" and n.name in graph.data
    }
    return (_onnxruntime if way == "onnxruntime" else _openvino)(model, given, threads, graph.output.value)


def _onnxruntime(model: bytes, given: dict[str, np.ndarray], threads: int, output: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in given.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output(output)
    return lambda: session.run_with_iobinding(binding), lambda: binding.copy_outputs_to_cpu()[0]


def _openvino(model: bytes, given: dict[str, np.ndarray], threads: int, output: str) -> Any:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(model, b""), "CPU", settings).create_infer_request()
    for name, array in given.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return request.infer, lambda: request.get_output_tensor(0).data

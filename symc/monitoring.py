"""What a Monitor sees of an Executor: the values inside of the net, forward and backward, under MXNet's names.

They are computed beside the Executor's own programs, by programs that have them as results. So what is shown is never
memory that something else has reused, and watching changes no result. Functions in Python (Custom) run once more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from symc import ndarray
from symc.ir.symbol.nodes import SymNode
from symc.ir.types import TensorType
from symc.ndarray import NDArray
from symc.ops.base import OPERATORS, parse
from symc.typed import module_of

__all__ = ["Observer", "TextName", "backward_labels", "input_labels"]

#: operators of one input that MXNet knows by name; that of all others is input0
_NAMED_INPUT = frozenset(
    """Custom Dropout GridGenerator L2Normalization LRN LeakyReLU MakeLoss Pad Pooling Pooling_v1 SequenceLast
    SequenceMask SequenceReverse SliceChannel SwapAxis _contrib_BilinearResize2D _contrib_MultiBoxPrior
    _contrib_index_array _contrib_interleaved_matmul_selfatt_qk _contrib_quadratic _histogram _image_normalize
    _image_to_tensor _linalg_det _linalg_extractdiag _linalg_extracttrian _linalg_gelqf _linalg_inverse
    _linalg_makediag _linalg_maketrian _linalg_potrf _linalg_potri _linalg_slogdet _linalg_sumlogdiag _linalg_syevd
    _linalg_syrk _ravel_multi_index _split_v2 _unravel_index all_finite col2im cumsum depth_to_space diag im2col
    log_softmax moments one_hot repeat reverse softmax space_to_depth squeeze tile""".split()
)
#: variadic operators whose inputs have other names than arg0, arg1, ...
_PARTS = {"amp_multicast": "data_", "multi_all_finite": "array_", "multi_sum_sq": "array_"}
#: operators of MXNet's first kind: what their backward gives is named as the inputs are
_NAMED_GRADIENTS = frozenset(
    """BatchNorm_v1 BilinearSampler Convolution_v1 Correlation Crop Custom GridGenerator IdentityAttachKLSparseReg
    InstanceNorm L2Normalization MakeLoss Pad Pooling_v1 ROIPooling SVMOutput SequenceLast SequenceMask SequenceReverse
    SliceChannel SpatialTransformer SwapAxis _contrib_DeformableConvolution _contrib_DeformablePSROIPooling
    _contrib_MultiBoxDetection _contrib_MultiBoxPrior _contrib_MultiBoxTarget _contrib_MultiProposal
    _contrib_PSROIPooling _contrib_Proposal _contrib_SyncBatchNorm""".split()
)
#: operators whose gradients are several of MXNet's, or fewer than the inputs
_OTHER_GRADIENTS = {
    "batch_dot": ("lhs_output", "rhs_output"), "where": ("", "output0", "output1"), "pick": ("output",),
    "broadcast_like": ("output",), "reshape_like": ("output",), "_identity_with_attr_like_rhs": ("output",),
    "gather_nd": ("output",), "scatter_nd": ("output",),
}  # fmt: skip


def input_labels(definition: Any) -> list[str]:
    """MXNet's words for the inputs of an operator, auxiliary states last."""
    names = [*definition.list_inputs(), *definition.list_aux()]
    if definition.op_name in _PARTS:
        return [f"{_PARTS[definition.op_name]}{i}" for i in range(len(names))]
    unnamed = len(names) == 1 and not definition.variadic and definition.op_name not in _NAMED_INPUT
    return ["input0"] if unnamed else names


def backward_labels(definition: Any) -> list[str]:
    """MXNet's words for the gradients of an operator's inputs, "" for one that it has not."""
    names = list(definition.list_inputs())
    if definition.op_name in _NAMED_GRADIENTS:
        return names
    found = list(_OTHER_GRADIENTS.get(definition.op_name, ()))
    if found:
        return [*found, *[""] * (len(names) - len(found))]
    return ["output"] if len(names) == 1 else [f"output{i}" for i in range(len(names))]


class TextName(str):
    """The name that a callback is given: text, which callbacks written for MXNet decode, as it gives them bytes."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The name as plain text."""
        return self.encode(encoding, errors).decode(encoding, errors)


class Observer:
    """Tells `callback(name, array)` of an Executor's runs.

    Of a forward: every operator's outputs, hidden ones too (`bn_mean`), and with `everything` before them its inputs
    (`fc_data`), those that are variables under their own name as well. Of a backward: the gradient that an operator
    gives each of its inputs, `fc_backward_output1`, where a gradient that was asked for comes through the operator.
    """

    def __init__(self, executor: Any, callback: Callable[..., Any], everything: bool) -> None:
        self.executor, self.callback, self.everything = executor, callback, everything
        self._states: list[NDArray] = []
        self._inner: Any = None
        self._edges: Any = None
        self._shown: dict[str, tuple[SymNode, int]] = {}

    @property
    def awake(self) -> bool:
        """Whether anybody listens: a Monitor does not between its batches."""
        return bool(getattr(getattr(self.callback, "__self__", None), "activated", True))

    def _tell(self, name: str, array: NDArray) -> None:
        self.callback(TextName(name), array)

    def before(self) -> None:
        """The Executor is about to run its forward half, which may change states."""
        self._states = [a.copy() for a in self.executor.aux_arrays] if self.awake else []

    def forget(self) -> None:
        """The programs no longer fit: sizes that only values tell have changed."""
        self._inner = self._edges = None

    # -- forward

    def after_forward(self, train: bool) -> None:
        """Show the values of the forward that has just run."""
        if not self.awake:
            return
        nodes = self.executor._symbol.graph.nodes()
        if self._inner is None:
            entries = [(node, i) for node in nodes for i in range(node.num_outputs)]
            self._inner = self._bound(type(self.executor._symbol)(entries), {}, {})
        inner = self._inner
        self._prepare(inner)
        inner._count_rows(train)
        inner._instance(train).run_forward()
        found = dict(zip(inner._symbol._outputs, inner.outputs))
        for node in nodes:
            if node.is_variable:
                continue
            for entry, word in zip(node.inputs, input_labels(node.definition)) if self.everything else ():
                if entry[0].is_variable:
                    self._tell(entry[0].name, found[entry])
                self._tell(f"{node.name}_{word}", found[entry])
            for at in range(node.num_outputs):
                self._tell(node.output_name(at), found[node, at])

    def _bound(self, symbol: Any, more: dict[str, NDArray], grads: dict[str, NDArray]) -> Any:
        """An Executor of a Symbol on the arrays of the watched one, `more` arguments and copies of the states."""
        exe = self.executor
        held = {**exe.arg_dict, **more}
        names = symbol.list_arguments()
        states = [exe.aux_dict[n].copy() for n in symbol.list_auxiliary_states()]
        reqs = ["write" if n in grads else "null" for n in names]
        return type(exe)(symbol, exe._ctx, [held[n] for n in names], [grads.get(n) for n in names], reqs, states)

    def _prepare(self, inner: Any) -> None:
        """The states from before the forward, and its random numbers."""
        before = dict(zip(self.executor._aux_names, self._states or self.executor.aux_arrays))
        for name, array in inner.aux_dict.items():
            array[:] = before[name]
        inner._key[:] = self.executor._key

    # -- backward

    def after_backward(self, heads: Any, train: bool) -> None:
        """Show the gradients of the backward that has just run with these head gradients."""
        if not self.awake:
            return
        if self._edges is None:
            self._edges = self._edged()
        inner = self._edges
        if not self._shown:
            return
        self._prepare(inner)
        inner._count_rows(train)
        if train:
            inner._instance(True).run_forward()
            inner._fresh = True
        inner.backward(heads, train)
        for name, (node, at) in self._shown.items():
            word = backward_labels(node.definition)[at]
            self._tell(f"{node.name}_backward_{word}", inner.grad_dict[name])

    def _edged(self) -> Any:
        """An Executor of the net with an argument of zeros added to every input of an operator that a gradient comes
        to: the gradient of that argument is what the operator gives the input."""
        exe = self.executor
        symbol = copy.copy(exe._symbol)
        copies = dict(zip(exe._symbol.graph.nodes(), symbol.graph.nodes()))
        types = _entry_types(exe)
        shown: dict[str, tuple[SymNode, int]] = {}
        zeros: dict[str, NDArray] = {}
        adding = parse(OPERATORS["elemwise_add"], {})
        for node, at in self._active():
            held = types.get(node.inputs[at])
            if held is None or not held.dtype.is_float or not backward_labels(node.definition)[at]:
                continue
            name = f"{node.name}.edge{at}"
            edge = SymNode("null", name, where=node.where)
            inputs = [*copies[node].inputs]
            inputs[at] = (SymNode("elemwise_add", name, {}, [inputs[at], (edge, 0)], adding, node.where), 0)
            copies[node].inputs = tuple(inputs)
            shown[name], zeros[name] = (node, at), ndarray.zeros(held.shape, exe._ctx, held.dtype.numpy)
        # a node's gradients come in the order of its inputs, though the nodes come backwards
        order = {node: i for i, node in enumerate(exe._symbol.graph.nodes())}
        self._shown = dict(sorted(shown.items(), key=lambda item: (-order[item[1][0]], item[1][1])))
        gradients = {n: ndarray.zeros(z.shape, exe._ctx, z.dtype) for n, z in zeros.items()}
        return self._bound(symbol, zeros, gradients)

    def _active(self) -> Iterator[tuple[SymNode, int]]:
        """(operator, input) of the operators that gradients come through on their way to one that was asked for. All
        inputs of such an operator are shown, as in MXNet, where what nobody wants is memory that nobody wrote."""
        wanted = {n for n, r in zip(self.executor._arg_names, self.executor._reqs) if r != "null"}
        reached: set[SymNode] = set()
        for node in self.executor._symbol.graph.nodes():
            if node.is_variable:
                if node.name in wanted:
                    reached.add(node)
                continue
            operands = [source for source, _ in node.inputs[: node.aux_from]]
            if node.definition.gradient == "yes" and not reached.isdisjoint(operands):
                reached.add(node)
                yield from ((node, at) for at in range(len(operands)))


def _entry_types(exe: Any) -> dict[tuple[SymNode, int], TensorType | None]:
    """The types of all values of an Executor's net."""
    module = module_of(exe._symbol, exe._types, rows=exe._rows)
    found: dict[tuple[SymNode, int], TensorType | None] = {
        (node, 0): exe._types[node.name] for node in exe._symbol.graph.nodes() if node.is_variable
    }
    for node, made in module.inferred.items():
        found.update({(node, i): tensor for i, tensor in enumerate(made)})
    return found

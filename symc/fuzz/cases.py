"""Samples of operators: inputs and attributes for which each is checked by the tests, and of which random nets are
made. TABLE has what can be differentiated, OTHERS the rest.

An input is a shape (distinct random numbers in [-2, 2], none near a multiple of a half, where kinks are), or an array:
floats are differentiated, whole numbers are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symc.debug.values import between

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """One operator with its attributes on arrays."""

    op: str
    arrays: tuple[Array, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    #: positions of the float inputs without a gradient
    fixed: Sequence[int] = ()
    #: outputs that carry a gradient (None: all visible ones)
    through: Sequence[int] | None = None
    #: the gradient can be differentiated again (else asking for it is refused)
    second: bool = True
    #: the input is a symmetric matrix, of which the operator may read one half
    symmetric: bool = False
    #: positions of the inputs for which any numbers do
    free: Sequence[int] = ()

    def __str__(self) -> str:
        shapes = " ".join("x".join(map(str, a.shape)) for a in self.arrays)
        return " ".join([self.op, shapes, *(f"{k}={v}".replace(" ", "") for k, v in self.attrs.items())])

    def wrt(self) -> list[int]:
        return [i for i, a in enumerate(self.arrays) if a.dtype.kind == "f" and i not in self.fixed]


def whole(*values: Any) -> Array:
    return np.array(values, np.int32)


TABLE: list[Case] = []
OTHERS: list[Case] = []


def made(op: str, *inputs: Any, **facts: Any) -> Case:
    """A case from inputs as above; facts are the fields of Case, and the operator's attributes."""
    arrays = tuple(i if isinstance(i, np.ndarray) else between(-2.0, 2.0, *i, seed=at) for at, i in enumerate(inputs))
    own = {k: facts.pop(k) for k in ("fixed", "through", "second", "symmetric") if k in facts}
    return Case(op, arrays, facts, free=[at for at, i in enumerate(inputs) if not isinstance(i, np.ndarray)], **own)


def case(op: str, *inputs: Any, **facts: Any) -> None:
    TABLE.append(made(op, *inputs, **facts))


def other(op: str, *inputs: Any, **facts: Any) -> None:
    OTHERS.append(made(op, *inputs, **facts))


# --------------------------------------------------------------------------------------------- element by element

_ANYWHERE = """abs cbrt rcbrt reciprocal exp expm1 sin cos sinh cosh tanh arctan arcsinh erf sigmoid softsign degrees
radians negative square relu _copy _contrib_div_sqrt_dim""".split()
_POSITIVE = "sqrt rsqrt log log2 log10 log1p gamma gammaln".split()
_SMALL = "tan arcsin arccos arctanh erfinv".split()
for _op in _ANYWHERE:
    case(_op, (2, 3))
for _op in _POSITIVE:
    case(_op, between(0.3, 3.0, 2, 3))
for _op in _SMALL:
    case(_op, between(-0.9, 0.9, 2, 3))
case("arccosh", between(1.1, 3.0, 2, 3))
case("hard_sigmoid", (2, 3), alpha=0.3, beta=0.4)
case("smooth_l1", (2, 3), scalar=1.3)
case("clip", (2, 3), a_min=-0.7, a_max=1.2)
case("_contrib_quadratic", (2, 3), a=2.0, b=-1.0, c=0.5)
case("Cast", (2, 3), dtype="float64")
case("amp_cast", (2, 3), dtype="float32")
case("amp_multicast", (2, 3), (3,), num_outputs=2)
case("_identity_with_attr_like_rhs", (2, 3), (2, 3))
case("add_n", (2, 3), (2, 3), (2, 3))

_PAIRS = {
    "add": ("elemwise_add", (2, 3), (2, 3)), "sub": ("elemwise_sub", (2, 3), (2, 3)),
    "mul": ("elemwise_mul", (2, 3), (2, 3)), "div": ("elemwise_div", (2, 3), between(0.4, 2.0, 2, 3)),
    "mod": ("_mod", (2, 3), between(0.6, 1.4, 2, 3)), "power": ("_power", between(0.3, 2.0, 2, 3), (2, 3)),
    "maximum": ("_maximum", (2, 3), (2, 3)), "minimum": ("_minimum", (2, 3), (2, 3)),
    "hypot": ("_hypot", (2, 3), (2, 3)),
}  # fmt: skip
for _key, (_op, _left, _right) in _PAIRS.items():
    case(_op, _left, _right)
    _row = between(0.4, 1.9, 1, 3, seed=5) if isinstance(_right, np.ndarray) else (1, 3)
    case(f"broadcast_{_key}", _left, _row)
    _right = between(0.6, 1.4, 2, 1, 3) if _key == "mod" else between(0.4, 2.0, 2, 1, 3, seed=3)
    case(f"broadcast_{_key}", between(0.3, 2.0, 4, 1, seed=2), _right)
    _named = {"add": "plus", "sub": "minus"}.get(_key, _key)
    case(f"_{_named}_scalar", _left, scalar=1.7)
    if _key in ("sub", "div", "mod", "power"):
        case(f"_r{_named}_scalar", between(0.3, 2.0, 2, 3), scalar=1.7)
case("_power_scalar", (2, 3), scalar=3.0)

# --------------------------------------------------------------------------------------------- activations

for _kind in ("relu", "sigmoid", "softrelu", "softsign", "tanh"):
    case("Activation", (2, 3), act_type=_kind)
for _kind in ("elu", "gelu", "leaky"):
    case("LeakyReLU", (2, 3), act_type=_kind, slope=0.3)
case("LeakyReLU", (2, 3, 2), (3,), act_type="prelu")
case("LeakyReLU", (2, 3), (1,), act_type="prelu")
for _op in ("softmax", "softmin", "log_softmax"):
    case(_op, (2, 3))
    case(_op, (2, 3, 2), axis=1, temperature=1.5)
case("softmax", (2, 3), whole(3, 2), use_length=True)
case("SoftmaxActivation", (2, 4), mode="instance")
case("SoftmaxActivation", (2, 3, 2), mode="channel")

# --------------------------------------------------------------------------------------------- shapes

case("Reshape", (2, 6), shape=(-1, 4))
case("Reshape", (2, 3, 4), shape=(0, -3))
case("Reshape", (2, 6, 2), shape=(-4, 1, -1, 0, 0))
case("Reshape", (2, 3, 4), shape=(0, -1), reverse=True)
case("Flatten", (2, 3, 2))
case("reshape_like", (2, 6), (3, 4))
case("expand_dims", (2, 3), axis=1)
case("squeeze", (2, 1, 3, 1), axis=(1,))
case("transpose", (2, 3, 4))
case("transpose", (2, 3, 4), axes=(1, 2, 0))
case("SwapAxis", (2, 3, 4), dim1=0, dim2=2)
case("depth_to_space", (1, 4, 2, 3), block_size=2)
case("space_to_depth", (1, 2, 4, 2), block_size=2)
case("broadcast_to", (2, 1, 3), shape=(0, 4, 3))
case("broadcast_axis", (1, 2, 1), axis=(0, 2), size=(3, 2))
case("broadcast_like", (1, 3), (2, 3))
case("broadcast_like", (1, 3), (4, 2), lhs_axes=(0,), rhs_axes=(1,))
case("slice", (4, 5), begin=(1, None), end=(4, -1))
case("slice", (4, 5), begin=(None, 4), end=(None, 0), step=(2, -2))
case("slice_axis", (3, 4), axis=1, begin=-3, end=None)
case("slice_like", (3, 4), (2, 3))
case("slice_like", (3, 4), (2, 2), axes=(1,))
case("SliceChannel", (2, 4), num_outputs=2)
case("SliceChannel", (2, 3), num_outputs=2, axis=0, squeeze_axis=True)
case("_split_v2", (5, 2), indices=(0, 2, 3), axis=0)
case("_split_v2", (2, 4), indices=(0,), sections=2, axis=1)
case("Concat", (2, 3), (2, 1), dim=1)
case("Concat", (1, 2), (3, 2), (2, 2), dim=0)
case("stack", (2, 3), (2, 3), axis=1)
case("stack", (2, 3), (2, 3), axis=-1)
case("_rnn_param_concat", (4,), (3,), dim=0)
case("tile", (2, 3), reps=(2, 1, 2))
case("repeat", (2, 3), repeats=2)
case("repeat", (2, 3), repeats=3, axis=1)
case("reverse", (2, 3), axis=(0, 1))
for _kind in ("constant", "edge", "reflect"):
    case("Pad", (1, 2, 3, 4), mode=_kind, pad_width=(0, 0, 0, 0, 1, 2, 2, 1))
case("Pad", (1, 1, 2, 3, 2), mode="edge", pad_width=(0, 0, 0, 0, 1, 0, 0, 2, 1, 1))
case("diag", (4,), k=1)
case("diag", (3, 4), k=-1)
case("diag", (2, 3, 3), axis1=1, axis2=2)
case("Crop", (1, 2, 4, 5), num_args=1, h_w=(2, 3), offset=(1, 2))
case("Crop", (1, 2, 4, 5), (1, 1, 2, 3), num_args=2, center_crop=True)
case("im2col", (1, 2, 5, 4), kernel=(3, 2), stride=(2, 1), pad=(1, 0))
case("im2col", (1, 1, 6), kernel=(2,), dilate=(3,))
case("col2im", (1, 8, 12), kernel=(2, 2), output_size=(5, 4))
case("col2im", (2, 4, 12), kernel=(2, 2), output_size=(4, 3), stride=(2, 1), pad=(1, 1))
case("_image_adjust_lighting", (2, 4, 3), alpha=(0.1, -0.2, 0.3))
case("_image_crop", (4, 5, 3), x=1, y=2, width=3, height=2)
case("_image_normalize", (3, 2, 2), mean=(0.1, 0.2, 0.3), std=(0.5, 2.0, 1.5))

# --------------------------------------------------------------------------------------------- reductions, order

for _op in ("sum", "mean", "max", "min", "nansum"):
    case(_op, (2, 3, 2))
    case(_op, (2, 3, 2), axis=(0, 2), keepdims=True)
    case(_op, (2, 3, 2), axis=(1,), exclude=True)
for _op in ("prod", "nanprod"):
    case(_op, between(0.4, 2.0, 2, 3))
    case(_op, (2, 3), axis=(1,))
case("_square_sum", (2, 3), axis=(1,), keepdims=True)
case("norm", (2, 3))
case("norm", (2, 3, 2), axis=(1,), keepdims=True)
case("norm", (2, 3, 2), axis=(0, 2))
case("norm", (2, 3), ord=1, axis=(1,))
case("moments", (2, 3, 2), axes=(0, 2))
case("moments", (2, 3), axes=(1,), keepdims=True)
case("cumsum", (2, 3))
case("cumsum", (2, 3), axis=1)
case("sort", (3, 4))
case("sort", (3, 4), axis=0, is_ascend=False)
case("sort", (3, 2), axis=None)
case("topk", (3, 4), k=2, ret_typ="value")
case("topk", (3, 4), k=2, axis=0, ret_typ="both", is_ascend=True, through=[0])

# --------------------------------------------------------------------------------------------- choosing elements

case("take", (4, 2), whole(0, 3, 3, 1))
case("take", (2, 4), whole([1, -1], [5, 0]), axis=1, mode="wrap")
case("Embedding", whole([0, 3], [3, 1]), (4, 2), input_dim=4, output_dim=2, dtype="float64")
case("_contrib_SparseEmbedding", whole([0, 3], [3, 1]), (4, 2), input_dim=4, output_dim=2, dtype="float64")
case("_sparse_retain", (4, 2), whole(0, 3))
case("cast_storage", (3, 2), stype="default")
# the last of the three vectors' elements only fills them up
case("_csr_dot", (4,), whole(0, 2, 2, 3), whole(1, 0, 3, 4), (4, 2), shape=(3, 4))
case("_csr_dot", (4,), whole(0, 2, 2, 3), whole(1, 0, 3, 4), (3,), shape=(3, 4), transpose_a=True)
case("_csr_dot", (4,), whole(0, 2, 2, 3), whole(1, 0, 3, 4), (2, 4), shape=(3, 4), transpose_b=True)
case("_csr_sum", (4,), whole(0, 2, 2, 3), whole(1, 0, 3, 4), shape=(3, 4), axis=1)
case("_csr_sum", (4,), whole(0, 2, 2, 3), whole(1, 0, 3, 4), shape=(3, 4), axis=0, keepdims=True)
case("pick", (3, 4), whole(0, 3, 1))
case("pick", (3, 4), whole([0, 3, 2, 1]), axis=0, keepdims=True)
case("gather_nd", (3, 4), whole([0, 2, 2], [1, 3, 3]))
case("scatter_nd", (3,), whole([0, 2, 1], [1, 3, 0]), shape=(3, 4))
case("_contrib_index_copy", (4, 2), whole(2, 0), (2, 2))
case("_contrib_boolean_mask", (4, 2), whole(1, 0, 1, 1))
case("where", whole([1, 0, 1], [0, 0, 1]), (2, 3), (2, 3))
case("where", whole(1, 0), (2, 3), (2, 3))
case("SequenceMask", (3, 2, 2), whole(1, 3), use_sequence_length=True, value=0.5)
case("SequenceMask", (2, 3, 2), whole(2, 1), use_sequence_length=True, axis=1)
case("SequenceLast", (3, 2, 2), whole(1, 3), use_sequence_length=True)
case("SequenceLast", (2, 3), axis=1)
case("SequenceReverse", (3, 2, 2), whole(2, 3), use_sequence_length=True)

# --------------------------------------------------------------------------------------------- products

case("dot", (2, 3), (3, 2))
case("dot", (3, 2), (2, 3), transpose_a=True, transpose_b=True)
case("dot", (3,), (3,))
case("dot", (2, 2, 3), (3, 2))
case("batch_dot", (2, 2, 3), (2, 3, 2))
case("batch_dot", (2, 3, 2), (2, 2, 3), transpose_a=True, transpose_b=True)
case("FullyConnected", (2, 3, 2), (4, 6), (4,), num_hidden=4)
case("FullyConnected", (2, 3, 2), (4, 2), num_hidden=4, no_bias=True, flatten=False)
case("_contrib_interleaved_matmul_selfatt_qk", (3, 2, 12), heads=2)
case("_contrib_interleaved_matmul_selfatt_valatt", (3, 2, 12), (4, 3, 3), heads=2)
case("_contrib_interleaved_matmul_encdec_qk", (3, 2, 4), (2, 2, 8), heads=2)
case("_contrib_interleaved_matmul_encdec_valatt", (2, 2, 8), (4, 3, 2), heads=2)

# --------------------------------------------------------------------------------------------- linear algebra


def definite(*shape: int) -> Array:
    """Symmetric positive definite matrices."""
    a = between(-1.0, 1.0, *shape)
    return a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])


def lower(*shape: int) -> Array:
    """Lower triangular matrices with a positive diagonal."""
    return np.linalg.cholesky(definite(*shape))


def regular(*shape: int) -> Array:
    """Matrices that are far from singular, with distinct eigenvalues."""
    return between(-0.6, 0.6, *shape) + np.diag(np.arange(1.0, shape[-1] + 1))


case("_linalg_gemm", (2, 3), (3, 2), (2, 2), alpha=0.7, beta=1.3)
case("_linalg_gemm", (2, 3, 2), (2, 2, 3), (2, 2, 2), transpose_a=True, transpose_b=True)
case("_linalg_gemm", (2, 2, 3), (3, 2, 2), (2, 2, 2), axis=-3)
case("_linalg_gemm2", (2, 3), (2, 3), transpose_b=True, alpha=0.7)
case("_linalg_gemm2", (2, 2, 3), (2, 2, 2), transpose_a=True)
case("_linalg_syrk", (2, 3), alpha=0.7)
case("_linalg_syrk", (2, 3, 2), transpose=True)
for _low, _right, _turned in ((True, False, False), (False, True, True), (True, True, False), (False, False, True)):
    _matrix = lower(2, 2) if _low else lower(2, 2).T.copy()
    _attrs = dict(lower=_low, rightside=_right, transpose=_turned, alpha=1.3)
    case("_linalg_trmm", _matrix, (3, 2) if _right else (2, 3), **_attrs)
    case("_linalg_trsm", _matrix, (3, 2) if _right else (2, 3), **_attrs)
case("_linalg_extractdiag", (2, 3, 3), offset=1)
case("_linalg_makediag", (2, 3), offset=-1)
case("_linalg_extracttrian", (2, 3, 3), offset=-1)
case("_linalg_maketrian", (2, 3), lower=False)
case("_linalg_sumlogdiag", definite(2, 2, 2))
case("_linalg_potrf", definite(2, 2), symmetric=True)
case("_linalg_potrf", definite(2, 3, 3), symmetric=True)
case("_linalg_potri", lower(2, 2, 2))
case("_linalg_inverse", regular(2, 3, 3))
case("_linalg_det", regular(2, 3, 3))
case("_linalg_slogdet", regular(2, 3, 3), through=[1])
case("_linalg_gelqf", (2, 3))
case("_linalg_syevd", definite(3, 3), symmetric=True)

# --------------------------------------------------------------------------------------------- layers

_IMAGE = (2, 4, 5, 4)
for _op in ("Convolution", "Convolution_v1"):
    case(_op, (1, 2, 4, 5), (3, 2, 3, 2), (3,), kernel=(3, 2), num_filter=3)
    case(
        _op, _IMAGE, (4, 2, 2, 2), kernel=(2, 2), num_filter=4, num_group=2, stride=(2, 1), pad=(1, 1), dilate=(2, 1),
        no_bias=True,
    )  # fmt: skip
case("Convolution", (1, 2, 7), (3, 2, 2), (3,), kernel=(2,), num_filter=3, stride=(2,), dilate=(3,))
case("Convolution", (1, 1, 3, 3, 4), (2, 1, 2, 2, 2), (2,), kernel=(2, 2, 2), num_filter=2, pad=(1, 0, 0))
case("Convolution", (1, 2, 3, 3), (4, 1, 2, 2), (4,), kernel=(2, 2), num_filter=4, num_group=2)
case("Deconvolution", (1, 2, 3, 3), (2, 3, 2, 2), (3,), kernel=(2, 2), num_filter=3, no_bias=False)
case(
    "Deconvolution", (1, 4, 3, 2), (4, 1, 3, 3), kernel=(3, 3), num_filter=2, num_group=2, stride=(2, 2), pad=(1, 1),
    adj=(1, 0),
)  # fmt: skip
case("Deconvolution", (1, 2, 4), (2, 2, 3), kernel=(3,), num_filter=2, stride=(2,), target_shape=(8,))
for _op in ("Pooling", "Pooling_v1"):
    for _kind in ("avg", "max", "sum"):
        case(_op, (1, 2, 5, 4), kernel=(3, 2), stride=(2, 1), pad=(1, 0), pool_type=_kind)
        case(_op, (1, 2, 5, 4), kernel=(2, 2), stride=(2, 3), pool_type=_kind, pooling_convention="full")
        case(_op, (1, 2, 3, 3), kernel=(1, 1), global_pool=True, pool_type=_kind)
case("Pooling", (1, 2, 5), kernel=(2,), pad=(1,), pool_type="avg", count_include_pad=False)
case("Pooling", (1, 2, 5, 4), kernel=(2, 3), pool_type="lp", p_value=2)
case("Pooling", between(0.3, 2.0, 1, 2, 5), kernel=(2,), stride=(2,), pool_type="lp", p_value=3)
case("Pooling", (1, 4, 3, 2), kernel=(2, 2), pool_type="max", layout="NHWC")
case("Pooling", (1, 1, 3, 3, 4), kernel=(2, 2, 2), pool_type="max")
case("UpSampling", (1, 2, 2, 3), scale=2, sample_type="nearest", num_args=1)
case("UpSampling", (1, 2, 2, 2), (1, 1, 4, 4), scale=2, sample_type="nearest", num_args=2)
case("UpSampling", (1, 2, 2, 2), (1, 2, 4, 4), scale=2, sample_type="nearest", num_args=2, multi_input_mode="sum")
case("UpSampling", (1, 2, 3, 2), (2, 1, 4, 4), scale=2, sample_type="bilinear", num_filter=2, num_args=2)
_MOVING = (between(-0.5, 0.5, 3), between(0.5, 1.5, 3))
for _op in ("BatchNorm", "BatchNorm_v1", "_contrib_SyncBatchNorm", "_contrib_BatchNormWithReLU"):
    _attrs = dict(key="k") if _op == "_contrib_SyncBatchNorm" else {}
    for _more in ({}, dict(fix_gamma=True), dict(use_global_stats=True)):
        _both = {"fix_gamma": False, **_attrs, **_more}
        case(_op, (2, 3, 2, 2), (3,), (3,), *_MOVING, fixed=[3, 4], through=[0], **_both)
case("BatchNorm", (2, 2, 3), (3,), (3,), *_MOVING, fixed=[3, 4], through=[0], fix_gamma=False, axis=-1)
case("LayerNorm", (2, 3, 4), (4,), (4,), through=[0])
case("LayerNorm", (2, 3, 4), (3,), (3,), through=[0], axis=1, eps=0.1)
case("InstanceNorm", (2, 3, 4), (3,), (3,))
case("GroupNorm", (2, 4, 3), (2,), (2,), through=[0], num_groups=2)
for _kind in ("channel", "instance", "spatial"):
    case("L2Normalization", (2, 3, 2), mode=_kind)
case("LRN", (1, 5, 2, 2), nsize=3, alpha=0.5)
case("Dropout", (2, 3), p=0.0)

# rows of gates: layers and directions, each (input + state) columns; then two biases each
_TURNS = {"rnn_relu": 1, "rnn_tanh": 1, "gru": 3, "lstm": 4}
for _kind, _gates in _TURNS.items():
    _cell = [(1, 2, 2)] if _kind == "lstm" else []
    _count = _gates * 2 * (3 + 2 + 2)
    case("RNN", (3, 2, 3), (_count,), (1, 2, 2), *_cell, state_size=2, num_layers=1, mode=_kind, state_outputs=True)
    _cell, _count = [(4, 1, 2)] if _kind == "lstm" else [], 2 * _gates * 2 * (3 + 2 + 2 + 4 + 2 + 2)
    case("RNN", (2, 1, 3), (_count,), (4, 1, 2), *_cell, state_size=2, num_layers=2, mode=_kind, bidirectional=True)
for _more in ({}, dict(mode="gru", bidirectional=True)):
    _attrs = {"mode": "rnn_tanh", "use_sequence_length": True, **_more}
    _count = 72 if _more else 12
    case("RNN", (3, 2, 2), (_count,), (2 if _more else 1, 2, 2), whole(2, 3), state_size=2, num_layers=1, **_attrs)
case("CTCLoss", (5, 2, 4), whole([1, 2], [3, 0]), through=[0], second=False)
case(
    "CTCLoss", (5, 2, 4), whole([0, 2], [1, 1]), whole(5, 4), whole(2, 1), through=[0], second=False,
    use_data_lengths=True, use_label_lengths=True, blank_label="last",
)  # fmt: skip
case("softmax_cross_entropy", (3, 4), np.array([0.0, 3, 1]), fixed=[1])

# --------------------------------------------------------------------------------------------- sampling, regions

_ROIS = np.array([[0, 0.4, 0.6, 3.3, 3.7], [1, 1.2, 0.3, 3.9, 2.8]])
_CHANNELS = np.array([[0, 0.4, 0.6, 3.3, 3.7]])
case("BilinearSampler", (1, 2, 3, 4), between(-0.9, 0.9, 1, 2, 2, 3))
case("GridGenerator", (2, 6), transform_type="affine", target_shape=(2, 3))
case("GridGenerator", (1, 2, 3, 2), transform_type="warp")
case(
    "SpatialTransformer", (1, 2, 3, 4), np.array([[0.7, 0.1, 0.05, -0.1, 0.6, 0.07]]), target_shape=(2, 3),
    transform_type="affine", sampler_type="bilinear",
)  # fmt: skip
case("_contrib_AdaptiveAvgPooling2D", (1, 2, 5, 4), output_size=(3, 2))
case("_contrib_BilinearResize2D", (1, 2, 3, 4), height=5, width=2)
case("_contrib_BilinearResize2D", (1, 2, 3, 4), height=2, width=7, align_corners=False)
case("_contrib_BilinearResize2D", (1, 1, 3, 2), (1, 1, 4, 5), mode="like")
case("Correlation", (1, 2, 4, 4), (1, 2, 4, 4), kernel_size=1, max_displacement=1, pad_size=1)
case("Correlation", (1, 2, 5, 5), (1, 2, 5, 5), kernel_size=3, max_displacement=1, pad_size=2, is_multiply=False)
case("ROIPooling", (2, 2, 5, 5), _ROIS, fixed=[1], pooled_size=(2, 2), spatial_scale=1.0)
case("_contrib_ROIAlign", (2, 2, 5, 5), _ROIS, fixed=[1], pooled_size=(2, 2), spatial_scale=0.9, sample_ratio=2)
case(
    "_contrib_ROIAlign", (2, 4, 5, 5), _ROIS, fixed=[1], pooled_size=(2, 2), spatial_scale=1.0, sample_ratio=1,
    position_sensitive=True, aligned=True,
)  # fmt: skip
case("_contrib_PSROIPooling", (2, 4, 5, 5), _ROIS, fixed=[1], spatial_scale=1.0, output_dim=1, pooled_size=2)
case(
    "_contrib_DeformablePSROIPooling", (1, 4, 5, 5), _CHANNELS, between(-0.2, 0.2, 1, 2, 2, 2), fixed=[1],
    spatial_scale=1.0, output_dim=1, group_size=2, pooled_size=2, part_size=2, sample_per_part=2, trans_std=0.1,
    through=[0],
)  # fmt: skip
case(
    "_contrib_DeformableConvolution", (1, 2, 4, 4), between(-0.4, 0.4, 1, 8, 3, 3), (2, 2, 2, 2), (2,), kernel=(2, 2),
    num_filter=2,
)  # fmt: skip
case(
    "_contrib_ModulatedDeformableConvolution", (1, 2, 4, 4), between(-0.4, 0.4, 1, 8, 3, 3),
    between(0.2, 0.9, 1, 4, 3, 3), (2, 2, 2, 2), (2,), kernel=(2, 2), num_filter=2,
)  # fmt: skip
_PLACES, _SIGNS = np.array([[0.0, 2, 1, 2]]), np.array([[1.0, -1, 1, -1]])
case("_contrib_count_sketch", (2, 4), _PLACES, _SIGNS, fixed=[1, 2], out_dim=3)
_BOXES = np.array([[0, 0.8, 0.1, 0.1, 0.5, 0.5], [0, 0.6, 0.12, 0.1, 0.5, 0.52], [0, 0.9, 0.6, 0.6, 0.9, 0.9]])
case("_contrib_box_nms", _BOXES, coord_start=2, score_index=1, through=[0])
case("_contrib_fft", (2, 4))
case("_contrib_ifft", (2, 8))
case(
    "_contrib_hawkesll", between(0.5, 1.5, 2, 2), between(0.2, 0.6, 2), between(0.5, 1.5, 2), between(0.1, 0.9, 2, 2),
    between(0.2, 0.9, 2, 3), whole([0, 1, 0], [1, 1, 0]), np.array([3.0, 2.0]), np.array([4.0, 4.0]),
    fixed=[3, 4, 6, 7], through=[0],
)  # fmt: skip

# --------------------------------------------------------------------------------------------- densities

_SAMPLE, _PARAMETER, _SHARE = between(0.3, 2.0, 2, 3), between(0.6, 2.2, 2), between(0.2, 0.8, 2)
for _log in (False, True):
    case("_random_pdf_uniform", between(0.6, 0.9, 2, 3), _SHARE * 0.5, _PARAMETER + 1.0, fixed=[], is_log=_log)
    case("_random_pdf_normal", (2, 3), (2,), _PARAMETER, is_log=_log)
    case("_random_pdf_gamma", _SAMPLE, _PARAMETER, _PARAMETER[::-1].copy(), is_log=_log)
    case("_random_pdf_exponential", _SAMPLE, _PARAMETER, is_log=_log)
    _counts = np.array([[0.0, 2, 3], [1, 4, 2]])
    case("_random_pdf_poisson", _counts, _PARAMETER, fixed=[0], is_log=_log)
    case("_random_pdf_negative_binomial", _counts, _PARAMETER, _SHARE, fixed=[0], is_log=_log)
    case("_random_pdf_generalized_negative_binomial", _counts, _PARAMETER, _SHARE, fixed=[0], is_log=_log)
    _simplex = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    case("_random_pdf_dirichlet", _simplex, between(0.6, 2.2, 2, 3), is_log=_log)

# --------------------------------------------------------------------------------------------- the others

for _op in "ceil fix floor rint round sign trunc logical_not BlockGrad zeros_like ones_like _shuffle".split():
    other(_op, between(-3.9, 3.9, 2, 3))
for _word in "equal not_equal greater greater_equal lesser lesser_equal logical_and logical_or logical_xor".split():
    other(f"_{_word}", (2, 3), (2, 3))
    other(f"broadcast_{_word}", (2, 3), (1, 3))
    other(f"_{_word}_scalar", (2, 3), scalar=1.0)
other("_grad_add", (2, 3), (2, 3))
for _op in ("argmax", "argmin", "argsort"):
    other(_op, (2, 3), axis=1)
other("argmax_channel", (2, 3))
other("one_hot", between(-1, 3.9, 4), depth=3)
other("topk", (3, 4), k=2, ret_typ="mask")
other("topk", (3, 4), k=2, axis=0)
other("shape_array", (2, 3))
other("size_array", (2, 3))
other("_contrib_arange_like", (2, 3))
other("_contrib_index_array", (2, 3))
other("_unravel_index", whole(5, 3), shape=(3, 4))
other("_ravel_multi_index", whole([0, 2], [3, 1]), shape=(3, 4))
other("batch_take", (3, 4), whole(0, 3, 1))
other("fill_element_0index", (3, 4), (3,), np.array([0.0, 3, 1]), fixed=[2])
other("_histogram", (2, 3), np.array([-2.0, -0.3, 0.6, 2.0]), fixed=[1], through=[0])
other("_contrib_allclose", (2, 3), (2, 3), rtol=0.5, atol=2.0)
other("khatri_rao", (2, 3), (4, 3), num_args=2)
other("_slice_assign", (3, 4), (2, 2), begin=(0, 1), end=(2, 3))
other("_slice_assign_scalar", (3, 4), scalar=2.0, begin=(0, 1), end=(2, None), step=(1, 2))
other("all_finite", (2, 3))
other("multi_all_finite", (2, 3), (3,), num_arrays=2)
other("multi_sum_sq", (2, 3), (3,), num_arrays=2)
_TURNED = np.array([[0, 2.6, 2.4, 3.1, 2.2, 20.0]])
other("_contrib_RROIAlign", (1, 2, 6, 6), _TURNED, fixed=[1], pooled_size=(2, 2), spatial_scale=1.0)
_CORNERS = np.sort(between(0.05, 0.95, 3, 2, 2), axis=1).reshape(1, 3, 4)
other("_contrib_box_iou", _CORNERS[0], _CORNERS[0] + 0.04)
other("_contrib_box_decode", (1, 3, 4), _CORNERS, format="corner")
other("_contrib_bipartite_matching", between(0.1, 0.9, 1, 3, 4), threshold=0.2)
other("_contrib_MultiBoxPrior", (1, 2, 3, 2), sizes=(0.4, 0.2), ratios=(1.0, 2.0))
other("_contrib_MultiBoxDetection", between(0.1, 0.9, 1, 2, 3), (1, 12), _CORNERS, fixed=[2])
other("Dropout", (2, 3), p=0.5)
for _op in ("_zeros", "_ones"):
    other(_op, shape=(2, 3), dtype="float64")
other("_full", shape=(2, 3), value=2.0, dtype="float64")
other("_eye", N=2, M=3, k=1, dtype="float64")
other("_arange", start=1.0, stop=7.0, step=2.0, repeat=2, dtype="float64")
other("_linspace", start=0.0, stop=6.0, num=4, dtype="float64")
_DRAWN = {
    "uniform": dict(low=-1.0, high=2.0), "normal": dict(loc=0.5, scale=2.0), "gamma": dict(alpha=1.5, beta=0.5),
    "exponential": dict(lam=2.0), "poisson": dict(lam=3.0), "negative_binomial": dict(k=3, p=0.4),
    "generalized_negative_binomial": dict(mu=2.0, alpha=0.3),
}  # fmt: skip
for _word, _attrs in _DRAWN.items():
    other(f"_random_{_word}", shape=(2, 3), dtype="float64", **_attrs)
    other(f"_random_{_word}_like", (2, 3), **_attrs)
    _drawn = [between(0.4, 0.9, 2, seed=i) for i in range(len(_attrs))]
    other(f"_sample_{_word}", *_drawn, fixed=range(len(_drawn)), shape=(3,), dtype="float64")
other("_random_randint", low=-3, high=9, shape=(2, 3), dtype="int64")
other("_sample_multinomial", between(0.1, 0.9, 2, 4), fixed=[0], shape=(3,))
other("SoftmaxOutput", (3, 4), np.array([0.0, 3, 1]), fixed=[1])
for _op in ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"):
    other(_op, (3, 2), (3, 2), fixed=[1])
other("SVMOutput", (3, 4), np.array([0.0, 3, 1]), fixed=[1])
for _op in ("MakeLoss", "make_loss", "_contrib_sign_ste", "_contrib_round_ste"):
    other(_op, (2, 3))
other("_contrib_gradientmultiplier", (2, 3), scalar=2.0)
other("LeakyReLU", (2, 3), act_type="selu")
for _op in ("_image_flip_left_right", "_image_flip_top_bottom"):
    other(_op, (2, 3, 1))

"""The primitives of the tensor level, one file a family; see symc.ir.op for what each answers."""

from symc.ir.prims.control import custom_grad, get, host_call, instantiate, register_host, results
from symc.ir.prims.elementwise import (
    abs_, acos, acosh, add, and_, asin, asinh, atan, atan2, atanh, bitcast, cast, cbrt, ceil, const, cos, cosh, digamma,
    div, eq, erf, erfinv, exp, expm1, floor, full, gamma, gammaln, ge, gt, hypot, isinf, isnan, le, log, log1p, log2,
    log10, lt, maximum, minimum, mod, mul, ne, neg, not_, or_, pow_, relu, rint, round_, rsqrt, select, shl, shr,
    sigmoid, sign, sin, sinh, softrelu, sqrt, sub, tan, tanh, trigamma, trunc, xor, zeros_like,
)  # fmt: skip
from symc.ir.prims.flow import branch, loop, pullback
from symc.ir.prims.indexing import (
    gather, gather_along, gather_nd, scatter_add, scatter_along_add, scatter_nd, sort,
)  # fmt: skip
from symc.ir.prims.linear import conv, conv_dw, conv_dx, dot, matrix_transpose
from symc.ir.prims.movement import (
    broadcast, broadcast_binary, broadcast_shape, broadcast_to, concat, expand_dims, iota, pad, reshape, reverse,
    slice_, slice_axis, squeeze, stack, swapaxes, transpose,
)  # fmt: skip
from symc.ir.prims.random import fold_key, normal, random_bits, uniform
from symc.ir.prims.reduce import (
    argmax, argmin, cumsum, keepdims, mean, reduce_max, reduce_min, reduce_prod, reduce_sum,
)  # fmt: skip
from symc.ir.prims.window import window_max, window_max_grad, window_pick, window_spread, window_sum

__all__ = [
    "abs_", "acos", "acosh", "add", "and_", "argmax", "argmin", "asin", "asinh", "atan", "atan2", "atanh", "bitcast",
    "branch", "broadcast", "broadcast_binary", "broadcast_shape", "broadcast_to", "cast", "cbrt", "ceil", "concat",
    "const", "conv", "conv_dw", "conv_dx", "cos", "cosh", "cumsum", "custom_grad", "digamma", "div", "dot", "eq", "erf",
    "erfinv", "exp", "expand_dims", "expm1", "floor", "fold_key", "full", "gamma", "gammaln", "gather", "gather_along",
    "gather_nd", "ge", "get", "gt", "host_call", "hypot", "instantiate", "iota", "isinf", "isnan", "keepdims", "le",
    "log", "log10", "log1p", "log2", "loop", "lt", "matrix_transpose", "maximum", "mean", "minimum", "mod", "mul", "ne",
    "neg", "normal", "not_", "or_", "pad", "pow_", "pullback", "random_bits", "reduce_max", "reduce_min", "reduce_prod",
    "reduce_sum", "register_host", "relu", "reshape", "results", "reverse", "rint", "round_", "rsqrt", "scatter_add",
    "scatter_along_add", "scatter_nd", "select", "shl", "shr", "sigmoid", "sign", "sin", "sinh", "slice_", "slice_axis",
    "softrelu", "sort", "sqrt", "squeeze", "stack", "sub", "swapaxes", "tan", "tanh", "transpose", "trigamma", "trunc",
    "uniform", "window_max", "window_max_grad", "window_pick", "window_spread", "window_sum", "xor", "zeros_like",
]  # fmt: skip

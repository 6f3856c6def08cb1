"""The primitives of the tensor level, one file a family; see symc.ir.op for what each answers."""

from symc.ir.prims.control import custom_grad, get, host_call, instantiate, register_host, results
from symc.ir.prims.elementwise import (
    abs_, acos, acosh, add, and_, asin, asinh, atan, atan2, atanh, bitcast, cast, cbrt, ceil, const, cos, cosh, digamma,
    div, eq, erf, erfinv, exp, expm1, floor, full, gamma, gammaln, ge, gt, hypot, isinf, isnan, le, log, log1p, log2,
    log10, lt, maximum, minimum, mod, mul, ne, neg, not_, or_, pow_, relu, rint, round_, rsqrt, select, shl, shr,
    sigmoid, sign, sin, sinh, softrelu, sqrt, sub, tan, tanh, trigamma, trunc, xor, zeros_like,
)  # fmt: skip
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

__all__ = [name for name in dir() if not name.startswith("_")]

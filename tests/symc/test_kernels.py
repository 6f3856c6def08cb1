"""Native kernels against the interpreter, primitive by primitive: protects lowering, tiling and code generation."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, assert_close, graph_of, run_native, to_program

from symc.ir.prims import (
    add,
    argmax,
    argmin,
    asin,
    broadcast,
    cast,
    concat,
    conv,
    conv_dw,
    conv_dx,
    cumsum,
    div,
    dot,
    gather,
    gather_along,
    gather_nd,
    mean,
    mul,
    pad,
    reduce_max,
    reduce_sum,
    relu,
    reshape,
    reverse,
    scatter_add,
    scatter_along_add,
    slice_,
    sqrt,
    sub,
    tanh,
    transpose,
    uniform,
    window_max,
    window_max_grad,
    window_pick,
    window_spread,
    window_sum,
)  # fmt: skip
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F16, F32, F64, I32, U8, U32, TensorType


def f(*shape):
    return TensorType(F32, shape)


def layer_norm(x):
    d = sub(x, broadcast(mean(x, (1,)), x.shape, (0,)))
    return div(d, broadcast(sqrt(mean(mul(d, d), (1,)) + 1e-5), x.shape, (0,)))


def batch_norm(x):
    d = sub(x, broadcast(mean(x, (0, 2, 3)), x.shape, (1,)))
    return relu(div(d, broadcast(sqrt(mean(mul(d, d), (0, 2, 3)) + 1e-5), x.shape, (1,))))


def softmax(x):
    from symc.ir.prims import exp

    e = exp(sub(x, broadcast(reduce_max(x, (1,)), x.shape, (0,))))
    return div(e, broadcast(reduce_sum(e, (1,)), x.shape, (0,)))


CASES = {
    "map": (lambda a, b, c: a * b + c, dict(a=f(1000, 7), b=f(1000, 7), c=f(1000, 7))),
    "map of three": (lambda a, b, c: a * b + c, dict(a=f(3), b=f(3), c=f(3))),
    "bias": (lambda x, b: tanh(add(x, broadcast(b, x.shape, (1,)))), dict(x=f(4, 5, 6, 7), b=f(5))),
    "dot": (lambda a, b: dot(a, b), dict(a=f(64, 78), b=f(78, 128))),
    "dot, packed": (lambda a, b: dot(a, b), dict(a=f(50, 130), b=f(130, 300))),
    "dot, epilogue": (
        lambda a, b, c: relu(add(dot(a, b, tb=True), broadcast(c, (33, 21), (1,)))),
        dict(a=f(33, 47), b=f(21, 47), c=f(21)),
    ),
    "dot, ta": (lambda a, b: dot(a, b, ta=True), dict(a=f(37, 64), b=f(37, 50))),
    "dot, both": (lambda a, b: dot(a, b, ta=True, tb=True), dict(a=f(9, 11), b=f(13, 9))),
    "dot, batches": (lambda a, b: dot(a, b, tb=True), dict(a=f(3, 2, 5, 7), b=f(3, 2, 6, 7))),
    "dot, one row": (lambda a, b: dot(a, b, tb=True), dict(a=f(1, 300), b=f(40, 300))),
    "dot f64": (lambda a, b: dot(a, b), dict(a=TensorType(F64, (9, 17)), b=TensorType(F64, (17, 10)))),
    "dot i32": (lambda a, b: dot(a, b), dict(a=TensorType(I32, (9, 17)), b=TensorType(I32, (17, 10)))),
    "dot f16": (lambda a, b: dot(a, b), dict(a=TensorType(F16, (9, 17)), b=TensorType(F16, (17, 10)))),
    "sum rows": (lambda x: reduce_sum(x, (0,)), dict(x=f(64, 130))),
    "sum columns": (lambda x: reduce_sum(x, (1,)), dict(x=f(64, 127))),
    "sum all": (lambda x: reduce_sum(x, (0, 1)), dict(x=f(64, 127))),
    "max middle": (lambda x: reduce_max(x, (1,)), dict(x=f(6, 9, 11))),
    "sum u8": (lambda x: reduce_sum(x, (1,)), dict(x=TensorType(U8, (5, 300)))),
    "softmax": (softmax, dict(x=f(32, 10))),
    "layer norm": (layer_norm, dict(x=f(32, 100))),
    "batch norm": (batch_norm, dict(x=f(8, 5, 6, 7))),
    "conv": (lambda x, w: conv(x, w, (1, 1), (1, 1)), dict(x=f(2, 3, 28, 28), w=f(20, 3, 5, 5))),
    "conv strided, grouped": (lambda x, w: conv(x, w, (2, 2), (1, 1), 2), dict(x=f(2, 4, 15, 15), w=f(8, 2, 3, 3))),
    "conv dilated": (lambda x, w: conv(x, w, (1, 1), (2, 2)), dict(x=f(1, 3, 12, 12), w=f(4, 3, 3, 3))),
    "conv depthwise": (lambda x, w: conv(x, w, (1, 1), (1, 1), 6), dict(x=f(1, 6, 9, 9), w=f(6, 1, 3, 3))),
    "conv depthwise, padded": (
        lambda x, w: relu(conv(pad(x, (0, 0, 1, 1), (0, 0, 1, 1)), w, (1, 1), (1, 1), 20)),
        dict(x=f(2, 20, 14, 23), w=f(20, 1, 3, 3)),
    ),
    "conv depthwise, strided": (
        lambda x, w: conv(pad(x, (0, 0, 1, 1), (0, 0, 1, 1)), w, (2, 2), (1, 1), 5),
        dict(x=f(2, 5, 36, 37), w=f(5, 1, 3, 3)),
    ),
    "conv depthwise, strided, not padded": (
        lambda x, w: conv(x, w, (3, 2), (1, 2), 6), dict(x=f(1, 6, 13, 40), w=f(6, 1, 2, 3)),
    ),
    "conv depthwise, several filters": (
        lambda x, w: conv(pad(x, (0, 0, 2, 0), (0, 0, 1, 3)), w, (1, 3), (2, 1), 4),
        dict(x=f(2, 4, 9, 30), w=f(12, 1, 2, 5)),
    ),
    "conv depthwise, padding of its own value": (
        lambda x, w: conv(pad(x, (0, 0, 1, 2), (0, 0, 3, 0), value=2.5), w, (1, 1), (1, 1), 3),
        dict(x=f(1, 3, 7, 7), w=f(3, 1, 3, 3)),
    ),
    "conv depthwise, padding used twice": (
        lambda x, w: (lambda p: [conv(p, w, (2, 1), (1, 1), 3), relu(p)])(pad(x, (0, 0, 1, 1), (0, 0, 1, 1))),
        dict(x=f(1, 3, 7, 9), w=f(3, 1, 3, 3)),
    ),
    "conv depthwise, more padding than map": (
        lambda x, w: conv(pad(x, (0, 0, 3, 3), (0, 0, 3, 3)), w, (2, 2), (1, 1), 7),
        dict(x=f(1, 7, 1, 1), w=f(7, 1, 5, 5)),
    ),
    "conv depthwise, long rows of taps": (
        lambda x, w: conv(pad(x, (0, 0, 0, 5), (0, 0, 0, 5)), w, (1, 2), (1, 1), 3),
        dict(x=f(1, 3, 4, 29), w=f(3, 1, 1, 11)),
    ),
    "conv depthwise, 1d": (
        lambda x, w: conv(pad(x, (0, 0, 2), (0, 0, 2)), w, (2,), (1,), 4), dict(x=f(2, 4, 45), w=f(4, 1, 5)),
    ),
    "conv depthwise, 3d": (
        lambda x, w: conv(pad(x, (0, 0, 1, 1, 1), (0, 0, 1, 0, 1)), w, (1, 2, 2), (1, 1, 1), 2),
        dict(x=f(2, 2, 5, 6, 20), w=f(2, 1, 3, 2, 3)),
    ),
    "conv depthwise, f16": (
        lambda x, w: conv(pad(x, (0, 0, 1, 1), (0, 0, 1, 1)), w, (2, 2), (1, 1), 5),
        dict(x=TensorType(F16, (1, 5, 19, 22)), w=TensorType(F16, (5, 1, 3, 3))),
    ),
    "conv padded": (
        lambda x, w: conv(pad(x, (0, 0, 1, 1), (0, 0, 1, 1)), w, (1, 1), (1, 1), 2),
        dict(x=f(1, 4, 9, 9), w=f(6, 2, 3, 3)),
    ),
    "conv 1d": (lambda x, w: conv(x, w, (1,), (1,)), dict(x=f(2, 3, 20), w=f(4, 3, 5))),
    "conv 3d": (lambda x, w: conv(x, w, (1, 1, 1), (1, 1, 1)), dict(x=f(1, 2, 5, 6, 7), w=f(3, 2, 2, 3, 3))),
    "conv one tap": (lambda x, w: conv(x, w, (1, 1), (1, 1)), dict(x=f(2, 33, 7, 7), w=f(40, 33, 1, 1))),
    "conv one tap, epilogue": (
        lambda x, w, b, r: relu(conv(x, w, (1, 1), (1, 1)) * broadcast(b, r.shape, (1,)) + r),
        dict(x=f(2, 24, 5, 9), w=f(50, 24, 1, 1), b=f(50), r=f(2, 50, 5, 9)),
    ),
    "conv one tap, grouped, of its own operand": (
        lambda x, w: conv(x, w, (1, 1), (1, 1), 3) + x, dict(x=f(2, 12, 6, 7), w=f(12, 4, 1, 1)),
    ),
    "conv one tap, transposed weights": (
        lambda x, w: conv(x, transpose(w, (1, 0, 2, 3)), (1, 1), (1, 1)), dict(x=f(1, 20, 14, 14), w=f(20, 48, 1, 1)),
    ),
    "conv one tap, weights used twice": (
        lambda x, w: conv(x, w, (1, 1), (1, 1)) * w, dict(x=f(4, 4, 1, 1), w=f(4, 4, 1, 1)),
    ),
    "conv one tap, maps summed up": (
        lambda x, w, b: conv(x, w, (1, 1), (1, 1)) + broadcast(b, (2, 18, 4, 5), (0, 2)),
        dict(x=f(2, 17, 4, 5), w=f(18, 17, 1, 1), b=f(2, 4)),
    ),
    "conv one tap, 3d": (
        lambda x, w: tanh(conv(x, w, (1, 1, 1), (1, 1, 1))), dict(x=f(2, 5, 3, 4, 5), w=f(6, 5, 1, 1, 1)),
    ),
    "conv_dx scattered": (
        lambda y, w: conv_dx(y, w, (1, 1), (1, 1), 1, (12, 12)),
        dict(y=f(2, 5, 8, 8), w=f(5, 3, 5, 5)),
    ),
    "conv_dx gathered": (
        lambda y, w: conv_dx(y, w, (1, 1), (1, 1), 1, (30, 30)),
        dict(y=f(1, 5, 28, 28), w=f(5, 3, 3, 3)),
    ),
    "conv_dx strided": (lambda y, w: conv_dx(y, w, (2, 2), (1, 1), 1, (8, 8)), dict(y=f(2, 6, 3, 3), w=f(6, 4, 3, 3))),
    "conv_dx of a large stride": (
        lambda y, w: conv_dx(y, w, (5, 8), (1, 1), 1, (25, 36)),
        dict(y=f(2, 3, 4, 4), w=f(3, 2, 9, 12)),
    ),
    "conv_dx of a large stride, gaps": (
        lambda y, w: conv_dx(y, w, (7, 6), (1, 2), 1, (25, 26)),
        dict(y=f(1, 3, 4, 4), w=f(3, 2, 4, 4)),
    ),
    "conv_dx dilated": (lambda y, w: conv_dx(y, w, (2, 1), (2, 3), 1, (9, 10)), dict(y=f(2, 6, 3, 4), w=f(6, 4, 3, 3))),
    "conv_dw": (lambda x, y: conv_dw(x, y, (1, 1), (1, 1), 1, (5, 5)), dict(x=f(4, 6, 12, 12), y=f(4, 7, 8, 8))),
    "conv_dw strided": (lambda x, y: conv_dw(x, y, (2, 2), (1, 1), 1, (3, 3)), dict(x=f(2, 4, 9, 9), y=f(2, 6, 4, 4))),
    "conv_dw grouped": (lambda x, y: conv_dw(x, y, (1, 1), (1, 1), 2, (3, 3)), dict(x=f(2, 4, 9, 9), y=f(2, 6, 7, 7))),
    "max pool": (lambda x: window_max(x, (2, 2), (2, 2)), dict(x=f(2, 3, 24, 24))),
    "max pool padded": (
        lambda x: window_max(pad(x, (0, 0, 1, 1), (0, 0, 1, 1), value=-np.inf), (3, 3), (2, 2)),
        dict(x=f(2, 3, 13, 13)),
    ),
    "sum pool": (lambda x: window_sum(x, (3, 2), (1, 2)), dict(x=f(2, 3, 9, 10))),
    "max pool grad, apart": (
        lambda x, g: window_max_grad(x, g, (2, 2), (2, 2)),
        dict(x=f(2, 3, 24, 24), g=f(2, 3, 12, 12)),
    ),
    "max pool grad, overlapping": (
        lambda x, g: window_max_grad(x, g, (3, 3), (2, 2)),
        dict(x=f(2, 3, 13, 13), g=f(2, 3, 6, 6)),
    ),
    "max pool grad, large": (
        lambda x, g: window_max_grad(x, g, (5, 5), (3, 3)),
        dict(x=f(1, 2, 14, 14), g=f(1, 2, 4, 4)),
    ),
    "pick": (lambda x, v: window_pick(x, v, (2, 3), (2, 2)), dict(x=f(1, 2, 8, 9), v=f(1, 2, 8, 9))),
    "spread": (lambda g: window_spread(g, (3, 3), (2, 2), (13, 13)), dict(g=f(2, 3, 6, 6))),
    "transpose": (lambda x: transpose(x, (1, 0)), dict(x=f(50, 33))),
    "slice, step": (lambda x: slice_(x, (1, 8), (9, -1), (3, -2)), dict(x=f(10, 12))),
    "slice, evens and odds": (
        lambda x: sub(slice_(x, (0, 0), (3, 73), (1, 2)), slice_(x, (0, 1), (3, 74), (1, 2))), dict(x=f(3, 74)),
    ),
    "slice, odds and evens of a large step": (
        lambda x: sub(slice_(x, (0, 5), (3, 38), (2, 2)), slice_(x, (0, 4), (3, 37), (2, 2))), dict(x=f(3, 38)),
    ),
    "reverse": (lambda x: reverse(x, (1,)), dict(x=f(5, 21))),
    "pad, interior": (lambda x: pad(x, (1, 0), (0, 2), (1, 2), 3.0), dict(x=f(4, 5))),
    "concat": (lambda x, y: concat([x, relu(y)], 1), dict(x=f(5, 3), y=f(5, 9))),
    "reshape": (lambda x: reshape(relu(x), (6, 10)), dict(x=f(5, 12))),
    "gather": (lambda x, i: gather(x, i, 0), dict(x=f(7, 12), i=TensorType(I32, (4,)))),
    "gather, inner axis": (lambda x, i: gather(x, i, 1), dict(x=f(3, 7, 5), i=TensorType(I32, (2, 2)))),
    "gather_along": (lambda x, i: gather_along(x, i, 1), dict(x=f(4, 6), i=TensorType(I32, (4, 3)))),
    "gather_nd": (lambda x, i: gather_nd(x, i), dict(x=f(5, 6, 3), i=TensorType(I32, (2, 4)))),
    "scatter_add": (lambda x, i, u: scatter_add(x, i, u, 0), dict(x=f(7, 12), i=TensorType(I32, (4,)), u=f(4, 12))),
    "scatter_along_add": (
        lambda x, i, u: scatter_along_add(x, i, u, 1),
        dict(x=f(4, 7), i=TensorType(I32, (4, 3)), u=f(4, 3)),
    ),
    "argmax": (lambda x: cast(argmax(x, 1), F32), dict(x=f(7, 12))),
    "argmin": (lambda x: cast(argmin(x, 0), F32), dict(x=f(7, 12))),
    "cumsum": (lambda x: cumsum(x, 1), dict(x=f(7, 12))),
    "cumsum, half": (lambda x: cumsum(x, 1), dict(x=TensorType(F16, (7, 12)))),
    "random": (lambda k: uniform(k, (5, 13), F32), dict(k=TensorType(U32, (2,)))),
    "cast to u8": (lambda x: cast(x * 100.0, U8), dict(x=f(77))),
    "half, by way of doubles": (lambda x: cast(asin(cast(x, F32)), F16), dict(x=TensorType(F16, (17,)))),
    "half": (lambda x, y: x * y + x, dict(x=TensorType(F16, (77,)), y=TensorType(F16, (77,)))),
}  # fmt: skip


@pytest.mark.parametrize("tiled", [True, False], ids=["tiled", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_native_equals_interpreter(name: str, tiled: bool) -> None:
    function, types = CASES[name]
    graph = graph_of(function, **types)
    arrays = arrays_for(graph)
    got = run_native(to_program(graph), arrays, tiled)
    precision = "f64" if all(t.dtype in (F32, I32, U32) for t in types.values()) else "declared"
    want = evaluate(graph, arrays, precision).outputs
    tolerance = 2e-3 if any(t.dtype == F16 for t in types.values()) else 2e-5
    for key, value in want.items():
        assert_close(got[key], value, tolerance)


@pytest.mark.parametrize(
    "name",
    [
        "dot",
        "dot, packed",
        "dot, epilogue",
        "conv",
        "conv one tap, epilogue",
        "conv depthwise, padded",
        "conv depthwise, strided",
        "conv_dw",
        "conv_dx scattered",
        "sum rows",
        "max pool",
        "scatter_add",
    ],
)
def test_whole_numbers_are_exact(name: str) -> None:
    """Sums of small whole numbers are exact in any order: every bit must agree."""
    function, types = CASES[name]
    graph = graph_of(function, **types)
    arrays = arrays_for(graph, kind="int")
    got = run_native(to_program(graph), arrays)
    for key, value in evaluate(graph, arrays).outputs.items():
        np.testing.assert_array_equal(got[key], value)


@pytest.mark.parametrize("name", ["dot", "dot, packed", "conv", "batch norm", "softmax", "sum rows", "map"])
def test_thread_count_changes_nothing(name: str) -> None:
    from compiling import to_executable

    from symc.runtime.table import num_threads, set_num_threads

    function, types = CASES[name]
    graph = graph_of(function, **types)
    arrays = arrays_for(graph)
    executable = to_executable(to_program(graph))
    before, results = num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            instance = executable.bind(arrays)
            instance.table.entries["grain"] = np.where(instance.table.entries["extent"] > 1, 1, 0)
            instance.run()
            results.append([o.copy() for o in instance.outputs])
    finally:
        set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


def test_in_place_results_do_not_disturb_other_results() -> None:
    """A result takes over an operand's memory while another result of the kernel still reads the operand."""

    def function(x, y):
        a = tanh(dot(x, y))
        b = reshape(tanh(a), a.shape)
        s = a * b
        return [s + 1.0, a * 2.0, b - a]

    graph = graph_of(function, x=f(6, 6), y=f(6, 6))
    arrays = arrays_for(graph)
    got = run_native(to_program(graph), arrays)
    for key, value in evaluate(graph, arrays, "f64").outputs.items():
        assert_close(got[key], value)

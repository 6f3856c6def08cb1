"""Checking a Symbol against finite differences, expected values, and itself under other bindings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc import ndarray as nd
from symc import symbol as sym_api
from symc.context import Context
from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.test_utils.comparing import (
    Tolerance,
    as_numpy,
    assert_almost_equal,
    default_context,
    default_numeric_eps,
    tolerance,
)


def simple_forward(sym: Any, ctx: Context | None = None, is_train: bool = False, **inputs: Any) -> Any:
    """Outputs (one array, or a list) of a Symbol for numpy arrays by name."""
    ctx = ctx or default_context()
    executor = sym.bind(ctx, args={n: nd.array(a, ctx=ctx) for n, a in inputs.items()})
    outputs = [o.asnumpy() for o in executor.forward(is_train=is_train)]
    return outputs[0] if len(outputs) == 1 else outputs


def _named(given: Any, names: Sequence[str], what: str, ctx: Context, dtype: Any) -> dict[str, NDArray]:
    """Arrays by name, of a list in order or of a dict that has to have them all. ValueError if it has not."""
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise ValueError(
                f"Symbol {what} and keys of the given arrays do not match: the symbol has {sorted(names)}, given are "
                f"{sorted(given)}"
            )
    else:
        given = dict(zip(names, given))
    return {
        name: value if isinstance(value, NDArray) else _array(value, ctx, dtype) for name, value in given.items()
    }  # fmt: skip


def _array(value: Any, ctx: Context, dtype: Any) -> NDArray:
    return nd.array(value, ctx=ctx, dtype=np.asarray(value).dtype if isinstance(dtype, str) else dtype)


def _inputs(
    sym: Any, location: Any, aux_states: Any, ctx: Context, dtype: Any
) -> tuple[dict[str, NDArray], dict[str, NDArray] | None]:
    states = None
    if aux_states is not None:
        states = _named(aux_states, sym.list_auxiliary_states(), "aux_states names", ctx, dtype)
    return _named(location, sym.list_arguments(), "arguments", ctx, dtype), states


def numeric_grad(
    executor: Any, location: Mapping[str, Array], aux_states: Mapping[str, Array] | None = None, eps: float = 1e-4,
    use_forward_train: bool = True, dtype: Any = np.float32,
) -> dict[str, Array]:  # fmt: skip
    """Central differences of the sum of the first output, by argument. Integer arguments get zeros."""
    for name, value in location.items():
        executor.arg_dict[name][:] = value

    def at(name: str, value: Array) -> Array:
        executor.arg_dict[name][:] = value
        for state, held in (aux_states or {}).items():
            executor.aux_dict[state][:] = held
        executor.forward(is_train=use_forward_train)
        return np.asarray(executor.outputs[0].asnumpy(), np.float64)

    found = {}
    for name, value in location.items():
        moved = np.array(value, order="C")
        grad = np.zeros(moved.shape, dtype)
        if moved.dtype.kind == "f":
            for i, held in enumerate(moved.ravel().copy()):
                moved.ravel()[i] = held + eps / 2
                above = at(name, moved)
                moved.ravel()[i] = held - eps / 2
                grad.ravel()[i] = (above - at(name, moved)).sum() / eps
                moved.ravel()[i] = held
            executor.arg_dict[name][:] = value
        found[name] = grad
    return found


def _compare_grads(
    expected: Mapping[str, Any], got: Mapping[str, Any], before: Mapping[str, Array], reqs: Mapping[str, str],
    labels: tuple[str, str], *tolerances: Tolerance, equal_nan: bool = False,
) -> None:  # fmt: skip
    """What was written is as expected, what was added is the difference, and what was not asked for is untouched."""
    for name, value in expected.items():
        req, grad = reqs.get(name, "null"), as_numpy(got[name])
        if req not in ("write", "add", "null"):
            raise ValueError(f"Invalid grad_req {req} for argument {name}")
        want = before[name] if req == "null" else value
        grad = grad - before[name] if req == "add" else grad
        assert_almost_equal(want, grad, *tolerances, tuple(f"{label}_{name}" for label in labels), equal_nan=equal_nan)


def check_numeric_gradient(
    sym: Any, location: Any, aux_states: Any = None, numeric_eps: Tolerance = None, rtol: Tolerance = None,
    atol: Tolerance = None, grad_nodes: Any = None, use_forward_train: bool = True, ctx: Context | None = None,
    grad_stype_dict: Any = None, dtype: Any = np.float32,
) -> None:  # fmt: skip
    """AssertionError unless a Symbol's gradients agree with finite differences at `location` (a list in the order of
    the arguments, or a dict). The output is weighed at random, so that no error cancels; `grad_nodes` says for which
    arguments (a list, or a dict of requests)."""
    ctx = ctx or default_context()
    arrays, states = _inputs(sym, location, aux_states, ctx, dtype)
    start = {name: array.asnumpy() for name, array in arrays.items()}
    held = None if states is None else {name: array.asnumpy() for name, array in states.items()}
    nodes = sym.list_arguments() if grad_nodes is None else grad_nodes
    reqs = dict(nodes) if isinstance(nodes, Mapping) else dict.fromkeys(nodes, "write")
    shape = sym.infer_shape(**{name: array.shape for name, array in arrays.items()})[1][0]
    weights = "__random_proj"
    loss = sym_api.make_loss(sym * sym_api.Variable(weights))
    arrays[weights] = nd.array(np.random.rand(*shape) + 0.1, ctx=ctx, dtype=dtype)
    before = {name: np.random.normal(0, 0.01, size=arrays[name].shape).astype(dtype) for name in [*reqs, weights]}
    grads = {name: nd.array(value, ctx=ctx, dtype=dtype) for name, value in before.items()}
    executor = loss.bind(ctx, args=arrays, args_grad=grads, grad_req=reqs, aux_states=states)
    executor.forward(is_train=True)
    eps = tolerance(executor.outputs[0], numeric_eps, default_numeric_eps())
    executor.backward()
    got = {name: grads[name].asnumpy() for name in reqs}
    expected = numeric_grad(executor, start, held, eps, use_forward_train, dtype)
    _compare_grads({n: expected[n] for n in reqs}, got, before, reqs, ("NUMERICAL", "BACKWARD"), rtol, atol)


def check_symbolic_forward(
    sym: Any, location: Any, expected: Any, rtol: Tolerance = None, atol: Tolerance = None, aux_states: Any = None,
    ctx: Context | None = None, equal_nan: bool = False, dtype: Any = np.float32,
) -> list[NDArray]:  # fmt: skip
    """AssertionError unless the outputs at `location` are the expected ones (a list, or a dict by output)."""
    ctx = ctx or default_context()
    arrays, states = _inputs(sym, location, aux_states, ctx, dtype)
    if isinstance(expected, Mapping):
        expected = [expected[name] for name in sym.list_outputs()]
    executor = sym.bind(ctx, args=arrays, aux_states=states)
    executor.forward(is_train=False)
    for name, want, got in zip(sym.list_outputs(), expected, executor.outputs):
        assert_almost_equal(want, got, rtol, atol, (f"EXPECTED_{name}", f"FORWARD_{name}"), equal_nan=equal_nan)
    return list(executor.outputs)


def check_symbolic_backward(
    sym: Any, location: Any, out_grads: Any, expected: Any, rtol: Tolerance = None, atol: Tolerance = None,
    aux_states: Any = None, grad_req: Any = "write", ctx: Context | None = None, grad_stypes: Any = None,
    equal_nan: bool = False, dtype: Any = np.float32,
) -> dict[str, NDArray]:  # fmt: skip
    """AssertionError unless the gradients for the heads `out_grads` are the expected ones (a list, or a dict by
    argument): written, added, or left alone, as `grad_req` says."""
    ctx = ctx or default_context()
    arrays, states = _inputs(sym, location, aux_states, ctx, dtype)
    names = sym.list_arguments()
    if not isinstance(expected, Mapping):
        expected = dict(zip(names, expected))
    if isinstance(grad_req, str):
        grad_req = dict.fromkeys(names, grad_req)
    elif not isinstance(grad_req, Mapping):
        grad_req = dict(zip(names, grad_req))
    grads = {
        name: nd.array(np.random.normal(size=np.shape(value)), ctx=ctx, dtype=_type(value, dtype))
        for name, value in sorted(expected.items())
    }
    before = {name: grad.asnumpy() for name, grad in grads.items()}
    executor = sym.bind(ctx, args=arrays, args_grad=grads, grad_req=grad_req, aux_states=states)
    executor.forward(is_train=True)
    if isinstance(out_grads, Mapping):
        out_grads = [out_grads[name] for name in sym.list_outputs()]
    heads = None if out_grads is None else [g if isinstance(g, NDArray) else _array(g, ctx, dtype) for g in out_grads]
    executor.backward(heads)
    _compare_grads(expected, grads, before, grad_req, ("EXPECTED", "BACKWARD"), rtol, atol, equal_nan=equal_nan)
    return grads


def _type(value: Any, dtype: Any) -> Any:
    return np.asarray(as_numpy(value)).dtype if isinstance(dtype, str) else dtype


def check_consistency(
    sym: Any, ctx_list: Sequence[Mapping[str, Any]], scale: float = 1.0, grad_req: Any = "write",
    arg_params: dict[str, Any] | None = None, aux_params: dict[str, Any] | None = None, rtol: Tolerance = None,
    atol: Tolerance = None, raise_on_err: bool = True, ground_truth: dict[str, Any] | None = None,
    equal_nan: bool = False, use_uniform: bool = False, rand_type: Any = np.float64,
) -> dict[str, Any]:  # fmt: skip
    """AssertionError unless a Symbol (or one for each) gives the same outputs and gradients bound as each of
    `ctx_list` says (arguments of simple_bind). The most precise of them is the truth, unless it is given."""
    symbols = list(sym) if isinstance(sym, (list, tuple)) else [sym] * len(ctx_list)
    if not 1 < len(ctx_list) == len(symbols):
        raise AssertionError("check_consistency takes two bindings or more, and a Symbol or one for each")
    executors = [s.simple_bind(grad_req=grad_req, **given) for s, given in zip(symbols, ctx_list)]
    args, states = dict(arg_params or {}), dict(aux_params or {})
    for name, array in sorted(executors[0].arg_dict.items()):
        if name not in args:
            drawn = (
                np.random.uniform(-0.92 * scale, 0.92 * scale, array.shape)
                if use_uniform
                else np.random.normal(scale=scale, size=array.shape)
            )
            args[name] = drawn.astype(rand_type)
    for executor in executors:
        for name, array in executor.arg_dict.items():
            array[:] = args[name]
        for name, array in executor.aux_dict.items():
            array[:] = states.get(name, 0)
        for grad in executor.grad_arrays:
            if grad is not None:
                grad[:] = 0
    for executor in executors:
        executor.forward(is_train=False)
    predicted = [dict(zip(e._symbol.list_outputs(), [o.asnumpy() for o in e.outputs])) for e in executors]
    best = int(np.argmax([np.dtype(e.outputs[0].dtype).itemsize for e in executors]))
    truth = dict(ground_truth or predicted[best])
    for made in predicted:
        _all_close(made, truth, rtol, atol, equal_nan, raise_on_err)
    if grad_req != "null":
        for executor in executors:
            executor.forward(is_train=True)
        coarse = [
            min((e.outputs[i].dtype for e in executors), key=lambda t: np.dtype(t).itemsize)
            for i in range(len(executors[0].outputs))
        ]
        heads = [o.asnumpy().astype(t) for o, t in zip(executors[0].outputs, coarse)]
        for executor in executors:
            executor.backward([nd.array(h, dtype=o.dtype) for h, o in zip(heads, executor.outputs)])
        grads = [{n: g.asnumpy() for n, g in e.grad_dict.items() if g is not None} for e in executors]
        if ground_truth is None:
            truth.update(grads[best])
        for made in grads:
            _all_close(made, truth, rtol, atol, equal_nan, raise_on_err)
    return truth


def _all_close(
    made: Mapping[str, Any], truth: Mapping[str, Any], rtol: Tolerance, atol: Tolerance, equal_nan: bool, strict: bool
) -> None:
    for name, value in made.items():
        if truth.get(name) is None:
            continue
        try:
            assert_almost_equal(value, truth[name], rtol, atol, (name, "truth"), equal_nan=equal_nan)
        except AssertionError as error:
            if strict:
                raise
            print(error)


def compare_optimizer(
    opt1: Any, opt2: Any, shape: Any, dtype: Any, w_stype: str = "default", g_stype: str = "default",
    rtol: float = 1e-4, atol: float = 1e-5, compare_states: bool = True, ntensors: int = 1,
) -> None:  # fmt: skip
    """AssertionError unless two optimizers make the same step (weights, and states) from the same random arrays. A list
    of `ntensors` shapes is one step on so many weights."""
    shapes = shape if isinstance(shape, list) else [shape]
    if ntensors != len(shapes) and ntensors != 1:
        raise AssertionError(f"ntensors={ntensors}, but there are {len(shapes)} shapes")
    pairs = [[nd.array(np.random.uniform(-1, 1, size=s), dtype=dtype) for _ in range(2)] for s in shapes]
    ends = []
    for optimizer in (opt1, opt2):
        moved = [weight.copy() for weight, _ in pairs]
        states = [optimizer.create_state_multi_precision(i, weight) for i, weight in enumerate(moved)]
        grads = [grad.copy() for _, grad in pairs]
        if ntensors > 1:
            optimizer.update_multi_precision(list(range(ntensors)), moved, grads, states)
        else:
            for i, step in enumerate(zip(moved, grads, states)):
                optimizer.update_multi_precision(i, *step)
        ends.append((moved, states))
    for one, other in zip(*(moved for moved, _ in ends)):
        assert_almost_equal(one, other, rtol=rtol, atol=atol)
    if compare_states:
        _compare_states(ends[0][1], ends[1][1], rtol, atol)


def _compare_states(a: Any, b: Any, rtol: float, atol: float) -> None:
    if isinstance(a, (list, tuple)):
        for one, other in zip(a, b):
            _compare_states(one, other, rtol, atol)
    elif a is not None:
        assert_almost_equal(a, b, rtol=rtol, atol=atol)

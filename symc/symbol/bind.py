"""From a Symbol and arrays, or input shapes, to an Executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symc.base import MXNetError, those
from symc.context import Context
from symc.inference import infer_shapes, infer_types
from symc.ops.shared.storage import CSR, DEFAULT
from symc.sharing import Pool, Wanted, keep
from symc.symbol.symbol import Symbol
from symc.typed import declared, gradient_stypes, output_stypes

if TYPE_CHECKING:
    from symc.executor import Executor
    from symc.ndarray import NDArray

REQUESTS = ("null", "write", "add")


def requests(symbol: Symbol, grad_req: Any) -> list[str]:
    """`grad_req` (one word, a list or a dict by name) for every argument."""
    names = symbol.list_arguments()
    if isinstance(grad_req, str):
        found = [grad_req] * len(names)
    elif not grad_req and names:
        raise MXNetError("grad_req cannot be empty: give a word, a list or a dict by name")
    elif isinstance(grad_req, (list, tuple)):
        if len(grad_req) != len(names):
            raise ValueError(f"grad_req has {len(grad_req)} entries for {len(names)} arguments")
        found = list(grad_req)
    elif isinstance(grad_req, Mapping):
        found = [grad_req.get(n, "null") for n in names]
    else:
        raise TypeError(f"grad_req needs to be a string, list or dict, got {type(grad_req).__name__}")
    for name, word in zip(names, found):
        if word not in REQUESTS:
            raise ValueError(f"grad_req of {name!r} must be one of {', '.join(REQUESTS)}, got {word!r}")
    return found


def _arrays(kind: str, given: Any, names: Sequence[str], allow_missing: bool) -> list[Any]:
    """Arrays in the order of `names`, from a list or a dict."""
    from symc.ndarray import NDArray

    if isinstance(given, Mapping):
        found = [given.get(n) for n in names]
    elif not isinstance(given, (list, tuple)):
        raise TypeError(f"{kind}: Only accept list of NDArrays or dict of str to NDArray, got {type(given).__name__}")
    else:
        found = list(given)
        if len(found) != len(names):
            raise ValueError(
                f"Length of {kind} does not match the number of arguments: "
                f"{len(found)} given for {len(names)} ({', '.join(names)})"
            )
    for name, array in zip(names, found):
        if array is None:
            if not allow_missing:
                raise ValueError(f"key `{name}` is missing in `{kind}`")
        elif not isinstance(array, NDArray):
            raise TypeError(f"{kind}: {name!r} needs to be an NDArray, got {type(array).__name__}")
    return found


def bind(
    symbol: Symbol,
    ctx: Context,
    args: Any,
    args_grad: Any,
    grad_req: Any,
    aux_states: Any,
    group2ctx: Any,
    shared_exec: Any,
) -> Executor:
    """See Symbol.bind."""
    if not isinstance(ctx, Context):
        raise TypeError("Context type error: bind needs a Context, as mx.cpu()")
    ctx.check()
    if not symbol.list_outputs():
        raise MXNetError("this Symbol has no outputs, so there is nothing to bind; run its operator through mx.nd")
    names, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    arrays = _arrays("args", args, names, False)
    grads = [None] * len(names) if args_grad is None else _arrays("args_grad", args_grad, names, True)
    aux = _arrays("aux_states", [] if aux_states is None else aux_states, states, False)
    reqs = requests(symbol, grad_req)
    shapes, _, aux_shapes = infer_shapes(symbol, True, (), {n: a.shape for n, a in zip(names, arrays)}, bound=True)
    for name, array, shape in [*zip(names, arrays, shapes), *zip(states, aux, aux_shapes)]:
        if shape and all(shape):
            keep("bind", symbol, name, array, shape, None, "it is what the other arrays' shapes tell")
    for name, array, gradient, req in zip(names, arrays, grads, reqs):
        if gradient is None or req == "null":
            continue
        # what the gradient is computed in is converted into another floating type
        kinds = {np.dtype(gradient.dtype).kind, np.dtype(array.dtype).kind}
        if gradient.shape != array.shape or (gradient.dtype != array.dtype and kinds != {"f"}):
            raise MXNetError(
                f"bind: the gradient of {name!r} is {np.dtype(gradient.dtype).name}{gradient.shape}, "
                f"but the argument is {np.dtype(array.dtype).name}{array.shape}"
            )
    types = {n: a.dtype for n, a in zip([*names, *states], [*arrays, *aux])}
    infer_types(symbol, True, (), types, bound=True)
    return _executor(symbol, ctx, arrays, grads, reqs, aux, group2ctx)


def _places(symbol: Symbol, group2ctx: Mapping[str, Context]) -> dict[str, Context]:
    """The contexts of variables whose `ctx_group`, or their first reader's, has one."""
    found: dict[str, Context] = {}
    for node in symbol.graph.nodes() if group2ctx else ():
        place = group2ctx.get(node.attrs.get("__ctx_group__", ""))
        if place is not None:
            for name in [node.name] if node.is_variable else [n.name for n, _ in node.inputs if n.is_variable]:
                found.setdefault(name, place.check())
    return found


def simple_bind(
    symbol: Symbol, ctx: Context, grad_req: Any, type_dict: Any, group2ctx: Any, shared_arg_names: Any,
    shared_exec: Any, shared_buffer: Any, memory_budget: int | None, shapes: Mapping[str, Any],
    stype_dict: Mapping[str, str] | None = None,
) -> Executor:  # fmt: skip
    """See Symbol.simple_bind."""
    from symc.ndarray import zeros

    if not isinstance(ctx, Context):
        raise TypeError("Context type error: simple_bind needs a Context, as mx.cpu()")
    ctx.check()
    if memory_budget is not None and (not isinstance(memory_budget, int) or memory_budget < 0):
        raise ValueError(f"simple_bind: memory_budget={memory_budget!r} must be a number of bytes, 0 or more, or None")
    names, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    known = {k: v for k, v in shapes.items() if k in {*names, *states} and isinstance(v, tuple)}
    label = "simple_bind error. Arguments:\n" + "".join(f"{k}: {v}\n" for k, v in shapes.items())
    try:
        reqs = requests(symbol, grad_req)
        arg_shapes, _, aux_shapes = infer_shapes(symbol, True, (), known, bound=True)
        if type_dict is None:  # then nothing is told of the types, and MXNet takes float32 for what declares none
            type_dict = {node.name: np.float32 for node in symbol.graph.variables()[0] if "__dtype__" not in node.attrs}
        types = {k: v for k, v in type_dict.items() if k in {*names, *states}}
        arg_types, _, aux_types = infer_types(symbol, True, (), types, bound=True)
    except (MXNetError, ValueError) as problem:
        raise MXNetError(f"{label}{problem}") from None
    missing = [f"{n}: {s}" for n, s in zip([*names, *states], [*arg_shapes, *aux_shapes]) if not s or 0 in s]
    if missing:
        other = next((n for n in shapes if n not in names and n not in states), "")
        hint = f"; {other!r} is no argument, there are {those(names, other)}" if other else ""
        raise MXNetError(f"{label}cannot decide the shapes of {those(missing)}; give more input shapes{hint}")
    arg_types = [t or np.float32 for t in arg_types]
    aux_types = [t or np.float32 for t in aux_types]
    places = _places(symbol, group2ctx or {})
    pool = Pool("simple_bind", symbol, ctx, shared_exec, shared_arg_names, shared_buffer, places)
    wanted, kept = list(zip(names, arg_shapes, arg_types)), list(zip(states, aux_shapes, aux_types))
    stypes = declared(symbol, stype_dict)
    gradients = gradient_stypes(symbol, stypes)
    filled = [w for w in wanted if stypes.get(w[0]) != CSR]  # a new csr matrix stores nothing
    pool.check([*filled, *(w for w, r in zip(wanted, reqs) if r != "null"), *kept])

    def stored(wanted: Wanted, stypes: Mapping[str, str], dense: Callable[[Wanted], NDArray]) -> NDArray:
        """An array that is sparse is new, unless it is shared."""
        name, shape, dtype = wanted
        if name not in stypes or (pool.executor is not None and name in pool.names):
            return dense(wanted)
        return zeros(shape, places.get(name, ctx), dtype, stypes[name])

    args = [stored(w, stypes, pool.argument) for w in wanted]
    grads = [stored(w, gradients, pool.gradient) if r != "null" else None for w, r in zip(wanted, reqs)]
    aux = [pool.state(w) for w in kept]
    return _executor(symbol, ctx, args, grads, reqs, aux, group2ctx, memory_budget)


def _executor(
    symbol: Symbol, ctx: Context, args: Sequence[NDArray], grads: Sequence[NDArray | None], reqs: Sequence[str],
    aux: Sequence[NDArray], group2ctx: Any, memory_budget: int | None = None,
) -> Executor:  # fmt: skip
    """An Executor for arrays of any storage types."""
    from symc.executor import Executor as Dense

    kind: type[Executor] = Dense
    if any(a is not None and a._sparse for a in (*args, *grads, *aux)) or set(output_stypes(symbol, {})) != {DEFAULT}:
        from symc.sparse_binding import StoredExecutor

        kind = StoredExecutor
    return kind(symbol, ctx, args, grads, reqs, aux, group2ctx, memory_budget)

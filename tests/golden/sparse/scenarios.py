"""What users do with sparse arrays, written once: MXNet 1.9.1 answers when `record.py` runs, symc when the tests run.

Every scenario takes the module (`mxnet` or `symc`) and gives a list of answers: an array's storage type, element type
and content, or an exception's class.
"""

# ruff: noqa: B023, E501  (questions are asked where they stand, one a line)

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

SCENARIOS: dict[str, Callable[[Any], Any]] = {}
MATRIX = np.array([[0, 0.5, 0], [0.25, 0, 0.75], [0, 0, 0], [1, 0, -2]], "float32")


def scenario(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    SCENARIOS[function.__name__] = function
    return function


def run(mx: Any, name: str) -> Any:
    """The answers of one scenario, as JSON gives them back."""
    os.environ["MXNET_STORAGE_FALLBACK_LOG_VERBOSE"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return json.loads(json.dumps(SCENARIOS[name](mx)))


def ask(question: Callable[[], Any]) -> Any:
    """The answer, or the class of the exception."""
    try:
        return plain(question())
    except Exception as problem:
        return {"raises": type(problem).__name__}


def rounded(values: Any, digits: int = 4) -> Any:
    # zeros have no sign here
    return (np.round(np.asarray(values, "float64"), digits) + 0.0).tolist()


def plain(value: Any) -> Any:
    """An array as [storage type, element type, what is stored where, or the content]."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if not hasattr(value, "stype"):
        return value if isinstance(value, (int, float, str, bool, dict)) else repr(value)
    head = [value.stype, np.dtype(value.dtype).name]
    if value.stype == "row_sparse":
        return [*head, value.indices.asnumpy().tolist(), rounded(value.data.asnumpy())]
    if value.stype == "csr":
        # MXNet leaves columns in any order, and some results that are zero; neither is a promise
        return [*head, rounded(value.asnumpy())]
    return [*head, rounded(value.asnumpy())]


def forms(mx: Any) -> dict[str, Any]:
    dense = mx.nd.array(MATRIX)
    return {"default": dense, "csr": dense.tostype("csr"), "row_sparse": dense.tostype("row_sparse")}


@scenario
def making(mx: Any) -> Any:
    sparse = mx.nd.sparse
    return [
        ask(lambda: sparse.csr_matrix(([1, 2, 3], [1, 0, 2], [0, 1, 2, 2, 3]))),
        ask(lambda: sparse.csr_matrix((np.array([1, 2, 3]), [1, 0, 2], [0, 1, 2, 2, 3]), shape=(4, 5))),
        ask(lambda: sparse.csr_matrix(([1, 2, 3], [1, 0, 2], [0, 1, 2, 2, 3]), shape=(4, 5), dtype="float64")),
        ask(lambda: sparse.csr_matrix((2, 3))),
        ask(lambda: sparse.csr_matrix((2, 3), shape=(2, 3))),
        ask(lambda: sparse.csr_matrix((2, 3), shape=(3, 3))),
        ask(lambda: sparse.csr_matrix([[0, 1], [2, 0]])),
        ask(lambda: sparse.csr_matrix(np.array([[0, 1], [2, 0]], "int32"))),
        ask(lambda: sparse.csr_matrix(([], [], [0]))),
        ask(lambda: sparse.csr_matrix((1, 2, 3, 4))),
        ask(lambda: sparse.csr_matrix(forms(mx)["row_sparse"])),
        ask(lambda: sparse.csr_matrix(forms(mx)["csr"], dtype="float16")),
        ask(lambda: sparse.row_sparse_array(([[1, 2], [3, 4]], [1, 3]))),
        ask(lambda: sparse.row_sparse_array((np.array([[1, 2], [3, 4]]), [1, 3]), shape=(6, 2))),
        ask(lambda: sparse.row_sparse_array((2, 3))),
        ask(lambda: sparse.row_sparse_array((2, 3, 4), dtype="int32")),
        ask(lambda: sparse.row_sparse_array([[0, 0], [2, 0]])),
        ask(lambda: sparse.row_sparse_array(forms(mx)["csr"])),
        ask(lambda: sparse.zeros("csr", (2, 3))),
        ask(lambda: sparse.zeros("default", (2, 3))),
        ask(lambda: sparse.zeros("other", (2, 3))),
        ask(lambda: mx.nd.zeros((2, 3), stype="row_sparse", dtype="float16")),
        ask(lambda: mx.nd.empty((2, 3), stype="csr")),
        ask(lambda: mx.nd.array(forms(mx)["csr"])),
        ask(lambda: sparse.array(forms(mx)["row_sparse"], dtype="int32")),
        ask(lambda: sparse.array(MATRIX)),
        ask(lambda: mx.nd.array([[np.nan, 0], [0, -0.0]]).tostype("csr").data.shape),
        ask(lambda: mx.nd.ones((2, 2, 2)).tostype("csr")),
        ask(lambda: mx.nd.ones((2, 2, 2)).tostype("row_sparse")),
    ]


@scenario
def checking(mx: Any) -> Any:
    def csr(data: Any, indices: Any, indptr: Any) -> Any:
        return mx.nd.sparse.csr_matrix((data, indices, indptr), shape=(3, 4))

    def rows(*indices: int) -> Any:
        return mx.nd.sparse.row_sparse_array((np.ones((len(indices), 2)), list(indices)), shape=(3, 2))

    arrays = [
        csr([7, 8, 9], [0, 2, 1], [0, 2, 2, 3]), csr([7, 8, 9], [0, 2, 1], [0, 5, 2, 3]),
        csr([7, 8, 9], [2, 1, 1], [0, 2, 2, 3]), csr([7, 8, 9], [1, 2, 1], [0, 2, 2, 4]),
        csr([7, 8, 9], [0, 2, 1], [0, -2, 2, 3]), csr([7, 8, 9], [0, 2, 4], [0, 2, 2, 3]),
        csr([7, 8, 9], [0, 0, 1], [0, 2, 2, 3]), rows(0, 2), rows(1, 4), rows(1, 0), rows(1, -2), rows(1, 1),
    ]  # fmt: skip
    return [[ask(lambda a=a: a.check_format()), ask(lambda a=a: a.check_format(False))] for a in arrays]


@scenario
def methods(mx: Any) -> Any:
    found = []
    for stype in ("csr", "row_sparse"):
        a = forms(mx)[stype]
        found += [
            repr(a), str(a), len(a), a.ndim, list(a.shape), np.dtype(a.dtype).name, a.stype,
            ask(lambda a=a: a.size), ask(lambda a=a: bool(a)), ask(lambda a=a: a.T), ask(lambda a=a: a.reshape((12,))),
            ask(lambda a=a: a.asnumpy().tolist()), ask(lambda a=a: a.copy()), ask(lambda a=a: a.astype("int32")),
            ask(lambda a=a: a.tostype("default")), ask(lambda a=a: a.tostype("csr")),
            ask(lambda a=a: a.tostype("row_sparse")), ask(lambda a=a: a.copyto(mx.nd.zeros((4, 3)))),
            ask(lambda a=a: a.copyto(mx.nd.zeros((4, 3), stype="csr"))),
            ask(lambda a=a: a.copyto(mx.nd.zeros((4, 3), stype="row_sparse"))), ask(lambda a=a: a.copyto(3)),
            ask(lambda a=a: a.as_in_context(mx.cpu(1)).context.device_id), ask(lambda a=a: a.data.shape),
            ask(lambda a=a: a[:].stype), ask(lambda a=a: a[0, 1]), ask(lambda a=a: abs(a)), ask(lambda a=a: -a),
            ask(lambda a=a: a.tostype(a.stype) is a), a._num_aux,
            [ask(lambda a=a, f=f: getattr(a, f)()) for f in ("square", "sign", "sqrt", "exp", "zeros_like", "ones_like")],
        ]  # fmt: skip
    a = forms(mx)["csr"]
    found += [
        ask(lambda key=key: a[key])
        for key in (0, 1, -1, -2, slice(1, 3), slice(None, 2), slice(-2, None), slice(1, -1), slice(0, 4, 2))
    ]
    return found


@scenario
def assigning(mx: Any) -> Any:
    found = []
    for stype in ("csr", "row_sparse"):
        for value in (mx.nd.array(MATRIX * 2), forms(mx)["csr"], forms(mx)["row_sparse"], MATRIX, 3, 0, "x"):
            a = mx.nd.ones((4, 3)).tostype(stype)
            found.append(ask(lambda a=a, value=value: a.__setitem__(slice(None), value) or a))
        found.append(ask(lambda stype=stype: forms(mx)[stype].__setitem__(0, 3)))
        found.append(ask(lambda stype=stype: forms(mx)[stype].__setitem__(slice(0, 1), 3)))
        dense = mx.nd.ones((4, 3))
        forms(mx)[stype].copyto(dense)
        found.append(plain(dense))
    return found


UNARY = (
    "abs arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh degrees exp expm1 fix floor gamma gammaln log "
    "log10 log1p log2 negative radians relu rint round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc "
    "make_loss stop_gradient"
).split()


@scenario
def functions_of_one(mx: Any) -> Any:
    return {
        name: [
            ask(lambda name=name, a=a: getattr(mx.nd, name)(a * 0.25)) for s, a in forms(mx).items() if s != "default"
        ]
        for name in UNARY
    }


@scenario
def numbers(mx: Any) -> Any:
    words = (
        "plus minus rminus mul div rdiv power rpower mod maximum minimum hypot equal not_equal greater greater_equal "
        "lesser lesser_equal"
    ).split()
    return {
        word: [
            ask(lambda word=word, a=a, s=s: getattr(mx.nd._internal, f"_{word}_scalar")(a, scalar=s))
            for s in (0.0, 0.5, -1.0)
            for a in (forms(mx)["csr"], forms(mx)["row_sparse"])
        ]
        for word in words
    }


@scenario
def operators(mx: Any) -> Any:
    found = []
    for stype, a in forms(mx).items():
        if stype == "default":
            continue
        found += [
            [ask(lambda a=a: a + 1), ask(lambda a=a: 1 - a), ask(lambda a=a: a * 2), ask(lambda a=a: 2 / (a + 3))],
            [ask(lambda a=a: a / 2), ask(lambda a=a: a**2), ask(lambda a=a: a % 2), ask(lambda a=a: a > 0.3)],
            [ask(lambda a=a: 0 < a), ask(lambda a=a: a == 0), ask(lambda a=a: a != 0), ask(lambda a=a: a <= 1)],
        ]
        for other in forms(mx).values():
            found += [
                ask(lambda a=a, b=other: a + b), ask(lambda a=a, b=other: b - a * 2), ask(lambda a=a, b=other: a * b),
                ask(lambda a=a, b=other: b * a), ask(lambda a=a, b=other: a > b),
                ask(lambda a=a, b=other: mx.nd.elemwise_mul(b, a)), ask(lambda a=a, b=other: mx.nd.maximum(a, b)),
                ask(lambda a=a, b=other: mx.nd.sparse.add(a, b)), ask(lambda a=a, b=other: mx.nd.sparse.divide(b, a + 9)),
            ]  # fmt: skip
        half = mx.nd.array([[1.0, 2.0, 4.0]])
        found += [ask(lambda a=a: mx.nd.broadcast_mul(a, half)), ask(lambda a=a: mx.nd.broadcast_div(a, half))]
        found += [ask(lambda a=a: mx.nd.broadcast_add(a, half)), ask(lambda a=a: mx.nd.add_n(a, a, a))]
        b = a.copy()
        b += a
        b *= 2
        found.append(plain(b))
    return found


@scenario
def dot(mx: Any) -> Any:
    found = []
    for left, a in forms(mx).items():
        for right, b in forms(mx).items():
            if left == right == "default":
                continue
            b = mx.nd.array(MATRIX[:3] if left else MATRIX).tostype(right)
            c = mx.nd.array(MATRIX * 2).tostype(right)
            found += [
                ask(lambda a=a, b=b: mx.nd.dot(a, b)), ask(lambda a=a, b=b: mx.nd.dot(a, b, transpose_b=True)),
                ask(lambda a=a, c=c: mx.nd.dot(a, c, transpose_a=True)), ask(lambda a=a, c=c: mx.nd.dot(a, c)),
                ask(lambda a=a, b=b: mx.nd.sparse.dot(a, b, forward_stype="row_sparse")),
            ]  # fmt: skip
    return found


@scenario
def others(mx: Any) -> Any:
    nd, kinds = mx.nd, forms(mx)
    dense, csr, rows = kinds["default"], kinds["csr"], kinds["row_sparse"]
    return [
        ask(lambda: nd.sparse.retain(rows, nd.array([0, 2]))), ask(lambda: nd.sparse.retain(rows, nd.array([3, 0]))),
        ask(lambda: nd.concat(csr, csr, dim=0)),
        ask(lambda: nd.concat(csr, csr, dim=1)), ask(lambda: nd.concat(csr, dense, dim=0)),
        ask(lambda: nd.slice(csr, begin=(0, 1), end=(2, 3))), ask(lambda: nd.slice(csr, begin=(1,), end=(4,))),
        ask(lambda: nd.slice(csr, begin=(0,), end=(4,), step=(2,))),
        ask(lambda: nd.slice(rows, begin=(0, 1), end=(2, 3))), ask(lambda: nd.where(csr, dense, dense * 2)),
        ask(lambda: nd.zeros_like(csr)), ask(lambda: nd.ones_like(rows)), ask(lambda: nd.norm(csr)),
        ask(lambda: nd.norm(rows)), ask(lambda: nd.sum(csr, axis=0)), ask(lambda: nd.sum(csr, axis=1, keepdims=True)),
        ask(lambda: nd.sum(csr)), ask(lambda: nd.mean(csr, axis=1)), ask(lambda: nd.mean(csr, axis=0)),
        ask(lambda: nd.sum(rows, axis=0)), ask(lambda: nd._internal._square_sum(rows, axis=1, keepdims=True)),
        ask(lambda: nd._internal._square_sum(rows, axis=1)), ask(lambda: nd._internal._square_sum(rows, axis=0)),
        ask(lambda: nd.take(csr, nd.array([3, 1, 1, 9]))), ask(lambda: nd.take(csr, nd.array([3, -1]), mode="wrap")),
        ask(lambda: nd.take(rows, nd.array([3, 1]))), ask(lambda: nd.clip(csr, 0, 0.6)), ask(lambda: nd.clip(rows, -1, 0.6)),
        ask(lambda: nd.Embedding(nd.array([[3, 1], [2, 0]]), rows, input_dim=4, output_dim=3)),
        ask(lambda: nd.FullyConnected(csr, nd.ones((2, 3)), num_hidden=2, no_bias=True)),
        ask(lambda: nd.cast_storage(csr, stype="row_sparse")), ask(lambda: nd.cast_storage(dense, stype="csr")),
        ask(lambda: nd.contrib.getnnz(csr)), ask(lambda: nd.contrib.getnnz(csr, axis=1)),
        ask(lambda: nd.transpose(csr)), ask(lambda: nd.square(csr, out=nd.zeros((4, 3), stype="csr"))),
        ask(lambda: nd.softmax(rows)), ask(lambda: nd.add_n(rows, dense)),
        ask(lambda: nd.LinearRegressionOutput(dense, csr)),
    ]  # fmt: skip


@scenario
def updates(mx: Any) -> Any:
    """Steps of the update operators, with weights, states and gradients of all kinds."""
    found = []
    gradient = mx.nd.sparse.row_sparse_array(([[1.0, -2.0]], [1]), shape=(3, 2))
    for weight_type in ("default", "row_sparse"):
        for state_type in ("default", "row_sparse"):
            for grad in (gradient, gradient.tostype("default")):

                def arrays(count: int, w: str = weight_type, s: str = state_type) -> list[Any]:
                    return [
                        mx.nd.ones((3, 2)).tostype(w),
                        *((mx.nd.ones((3, 2)) * 0.5).tostype(s) for _ in range(count)),
                    ]

                def step(name: str, count: int, grad: Any = grad, **kwargs: Any) -> Any:
                    weight, *states = arrays(count)
                    getattr(mx.nd, name)(weight, grad, *states, out=weight, lr=0.1, **kwargs)
                    return [weight, *states]

                lazy = [dict(wd=0.1, lazy_update=True), dict(wd=0.1, lazy_update=False)]
                found += [ask(lambda k=k: step("sgd_update", 0, **k)) for k in lazy]
                found += [ask(lambda k=k: step("sgd_mom_update", 1, momentum=0.9, **k)) for k in lazy]
                found += [ask(lambda k=k: step("adam_update", 2, clip_gradient=1.5, **k)) for k in lazy]
                found += [ask(lambda: step("ftrl_update", 2, wd=0.1))]
                if grad is gradient and weight_type == state_type:

                    def adagrad(grad: Any = grad, **kwargs: Any) -> Any:
                        weight, history = arrays(1)
                        mx.nd.sparse.adagrad_update(weight, grad, history, out=weight, lr=0.1, **kwargs)
                        return [weight, history]

                    found += [
                        ask(lambda: adagrad()),
                        ask(lambda: adagrad(rescale_grad=0.5)),
                        ask(lambda: adagrad(wd=0.1)),
                    ]
    return found


OPTIMIZERS = {
    "sgd": {"wd": 0.1, "clip_gradient": 1.5}, "nag": {"momentum": 0.9, "wd": 0.1}, "signum": {"wd": 0.1}, "ftml": {"wd": 0.1},
    "adam": {"wd": 0.1, "rescale_grad": 0.5}, "nadam": {"wd": 0.1}, "adagrad": {}, "rmsprop": {"wd": 0.1},
    "adadelta": {"wd": 0.1}, "ftrl": {"wd": 0.1}, "dcasgd": {"wd": 0.1}, "lamb": {"wd": 0.1}, "lars": {"wd": 0.1},
}  # fmt: skip


@scenario
def optimizers(mx: Any) -> Any:
    """Three steps of every optimizer, on dense and row_sparse weights, with gradients of different rows."""

    def steps(name: str, stype: str, settings: dict[str, Any]) -> Any:
        if name != "adadelta":
            settings = {"learning_rate": 0.1, **settings}
        optimizer = mx.optimizer.create(name, **settings)
        weight = mx.nd.array(np.linspace(0.5, 1.5, 8).reshape(4, 2)).tostype(stype)
        state = optimizer.create_state(0, weight)
        for rows in ([1, 3], [0], [1, 2]):
            values = np.arange(1.0, 2 * len(rows) + 1).reshape(-1, 2) - 2.5
            gradient = mx.nd.sparse.row_sparse_array((values, rows), shape=(4, 2), dtype="float32")
            optimizer.update(0, weight, gradient, state)
        states = state if isinstance(state, (list, tuple)) else [state]
        return [
            weight.stype,
            rounded(weight.asnumpy(), 2),
            [[s.stype, rounded(s.asnumpy(), 2)] for s in states if s is not None],
        ]

    made = {
        name: [ask(lambda s=s: steps(name, s, kw)) for s in ("default", "row_sparse")]
        for name, kw in OPTIMIZERS.items()
    }
    more = {"momentum": 0.9, "wd": 0.1}
    made["sgd momentum"] = [ask(lambda s=s: steps("sgd", s, more)) for s in ("default", "row_sparse")]
    made["sgd dense"] = [
        ask(lambda s=s: steps("sgd", s, {**more, "lazy_update": False})) for s in ("default", "row_sparse")
    ]
    return made


@scenario
def files(mx: Any) -> Any:
    """What a file of sparse arrays holds, and how often it can be written and read."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "arrays.params")
        arrays = [*forms(mx).values(), mx.nd.zeros((3, 2), stype="csr"), mx.nd.zeros((3, 2), stype="row_sparse")]
        arrays += [mx.nd.ones((2, 2, 2), dtype="float64").tostype("row_sparse")]
        mx.nd.save(path, arrays)
        read = mx.nd.load(path)
        mx.nd.save(path, {f"arg:{i}": a for i, a in enumerate(read)})
        return [plain(read), {k: plain(v) for k, v in mx.nd.load(path).items()}]


@scenario
def executors(mx: Any) -> Any:
    """Programs whose arrays are sparse: storage types of all arrays, and what is in them after a step."""
    found = []
    rows = np.zeros((4, 6), "float32")
    rows[0, 1], rows[2, 4], rows[3, 1] = 1, 2, 3

    def step(net: Any, arrays: dict[str, Any], shapes: dict[str, Any], **kwargs: Any) -> Any:
        exe = net.simple_bind(mx.cpu(), **shapes, **kwargs)
        for name, array in arrays.items():
            exe.arg_dict[name][:] = (
                array if array.stype == exe.arg_dict[name].stype else array.tostype(exe.arg_dict[name].stype)
            )
        exe.forward(is_train=True)
        exe.backward()
        return [
            {n: a.stype for n, a in exe.arg_dict.items()}, plain(exe.outputs),
            {n: plain(g) for n, g in exe.grad_dict.items() if g is not None},
        ]  # fmt: skip

    label, weight = mx.sym.Variable("label"), mx.sym.Variable("w", stype="row_sparse")
    ones = {"label": mx.nd.ones((4, 2))}
    factor = mx.nd.array(np.arange(12).reshape(6, 2) / 4)
    data = mx.nd.array(rows)
    product = mx.sym.sparse.dot(mx.sym.Variable("data", stype="csr"), weight)
    linear = mx.sym.LinearRegressionOutput(product, label)
    shapes = {"data": (4, 6), "w": (6, 2), "label": (4, 2)}
    found.append(
        ask(
            lambda: step(
                linear,
                {"data": data, "w": factor, **ones},
                shapes,
                grad_req={"data": "null", "label": "null", "w": "write"},
            )
        )
    )
    plain_product = mx.sym.MakeLoss(mx.sym.sum(mx.sym.dot(mx.sym.Variable("data"), mx.sym.Variable("w"))))
    stypes, reqs = {"data": "csr", "w": "row_sparse"}, {"data": "null", "w": "write"}
    shapes = {"data": (4, 6), "w": (6, 2)}
    found.append(
        ask(lambda: step(plain_product, {"data": data, "w": factor}, shapes, stype_dict=stypes, grad_req=reqs))
    )
    ids = mx.nd.array([3, 1, 3])
    for kind in ("default", "row_sparse"):
        looked_up = mx.sym.Embedding(
            mx.sym.Variable("ids"), mx.sym.Variable("w", stype=kind), input_dim=6, output_dim=2, sparse_grad=True
        )
        net = mx.sym.MakeLoss(mx.sym.sum(looked_up * looked_up))
        reqs = {"ids": "null", "w": "write"}
        found.append(ask(lambda: step(net, {"ids": ids, "w": factor}, {"ids": (3,), "w": (6, 2)}, grad_req=reqs)))
    x, y = mx.sym.Variable("x"), mx.sym.Variable("y")
    for stype in ("csr", "row_sparse"):
        a = mx.nd.array(rows).tostype(stype)
        nets = [
            mx.sym.sparse.square(x), x + y, mx.sym.sparse.elemwise_mul(x, y), x * 2, x + 1, mx.sym.exp(x),
            mx.sym.cast_storage(x, stype="default"), mx.sym.sparse.slice(x, begin=(0,), end=(2,)), mx.sym.sum(x, axis=1),
        ]  # fmt: skip
        found += [
            ask(lambda n=n: n.bind(mx.cpu(), {k: a for k in n.list_arguments()}).forward()[0].tostype("default"))
            for n in nets
        ]
        found += [[n.bind(mx.cpu(), {k: a for k in n.list_arguments()}).forward()[0].stype for n in nets]]
    found.append(ask(lambda: mx.sym.cast_storage(x, stype="csr").bind(mx.cpu(), {"x": data}).forward()[0]))
    return found


@scenario
def modules(mx: Any) -> Any:
    """Losses and parameters of a module with a sparse weight: momentum and decay act on the rows of each batch only."""
    np.random.seed(0)
    rows = (np.random.rand(12, 8) < 0.2) * np.random.rand(12, 8)
    target = np.random.rand(12, 1)
    found = []
    for optimizer in ("sgd", "adam"):
        weight = mx.sym.Variable("w", stype="row_sparse", shape=(8, 1))
        product = mx.sym.sparse.dot(mx.sym.Variable("data", stype="csr"), weight)
        net = mx.sym.LinearRegressionOutput(
            mx.sym.broadcast_add(product, mx.sym.Variable("b", shape=(1,))), mx.sym.Variable("label")
        )
        data = mx.nd.array(rows).tostype("csr")
        batches = mx.io.NDArrayIter(data, mx.nd.array(target), 4, last_batch_handle="discard", label_name="label")
        module = mx.mod.Module(net, ["data"], ["label"])
        module.bind(batches.provide_data, batches.provide_label)
        start = {"w": (mx.nd.arange(1, 9).reshape((8, 1)) / 8).tostype("row_sparse"), "b": mx.nd.zeros((1,))}
        module.init_params(arg_params=start, aux_params={})
        settings = {"learning_rate": 0.1, "wd": 0.1, **({"momentum": 0.9} if optimizer == "sgd" else {})}
        module.init_optimizer(kvstore="local", optimizer=optimizer, optimizer_params=settings)
        for _ in range(2):
            batches.reset()
            for batch in batches:
                module.prepare(batch, sparse_row_id_fn=lambda batch: {"w": batch.data[0].indices})
                module.forward_backward(batch)
                module.update()
                found.append(rounded(module.get_outputs()[0].asnumpy(), 3))
        found += [[a.stype, rounded(a.asnumpy(), 3)] for _, a in sorted(module.get_params()[0].items())]
    return found

"""Questions about arrays, executors, operators and what is shared, written once: MXNet 1.9.1 answers when `record.py`
runs, symc in the tests.

A question is a few lines of Python in `array.txt`, `executor.txt`, `operator.txt` or `sharing.txt`; its last line is an
expression, whose value is the answer. Questions are separated by empty lines; lines that begin with # are remarks, and
`# differs: why` in front of a question says that symc's answer is another on purpose.
"""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def read(topic: str) -> list[str]:
    """The questions of one topic."""
    parts = (HERE / f"{topic}.txt").read_text().split("\n\n")
    kept = ("\n".join(line for line in part.splitlines() if not line.startswith("#")) for part in parts)
    return [text for text in kept if text.strip()]


def different(topic: str) -> dict[str, str]:
    """Why symc answers some questions otherwise."""
    found = {}
    for part in (HERE / f"{topic}.txt").read_text().split("\n\n"):
        lines = part.splitlines()
        why = [line for line in lines if line.startswith("# differs: ")]
        if why:
            text = "\n".join(line for line in lines if not line.startswith("#"))
            found[text] = why[0].removeprefix("# differs: ")
    return found


def names(mx: Any) -> dict[str, Any]:
    """What questions may use."""

    def arange(*shape: int, dtype: str = "float32") -> Any:
        return mx.nd.array(np.arange(np.prod(shape)).reshape(shape), dtype=dtype)

    def net() -> Any:
        x = mx.sym.Variable("x")
        return mx.sym.FullyConnected(x, num_hidden=2, name="fc") * mx.sym.Variable("scale")

    def filled(executor: Any, **kwargs: Any) -> Any:
        """The executor with small different numbers in every argument."""
        for at, (_, array) in enumerate(sorted(executor.arg_dict.items())):
            array[:] = mx.nd.array(np.arange(array.size).reshape(array.shape) % 5 - 2 + at, dtype=array.dtype)
        return executor

    def refused(act: Any) -> bool:
        """Whether it is an error, whatever its class is."""
        try:
            made = act()
            for array in made if isinstance(made, list) else [made]:
                getattr(array, "wait_to_read", lambda: None)()
            return False
        except Exception:
            return True

    def gradients(net: Any, grad_req: Any = "write", **shapes: Any) -> Any:
        """The gradients of a Symbol with respect to what is filled in; "refused" where it cannot be bound."""
        try:
            bound = filled(net.simple_bind(mx.cpu(), grad_req=grad_req, **shapes))
        except Exception:
            return "refused"
        bound.forward(is_train=True)
        bound.backward([mx.nd.ones(o.shape, dtype=o.dtype) for o in bound.outputs])
        return bound.grad_dict

    used = {"mx": mx, "nd": mx.nd, "sym": mx.sym, "np": np, "arange": arange, "net": net, "filled": filled}
    return {**used, "refused": refused, "gradients": gradients, **sharing_names(mx)}


def sharing_names(mx: Any) -> dict[str, Any]:
    """What questions about sharing may use besides."""
    nd, sym = mx.nd, mx.sym

    def dense(hidden: int = 3, name: str = "fc", norm: bool = False) -> Any:
        x = sym.FullyConnected(sym.Variable("data"), num_hidden=hidden, name=name)
        return sym.BatchNorm(x, name="bn", fix_gamma=False) if norm else x

    def loss(*args: Any, **kwargs: Any) -> Any:
        return sym.SoftmaxOutput(dense(*args, **kwargs), name="softmax")

    def ones(executor: Any) -> Any:
        """The executor with ones in every argument and state."""
        for array in [*executor.arg_arrays, *executor.aux_arrays]:
            array[:] = 1
        return executor

    def shapes(executor: Any) -> Any:
        return {n: list(a.shape) for n, a in [*executor.arg_dict.items(), *executor.aux_dict.items()]}

    def sums(held: Any) -> Any:
        """[shape, sum] of a module's parameters and states, or of an executor's arrays."""
        parts = held.get_params() if hasattr(held, "get_params") else (held.arg_dict, held.aux_dict)
        return {
            n: [list(a.shape), round(float(a.asnumpy().sum()), 3)] for part in parts for n, a in sorted(part.items())
        }

    def same_memory(a: Any, b: Any) -> Any:
        """Names of the arrays of two executors that begin in the same memory."""
        found = []
        for kind in ("arg", "grad", "aux"):
            one, other = getattr(a, f"{kind}_dict"), getattr(b, f"{kind}_dict")
            for name in sorted(n for n in one if one[n] is not None and other.get(n) is not None):
                kept = other[name].asnumpy()
                one[name][:], other[name][:] = 0, 7
                found += [f"{kind}:{name}"] if one[name].asnumpy().ravel()[0] == 7 else []
                other[name][:] = kept
        return found

    def module(net: Any = None, rows: int = 2, width: int = 4, labels: bool = True, **kwargs: Any) -> Any:
        """A bound module whose weights are ones."""
        made = mx.mod.Module(loss() if net is None else net, label_names=("softmax_label",) if labels else None)
        made.bind([("data", (rows, width))], [("softmax_label", (rows,))] if labels else None, **kwargs)
        if not made.params_initialized:
            made.init_params(mx.init.One())
        return made

    def batch(rows: int, width: int, bucket: Any = None, labels: bool = True) -> Any:
        told = {"provide_data": [("data", (rows, width))], "provide_label": [("softmax_label", (rows,))]}
        label = [nd.zeros((rows,))] if labels else None
        return mx.io.DataBatch(
            [nd.ones((rows, width))], label, bucket_key=bucket, **(told if bucket is not None else {})
        )

    def fed(made: Any, given: Any) -> Any:
        """The outputs for a batch."""
        made.forward(given, is_train=False)
        return [o.asnumpy() for o in made.get_outputs()]

    def buckets(make: Any, default: int = 1) -> Any:
        """A module of buckets, bound for the default one, whose weights are ones; `make` gives the net of a key."""
        made = mx.mod.BucketingModule(
            lambda key: (make(key), ("data",), ("softmax_label",)), default_bucket_key=default
        )
        made.bind([("data", (2, 4))], [("softmax_label", (2,))])
        made.init_params(mx.init.One())
        return made

    def deep(count: int) -> Any:
        """A net of so many layers."""
        x = sym.Variable("data")
        for at in range(count):
            x = sym.FullyConnected(x, num_hidden=4, name=f"fc{at}")
        return sym.SoftmaxOutput(x, name="softmax")

    def tried(act: Any) -> None:
        """Do what may be refused."""
        try:
            act()
        except Exception:
            return

    return {key: value for key, value in locals().items() if key not in ("mx", "nd", "sym")}


def answer(mx: Any, text: str) -> Any:
    """The value of the question's last line as JSON gives it back, or the class of the exception; names start at 0."""
    lines = ast.parse(text).body
    space = names(mx)
    with warnings.catch_warnings(), mx.name.NameManager():
        warnings.simplefilter("ignore")
        try:
            exec(compile(ast.Module(lines[:-1], []), "<question>", "exec"), space)
            value = eval(compile(ast.Expression(lines[-1].value), "<question>", "eval"), space)  # type: ignore[attr-defined]
            return json.loads(json.dumps(plain(value)))
        except Exception as problem:
            return {"raises": type(problem).__name__}


def plain(value: Any) -> Any:
    """Arrays as their type, shape and numbers; types as their names; tuples as lists."""
    if hasattr(value, "asnumpy"):
        value = value.asnumpy()
    if isinstance(value, np.ndarray):
        return [value.dtype.name, list(value.shape), np.asarray(value, "float64").round(6).tolist()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, type):
        return value.__name__.rstrip("_")  # numpy renamed bool_
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def same(a: Any, b: Any) -> bool:
    """Equal answers, numbers up to rounding."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return a == b or (a != a and b != b) or abs(a - b) <= 1e-5 * max(1.0, abs(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)

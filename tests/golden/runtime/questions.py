"""Questions about arrays and executors, written once: MXNet 1.9.1 answers when `record.py` runs, symc in the tests.

A question is a few lines of Python in `array.txt` or `executor.txt`; its last line is an expression, whose value is the
answer. Questions are separated by empty lines; lines that begin with # are remarks, and `# differs: why` in front of a
question says that symc's answer is another on purpose.
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

    return {"mx": mx, "nd": mx.nd, "sym": mx.sym, "np": np, "arange": arange, "net": net, "filled": filled}


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

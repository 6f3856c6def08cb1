"""None for every parameter of every operator, answered by MXNet 1.9.1.

questions.json: operator -> [function below mx.sym, attributes, [[input, shape, type], ...], parameters]. Run under
MXNet: `python record.py` writes answers.json beside this file: operator -> {parameter: what came of None}. A text is
a refusal's kind; "crash" is MXNet's end; else it is [[shape, type] of every output].
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def function(space, path):
    """`path` below mx.sym or mx.nd; what MXNet keeps in _internal may also lie in op, or above."""
    parts = path.split(".")
    for tried in (parts, ["op", *parts[1:]], parts[1:]) if parts[0] == "_internal" else (parts,):
        found = space
        for part in tried:
            found = getattr(found, part, None)
        if found is not None:
            return found
    raise AttributeError(path)


def symbol(mx, question, parameter):
    path, attrs, inputs, _ = question
    given = {name: mx.sym.Variable(name) for name, _, _ in inputs}
    return function(mx.sym, path)(**given, **{**{k: tuples(v) for k, v in attrs.items()}, parameter: None})


def arrays(mx, question, parameter):
    """The same for arrays of ones."""
    path, attrs, inputs, _ = question
    given = [mx.nd.array(np.ones(shape), dtype=dtype) for _, shape, dtype in inputs]
    made = function(mx.nd, path)(*given, **{**{k: tuples(v) for k, v in attrs.items()}, parameter: None})
    made = made if isinstance(made, (list, tuple)) else [made]
    for a in made:
        a.wait_to_read()  # MXNet refuses some things only there
    return [[list(a.shape), np.dtype(a.dtype).name] for a in made]


def answer(mx, question, parameter):
    """In a process of its own: some of these end MXNet."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            symbol(mx, question, parameter)
            found = arrays(mx, question, parameter)
        except Exception as problem:
            found = type(problem).__name__
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as source:
        text = source.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else "crash"


if __name__ == "__main__":
    import mxnet

    asked = json.loads((HERE / "questions.json").read_text())
    found = {op: {p: answer(mxnet, question, p) for p in question[3]} for op, question in asked.items()}
    lines = ",\n".join(f" {json.dumps(op)}: {json.dumps(answers)}" for op, answers in found.items())
    (HERE / "answers.json").write_text("{\n" + lines + "\n}\n")

"""Record the answers of MXNet 1.9.1 to scenarios.py, and the parameters of all its functions.

`python record.py`, with a Python that has mxnet 1.9.1.
"""

import inspect
import json
import sys
from pathlib import Path

import mxnet
import numpy

for name, kind in {"bool": bool, "int": int, "float": float, "object": object}.items():
    if name not in vars(numpy):
        setattr(numpy, name, kind)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import scenarios  # noqa: E402

answers = {name: scenarios.run(mxnet, name) for name in scenarios.SCENARIOS}
text = json.dumps({"recorded_from": f"mxnet {mxnet.__version__}", "answers": answers}, indent=1, ensure_ascii=True)
(HERE / "answers.json").write_text(text + "\n")


def functions(namespace: object) -> dict:
    """name -> parameter names of what MXNet generated in a namespace."""
    found = {}
    for name, value in vars(namespace).items():
        if inspect.isfunction(value) and not (name.startswith("_") and namespace is not mxnet.sym._internal):
            found[name] = [p.name for p in inspect.signature(value).parameters.values()]
    return dict(sorted(found.items()))


sym = mxnet.sym
listed = {"": functions(sym)}
for space in ("contrib", "linalg", "random", "image", "_internal"):
    listed[space] = functions(getattr(sym, space))
(HERE / "functions.json").write_text(json.dumps(listed, separators=(",", ":")).replace("],", "],\n") + "\n")

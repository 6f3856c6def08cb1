"""Record the answers of MXNet 1.9.1 to the questions of this folder.

`python record.py`, with a Python that has mxnet 1.9.1.
"""

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

import questions  # noqa: E402

for topic in ("array", "executor", "operator", "sharing"):
    answers = {text: questions.answer(mxnet, text) for text in questions.read(topic)}
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in answers.items())
    (HERE / f"{topic}.json").write_text("{\n" + lines + "\n}\n")

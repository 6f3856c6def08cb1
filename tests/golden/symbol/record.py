"""Record the answers of MXNet 1.9.1 to scenarios.py: `python record.py`, with a Python that has mxnet 1.9.1."""

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

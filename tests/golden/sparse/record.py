"""Record the answers of MXNet 1.9.1 to scenarios.py: `python record.py`, with a Python that has mxnet 1.9.1."""

import json
import sys
from pathlib import Path

import mxnet

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import scenarios  # noqa: E402

answers = {name: scenarios.run(mxnet, name) for name in scenarios.SCENARIOS}
lines = [f" {json.dumps(name)}: {json.dumps(answer)}" for name, answer in answers.items()]
text = ",\n".join(lines)
(HERE / "answers.json").write_text(f'{{"recorded_from": "mxnet {mxnet.__version__}", "answers": {{\n{text}\n}}}}\n')

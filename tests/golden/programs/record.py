"""Runs the programs of tests/symc/programs with MXNet 1.9.1 and writes their first losses to losses.json beside this
file: `python record.py PYTHON_WITH_MXNET`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = HERE.parents[1] / "symc" / "programs"

if __name__ == "__main__":
    found = {}
    for program in sorted(PROGRAMS.glob("*.py")):
        if program.stem == "common":
            continue
        with tempfile.NamedTemporaryFile() as file:
            settings = {**os.environ, "MXNET_MKLDNN_ENABLED": "0", "OMP_NUM_THREADS": "1"}
            subprocess.run([sys.argv[1], str(program), file.name], check=True, env=settings)
            losses = json.loads(Path(file.name).read_text())
        found[program.stem] = {"first": losses[:10], "steps": len(losses)}
    (HERE / "losses.json").write_text(json.dumps(found, indent=1) + "\n")

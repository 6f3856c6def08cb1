"""Processes that run workloads, one for each library, on the same processors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from symc.bench.peers.libraries import LIBRARIES

#: what a worker imports, where that is not its name
_IMPORTS = {
    "torch-channels-last": ("torch",),
    "torch-compile": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
}
#: libraries that are measured only when they are asked for: they take a minute a net to compile
ON_REQUEST = ("torch-compile",)
_PROGRAM = Path(__file__).with_name("peers") / "worker.py"
PEERS = tuple(name for name in LIBRARIES if name != "symc")


class Failed(Exception):
    """A workload that a library can't run."""


def find(python: str, mxnet: str | None) -> dict[str, str]:
    """Peers that can be measured -> their interpreters: what `python` can import, and MXNet in its own."""
    wanted = {name: _IMPORTS.get(name, (name,)) for name in PEERS if name != "mxnet"}
    ask = f"import importlib.util as u; print([n for n, m in {wanted!r}.items() if all(map(u.find_spec, m))])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    found = {name: python for name in PEERS if repr(name) in done.stdout}
    return found | ({"mxnet": mxnet} if mxnet else {})


class Worker:
    """A process of one library."""

    def __init__(self, library: str, python: str, threads: int, cache: str | None = None) -> None:
        """cache: where symc keeps what it compiles, if not where it usually does."""
        count = str(threads)
        environment = {**os.environ, "OMP_NUM_THREADS": count, "SYMC_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
        if cache is not None:
            environment["SYMC_CACHE_DIR"] = cache
        cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_setaffinity") else []
        self.library = library
        self.process = subprocess.Popen(
            [python, str(_PROGRAM), library, count], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )  # fmt: skip

    def ask(self, **request: Any) -> Any:
        """The answer to a request. Failed if there is none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed(f"the worker stopped (exit code {self.process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:  # it has stopped already
            self.process.kill()
        self.process.wait()


def start(libraries: Iterable[str], pythons: dict[str, str], threads: int, cache: str | None) -> list[Worker]:
    """Workers, symc's first."""
    return [Worker(name, pythons.get(name, sys.executable), threads, cache) for name in libraries]

"""One library at work: python worker.py LIBRARY THREADS. Reads requests, a JSON line each, and answers likewise:

{"prepare": FILE}             builds the workload and runs it once: {"first": seconds, "sample": some results}
{"measure": FILE, "for": S}   runs it again for about S seconds: {"seconds": [of every run, short ones in batches]}
{"memory": true}              {"peak": megabytes of this process so far}

What it can't do is answered with {"error": sentence}.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from graph import Graph, Unsupported
from libraries import LIBRARIES

#: results that a sample holds
SAMPLE = 64


def measure(run: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of every repeat: three at least; runs under 2 ms in batches of that length."""
    start = time.perf_counter()
    run()
    once = max(time.perf_counter() - start, 1e-7)
    inner = max(1, int(2e-3 / once))
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < 3 or (time.perf_counter() < until and len(found) < 50):
        start = time.perf_counter()
        for _ in range(inner):
            run()
        found.append((time.perf_counter() - start) / inner)
    return found


def sample(result: Any) -> list[float]:
    """Results spread over the whole array."""
    flat = np.asarray(result, np.float64).ravel()
    return [float(x) for x in flat[:: max(1, flat.size // SAMPLE)][:SAMPLE]]


def main() -> None:
    module, way = LIBRARIES[sys.argv[1]]
    threads = int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not do so between the answers
    build: Any = importlib.import_module(module).build
    ready: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "prepare" in request:
                graph = Graph(request["prepare"])
                arrays = graph.arrays()
                start = time.perf_counter()
                run, read = ready[request["prepare"]] = build(graph, arrays, threads, way)
                run()
                answer = {"first": time.perf_counter() - start, "sample": sample(read())}
            elif "measure" in request:
                answer = {"seconds": measure(ready[request["measure"]][0], request["for"])}
            else:
                answer = {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        except Unsupported as e:
            answer = {"error": f"no {e}"}
        except Exception as e:  # a library may raise anything: its row says so, and the others go on
            answer = {"error": f"{type(e).__name__}: {str(e).strip().splitlines()[:1]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""symc bench: what programs cost here, and beside other libraries in the same run.

symc bench [CASES...] [--peers A,B] [--python P] [--mxnet P]   speed, first call and memory beside the peers found
symc bench compile [FILE.json ... --shapes S [--train]]        cost of compiling, cold and from the cache
symc bench memory                                              planned memory against the largest live set
symc bench list                                                the cases
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys

from symc.bench import workers
from symc.bench.cases import CASES, WHOLE_NETS
from symc.bench.compile import compile_cost
from symc.bench.description import compiled
from symc.settings import whole


def main(argv: list[str] | None = None) -> int:
    """Entry of `symc bench`."""
    parser = argparse.ArgumentParser(
        prog="symc bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", default=["*"], metavar="CASE",
        help="a name or a glob, like predict/* or conv/dw*; or compile [FILE ...], memory or list",
    )  # fmt: skip
    parser.add_argument("--peers", metavar="A,B", help=f"which of {', '.join(workers.PEERS)}; or none")
    parser.add_argument("--python", default=sys.executable, help="interpreter in which to look for peers")
    parser.add_argument("--mxnet", metavar="PYTHON", help="interpreter that has MXNet 1.9.1")
    parser.add_argument("--rounds", type=whole(1), default=3, help="times the workers take turns")
    parser.add_argument("--milliseconds", type=whole(0), default=500, help="how long a case runs in a turn")
    parser.add_argument("--threads", type=whole(1), default=os.cpu_count() or 1)
    parser.add_argument("--json", metavar="FILE", help="write everything measured")
    parser.add_argument("--shapes", default="", metavar="NAME=AxB,...", help="shapes of the inputs of compiled files")
    parser.add_argument("--train", action="store_true", help="compile files with their gradients")
    options = parser.parse_args(argv)
    if options.cases[0] == "compile":
        return compile_cost(options.cases[1:], options.shapes, options.train)
    if options.cases == ["memory"]:
        return memory()
    if options.cases == ["list"]:
        print("\n".join(CASES))
        return 0
    chosen = [c for c in CASES if any(fnmatch.fnmatch(c, g) for g in options.cases)]
    if not chosen:
        parser.error(f"no case matches {' '.join(options.cases)}; `symc bench list` shows them")
    from symc.bench.speed import speed

    peers = workers.find(options.python, options.mxnet)
    if options.peers is not None:
        asked = [p for p in options.peers.split(",") if p != "none"]
        if missing := [p for p in asked if p not in peers]:
            parser.error(f"--peers: {missing[0]} is not found (--python and --mxnet say where; {', '.join(peers)} are)")
        peers = {p: peers[p] for p in asked}
    else:
        peers = {p: python for p, python in peers.items() if p not in workers.ON_REQUEST}
    return speed(chosen, peers, options.rounds, options.threads, options.milliseconds / 1000, options.json)


def memory() -> int:
    """Planned arena of every training step and prediction against the largest live set."""
    print(f"{'net':28}{'arena':>14}{'live set':>14}{'over':>8}")
    for case in CASES.values():
        if case.family in WHOLE_NETS:
            program = compiled(case).program
            over = program.arena / max(program.lower_bound, 1) - 1
            print(f"{case.name:28}{program.arena:>14,}{program.lower_bound:>14,}{100 * over:>7.1f}%", flush=True)
    return 0

"""symc bench: run the workloads here and, alternately, in a peer's interpreter.

symc bench [CASES...] [--mxnet PYTHON] [--rounds N]     speed beside MXNet 1.9.1
symc bench compile [FILE.json ... --shapes S [--train]] cost of compiling, cold and from the cache
symc bench memory                                       planned memory against the largest live set
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from symc.bench import specs
from symc.bench.compile import compile_cost
from symc.settings import whole


class Peer:
    """A worker process of another interpreter (or our own) that times cases on request."""

    def __init__(self, python: str, module: str, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "SYMC_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, str(Path(specs.__file__)), module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def measure(self, case: str, repeats: int) -> list[float]:
        """Seconds of `repeats` runs."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{case} {repeats}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker stopped at case {case} (exit code {self.process.wait()})")
        return [float(x) for x in line.split()]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main(argv: list[str] | None = None) -> int:
    """Entry of `symc bench`."""
    parser = argparse.ArgumentParser(
        prog="symc bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", default=["*"], help=f"globs over {', '.join(specs.CASES)}; or compile [FILE ...], or memory"
    )
    parser.add_argument("--mxnet", metavar="PYTHON", help="interpreter that has MXNet 1.9.1")
    parser.add_argument("--rounds", type=whole(1), default=5, help="times the workers take turns")
    parser.add_argument("--threads", type=whole(1), default=os.cpu_count() or 1)
    parser.add_argument("--shapes", default="", metavar="NAME=AxB,...", help="shapes of the inputs of compiled files")
    parser.add_argument("--train", action="store_true", help="compile files with their gradients")
    options = parser.parse_args(argv)
    if options.cases[0] == "compile":
        return compile_cost(options.cases[1:], options.shapes, options.train)
    if options.cases == ["memory"]:
        return memory()
    chosen = [c for c in specs.CASES if any(fnmatch.fnmatch(c, g) for g in options.cases)]
    if not chosen:
        parser.error(f"no case matches {' '.join(options.cases)}; there are {', '.join(specs.CASES)}")
    return speed(chosen, options.mxnet, options.rounds, options.threads)


def speed(chosen: list[str], mxnet: str | None, rounds: int, threads: int) -> int:
    """Medians of every case; with a peer the ratio peer / symc of the same rounds."""
    from symc.bench import limits

    print(limits.describe())
    workers = {"symc": Peer(sys.executable, "symc", threads)}
    if mxnet:
        workers["mxnet"] = Peer(mxnet, "mxnet", threads)
    print(
        f"{'case':18}{'symc':>12}"
        + (f"{'mxnet':>12}{'ratio':>8}{'(worst round)':>15}" if mxnet else "")
        + f"{'of limit':>10}"
    )
    for case in chosen:
        found: dict[str, list[list[float]]] = {name: [] for name in workers}
        peaks = []  # a shared machine's speed changes: the limit is measured beside the case
        for _ in range(rounds):
            peaks.append(limits.flops_per_second())
            for name, worker in workers.items():
                found[name].append(worker.measure(case, 7))
        ours = statistics.median(x for r in found["symc"] for x in r)
        line = f"{case:18}{_seconds(ours):>12}"
        if mxnet:
            theirs = statistics.median(x for r in found["mxnet"] for x in r)
            worst = min(statistics.median(b) / statistics.median(a) for a, b in zip(found["symc"], found["mxnet"]))
            line += f"{_seconds(theirs):>12}{theirs / ours:>7.2f}x{worst:>14.2f}x"
        line += f"{_share(case, ours, statistics.median(peaks)):>10}"
        print(line, flush=True)
    for worker in workers.values():
        worker.close()
    return 0


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _share(case: str, seconds: float, peak: float) -> str:
    """Share of the multiply-add limit that the case's contractions reach."""
    from symc.ir.program.work import flops_of

    kind, _, name = case.partition("/")
    if name in specs.LAYERS:
        return f"{100 * specs.layer_flops(name) / seconds / peak:.0f} %"
    if name not in specs.NETS:
        return "-"
    executable = compiled(name, kind == "train")
    return f"{100 * flops_of(executable.program) / seconds / peak:.0f} %"


def compiled(name: str, train: bool) -> Any:
    """The program of a net: what Module trains with, or what an Executor predicts with."""
    import symc as mx
    from symc.compile import compile_symbol
    from symc.ir.types import F32, TensorType
    from symc.typed import module_of

    if train:
        module, _ = specs.trainable(mx, name)
        return module._fused_step().executable
    net, shape = specs.NETS[name](mx)
    arguments, _, states = net.infer_shape(data=shape, softmax_label=shape[:1])
    names = [*net.list_arguments(), *net.list_auxiliary_states()]
    return compile_symbol(module_of(net, {n: TensorType(F32, s) for n, s in zip(names, [*arguments, *states])}))


def memory() -> int:
    """Planned arena of every training step and prediction against the largest live set."""
    print(f"{'net':22}{'arena':>14}{'live set':>14}{'over':>8}")
    for name in specs.NETS:
        for kind in ("train", "predict"):
            program = compiled(name, kind == "train").program
            over = program.arena / max(program.lower_bound, 1) - 1
            print(
                f"{kind + '/' + name:22}{program.arena:>14,}{program.lower_bound:>14,}{100 * over:>7.1f}%", flush=True
            )
    return 0

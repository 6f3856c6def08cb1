"""symc bench compile: seconds until a program runs, in fresh processes; with an empty cache and from a full one. And
milliseconds until small ones run, in a process that has run others before."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def densenet201(mx: Any) -> Any:
    """DenseNet-201 (Huang et al. 2017), 224x224: the deepest of the classifiers people hold, 1,700 nodes."""

    def active(x: Any) -> Any:
        return mx.sym.Activation(mx.sym.BatchNorm(x), act_type="relu")

    def conv(x: Any, filters: int, kernel: int) -> Any:
        x = active(x)
        return mx.sym.Convolution(x, kernel=(kernel,) * 2, pad=(kernel // 2,) * 2, num_filter=filters, no_bias=True)

    x = mx.sym.Convolution(mx.sym.Variable("data"), kernel=(7, 7), stride=(2, 2), pad=(3, 3), num_filter=64)
    x = mx.sym.Pooling(active(x), kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max")
    channels = 64
    for block, layers in enumerate((6, 12, 48, 32)):
        for _ in range(layers):
            x = mx.sym.Concat(x, conv(conv(x, 128, 1), 32, 3))
        channels += 32 * layers
        if block < 3:
            channels //= 2
            x = mx.sym.Pooling(conv(x, channels, 1), kernel=(2, 2), stride=(2, 2), pool_type="avg")
    x = mx.sym.Pooling(active(x), global_pool=True, kernel=(1, 1), pool_type="avg")
    return mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=1000)


def unrolled_lstm(mx: Any) -> Any:
    """An LSTM over 430 steps, written out: 6,000 nodes."""
    outputs, _ = mx.rnn.LSTMCell(64, prefix="lstm_").unroll(430, mx.sym.Variable("data"), merge_outputs=True)
    x = mx.sym.FullyConnected(mx.sym.Reshape(outputs, shape=(-1, 64)), num_hidden=10)
    return mx.sym.SoftmaxOutput(x, name="softmax")


#: cases that are compiled from their Symbol
NETS = (
    "train/mlp-b64",
    "predict/mlp-b64",
    "train/lenet-b64",
    "predict/lenet-b64",
    "train/resnet18-32px-b32",
    "predict/resnet18-b1",
)
#: (name, net, shapes, whether it is trained): measured from the file to the first result
LARGE = (
    ("predict/densenet201", densenet201, "data=1x3x224x224", False),
    ("train/lstm-430-steps", unrolled_lstm, "data=16x430x32", True),
)

_PROGRAM = """
import sys, time
import symc.codegen.jit.compile, symc.executor, symc.module
from symc.bench.cases import CASES
from symc.bench.description import compiled
import llvmlite.binding
start = time.perf_counter()
compiled(CASES[sys.argv[1]])
print(time.perf_counter() - start)
"""

_FILE = """
import sys, time
import symc as mx, symc.codegen.jit.compile, symc.executor, symc.ndarray
from symc.cli.arguments import parse_shapes
import llvmlite.binding
path, shapes, train = sys.argv[1], parse_shapes(sys.argv[2]), sys.argv[3] == "train"
start = time.perf_counter()
exe = mx.sym.load(path).simple_bind(mx.cpu(), grad_req="write" if train else "null", **shapes)
exe.forward(is_train=train)
if train:
    exe.backward([mx.nd.ones(o.shape, dtype=o.dtype) for o in exe.outputs])
for result in (*exe.outputs, *(g for g in exe.grad_arrays if g is not None)):
    result.wait_to_read()
print(time.perf_counter() - start)
"""


#: the small programs of _SMALL
SMALL = ("three-operators", "layer", "convolution-norm", "softmax-loss")

_SMALL = """
import statistics, sys, time
import symc as mx, symc.compile as compiler, symc.executor, symc.ndarray
S, v, train = mx.sym, mx.sym.Variable, sys.argv[2] == "train"
net, shapes = {
    "three-operators": (
        lambda n: S.broadcast_add(v("a") * v("b"), v("c"), name=n) * 2, lambda i: dict.fromkeys("abc", (4 + i, 3))
    ),
    "layer": (
        lambda n: S.Activation(S.FullyConnected(v("x"), num_hidden=64, name=n), act_type="relu"),
        lambda i: {"x": (16 + i, 32)},
    ),
    "convolution-norm": (
        lambda n: S.Activation(
            S.BatchNorm(S.Convolution(v("x"), kernel=(3, 3), pad=(1, 1), num_filter=8, name=n), fix_gamma=False),
            act_type="relu",
        ),
        lambda i: {"x": (2, 4, 8 + i, 8)},
    ),
    "softmax-loss": (
        lambda n: S.SoftmaxOutput(S.FullyConnected(v("x"), num_hidden=10, name=n), v("label"), name="softmax"),
        lambda i: {"x": (16 + i, 32)},
    ),
}[sys.argv[1]]

def milliseconds(i, name, key_of=compiler.key_of):
    with mx.name.NameManager():
        symbol = net(name)
    compiler.key_of = key_of
    start = time.perf_counter()
    exe = symbol.simple_bind(mx.cpu(), grad_req="write" if train else "null", **shapes(i))
    exe.forward(is_train=train)
    if train:
        exe.backward([mx.nd.ones(o.shape) for o in exe.outputs])
    return 1e3 * (time.perf_counter() - start)

milliseconds(0, "first")
found = [
    # the second finds no program that was kept, so that all passes run
    (milliseconds(i, "new"), milliseconds(i, "other", lambda *_: None), milliseconds(i, "known")) for i in range(1, 10)
]
print(*map(statistics.median, zip(*found)))
"""


def compile_cost(files: list[str], shapes: str, train: bool) -> int:
    """From a Symbol to a program that can run, imports not counted; then large nets, or these files, from the JSON to
    the first result."""
    print(f"{'net':34}{'cold':>10}{'from cache':>12}")
    if files:
        for path in files:
            _row(Path(path).name, _FILE, path, shapes, "train" if train else "predict")
        return 0
    for name in NETS:
        _row(name, _PROGRAM, name)
    import symc as mx

    with tempfile.TemporaryDirectory() as folder:
        for name, net, given, trained in LARGE:
            symbol = net(mx)
            path = str(Path(folder, "net-symbol.json"))
            symbol.save(path)
            _row(name, _FILE, path, given, "train" if trained else "predict")
    print(f"\n{'small programs':34}{'cold':>10}{'known kernels':>15}{'known program':>15}")
    for name in SMALL:
        for kind in ("predict", "train"):
            _small_row(name, kind)
    return 0


def _small_row(name: str, kind: str) -> None:
    """Medians over shapes that the process has not met; then of other names, so that kernels are known, or all is."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _SMALL, name, kind]
        done = subprocess.run(command, env={**os.environ, "SYMC_CACHE_DIR": folder}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"symc bench: {name}: {done.stderr.strip().splitlines()[-1]}")
    cold, kernels, program = map(float, done.stdout.split())
    print(f"{kind + '/' + name:34}{cold:>7.1f} ms{kernels:>12.1f} ms{program:>12.1f} ms", flush=True)


def _row(label: str, code: str, *arguments: str) -> None:
    """Measure with an empty cache, then three times with what that left."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SYMC_CACHE_DIR": folder}
        found = []
        for _ in range(4):
            command = [sys.executable, "-c", code, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"symc bench: {label}: {done.stderr.strip().splitlines()[-1]}")
            found.append(float(done.stdout))
    print(f"{label:34}{found[0]:>8.2f} s{statistics.median(found[1:]):>10.3f} s", flush=True)

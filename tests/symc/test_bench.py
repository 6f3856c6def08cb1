"""Protects the benchmark: every library runs the same work, and the share of the limit is that of the work done."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.bench import nets
from symc.bench.cases import CASES, CONVOLUTIONS, LAYERS, Case
from symc.bench.cli import main
from symc.bench.description import compiled, write
from symc.bench.workers import Worker, find
from symc.ir.program.work import flops_of


@pytest.mark.parametrize("name", ["layer/dw960-7", "conv/r50-1x1s2-256-128@56-b1", "conv/dw-3x3s2-576@14-b8"])
def test_the_work_of_a_convolution_is_that_of_its_program(name: str) -> None:
    layer = LAYERS.get(name[6:]) or CONVOLUTIONS[name[5:-3]]
    channels, size, filters, kernel, stride, groups = layer
    places = (size + 2 * (kernel // 2) - kernel) // stride + 1
    batch = CASES[name].shapes["data"][0]
    assert flops_of(compiled(CASES[name]).program) == 2 * batch * places**2 * filters * channels // groups * kernel**2


def test_recurrent_nets_are_compiled_as_they_are_trained() -> None:
    """Their parameters have no name that initializers know."""

    def build(mx: Any) -> Any:
        return nets.loss(mx, nets.lstm(mx, batch=2, words=9, width=4, layers=1), flat=True)

    both = ("data", "softmax_label")
    case = Case("train/lstm-b2", "train", build, dict.fromkeys(both, (3, 2)), dict.fromkeys(both, 9))
    assert "rnn_parameters" in {u.input for u in compiled(case).program.updates}


def test_every_case_can_be_described(tmp_path: Path) -> None:
    for case in CASES.values():
        write(case, tmp_path / "case.json")
        told = json.loads((tmp_path / "case.json").read_text())
        assert told["nodes"][told["output"]]["op"] != "null" and not set(told["parameters"]) & set(told["data"])


def _small(name: str) -> Case:
    """A case with its numbers of steps, images and words made small."""
    sizes = {"predict/bert-b1": (1, 8, 768), "predict/lstm-b20": (3, 20), "memory/softmax": (6, 10)}
    case = CASES[name]
    shapes = {n: sizes.get(name, s) for n, s in case.shapes.items()}
    return Case(case.name, case.kind, case.build, shapes, case.whole)


@pytest.mark.parametrize("name", ["call/abc", "predict/mlp-b1", "gemm/64x64x64-TN", "memory/softmax"])
def test_numpy_finds_the_same_results(name: str, tmp_path: Path) -> None:
    write(_small(name), tmp_path / "case.json")
    samples = {}
    for library in ("symc", "numpy"):
        worker = Worker(library, sys.executable, 1)
        samples[library] = worker.ask(prepare=str(tmp_path / "case.json"))["sample"]
        assert len(worker.ask(measure=str(tmp_path / "case.json"), **{"for": 0.0})["seconds"]) == 3
        worker.close()
    np.testing.assert_allclose(samples["symc"], samples["numpy"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["train/lenet-b64", "convgrad/dw-3x3-960@7-b8", "train/mlp-b64"])
def test_training_runs(name: str, tmp_path: Path) -> None:
    """A training step's sample is its mean cross entropy: about that of a guess at first."""
    write(CASES[name], tmp_path / "case.json")
    worker = Worker("symc", sys.executable, 1)
    sample = worker.ask(prepare=str(tmp_path / "case.json"))["sample"]
    worker.close()
    if CASES[name].kind == "train":
        assert sample == pytest.approx([math.log(10)], abs=0.5)


def test_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    assert main(["call/abc", "--peers", "numpy", "--rounds", "2", "--milliseconds", "0", "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "best/symc" in printed.out and "geometric mean" in printed.out and not printed.err
    told = json.loads(out.read_text())["call/abc"]
    assert set(told) == {"symc", "numpy"} and [len(r["seconds"]) for r in told.values()] == [2, 2]


def test_what_a_library_lacks_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convgrad/dw-3x3-960@7-b8", "--peers", "numpy", "--rounds", "1", "--milliseconds", "0"]) == 0
    row = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("dw-3x3-960"))
    assert row.split()[3:5] == ["-", "-"]


def test_peers_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "numpy" in find(sys.executable, None) and "mxnet" not in find(sys.executable, None)
    with pytest.raises(SystemExit):
        main(["call/abc", "--peers", "nosuch"])
    assert "nosuch is not found" in capsys.readouterr().err


def test_the_cases_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == list(CASES) and mx.__name__ == "symc"

"""Protects: what Executors and Modules do is what they do in MXNet 1.9.1.

The answers were recorded by running tests/golden/module/scenarios.py under MXNet; the same functions run here.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from loading import GOLDEN, module_at

import symc as mx

FOLDER = GOLDEN / "module"
scenarios = module_at(FOLDER / "scenarios.py")

#: what MXNet's Monitor shows of its own doing: head gradients, sums and zeros that its graph has as nodes
INTERNAL = re.compile(r"_head_grad_|sum_grad|zeros_without_dtype|.*_workspace$")
#: results that operators hide in MXNet and do not have here
HIDDEN = {"in_mean", "in_var", "l2_norm", "lrn_tmp_norm"}
#: gradients that nobody asked for: MXNet shows whatever lies in its memory
UNWRITTEN = {"cat_backward_output1"}


def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def by_net(values: dict[str, np.ndarray]) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for key, value in values.items():
        title, _, name = key.split("/")
        if not INTERNAL.match(name):
            found.setdefault(title, []).append((name, float(value)))
    return found


@pytest.mark.parametrize("name", ["monitor_outputs", "monitor_inputs"])
def test_monitors_see_what_mxnet_shows(name: str) -> None:
    expected, got = by_net(recorded(name)), by_net(getattr(scenarios, name)(mx))
    assert got.keys() == expected.keys()
    for title, pairs in expected.items():
        shown = dict(got[title])
        # an operator that lets no gradient through is not shown here; MXNet's gives zeros
        left = {n for n, v in pairs if n not in shown and not (v == 0 and "backward" in n)} - HIDDEN
        assert not left, (title, left)
        order = [n for n, _ in pairs if n in shown]
        assert [n for n, _ in got[title]] == order, title
        for label, value in pairs:
            if label in shown and label not in UNWRITTEN:
                np.testing.assert_allclose(shown[label], value, rtol=2e-4, atol=1e-5, err_msg=f"{title}/{label}")


@pytest.mark.parametrize("name", ["several_contexts", "rows_elsewhere", "requests"])
@pytest.mark.filterwarnings("ignore")
def test_same_as_mxnet(name: str) -> None:
    expected, got = recorded(name), getattr(scenarios, name)(mx)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-3, atol=1e-5, err_msg=key)

"""BatchNorm trains as MXNet's: outputs, gradients and moving statistics of two steps (a golden file)."""

from __future__ import annotations

import numpy as np
import pytest
from loading import GOLDEN, module_at

import symc as mx

FOLDER = GOLDEN / "norm"
scenarios = module_at(FOLDER / "scenarios.py")
ANSWERS = dict(np.load(FOLDER / "answers.npz"))


@pytest.mark.parametrize("name", scenarios.CASES)
def test_batch_norm_trains_as_in_mxnet(name: str) -> None:
    for key, got in scenarios.run(mx, name).items():
        np.testing.assert_allclose(got, ANSWERS[f"{name}.{key}"], rtol=1e-5, atol=5e-6, err_msg=key)


def test_the_variance_of_almost_constant_data_is_kept() -> None:
    """It is not told from 1 / sqrt(var + eps), where it would drown in eps."""
    net = mx.sym.BatchNorm(mx.sym.Variable("data"), name="bn", momentum=0.0)
    exe = net.simple_bind(mx.cpu(), data=(64, 1))
    exe.arg_dict["data"][:] = data = np.linspace(-1e-4, 1e-4, 64)[:, None]
    exe.forward(is_train=True)
    exe.backward(mx.nd.ones((64, 1)))
    np.testing.assert_allclose(exe.aux_dict["bn_moving_var"].asnumpy(), data.var(), rtol=1e-5)

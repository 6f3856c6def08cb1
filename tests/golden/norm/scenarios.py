"""Training steps of BatchNorm: two, on data of several shapes, with and without gamma.

Run under MXNet 1.9.1 to record its answers: `MXNET_MKLDNN_ENABLED=0 python scenarios.py` writes answers.npz beside
this file (MXNet's own kernels: those of oneDNN add in another order).
"""

from __future__ import annotations

import numpy as np

CASES = {
    "images": ((2, 5, 9, 9), {"fix_gamma": False}),
    "rows": ((33, 6), {"fix_gamma": False, "momentum": 0.7}),
    "fixed": ((3, 4, 21), {"eps": 2e-5}),
    "last": ((4, 3, 3, 7), {"axis": 3, "fix_gamma": False}),
}


def run(mx, name):
    """Outputs, gradients and states after two steps."""
    shape, attrs = CASES[name]
    rs = np.random.RandomState(len(name))
    channels = shape[attrs.get("axis", 1)]
    net = mx.sym.BatchNorm(mx.sym.Variable("data"), name="bn", **attrs)
    exe = net.simple_bind(mx.cpu(), data=shape)
    exe.arg_dict["bn_gamma"][:] = rs.uniform(0.5, 1.5, channels)
    exe.arg_dict["bn_beta"][:] = rs.normal(size=channels)
    exe.aux_dict["bn_moving_var"][:] = 1
    made = {}
    for step in range(2):
        exe.arg_dict["data"][:] = rs.normal(0.5, 1, shape)
        exe.forward(is_train=True)
        made[f"out{step}"] = exe.outputs[0].asnumpy()
        exe.backward(mx.nd.array(rs.normal(size=shape)))
        made.update({f"{k}{step}": v.asnumpy() for k, v in (*exe.grad_dict.items(), *exe.aux_dict.items())})
    return made


if __name__ == "__main__":
    import os

    import mxnet

    found = {f"{name}.{key}": value for name in CASES for key, value in run(mxnet, name).items()}
    np.savez_compressed(os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers.npz"), **found)

"""Bilinear resizing of float64 rows, whose weights tell how places are computed.

Run under MXNet 1.9.1 to record its answers: `python scenarios.py` writes answers.npz beside this file.
"""

from __future__ import annotations

import numpy as np

CASES = {
    "corners": (5, 97, True),
    "centres": (5, 97, False),
    "smaller": (113, 31, True),
    "smaller centres": (113, 31, False),
    "odd": (7, 12, False),
}


def run(mx, name):
    """A ramp resized: the places themselves, wherever they lie inside."""
    size, out, corners = CASES[name]
    net = mx.sym.contrib.BilinearResize2D(mx.sym.Variable("x"), height=2, width=out, align_corners=corners)
    data = np.stack([np.arange(size, dtype=np.float64)] * 2)[None, None]
    exe = net.bind(mx.cpu(), {"x": mx.nd.array(data, dtype="float64")})
    return exe.forward()[0].asnumpy()[0, 0, 0]


if __name__ == "__main__":
    import os

    import mxnet

    found = {name: run(mxnet, name) for name in CASES}
    np.savez_compressed(os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers.npz"), **found)

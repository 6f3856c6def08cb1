"""Commands of the command line, run in the tests' own process."""

from __future__ import annotations

import pytest

from symc.cli import main

#: a Python file with a Symbol, and the shapes that it needs
NET = """
import symc as mx

data = mx.sym.Variable("data")
fc1 = mx.sym.FullyConnected(data, name="fc1", num_hidden=8)
relu1 = mx.sym.Activation(fc1, name="relu1", act_type="relu")
fc2 = mx.sym.FullyConnected(relu1, name="fc2", num_hidden=3)
softmax = mx.sym.SoftmaxOutput(fc2, name="softmax")


def net():
    return softmax


def broken():
    return mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="flat", flatten=True)


number = 3
"""
SHAPES = ["--shapes", "data=4x6"]

#: a program in text form
SIR = """symc ir 1 level=tensor
func @f(%x: f32[3] data) -> (y: f32[3]) {
  %y: f32[3] = exp(%x) !1
  return %y
}
!1 = sym "y" exp
"""


def ran(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that must end with `code`."""
    given = main(list(arguments))
    out, err = capsys.readouterr()
    assert given == code, err
    assert "Traceback" not in err
    return out, err

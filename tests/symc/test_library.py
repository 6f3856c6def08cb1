"""Protects the compiler as a library: symc.compile is a function and a module, takes programs of every level, and says
what does not fit. User programs that call it are typed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import symc as mx
from symc.base import MXNetError
from symc.compile import pipeline
from symc.ir.errors import IRError
from symc.ir.interp import interpret
from symc.ir.modules import LoopModule
from symc.ir.op import input_node
from symc.ir.parse import parse
from symc.ir.prims import elementwise as ew
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import finish, with_origins
from symc.ir.types import F32, TensorType
from symc.ir.verify import verify
from symc.passes.pipeline import Manager, PipelineError, parse_pipeline

TEXT = """symc ir 1 level=tensor
func @f(%x: f32[4,3] data, %w: f32[4,3] arg) -> (out: f32[4,3]) {
  %s: f32[4,3] = mul(%x, %w) !1
  %y: f32[4,3] = tanh(%s) !1
  return %y
}
!1 = sym "y" tanh at "net.py":3
"""
RNG = np.random.default_rng(1)
ARRAYS = {name: RNG.uniform(-1, 1, (4, 3)).astype("float32") for name in ("x", "w")}
TO_PROGRAM = "inline,simplify,fuse,schedule,own_results,plan_memory"


def net():
    return mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")


def test_compile_is_a_module_and_a_function():
    """Whichever is met first."""
    module = importlib.import_module("symc.compile")
    assert mx.compile is module and callable(module)
    assert module.pipeline is pipeline
    again = "import symc.compile, symc; symc.compile; assert callable(symc.compile)"
    assert subprocess.run([sys.executable, "-c", again], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("passes", ["", "inline", "inline,fuse", TO_PROGRAM, TO_PROGRAM + ",lower,choose,tile"])
def test_programs_of_every_level_go_on_from_there(passes):
    module = Manager(verify=True).run(parse_pipeline(passes), parse(TEXT))
    truth = interpret(module, ARRAYS, f64=True).outputs["out"]
    np.testing.assert_allclose(mx.compile(module)(**ARRAYS)["out"], truth, rtol=1e-5)
    np.testing.assert_allclose(truth, np.tanh(ARRAYS["x"].astype("f8") * ARRAYS["w"]), rtol=1e-12)
    assert isinstance(module, (type(parse(TEXT)), Program, LoopModule))


def test_programs_built_by_hand_need_no_origins():
    x = input_node("x", TensorType(F32, (4, 3)), "data")
    w = input_node("w", TensorType(F32, (4, 3)))
    graph = finish("f", [x, w], [("out", ew.tanh(x * w))])
    np.testing.assert_array_equal(mx.compile(graph)(**ARRAYS)["out"], mx.compile(parse(TEXT))(**ARRAYS)["out"])
    verify(with_origins(graph))


def test_what_interpreters_do_not_take():
    with pytest.raises(IRError, match="Symbol has no interpreter"):
        interpret(net(), {})


def test_symbols_take_shapes_and_types():
    given = {"data": np.ones((3, 4)), "fc_weight": np.ones((2, 4)), "fc_bias": [0, 1]}
    for types in ({"data": (3, 4)}, {"data": TensorType(F32, (3, 4)), "fc_bias": (2,)}):
        assert mx.compile(net(), types)(**given)["fc_output"].tolist() == [[4, 5]] * 3
    with pytest.raises(MXNetError, match="shape of data, fc_weight, fc_bias is not known; give it in types"):
        mx.compile(net())
    with pytest.raises(MXNetError, match="no argument 'dat'.*data"):
        mx.compile(net(), {"dat": (3, 4)})
    with pytest.raises(TypeError, match="types are for Symbols; a Graph has its own"):
        mx.compile(parse(TEXT), {"x": (4, 3)})
    with pytest.raises(TypeError):
        mx.compile(3)


def test_gradients_are_outputs():
    loss = mx.sym.LinearRegressionOutput(net(), mx.sym.Variable("label"), name="loss")
    exe = mx.compile(loss, {"data": (3, 4)}, train=True, wrt=["fc_weight"])
    found = exe(data=np.ones((3, 4)), fc_weight=np.ones((2, 4)), fc_bias=[0, 1], label=np.zeros((3, 2)))
    bound = loss.simple_bind(mx.cpu(), grad_req={"fc_weight": "write"}, data=(3, 4))
    bound.forward(True, data=np.ones((3, 4)), fc_weight=np.ones((2, 4)), fc_bias=[0, 1], label=np.zeros((3, 2)))
    bound.backward()
    (gradient,) = [value for name, value in found.items() if value.shape == (2, 4)]
    np.testing.assert_array_equal(gradient, bound.grad_dict["fc_weight"].asnumpy())
    graph = mx.compile(parse(TEXT), wrt=["w"])
    head = next(p.name for p in graph.program.params if p.role == "head")
    np.testing.assert_allclose(
        [v for n, v in graph(**ARRAYS, **{head: np.ones((4, 3))}).items() if n != "out"][0],
        (1 - np.tanh(ARRAYS["x"] * ARRAYS["w"]) ** 2) * ARRAYS["x"],
        rtol=1e-4,
        atol=1e-6,
    )
    with pytest.raises(PipelineError, match="gradients are made of a Symbol or a tensor graph; this is program IR"):
        mx.compile(Manager().run(parse_pipeline(TO_PROGRAM), parse(TEXT)), wrt=["w"])


def test_pipelines_end_with_loops():
    with pytest.raises(PipelineError, match="ends with program IR; machine code is made of loop IR"):
        mx.compile(parse(TEXT), pipeline="inline,fuse")
    with pytest.raises(PipelineError, match="says itself how it trains"):
        mx.compile(parse(TEXT), pipeline=TO_PROGRAM + ",lower", train=True)
    exe = mx.compile(net(), {"data": (3, 4)}, pipeline="decompose," + TO_PROGRAM + ",lower,choose,tile")
    assert list(exe(data=np.ones((3, 4)), fc_weight=np.ones((2, 4)), fc_bias=[0, 1])) == ["fc_output"]


def test_calls_say_what_is_wrong():
    exe = mx.compile(parse(TEXT))
    with pytest.raises(ValueError, match=r"f needs out.head: f32\[4,3\] \(the gradient of the output out\)"):
        mx.compile(parse(TEXT), wrt=["w"])(**ARRAYS)
    with pytest.raises(ValueError, match=r"f needs w: f32\[4,3\]"):
        exe(x=ARRAYS["x"])
    with pytest.raises(ValueError, match="f has no parameter 'y'; it has"):
        exe(**ARRAYS, y=1)
    with pytest.raises(ValueError, match=r"w: needs f32\[4,3\], got shape \[3\]"):
        exe(x=ARRAYS["x"], w=[1, 2, 3])
    before = {name: array.copy() for name, array in ARRAYS.items()}
    first, second = exe(**ARRAYS)["out"], exe(**ARRAYS)["out"]
    assert first is not second and (first == second).all()
    assert all((before[name] == ARRAYS[name]).all() for name in before)


def test_random_keys_are_drawn():
    drawn = mx.compile(mx.sym.Dropout(mx.sym.Variable("data"), p=0.5), {"data": (64,)}, train=True)
    mx.random.seed(3)
    ones = [next(iter(drawn(data=np.ones(64)).values())) for _ in range(2)]
    assert (ones[0] != ones[1]).any() and set(ones[0].tolist()) == {0.0, 2.0}


def test_user_programs_are_typed(tmp_path):
    """The page's code under mypy --strict: the library's names have types, and wrong calls are seen."""
    page = (Path(__file__).parents[2] / "symc" / "docs" / "library.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    program = tmp_path / "program.py"
    wrong = "symc.compile(graph, trian=True)\nTwice(rounds=3)\n"
    program.write_text("from __future__ import annotations\n" + "".join(blocks) + wrong, encoding="utf-8")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", str(program)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, env={"MYPYPATH": str(root), "PATH": ""})
    errors = [line.partition("error: ")[2] for line in run.stdout.splitlines() if "error:" in line]
    assert [error.split(" for ")[0] for error in errors] == [
        'Unexpected keyword argument "trian"', 'Unexpected keyword argument "rounds"',
    ], run.stdout  # fmt: skip


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda x: mx.sym.Reshape(x, shape=(4, 3), name="mine"), (2, 20)),
        (lambda x: mx.sym.Reshape(x, target_shape=(4, 1, 24, 32), name="mine"), (2, 20)),
        (lambda x: mx.sym.pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 4, 4, 0, 0), name="mine"), (1, 1, 3, 3)),
        (lambda x: mx.sym.reverse(x, axis=-1, name="mine"), (2, 3)),
        (lambda x: mx.sym.contrib.cond(x.sum() > 0, lambda: x.reshape((7, 7), name="mine"), lambda: x), (7, 7, 2)),
    ],
)
def test_what_a_build_refuses_names_its_symbol(make, shape):
    """Shapes that fit until the operator is built: the error is as any other about a program."""
    with pytest.raises(MXNetError, match=r"\n  in operator \w+ 'mine'"):
        mx.compile(make(mx.sym.Variable("x")), {"x": shape})

"""Protects names: what registers itself under a name that is taken is refused or told, never swallowed."""

from __future__ import annotations

import types
import warnings
from typing import Any

import pytest

import symc as mx
import symc.ndarray
import symc.symbol
from symc.ir.op import PRIMITIVES, Node, Primitive, primitive
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Dot
from symc.ops.base import OPERATORS, Operator, operator
from symc.passes.loop.nests.common import NESTS, nest
from symc.passes.manager.manager import PASSES, Pass, register_pass


def a_pass(name: str) -> Any:
    @register_pass(name)
    class Made(Pass):
        """One of many that a function makes."""

    return Made


def an_operator(name: str, aliases: str = "") -> Any:
    @operator(name, inputs="data", aliases=aliases)
    class Made(Operator):
        """One of many that a function makes."""

        def build(self, ctx: Any, data: Node) -> Node:
            return ew.tanh(data)

    return Made


def a_primitive(name: str) -> Any:
    @primitive(name)
    class Made(Primitive):
        """One of many that a function makes."""

    return Made


def test_a_taken_name_is_refused_with_both_places() -> None:
    cases = [
        (a_pass, "simplify", "pass 'simplify'", "symc.passes.tensor.simplify.Simplify (", PASSES),
        (an_operator, "FullyConnected", "operator 'FullyConnected'", "symc.ops", OPERATORS),
        (a_primitive, "exp", "primitive 'exp'", "symc.ir.prims", PRIMITIVES),
    ]
    for make, name, what, first, table in cases:
        before = dict(table)
        with pytest.raises(ValueError, match="is defined twice: by ") as caught:
            make(name)
        text = str(caught.value)
        assert what in text and first in text
        assert f"{make.__name__}.<locals>.Made" in text and "test_definitions" in text
        assert table == before
    with pytest.raises(ValueError, match="the nest of primitive 'dot' is defined twice"):
        nest(Dot)(lambda *_: None)
    assert NESTS[Dot].__name__ != "<lambda>"


def test_what_a_function_makes_twice_is_two_things() -> None:
    for make, table in ((a_pass, PASSES), (an_operator, OPERATORS), (a_primitive, PRIMITIVES)):
        first = make("twice_made")
        try:
            with pytest.raises(ValueError, match="'twice_made' is defined twice"):
                make("twice_made")
            assert table["twice_made"] is first
        finally:
            del table["twice_made"]


def test_an_alias_that_is_taken_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="operator 'relu' is defined twice"):
        an_operator("quite_new", aliases="also_new relu")
    assert "quite_new" not in OPERATORS and "also_new" not in OPERATORS


CELL = """
from symc.ir.prims import elementwise as ew
from symc.ops.base import Operator, operator
from symc.passes.manager.manager import Pass, register_pass

@operator("cell_op", inputs="data")
class CellOp(Operator):
    def build(self, ctx, data):
        return ew.FUNCTION(data)

@register_pass("cell_pass")
class CellPass(Pass):
    def run(self, graph, rw):
        return "FUNCTION"
"""


def test_a_cell_may_run_again() -> None:
    """In a notebook the same definition, edited, replaces itself; the functions of mx.sym and mx.nd follow."""
    notebook = types.ModuleType("__main__")
    try:
        for function, value in (("exp", 1.0), ("neg", 0.0), ("tanh", 0.0)):
            exec(CELL.replace("FUNCTION", function), notebook.__dict__)
            assert PASSES["cell_pass"]().run(None, None) == function  # type: ignore[arg-type]
            x = mx.nd.zeros((2,))
            assert mx.nd.cell_op(x).asnumpy().tolist() == [value] * 2
            assert mx.sym.cell_op(mx.sym.Variable("x")).eval(x=x)[0].asnumpy().tolist() == [value] * 2
    finally:
        OPERATORS.pop("cell_op", None)
        PASSES.pop("cell_pass", None)


def test_mxnets_registries_replace_and_warn() -> None:
    """As MXNet does, for optimizers, metrics, initializers (and custom operators, where it writes a log line)."""

    def metric() -> None:
        mx.metric.register(type("Twice", (mx.metric.Accuracy,), {"__qualname__": "f.<locals>.Twice"}))

    def initializer() -> None:
        mx.init.register(type("Twice", (mx.init.Xavier,), {"__qualname__": "f.<locals>.Twice"}))

    def custom() -> None:
        mx.operator.register("twice")(type("Twice", (mx.operator.CustomOpProp,), {"__qualname__": "f.<locals>.Twice"}))

    for make in (metric, initializer, custom):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make()
        with pytest.warns(UserWarning, match="twice is registered again: .*Twice.* replaces .*Twice") as caught:
            make()
        assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="optimizer sgd is registered again: .* replaces symc.optimizer.rules.SGD"):
        mx.optimizer.register(type("SGD", (mx.optimizer.Adam,), {}))
    mx.optimizer.Optimizer.opt_registry["sgd"] = mx.optimizer.SGD

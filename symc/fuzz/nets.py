"""Random Symbols: every operator that has a sample, and operators whose attributes fit the values at hand, in nets with
several consumers, shared parameters, states, aliased outputs, control flow, and what may happen in place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import symc as mx
from symc.fuzz import custom, varied
from symc.fuzz.cases import OTHERS, TABLE, Case
from symc.fuzz.varied import flip, one_of
from symc.ir.symbol.nodes import SymGraph
from symc.ir.types import F16, F32, F64, Array, DType, TensorType, dtype_of
from symc.name import NameManager
from symc.ops.base import OPERATORS, ShapeError, Shapes, Types
from symc.passes.tensor.decompose import SymbolModule
from symc.symbol.operators import make_function
from symc.typed import module_of, roles_of_parameters

#: attributes of samples that keep no number whole, and what they are on whole numbers
WHOLE = {"scalar": 2.0, "alpha": 2.0, "beta": 3.0, "value": 2.0, "a_min": -2.0, "a_max": 3.0}
#: the marks that control flow leaves on what its bodies made
_MARK = "__subgraph_name__"


class Value(NamedTuple):
    """An output of the net and its shape; its type is the net's."""

    symbol: Any
    shape: tuple[int, ...]


def _whole(name: str, value: Any) -> Any:
    """The attribute of a net of whole numbers."""
    return WHOLE[name] if name in WHOLE and not isinstance(value, tuple) else value


def symbol_of(name: str, inputs: Sequence[Any], attrs: Mapping[str, Any], node: str | None = None) -> Any:
    """The operator as a Symbol on its inputs, auxiliary states among them."""
    cls = OPERATORS[name]
    if cls.variadic or not inputs:
        return make_function(cls, name)(*inputs, **attrs, name=node)
    op = cls.from_attributes({k: str(v) for k, v in attrs.items()})
    return make_function(cls, name)(**dict(zip((*op.list_inputs(), *op.list_aux()), inputs)), **attrs, name=node)


class Net:
    """A Symbol that grows node by node."""

    def __init__(self, rng: np.random.Generator, whole: bool, dtype: DType) -> None:
        self.rng, self.whole, self.dtype = rng, whole, dtype
        self.names = NameManager()
        #: values may have thousands of elements
        self.large = flip(rng, 0.1)
        #: variables by name: their types, and the values of those that cannot be any numbers
        self.types: dict[str, TensorType] = {}
        self.given: dict[str, Array] = {}
        #: float variables that any number suits, which other nodes may read too
        self.free: list[Value] = []
        self.wrt: list[str] = []
        self.states: list[Any] = []
        self.rows: dict[str, int] = {}
        self.pool: list[Value] = []
        self.read: set[int] = set()
        self.smooth = True
        #: gradients can be differentiated again
        self.second = True
        self.ops: set[str] = set()

    # -- inputs

    def variable(
        self, shape: tuple[int, ...], dtype: Any = None, given: Array | None = None, wanted: bool = True
    ) -> Any:
        """A new variable; `given`: the values it needs."""
        name = f"x{len(self.types)}" + ("_weight" if flip(self.rng, 0.35) else "")  # a parameter where it predicts
        tensor = TensorType(dtype_of(dtype) if dtype is not None else self.dtype, tuple(shape))
        self.types[name] = tensor
        if given is not None:
            self.given[name] = given.astype(tensor.dtype.numpy)
        if wanted and tensor.dtype.is_float:
            self.wrt.append(name)
        made = mx.sym.Variable(name, shape=tensor.shape, dtype=tensor.dtype.numpy)
        if given is None and tensor.dtype == self.dtype:
            self.free.append(Value(made, tensor.shape))
        return made

    def latest(self) -> Value:
        """One of the last values, which is then no result of its own."""
        at = len(self.pool) - 1 - int(self.rng.integers(min(4, len(self.pool))))
        self.read.add(at)
        return self.pool[at]

    def earlier(self, shape: tuple[int, ...]) -> Any:
        """One of the last values, brought into a shape."""
        same = [at for at, v in enumerate(self.pool) if v.shape == shape]
        if same and flip(self.rng, 0.8):
            at = int(one_of(self.rng, *same))
            self.read.add(at)
            return self.pool[at].symbol
        symbol, had = self.latest()
        size, needed = math.prod(had), math.prod(shape)
        if not size or not needed:
            return self.variable(shape)
        if flip(self.rng, 0.3) and len(had) == len(shape) and all(h in (1, s) for h, s in zip(had, shape)):
            return mx.sym.broadcast_to(symbol, shape=shape)
        flat = mx.sym.Reshape(symbol, shape=(-1,))
        if size < needed:
            flat = mx.sym.tile(flat, reps=(-(-needed // size),))
        if size != needed:
            flat = mx.sym.slice_axis(flat, axis=0, begin=0, end=needed)
        return mx.sym.Reshape(flat, shape=shape) if len(shape) != 1 else flat

    def tame(self, symbol: Any) -> Any:
        """The value kept from growing."""
        return mx.sym.clip(symbol, a_min=-4, a_max=4) if self.whole else mx.sym.tanh(symbol)

    def free_input(self, shape: tuple[int, ...]) -> Any:
        """An input that may be any numbers: a new variable, one that is shared, or what an earlier node gives."""
        shared = [v.symbol for v in self.free if v.shape == shape]
        if shared and flip(self.rng, 0.15):
            return one_of(self.rng, *shared)
        if not self.pool or not shape or flip(self.rng, 0.35):
            return self.variable(shape)
        found = self.earlier(shape)
        return found if flip(self.rng, 0.4) else self.tame(found)

    def case_input(self, case: Case, at: int, state: bool) -> Any:
        array = case.arrays[at]
        if state and self.states and flip(self.rng, 0.05):
            fitting = [s for s in self.states if self.types[s.name].shape == array.shape]
            if fitting:
                return one_of(self.rng, *fitting)
        if at in case.free and at in case.wrt() and not case.symmetric and not state:
            return self.free_input(array.shape)
        floats = array.dtype.kind == "f"
        if self.whole and floats and at in case.wrt():
            return self.free_input(array.shape)
        made = self.variable(array.shape, None if floats else array.dtype, array, at in case.wrt())
        if state:
            self.states.append(made)
        if state or not floats or self.whole or not self.pool or case.symmetric or at not in case.wrt():
            return made
        return made + 0.01 * mx.sym.tanh(self.earlier(array.shape)) if flip(self.rng) else made

    # -- nodes

    def add(self, case: Case, data: Any = None) -> None:
        """A node for a case, and its float outputs as values; `data` is its first input, if that is at hand."""
        cls = OPERATORS[case.op]
        attrs = {k: _whole(k, v) if self.whole else v for k, v in case.attrs.items()}
        if "dtype" in attrs:
            attrs["dtype"] = self.dtype.numpy.name if attrs["dtype"] == "float64" else attrs["dtype"]
        first_state = len(case.arrays) - len(cls.aux_names)
        inputs = [
            data if at == 0 and data is not None else self.case_input(case, at, at >= first_state)
            for at in range(len(case.arrays))
        ]
        if cls.gradient == "none":
            inputs = [mx.sym.BlockGrad(x) if i in case.wrt() else x for i, x in enumerate(inputs)]
        symbol = symbol_of(case.op, inputs, attrs)
        self.ops.add(cls.op_name)
        node = symbol.graph.outputs[0][0]
        op = node.definition
        shapes = Shapes([a.shape for a in case.arrays], [None] * len(op.list_outputs()))
        op.complete(shapes)
        if cls.row_chooser is not None:
            self.rows[node.name] = op.count_rows(case.arrays[cls.row_chooser])
            shapes.outs[0] = (self.rows[node.name], *case.arrays[0].shape[1:])
        types = Types(
            [self.dtype.numpy if a.dtype.kind == "f" else a.dtype for a in case.arrays], [None] * len(shapes.outs)
        )
        try:
            op.bind_types(types)
        except ShapeError:  # not for the net's type
            return
        # inside a net prelu's gradient is MXNet's, see symc.ops.nn.activation
        self.second &= case.second and case not in OTHERS
        prelu = case.attrs.get("act_type") == "prelu"
        self.smooth &= not prelu and not case.symmetric and case.op not in varied.STEPS
        for at in range(op.num_visible_outputs()):
            if case.through is not None and at not in case.through:
                continue
            out = symbol[at]
            if types.outs[at] != self.dtype.numpy:
                out = mx.sym.Cast(out, dtype=self.dtype.numpy.name)
            self.pool.append(Value(out, tuple(shapes.outs[at])))

    def sample(self, cases: Sequence[Case]) -> None:
        """A node of one of the samples."""
        case = cases[int(self.rng.integers(len(cases)))]
        self.smooth &= case not in OTHERS
        self.add(widened(case) if flip(self.rng, 0.3) else case)

    def vary(self) -> None:
        """A node on one of the last values, with attributes that fit it."""
        if not self.pool:
            self.start()
        source = self.latest()
        size = math.prod(source.shape)
        if not 0 < size <= (3000 if self.large else varied.LARGE):
            self.start()
            source = self.latest()
        case = varied.draw(self.rng, source.shape)
        if case is None:
            return
        places = [at for at in case.wrt() if case.arrays[at].shape == source.shape]
        data = source.symbol if flip(self.rng, 0.6) else self.tame(source.symbol)
        self.add(case, data if places[:1] == [0] else None)

    def start(self) -> None:
        """A fresh variable as a value."""
        if self.large:
            large = (
                (8, 33),
                (17, 24),
                (40, 40),
                (4, 16, 10),
                (2, 8, 12, 12),
                (1, 16, 9, 9),
                (2, 24, 7, 7),
                (700,),
                (3, 130),
            )
            shape = one_of(self.rng, *large)
            self.pool.append(Value(self.variable(shape), shape))
            return
        shape = one_of(
            self.rng, (2, 3), (4, 5), (3, 8), (2, 17), (2, 3, 4), (1, 5, 3), (2, 2, 5), (1, 2, 5, 5), (2, 3, 4, 4),
            (1, 4, 6, 3), (1, 1, 8, 8), (2, 2, 3, 3), (1, 2, 3, 3, 3), (5,), (1, 1), (9,),
        )  # fmt: skip
        self.pool.append(Value(self.variable(shape), shape))

    # -- what nets are known for

    def chain(self) -> None:
        """Elementwise steps over values that nobody else reads: each may take over the memory of the one before."""
        if not self.pool:
            self.start()
        symbol, shape = self.latest()
        for _ in range(int(self.rng.integers(2, 6))):
            step = int(self.rng.integers(7))
            if step == 0:
                symbol = mx.sym.relu(symbol)
            elif step == 1:
                symbol = self.tame(symbol)
            elif step == 2:
                symbol = symbol * 2 - 1
            elif step == 3:
                symbol = symbol + self.free_input(shape)
            elif step == 4 and len(shape) >= 2:
                symbol = mx.sym.transpose(symbol) + 1
                shape = shape[::-1]
            elif step == 5 and shape:
                row = self.variable((1,) * (len(shape) - 1) + shape[-1:])
                symbol = mx.sym.broadcast_mul(symbol, row)
            else:
                symbol = mx.sym.square(self.tame(symbol))
        self.pool.append(Value(symbol, shape))

    def gated(self) -> None:
        """A convolution times a gate behind a pooling whose windows leave gaps, or meet, or overlap."""
        channels, size = int(self.rng.integers(1, 4)), int(self.rng.integers(4, 8))
        kernel = int(self.rng.integers(1, 3))
        data = self.free_input((2, channels, size, size))
        weight = self.variable((3, channels, kernel, kernel))
        made = mx.sym.Convolution(data, weight, kernel=(kernel, kernel), num_filter=3, no_bias=True)
        side = size - kernel + 1
        gate = self.free_input((2, 3, side, side))
        gate = self.tame(gate) if self.whole else mx.sym.sigmoid(gate)
        window = int(self.rng.integers(1, 4))
        stride = int(self.rng.integers(1, 5))
        kind = one_of(self.rng, "max", "max", "sum", "avg")
        pooled = mx.sym.Pooling(made * gate, kernel=(window, window), stride=(stride, stride), pool_type=kind)
        out = (side - window) // stride + 1
        self.ops |= {"Convolution", "Pooling"}
        self.pool.append(Value(pooled, (2, 3, out, out)))

    def residual(self) -> None:
        """One value read by several nodes whose results meet again."""
        if not self.pool:
            self.start()
        symbol, shape = self.latest()
        sides = [self.tame(symbol), symbol * 2, mx.sym.relu(symbol), mx.sym.square(self.tame(symbol))]
        made = one_of(self.rng, *sides) + one_of(self.rng, *sides) * self.free_input(shape)
        self.pool.append(Value(made + symbol, shape))

    def counted(self) -> None:
        """A Custom operator with a state, between native kernels."""
        if not self.pool:
            self.start()
        symbol, shape = self.latest()
        state = self.variable(shape, given=np.ones(shape), wanted=False)
        self.ops.add("Custom")
        self.second = False
        self.smooth = False  # Python computes in the declared types whatever the interpreter's precision
        made = mx.sym.Custom(symbol, state, op_type=custom.NAME, factor=2)
        self.pool.append(Value(made, shape))

    def turns(self) -> None:
        """foreach over the rows of a value, or while_loop, or cond."""
        width = int(self.rng.integers(1, 5))
        kind = one_of(self.rng, "foreach", "while", "cond")
        state, weight = self.free_input((width,)), self.variable((width,))
        self.ops.add({"foreach": "_foreach", "while": "_while_loop", "cond": "_cond"}[kind])
        if kind == "foreach":
            rows = int(self.rng.integers(1, 5))
            data = self.free_input((rows, width))
            out, last = mx.sym.contrib.foreach(
                lambda row, s: (row * weight + s, self.tame(s + row * weight)), data, state
            )
            self.pool += [Value(out, (rows, width)), Value(last, (width,))]
        elif kind == "while":
            most = int(self.rng.integers(1, 5))
            limit = float(self.rng.integers(0, 20))
            outs, (last, _) = mx.sym.contrib.while_loop(
                lambda s, n: mx.sym.sum(n) < limit,
                lambda s, n: ([s * weight], [self.tame(s + weight), n + 3]),
                [state, self.variable((1,), given=np.zeros(1), wanted=False)],
                max_iterations=most,
            )
            self.smooth = False  # the number of turns is a step
            self.pool += [Value(outs[0], (most, width)), Value(last, (width,))]
        else:
            chooser = mx.sym.Cast(mx.sym.sum(self.free_input((2,))) > 0, dtype="float32")
            made = mx.sym.contrib.cond(chooser, lambda: state * weight + 1, lambda: self.tame(state) - weight)
            self.smooth = False
            self.pool.append(Value(made, (width,)))

    # -- the result

    def outputs(self) -> list[Any]:
        """Values that nothing reads, some that others read too, and some that are not computed at all."""
        found = [v.symbol for at, v in enumerate(self.pool) if at not in self.read or flip(self.rng, 0.1)]
        found = found[-6:] or [self.pool[-1].symbol]
        if self.free and flip(self.rng, 0.08):
            found.append(one_of(self.rng, *self.free).symbol)
        if self.free and flip(self.rng, 0.12):
            variable, shape = one_of(self.rng, *self.free)
            views = [mx.sym.Reshape(variable, shape=(-1,)), mx.sym.expand_dims(variable, axis=0)]
            if shape and shape[0] > 1:
                views.append(mx.sym.slice_axis(variable, axis=0, begin=1, end=None))
            found.append(one_of(self.rng, *views))
        if flip(self.rng, 0.1):
            found.append(one_of(self.rng, *found))
        if flip(self.rng, 0.05):
            found.append(mx.sym.identity(found[0]))
        order = self.rng.permutation(len(found)) if flip(self.rng, 0.3) else range(len(found))
        return [found[int(i)] for i in order]

    def module(self) -> SymbolModule:
        """The net as the compiler takes it. Nothing in it tells where and when it was made."""
        with self.names:
            symbol = mx.sym.Group(self.outputs())
        used = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
        graphs: list[SymGraph] = [symbol.graph]
        while graphs:
            for node in graphs.pop().nodes():
                node.where = ("", 0)
                node.attrs.pop(_MARK, None)
                graphs += node.subgraphs
        rows = {n.name: self.rows[n.name] for n in symbol.graph.nodes() if n.name in self.rows}
        types = {n: t for n, t in self.types.items() if n in used}
        made = module_of(symbol, types, roles_of_parameters(symbol), rows)
        return SymbolModule("net", made.graph, made.types, made.output_names, made.roles, made.shapes)


def widened(case: Case) -> Case:
    """The case with rows that fill vectors, where the operator does not care."""
    small = all(a.shape in ((2, 3), (1, 3)) for a in case.arrays)
    if not small or case.op in ("SliceChannel", "_linalg_maketrian", "_linalg_gelqf", "_linalg_gemm2", "Reshape"):
        return case
    arrays = tuple(np.resize(a, (5 if len(a) > 1 else 1, 37)) for a in case.arrays)
    return Case(case.op, arrays, case.attrs, case.fixed, case.through, case.second, case.symmetric, case.free)


_STEPS = (("vary", 10), ("sample", 7), ("chain", 2), ("gated", 1), ("residual", 2), ("counted", 0.3), ("turns", 0.7))


def random_net(rng: np.random.Generator) -> Net:
    """A net of a few steps."""
    whole = flip(rng)
    net = Net(rng, whole, one_of(rng, F32, F32, F64) if whole else one_of(rng, F32, F64, F64))
    if whole and flip(rng, 0.05):
        net.dtype = F16
    words, weights = zip(*_STEPS)
    chances = np.array(weights) / sum(weights)
    pool = [*TABLE, *OTHERS] if flip(rng, 0.6) else TABLE
    with net.names:
        for _ in range(int(rng.integers(1, 7))):
            step = words[int(rng.choice(len(words), p=chances))]
            if step == "sample":
                net.sample(pool)
            else:
                getattr(net, step)()
        if not net.pool:
            net.start()
    return net

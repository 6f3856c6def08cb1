"""How an MXNet operator is defined: one class in one place.

    @operator("FullyConnected", inputs="data weight bias")
    class FullyConnected(Operator):
        '''y = data . weight^T + bias; `flatten` folds all trailing axes of data into one.'''

        num_hidden: int                       # typed parameters with MXNet's defaults; required without one
        no_bias: bool = False
        flatten: bool = True

        def list_inputs(self): ...            # only where the attributes decide which inputs exist
        def complete(self, s: Shapes): ...    # bidirectional shape completion; default: see Operator.complete
        def complete_types(self, t: Types): ... # default: all element types agree
        def build(self, ctx, data, weight, bias=None): ...   # the operator as a program over primitives

Everything else (the Python functions of `mx.sym` and `mx.nd`, signature, docstring, output types, gradient,
reference value, kernels) follows from these.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, Union

import numpy as np

from symc.base import MXNetError, ShapeError, those
from symc.ir.definitions import define
from symc.ir.op import Node
from symc.ir.symbol.nodes import SymGraph
from symc.ir.types import Array, TensorType, dtype_of
from symc.ops.shared.attribute_text import attribute_text, parse_value
from symc.ops.shared.storage import DEFAULT

ShapeLike = Union[tuple[int, ...], None]
#: a tuple-valued parameter: (2, 2)
Tuple = tuple[int, ...]
#: the same of numbers: (0.5, 1.0)
Floats = tuple[float, ...]
#: the same with None for "not given": (None, 2)
Bounds = tuple[Union[int, None], ...]


# --------------------------------------------------------------------------------------------- completion


def unify_shapes(a: ShapeLike, b: ShapeLike) -> ShapeLike:
    """The shape that both allow; 0 is an unknown dimension, None an unknown shape. ValueError if there is none."""
    if a is None or b is None:
        return b if a is None else a
    if len(a) != len(b) or any(x and y and x != y for x, y in zip(a, b)):
        raise ValueError(f"{a} and {b}")
    return tuple(x or y for x, y in zip(a, b))


def common_shapes(shapes: Sequence[ShapeLike]) -> Sequence[ShapeLike]:
    """The one shape that all allow; where there is none, all of them: who unifies with each finds the first that
    contradicts."""
    whole: ShapeLike = None
    try:
        for shape in shapes:
            whole = unify_shapes(whole, shape)
    except ValueError:
        return shapes
    return [whole]


def is_known(shape: ShapeLike) -> bool:
    return shape is not None and all(shape)


class Shapes:
    """What is known of one node's shapes. `ins` covers arguments, then auxiliary states; `outs` all outputs.

    Read `ins`/`outs` (entries None or tuples, 0 = unknown dimension); write with `set_in`/`set_out`, which unify
    with what is known and raise ShapeError on a contradiction.
    """

    what: ClassVar[str] = "shape"

    def __init__(self, ins: Sequence[ShapeLike], outs: Sequence[ShapeLike], names: Sequence[str] = ()) -> None:
        self.ins, self.outs, self.names = list(ins), list(outs), list(names)

    def set_in(self, at: int, shape: ShapeLike) -> None:
        try:
            self.ins[at] = unify_shapes(self.ins[at], tuple(shape) if shape is not None else None)
        except ValueError:
            label = self.names[at] if at < len(self.names) else f"input {at}"
            raise ShapeError(f"{label} has {self.what} {self.ins[at]}, but {shape} is needed") from None

    def set_out(self, at: int, shape: ShapeLike) -> None:
        try:
            self.outs[at] = unify_shapes(self.outs[at], tuple(shape) if shape is not None else None)
        except ValueError:
            raise ShapeError(f"output {at} has {self.what} {self.outs[at]}, but {shape} is needed") from None

    def all_alike(self, ins: Iterable[int] | None = None, outs: Iterable[int] | None = None) -> None:
        """All of these (default: everything) unify to one shape."""
        ins = range(len(self.ins)) if ins is None else list(ins)
        outs = range(len(self.outs)) if outs is None else list(outs)
        for whole in common_shapes([*(self.ins[i] for i in ins), *(self.outs[o] for o in outs)]):
            for o in outs:
                self.set_out(o, whole)
            for i in ins:
                self.set_in(i, whole)


class Types:
    """As Shapes, for element types: entries are numpy dtypes or None."""

    def __init__(
        self, ins: Sequence[np.dtype[Any] | None], outs: Sequence[np.dtype[Any] | None], names: Sequence[str] = ()
    ) -> None:
        self.ins, self.outs, self.names = list(ins), list(outs), list(names)

    def set_in(self, at: int, dtype: Any) -> None:
        if dtype is None:
            return
        dtype = np.dtype(dtype)
        if self.ins[at] is not None and self.ins[at] != dtype:
            label = self.names[at] if at < len(self.names) else f"input {at}"
            raise ShapeError(f"{label} has type {self.ins[at]}, but {dtype} is needed")
        self.ins[at] = dtype

    def set_out(self, at: int, dtype: Any) -> None:
        if dtype is None:
            return
        dtype = np.dtype(dtype)
        if self.outs[at] is not None and self.outs[at] != dtype:
            raise ShapeError(f"output {at} has type {self.outs[at]}, but {dtype} is needed")
        self.outs[at] = dtype

    def all_alike(self, ins: Iterable[int] | None = None, outs: Iterable[int] | None = None) -> None:
        ins = range(len(self.ins)) if ins is None else list(ins)
        outs = range(len(self.outs)) if outs is None else list(outs)
        known = [self.ins[i] for i in ins if self.ins[i] is not None]
        known += [self.outs[o] for o in outs if self.outs[o] is not None]
        for dtype in dict.fromkeys(known):
            for i in ins:
                self.set_in(i, dtype)
            for o in outs:
                self.set_out(o, dtype)


# --------------------------------------------------------------------------------------------- operators


class BuildContext(Protocol):
    """What `build` may ask of the program it is built into."""

    #: the training form is wanted (Dropout drops, BatchNorm uses the batch)
    train: bool
    #: the Symbol's name
    name: str
    #: the inferred shapes of the outputs, where they are known beforehand (else empty)
    output_shapes: tuple[tuple[int, ...], ...]
    #: the first input is computed by the program, and its gradient is wanted: it is a value like others
    inner: bool

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None:
        """The input at `position` (an auxiliary state, or an argument the operator overwrites) becomes `value` when
        that half of the program ("forward" or "backward") has run. Operators after this one read a forward update.
        `again`: the value where operators that come later, and so earlier in the backward half, have changed the
        state to what it is given."""

    def becomes(self, position: int, value: Node) -> None:
        """Operators after this one read `value` for the input at `position`; its array stays as it is."""

    def random_key(self) -> Node:
        """A fresh key (u32[2]) for random bits, different for every node and every run of the program."""


class Operator:
    """Base of all operators; see the module text. Instances are parsed attributes: frozen dataclasses."""

    op_name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    #: prefix of automatic names
    hint: ClassVar[str]
    input_names: ClassVar[tuple[str, ...]] = ("data",)
    aux_names: ClassVar[tuple[str, ...]] = ()
    output_names: ClassVar[tuple[str, ...]] = ("output",)
    #: name of the parameter that counts a variadic operator's inputs ("num_args"), else ""
    variadic: ClassVar[str] = ""
    #: that number need not be given: it is how many inputs there are
    counts_itself: ClassVar[bool] = True
    #: parameters besides that count something the operator has: outputs, layers
    counts: ClassVar[tuple[str, ...]] = ()
    #: "yes"; "zero": gradients are zero; "none": asking for a gradient through it refuses at bind
    gradient: ClassVar[str] = "yes"
    #: a gradient of its own is a derivative, which `symc numdiff` tests by differences; losses say False
    is_derivative: ClassVar[bool] = True
    #: a method that gives the outputs of arrays (and of `train`) by numpy alone, for `symc numdiff` to compare with
    reference: ClassVar[Callable[..., Any] | None] = None
    #: MXNet's backward overwrites the gradient of its first input even where it should be added to what is there
    #: (grad_req="add" of a variable that feeds this operator alone)
    ignores_add: ClassVar[bool] = False
    #: parameters that come before the others
    first_parameters: ClassVar[tuple[str, ...]] = ()
    #: draws random numbers
    random: ClassVar[bool] = False
    #: the first input must be of a floating point type: MXNet infers others, but has no kernels for them
    floats_only: ClassVar[bool] = False
    #: names of the types that the first input may have; any, if there are none
    only_types: ClassVar[tuple[str, ...]] = ()
    #: MXNet refuses to make Symbols of it: it is called on arrays, which it changes
    composable: ClassVar[bool] = True
    #: MXNet learns its outputs' shapes only by running it: Symbol.infer_shape says nothing about them
    dynamic: ClassVar[bool] = False
    #: the input whose values decide how many rows the output has, if there is one: programs are compiled for a number
    row_chooser: ClassVar[int | None] = None
    #: a step of an optimizer, whose learning rate is an attribute: called on arrays it is interpreted, as a program for
    #: every rate would be compiled once and never used again
    is_update: ClassVar[bool] = False
    #: results of dense inputs may be sparse
    sparse_of_dense: ClassVar[bool] = False
    #: number of symbol graphs the operator runs; its function takes them before the inputs
    graphs: ClassVar[int] = 0
    #: input name -> the text of the initializer its variable gets when the user chose none
    initializers: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def from_attributes(cls, attrs: Mapping[str, str]) -> Operator:
        """An instance from text attributes; equal ones are shared. Overridden where users choose the attributes."""
        return _parse_cached(cls, tuple(attrs.items()))

    # -- signature
    @classmethod
    def positional_inputs(cls, attrs: Mapping[str, Any]) -> tuple[str, ...]:
        """Names that positional arguments stand for, before the parameters."""
        return (*cls.input_names, *cls.aux_names)

    def list_inputs(self) -> tuple[str, ...]:
        """Argument names for these attributes, without auxiliary states."""
        if self.variadic:
            return tuple(f"arg{i}" for i in range(getattr(self, self.variadic)))
        return self.input_names

    def list_aux(self) -> tuple[str, ...]:
        return self.aux_names

    def list_outputs(self) -> tuple[str, ...]:
        """Names of all outputs; a single one called "output" prints as <name>_output."""
        return self.output_names

    def num_visible_outputs(self) -> int:
        """Outputs that composition and list_outputs show; the rest are internal."""
        return len(self.list_outputs())

    def written_inputs(self) -> Sequence[int]:
        """Positions of the inputs that running the operator changes: its auxiliary states."""
        first = len(self.list_inputs())
        return range(first, first + len(self.list_aux()))

    def with_subgraphs(self, graphs: Sequence[SymGraph]) -> Operator:
        """The operator that runs these symbol graphs. MXNetError if it does not take as many."""
        if graphs:
            raise MXNetError(f"{self.op_name} takes no subgraphs, but {len(graphs)} are given")
        return self

    def count_rows(self, chooser: Array) -> int:
        """The rows of the output, from the values of the input `row_chooser`."""
        raise NotImplementedError(f"{self.op_name} has outputs of fixed shapes")

    # -- inference
    def complete(self, s: Shapes) -> None:
        """Complete shapes from what is known. Default: outputs from fully known inputs, by building the program."""
        self.outputs_from_build(s)

    def outputs_from_build(self, s: Shapes, dtype: Any = np.float32) -> None:
        """Set the outputs' shapes by building with inputs of the known shapes (nothing while one is unknown)."""
        if all(is_known(i) for i in s.ins):
            for at, shape in enumerate(_built_shapes(self, tuple(s.ins), np.dtype(dtype))):
                s.set_out(at, shape)

    def overwritten_gradients(self) -> Sequence[int]:
        """Positions of the inputs whose gradient MXNet's backward overwrites (see `ignores_add`)."""
        return (0,) if self.ignores_add else ()

    def infer_types(self, t: Types) -> None:
        """Complete element types; ShapeError for those that the operator does not take."""
        self.complete_types(t)
        if self.only_types and t.ins and t.ins[0] is not None and t.ins[0].name not in self.only_types:
            label = t.names[0] if t.names else "its first input"
            raise ShapeError(f"{label} must be of type {' or '.join(self.only_types)}, not {t.ins[0]}: cast it")

    def bind_types(self, t: Types) -> None:
        """As infer_types, for a program that will run: refuses what `floats_only` says too."""
        self.infer_types(t)
        if self.floats_only and t.ins[0] is not None and t.ins[0].kind != "f":
            label = t.names[0] if t.names else "its first input"
            raise ShapeError(f"{label} must be of a floating point type, not {t.ins[0]}: cast it")

    def complete_types(self, t: Types) -> None:
        """Complete element types. Default: all inputs, states and outputs have the same type."""
        t.all_alike()

    def storage(self, stypes: Sequence[str]) -> str:
        """The storage type of the first output where an input is sparse (or always: `sparse_of_dense`); all others are
        dense. Default: dense."""
        return DEFAULT

    def storage_of(self, stypes: Sequence[str]) -> str:
        """The storage type of the first output of inputs with these."""
        return self.storage(stypes) if self.sparse_of_dense or any(s != DEFAULT for s in stypes) else DEFAULT

    def rows_in_gradient(self, at: int, stypes: Sequence[str]) -> bool:
        """Whether the gradient of an input is row_sparse, given the storage types of the variables among the inputs.
        Default: it is not."""
        return False

    def only_rows(self, stypes: Sequence[str]) -> bool:
        """Whether an update of (weight, gradient, states...) touches the gradient's rows only. Default: it does not."""
        return False

    # -- meaning
    def build(self, ctx: BuildContext, *inputs: Node) -> Node | Sequence[Node]:
        """The operator over primitives: one node per output (hidden outputs included)."""
        raise NotImplementedError(f"{self.op_name} has no program")

    def check(self) -> None:
        """Refuse attribute combinations that MXNet refuses when composing (raise MXNetError)."""


class _ShapeContext:
    """Context for building only to learn types."""

    train = True
    name = "?"
    output_shapes: tuple[tuple[int, ...], ...] = ()
    inner = False

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None: ...

    def becomes(self, position: int, value: Node) -> None: ...

    def random_key(self) -> Node:
        from symc.ir.op import input_node
        from symc.ir.types import U32

        return input_node("key", TensorType(U32, (2,)), "key")


@functools.lru_cache(maxsize=4096)
def _built_shapes(op: Operator, shapes: tuple[tuple[int, ...], ...], dtype: np.dtype[Any]) -> list[tuple[int, ...]]:
    from symc.ir.errors import TypeMismatch
    from symc.ir.op import input_node

    types = Types([dtype] + [None] * (len(shapes) - 1), [None] * len(op.list_outputs()))
    op.complete_types(types)
    nodes = [
        input_node(f"in{i}", TensorType(dtype_of(t if t is not None else dtype), shape))
        for i, (t, shape) in enumerate(zip(types.ins, shapes))
    ]
    try:
        made = op.build(_ShapeContext(), *nodes)
    except TypeMismatch as problem:
        raise ShapeError(str(problem)) from None
    return [n.shape for n in ([made] if isinstance(made, Node) else made)]


OPERATORS: dict[str, type[Operator]] = {}
O = TypeVar("O", bound=type[Operator])


def operator(
    name: str,
    inputs: str | None = None,
    aux: str | None = None,
    outputs: str | None = None,
    aliases: str = "",
    hint: str = "",
    variadic: str = "",
    gradient: str = "",
    random: bool = False,
    first: str = "",
    storage: Callable[[Any, Sequence[str]], str] | None = None,
) -> Callable[[O], O]:
    """Register an operator class under its MXNet name and aliases. `inputs`, `aux`, `outputs`: names, space-separated.
    ValueError for a name that another operator has.

    `first` names the parameters that come before those of the base classes (parameters may be given by position);
    `storage` is a rule of symc.ops.shared.storage.
    """

    def register(cls: O) -> O:
        made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        made.op_name = name
        made.hint = hint or name.lower()
        made.aliases = tuple(aliases.split())
        if inputs is not None:
            made.input_names = tuple(inputs.split())
        if aux is not None:
            made.aux_names = tuple(aux.split())
        if outputs is not None:
            made.output_names = tuple(outputs.split())
        if variadic:
            made.variadic = variadic
        if gradient:
            made.gradient = gradient
        if random:
            made.random = True
        if storage is not None:
            made.storage = storage
        made.first_parameters = tuple(first.split())
        define(OPERATORS, (name, *made.aliases), made, "operator")
        return typing.cast(O, made)

    return register


# --------------------------------------------------------------------------------------------- attributes


class Parameter(typing.NamedTuple):
    """One attribute of an operator: name, Python type as annotated, default (`dataclasses.MISSING` if required)."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


@functools.cache
def _annotation(module: str, written: Any) -> Any:
    """What an annotation in a module means: hundreds of operators share a few, and evaluating each compiles it."""
    names = vars(sys.modules[module])
    return typing.get_type_hints(types.SimpleNamespace(__annotations__={"it": written}), names)["it"]


@functools.cache
def parameters(cls: type[Operator]) -> tuple[Parameter, ...]:
    """The operator's attributes in MXNet's order."""
    written = {n: (c.__module__, a) for c in reversed(cls.__mro__) for n, a in inspect.get_annotations(c).items()}
    fields = dataclasses.fields(typing.cast(Any, cls))
    found = {f.name: Parameter(f.name, _annotation(*written[f.name]), f.default) for f in fields}
    return tuple({**{name: found[name] for name in cls.first_parameters}, **found}.values())


def given_text(cls: type[Operator], key: str, value: Any) -> str:
    """A value that a function of an operator was given for the parameter `key`, as text. None is text too: it means
    what the parameter makes of it, never the default; and for a dtype what numpy makes of it, float64."""
    if key == "dtype" and any(p.name == "dtype" for p in parameters(cls)):
        return np.dtype(value).name
    return attribute_text(value)


#: more inputs, outputs or layers than this an operator has only in a damaged file
MOST_PARTS = 1 << 16

#: attributes that any node may carry without the operator knowing them
_IGNORED_BY_ALL = ("name",)


@functools.lru_cache(maxsize=65536)
def _parse_cached(cls: type[Operator], items: tuple[tuple[str, str], ...]) -> Operator:
    attrs = dict(items)
    values: dict[str, Any] = {}
    names = [p.name for p in parameters(cls)]
    unknown = sorted(attrs.keys() - names)
    if unknown:
        raise MXNetError(f"{cls.op_name}: unknown parameter {', '.join(unknown)}; it has {those(names, unknown[0], 6)}")
    for p in parameters(cls):
        if p.name in attrs:
            text = attrs[p.name]
            try:
                values[p.name] = parse_value(p.annotation, text)
            except (ValueError, SyntaxError) as problem:
                raise MXNetError(f"{cls.op_name}: parameter {p.name}={text!r} is not valid: {problem}") from None
        elif p.required:
            raise MXNetError(f"{cls.op_name}: required parameter {p.name} is missing")
    for name in (cls.variadic, *cls.counts):
        if name and values.get(name, 0) > MOST_PARTS:
            raise MXNetError(f"{cls.op_name}: parameter {name}={values[name]} is more than the {MOST_PARTS} possible")
    op = cls(**values)
    op.check()
    return op


def parse(cls: type[Operator], attrs: Mapping[str, str]) -> Operator:
    """An operator instance from MXNet's text attributes. MXNetError on missing, unknown or ill-formed ones."""
    return cls.from_attributes({k: v for k, v in attrs.items() if not (k.startswith("__") and k.endswith("__"))})


def takes_anything(cls: type[Operator]) -> bool:
    """Operators without parameters keep whatever attributes they are given, as MXNet's do."""
    return not parameters(cls)

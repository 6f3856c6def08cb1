"""mx.sym.contrib.foreach, while_loop and cond: Python functions become the bodies of control flow operators.

A body is called once, inside an AttrScope that marks what it makes; what is marked is cut out as a graph of its own,
and what it uses from outside becomes inputs of the operator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

from symc import attribute
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ops.base import OPERATORS
from symc.symbol.compose import compose
from symc.symbol.symbol import Group, Symbol, Variable

#: how a nested list was flattened: 0 a Symbol, n a Symbol of n outputs, a list its members
Form = Union[int, list[Any]]

_MARK = "__subgraph_name__"


def _scope(name: str) -> tuple[str, attribute.AttrScope]:
    """(a fresh mark, the scope that puts it on what is made inside)."""
    outer = attribute.current().get(None).get(_MARK, "")
    name = f"{outer}${name}" if outer else name
    numbers = attribute.AttrScope._subgraph_names
    number = numbers[name]
    numbers[name] += 1
    return f"{name}{number}", attribute.AttrScope(**{_MARK: f"{name}{number}"})


def _flatten(value: Any, what: str) -> tuple[list[Symbol], Form]:
    """The Symbols of a nested list, each with one output, and the form to put them back into."""
    if isinstance(value, Symbol):
        return ([value], 0) if len(value) == 1 else (list(value), len(value))
    if not isinstance(value, (list, tuple)):
        raise AssertionError(f"{what} must be (nested) list of Symbol, but got {value!r} of type {type(value)}")
    parts = [_flatten(v, what) for v in value]
    return [s for flat, _ in parts for s in flat], [form for _, form in parts]


def _regroup(flat: Sequence[Symbol], form: Form) -> Any:
    """The nested list that was flattened, of other Symbols."""
    rest = list(flat)

    def take(form: Form) -> Any:
        if isinstance(form, list):
            return [take(f) for f in form]
        if form == 0:
            return rest.pop(0)
        return [rest.pop(0) for _ in range(form)]

    return take(form)


def _inner_name(symbol: Symbol) -> str:
    """What a loop's data and states are called inside its body."""
    node, index = symbol._outputs[0]
    return f"{node.name}-{index}"


def _own(outputs: Sequence[Symbol], mark: str, states_from: int | None = None) -> list[Symbol]:
    """A body's outputs as operators of the body: what it passes through is copied, and so is a state (an output from
    `states_from` on) that is given out as well."""
    names = Group(outputs).list_inputs()
    given_out = {o.name for o in outputs[:states_from]} if states_from is not None else set()

    def is_own(at: int, symbol: Symbol) -> bool:
        taken = symbol.name in names or (at >= (states_from or 0) and symbol.name in given_out)
        return not taken and symbol._outputs[0][0].attrs.get(_MARK, "") == mark

    return [s if is_own(at, s) else compose(OPERATORS["_copy"], "identity", (s,), {}) for at, s in enumerate(outputs)]


class _Body(NamedTuple):
    """A graph cut out: its inputs' names in order, and where they come from outside; `variables` are those sources that
    were variables already, the others are computed outside."""

    graph: Symbol
    names: list[str]
    sources: dict[str, Symbol]
    variables: set[str]


def _cut(outputs: Sequence[Symbol], mark: str) -> _Body:
    """Copies of the marked operators below the outputs; what they read beside each other become variables."""
    new: dict[SymNode, SymNode] = {}
    cut: dict[tuple[SymNode, int], SymNode] = {}
    sources: dict[str, Symbol] = {}
    variables: set[str] = set()

    def entry(source: SymNode, index: int) -> tuple[SymNode, int]:
        if source in new:
            return new[source], index
        held = cut.get((source, index))
        if held is None:
            name = source.output_name(index)
            # a variable from outside leaves its attributes there; one the body made is described in both places
            attrs = dict(source.attrs) if source.is_variable and source.attrs.get(_MARK) == mark else {}
            held = cut[source, index] = SymNode("null", name, attrs, where=source.where)
            sources[name] = Symbol([(source, index)])
            if source.is_variable:
                variables.add(name)
        return held, 0

    for node in SymGraph(tuple(s._outputs[0] for s in outputs)).nodes():
        if not node.is_variable and node.attrs.get(_MARK) == mark:
            inputs = [entry(*e) for e in node.inputs]
            new[node] = SymNode(
                node.op, node.name, dict(node.attrs), inputs, node.definition, node.where, node.subgraphs
            )
    graph = Symbol([entry(*s._outputs[0]) for s in outputs])
    names = graph.list_inputs()
    if len(set(names)) != len(names):
        raise AssertionError(f"The inputs of the subgraph don't have unique names: {names}")
    return _Body(graph, names, sources, variables)


def _results(op: str, bodies: Sequence[_Body], inputs: Sequence[Symbol], **places: Any) -> list[Symbol]:
    made = compose(OPERATORS[op], op, [*(b.graph for b in bodies), *inputs], places)
    return list(made)


def foreach(
    body: Callable[[Any, Any], tuple[Any, Any]], data: Any, init_states: Any, name: str = "foreach"
) -> tuple[Any, Any]:
    """Apply `body` to every row (along axis 0) of `data` in turn.

    body(rows, states) -> (outputs, new states), where rows and states are nested like `data` and `init_states` (Symbols
    or nested lists of them). Returns (outputs, stacked along a new axis 0; the last states). The body may use Symbols
    from outside; gradients reach them too. AssertionError: the states change their nesting, or the body does not use
    all of its data and states.
    """
    rows, data_form = _flatten(data, "foreach input")
    states, state_form = _flatten(init_states, "foreach states")
    mark, scope = _scope(name)
    with scope:
        inner_rows = [Variable(_inner_name(s)) for s in rows]
        inner_states = [Variable(_inner_name(s)) for s in states]
        made, new_states = body(_regroup(inner_rows, data_form), _regroup(inner_states, copy.deepcopy(state_form)))
        outputs, output_form = _flatten(made, "foreach output")
        lasts, last_form = _flatten(new_states, "foreach loop_vars")
        if last_form != state_form:
            raise AssertionError("The input and output loop_vars have different format")
        flat = _own([*outputs, *lasts], mark, len(outputs))
    found = _cut(flat, mark)
    data_names, state_names = [_inner_name(s) for s in rows], [_inner_name(s) for s in states]
    for names, what in ((data_names, "data"), (state_names, "state")):
        if any(n not in found.names for n in names):
            raise AssertionError(f"the {what} arrays have to be used in the loop body")
    free = [n for n in found.names if n not in data_names and n not in state_names]
    results = _results(
        "_foreach", [found], [*rows, *states, *(found.sources[n] for n in free)],
        num_outputs=len(flat), num_out_data=len(outputs),
        in_state_locs=[found.names.index(n) for n in state_names],
        in_data_locs=[found.names.index(n) for n in data_names],
        remain_locs=[found.names.index(n) for n in free],
    )  # fmt: skip
    return _regroup(results[: len(outputs)], output_form), _regroup(results[len(outputs) :], last_form)


def _whole(value: Any, what: str) -> int:
    try:
        return int(value.asscalar() if hasattr(value, "asscalar") and not isinstance(value, Symbol) else value)
    except (TypeError, ValueError):
        raise ValueError(f"Cannot convert {what} to python int") from None


def while_loop(
    cond: Callable[..., Symbol], func: Callable[..., tuple[Any, Any]], loop_vars: Any,
    max_iterations: int | None = None, name: str = "while_loop",
) -> tuple[Any, Any]:  # fmt: skip
    """Repeat `func` while `cond` holds, `max_iterations` times at most.

    cond(*loop_vars) -> a Symbol of one element; func(*loop_vars) -> (outputs, new loop_vars). Returns (outputs, stacked
    in `max_iterations` rows of which those of turns not taken are zero; the last loop_vars). ValueError: the loop_vars
    change their number, or one is not used by `func`.
    """
    if max_iterations is None:
        raise ValueError("max_iterations should be specified")
    variables, form = _flatten(loop_vars, "while loop_vars")
    most = _whole(max_iterations, "max_iteration")
    if not variables:
        raise ValueError("loop_vars should contain at least one element")

    def trace(what: str, call: Callable[[Any], tuple[Any, Any]]) -> tuple[_Body, int, int, Form]:
        mark, scope = _scope(f"{name}_{what}")
        with scope:
            inner = _regroup([Variable(_inner_name(s)) for s in variables], form)
            made, new = call(inner if isinstance(inner, list) else [inner])
            outputs, output_form = _flatten(made, "while output")
            lasts, _ = _flatten(new, "while loop_vars")
            flat = _own([*outputs, *lasts], mark)
        return _cut(flat, mark), len(outputs), len(lasts), output_form

    def test(inner: Any) -> tuple[Any, Any]:
        result = cond(*inner)
        if not isinstance(result, Symbol):
            raise ValueError("Return of cond must be a Symbol")
        return [], [result]

    def step(inner: Any) -> tuple[Any, Any]:
        outputs, new = func(*inner)
        new = [] if new is None else list(new) if isinstance(new, tuple) else new
        if len(new) != len(inner):
            raise ValueError("The number of loop_vars should be consistent during the loop")
        return [] if outputs is None else outputs, new

    condition, *_ = trace("cond", test)
    body, count, states, output_form = trace("func", step)
    # inputs: a loop variable is shared by both graphs, whatever else they use is an input for each
    names = [_inner_name(s) for s in variables]
    inputs: list[Symbol] = []
    place: dict[str, int] = {}

    def locate(found: _Body) -> list[int]:
        locs = []
        for n in found.names:
            if n in place:
                locs.append(place[n])
                continue
            locs.append(len(inputs))
            if n in names:
                place[n] = len(inputs)
                inputs.append(variables[names.index(n)])
            else:
                inputs.append(found.sources[n])
        return locs

    condition_locs, body_locs = locate(condition), locate(body)
    for at, n in enumerate(names, 1):
        if n not in body.names:
            raise ValueError(f"The {at}-th loop_var doesn't involve into the computation")
    results = _results(
        "_while_loop", [condition, body], inputs, max_iterations=most, cond_input_locs=condition_locs,
        func_input_locs=body_locs, func_var_locs=[body.names.index(n) for n in names],
        num_out_data=count, num_outputs=count + states,
    )  # fmt: skip
    return _regroup(results[:count], output_form), _regroup(results[count:], form)


def cond(pred: Symbol, then_func: Callable[[], Any], else_func: Callable[[], Any], name: str = "cond") -> Any:
    """then_func() where `pred` (a Symbol of one element) is not zero, else else_func(); only one is computed.

    Both give as many Symbols (or nested lists of them), of the same shapes and types. ValueError if their number
    differs.
    """

    def trace(what: str, call: Callable[[], Any]) -> tuple[_Body, int, Form]:
        mark, scope = _scope(f"{name}_{what}")
        with scope:
            outputs, form = _flatten(call(), "cond outputs")
            flat = _own(outputs, mark)
        return _cut(flat, mark), len(outputs), form

    condition, count, _ = trace("pred", lambda: pred)
    if count != 1:
        raise ValueError("pred should always be a single output")
    then, then_count, form = trace("then", then_func)
    other, other_count, _ = trace("else", else_func)
    if then_count != other_count:
        raise ValueError("Number of outputs differs between then-branch and else-branch")
    inputs: list[Symbol] = []
    place: dict[str, int] = {}

    def locate(found: _Body) -> list[int]:
        """Variables are shared by the three graphs, what is computed outside is an input for each."""
        locs = []
        for n in found.names:
            if n in place:
                locs.append(place[n])
                continue
            locs.append(len(inputs))
            if n in found.variables:
                place[n] = len(inputs)
            inputs.append(found.sources[n])
        return locs

    results = _results(
        "_cond", [condition, then, other], inputs, cond_input_locs=locate(condition), then_input_locs=locate(then),
        else_input_locs=locate(other), num_outputs=then_count,
    )  # fmt: skip
    return _regroup(results, form)

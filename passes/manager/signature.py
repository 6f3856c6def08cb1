"""The signature of a function: what a pass must leave as it is (rules M3 to M5 of symc.ir.verify)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symc.ir.errors import VerifyError
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.op import parameter
from symc.ir.program.nodes import Program
from symc.ir.symbol.nodes import SymGraph
from symc.ir.syntax.printing import output_text, parameter_text
from symc.ir.tensor.graph import Graph
from symc.ir.types import Type

#: what an input or output is: role, of what, order, and (outputs) phase
Role = tuple[Any, ...]
#: what every output of a symbol graph is
RESULT: Role = ("result", "", 1, "forward")


@dataclass(frozen=True)
class Signature:
    """Inputs (name: type and role), outputs (name, type and role, in order) and updates (input and phase) of a
    function. Types that a symbol graph does not know are None, and so are its updates."""

    inputs: Mapping[str, tuple[Type | None, Role]] = field(default_factory=dict)
    outputs: Sequence[tuple[str, Type | None, Role]] = ()
    updates: Collection[tuple[str, str]] | None = None


def signature_of(module: Any) -> Signature:
    """The signature of a module of any level."""
    if isinstance(module, LoopModule):
        module = module.program
    if isinstance(module, Graph):
        ops = [parameter(i) for i in module.inputs]
        return Signature(
            {op.input_name: (op.tensor, (op.role, op.of, op.order)) for op in ops},
            [(o.name, o.node.type, (o.role, o.of, o.order, o.phase)) for o in module.outputs],
            dict.fromkeys((u.input, u.phase) for u in module.updates),
        )
    if isinstance(module, Program):
        types = module.value_types()
        return Signature(
            {p.name: (p.type, (p.role, p.of, p.order)) for p in module.params},
            [(o.name, types.get(o.value), (o.role, o.of, o.order, o.phase)) for o in module.outputs],
            dict.fromkeys((u.input, u.phase) for u in module.updates),
        )
    if isinstance(module, SymbolModule):
        parts = zip(("arg", "aux"), module.graph.variables())
        roles = {n.name: module.roles.get(n.name, role) for role, part in parts for n in part}
        inferred = [module.inferred.get(node, ())[at : at + 1] for node, at in module.graph.outputs]
        return Signature(
            {name: (module.types.get(name), (role, "", 1)) for name, role in roles.items()},
            [(n, found[0] if found else None, RESULT) for n, found in zip(module.output_names, inferred)],
        )
    assert isinstance(module, SymGraph), f"{type(module).__name__} has no signature"
    return Signature()


def check_signature(pass_name: str, before: Signature, after: Signature, adds: bool, keys: bool) -> None:
    """Refuse a pass that loses, renames, reorders or retypes what the function takes or gives. `adds`: it may add
    inputs, outputs and updates to those there are; `keys`: inputs of the role key."""
    if before.inputs != after.inputs or list(before.inputs) != list(after.inputs):
        _inputs(pass_name, before, after, adds, keys)
    if before.outputs != after.outputs:
        _outputs(pass_name, before, after, adds)
    if before.updates is None or after.updates is None:
        return
    for name, phase in before.updates:
        if (name, phase) not in after.updates:
            instead = [p for n, p in after.updates if n == name and (name, p) not in before.updates]
            if instead:
                raise VerifyError("M5", f"pass {pass_name} moves the update of %{name} from {phase} to {instead[0]}")
            raise VerifyError("M5", f"pass {pass_name} loses the update of %{name} in the {phase} half")
    more = [update for update in after.updates if update not in before.updates]
    if more and not adds:
        raise VerifyError("M5", f"pass {pass_name} adds an update of %{more[0][0]} in the {more[0][1]} half")


def _inputs(pass_name: str, before: Signature, after: Signature, adds: bool, keys: bool) -> None:
    for name, (tensor, role) in before.inputs.items():
        if name not in after.inputs:
            raise VerifyError("M3", f"pass {pass_name} loses the input %{name}: {tensor}")
        new_tensor, new_role = after.inputs[name]
        if tensor is not None and new_tensor != tensor:
            raise VerifyError("M3", f"pass {pass_name} makes the input %{name}, which is {tensor}, {new_tensor}")
        if new_role != role:
            wrong = f"{parameter_text(*role)},{parameter_text(*new_role)}"
            raise VerifyError("M3", f"pass {pass_name} makes the input %{name}, which is{wrong}")
    for name, (tensor, role) in after.inputs.items():
        if name not in before.inputs and not adds and not (keys and role[0] == "key"):
            raise VerifyError("M3", f"pass {pass_name} adds the input %{name}: {tensor}{parameter_text(*role)}")
    order = [n for n in after.inputs if n in before.inputs]
    if order != list(before.inputs):
        name, instead = _first_apart(list(before.inputs), order)
        raise VerifyError("M3", f"pass {pass_name} puts the inputs in another order: %{instead} where %{name} was")


def _outputs(pass_name: str, before: Signature, after: Signature, adds: bool) -> None:
    names = [name for name, _, _ in after.outputs]
    found = {name: tensor for name, tensor, _ in after.outputs}
    roles = {name: role for name, _, role in after.outputs}
    for at, (name, tensor, role) in enumerate(before.outputs):
        if name not in found:
            instead = (
                f" and gives {names[at]} in its place" if len(names) > at and len(names) == len(before.outputs) else ""
            )
            raise VerifyError("M4", f"pass {pass_name} loses the output {name}: {tensor}{instead}")
        if tensor is not None and found[name] is not None and found[name] != tensor:
            raise VerifyError("M4", f"pass {pass_name} makes the output {name}, which is {tensor}, {found[name]}")
        if roles[name] != role:
            wrong = f"{output_text(*role) or ' result'},{output_text(*roles[name]) or ' result'}"
            raise VerifyError("M4", f"pass {pass_name} makes the output {name}, which is{wrong}")
    known = {name for name, _, _ in before.outputs}
    more = [name for name in names if name not in known]
    if more and not adds:
        raise VerifyError("M4", f"pass {pass_name} adds the output {more[0]}: {found[more[0]]}")
    wanted = [name for name, _, _ in before.outputs]
    if names[: len(wanted)] != wanted:
        name, instead = _first_apart(wanted, names)
        raise VerifyError("M4", f"pass {pass_name} puts the outputs in another order: {instead} where {name} was")


def _first_apart(wanted: Sequence[str], found: Sequence[str]) -> tuple[str, str]:
    """The first names that differ."""
    return next((a, b) for a, b in zip(wanted, found) if a != b)

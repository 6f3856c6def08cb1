"""Rule P15 of symc.ir.verify: what a prologue reads and leaves, and that nothing else writes there."""

from __future__ import annotations

from symc.ir.errors import VerifyError
from symc.ir.program.nodes import (
    KernelStep,
    Program,
    Result,
    ViewStep,
    bases_of,
    fixed_of,
    operands_of,
    results_of,
)
from symc.ir.program.text import is_planned


def verify_prologue(program: Program, inside: bool) -> None:
    """`inside`: it is the program of a region."""
    count = program.prologue
    if count and (inside or not 0 < count < len(program.steps) or program.cut != len(program.steps)):
        raise VerifyError("P15", "a prologue stands before the steps of a whole program without a backward half")
    known, made = fixed_of(program), set[str]()
    for at, step in enumerate(program.steps[:count]):
        if not (isinstance(step, ViewStep) or isinstance(step, KernelStep) and step.form.kind != "host"):
            raise VerifyError("P15", f"step {at} of the prologue is no kernel of loops, and no view")
        for operand in operands_of(step):
            if operand not in known:
                raise VerifyError("P15", f"step {at} of the prologue reads %{operand}, which runs may change")
        made |= {r.name for r in results_of(step)}
        known |= made
    for value in [o.value for o in program.outputs] + [u.value for u in program.updates]:
        if value in made:
            raise VerifyError("P15", f"%{value} is what a run gives, but the prologue computes it")
    if is_planned(program):
        _places(program)


def _places(program: Program) -> None:
    """What later steps read of a prologue is kept, each value apart from the others, and nothing else lies there."""
    base = bases_of(program)
    results = {r.name: (at, r) for at, s in enumerate(program.steps) if not isinstance(s, ViewStep) for r in s.results}
    end = 0
    for result in sorted((r for _, r in results.values() if r.place.kind == "kept"), key=lambda r: r.place.offset):
        at, place = results[result.name][0], result.place
        if at >= program.prologue:
            raise VerifyError("P15", f"step {at} writes %{result.name} where values of the prologue are kept")
        if place.offset < end or place.offset % result.type.dtype.itemsize or _end(result) > program.kept:
            where = f"[{place.offset}, {_end(result)})"
            raise VerifyError("P15", f"%{result.name} at {where} of {program.kept} bytes that are kept: not its own")
        end = _end(result)
    for at, step in enumerate(program.steps[program.prologue :], program.prologue):
        for operand in operands_of(step):
            found = results.get(base[operand])
            if found is not None and found[0] < program.prologue and found[1].place.kind != "kept":
                raise VerifyError("P15", f"step {at} reads %{operand} of the prologue, which is not kept")


def _end(result: Result) -> int:
    return result.place.offset + result.type.nbytes

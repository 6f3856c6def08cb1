"""The form of a kernel: over what its loops run, how it reads every operand, and how it stores its results.

The pass that makes a kernel states its form; whoever plans, lowers or explains the kernel reads it there, and the
verifier proves it from the body (rule P12).

  map[32,10]        every index of the space by itself
  row[32,10 | 1]    reductions over the axes behind the bar, and values of the space and of its rows; a row is
                    finished before the next
  nest[32,10]       the loop nest of one primitive whose result has the shape of the space, and values of that result;
                    it reads operands at any index, also through values that are computed element by element
  host              no loops: the host evaluates the body and stores the results when all operands have been read

An access says along which axes of the space the axes of a tensor run: axis k of it is touched at the index of axis
access[k], and nowhere else.

  element           along all axes of the space, in order
  row               along those that are not reduced, in order
  along[1]          along these
  whole             it may be read at any index, at any time

A result is stored by element or by row: after the last read that its turn makes by the same access, and once, unless
the form says `stores twice`.

Text may leave the form out (kind ""). Then all is whole, nothing may be overwritten, and there is nothing to lower by:
that will do for a called kernel, whose loops are there, and is refused (P12) where a body is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from symc.ir.types import Shape, TensorType

Axes = tuple[int, ...]
#: axes of the space; None: whole
Access = Optional[Axes]

KINDS = ("map", "row", "nest", "host")


@dataclass(frozen=True)
class Form:
    """See the module text. `operands` and `results` hold an access for each; `stores` is once or twice."""

    kind: str
    space: Shape
    axes: Axes
    operands: tuple[Access, ...]
    results: tuple[Access, ...]
    stores: str = "once"

    @property
    def element(self) -> Axes:
        """The access of a value of the whole space."""
        return tuple(range(len(self.space)))

    @property
    def row(self) -> Axes:
        """The access of a value of a row."""
        return tuple(a for a in range(len(self.space)) if a not in self.axes)


def map_form(shape: Shape, operands: int) -> Form:
    """The form of one result computed element by element from operands of its shape."""
    whole = tuple(range(len(shape)))
    return Form("map", shape, (), (whole,) * operands, (whole,))


def unstated(operands: int, results: int) -> Form:
    """What is known of a kernel that says no form."""
    return Form("", (), (), (None,) * operands, (None,) * results)


def form_text(form: Form) -> str:
    """The form without its accesses: `row[32,10 | 1]`."""
    if form.kind in ("host", ""):
        return form.kind
    axes = f" | {_numbers(form.axes)}" if form.kind == "row" else ""
    return f"{form.kind}[{_numbers(form.space)}{axes}]{'' if form.stores == 'once' else f' stores {form.stores}'}"


def access_text(form: Form, access: Access) -> str:
    """`element`, `row`, `along[1]` or `whole`."""
    if access is None:
        return "whole"
    if access == form.element:
        return "element"
    return "row" if access == form.row else f"along[{_numbers(access)}]"


def _numbers(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def overwrite_refusal(form: Form, result: int, made: TensorType, operand: int, held: TensorType) -> str:
    """Why a kernel may not store this result, of type `made`, over this operand, of type `held`; empty if it may.

    It may where every read of the operand is at the index whose result the same turn stores later, and no other
    store comes before that read. That other operands, results and steps leave the memory alone is not asked here.
    """
    read, stored = form.operands[operand], form.results[result]
    if not form.kind:
        return "the kernel says no form, so it may read that operand whole"
    if read is None:
        return "the kernel reads that operand whole, so it may read an element after another one's result is stored"
    if read != stored:
        by = f"by {access_text(form, read)}, while the result is stored by {access_text(form, stored)}"
        return f"the kernel reads that operand {by}"
    if form.stores != "once":
        return f"the kernel stores elements of its results {form.stores}, and reads the operand again in between"
    if (made.shape, made.nbytes) != (held.shape, held.nbytes):
        return f"the elements of {made} do not lie where those of {held} do"
    return ""

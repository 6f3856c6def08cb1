"""Rule P12 of symc.ir.verify: the form of a kernel follows from its body.

The proof knows nothing of how the form was found. It computes the results at a symbolic index by the element rules
of the primitives, as lowering does, and notes the index of every read of an operand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from symc.ir.index import Affine, Var
from symc.ir.op import Index, Input, Node, Primitive, Ref, has_element
from symc.ir.prims.elementwise import Const, Elementwise
from symc.ir.prims.reduce import Reduction
from symc.ir.prims.tuples import Get
from symc.ir.program.form import KINDS, Access, Form, access_text, form_text
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.graph import topological
from symc.ir.types import DType, TensorType

#: An index that depends on data.
ANYWHERE = Affine.of(Var("anywhere", dynamic=True))
#: A value read at more indices than this is taken as read anywhere.
INDICES = 16


class Fault(NamedTuple):
    """What is wrong: with operand or result `number` (`of` says which), or with the form as such."""

    text: str
    of: str = ""
    number: int = 0

    def about(self, step: KernelStep) -> str:
        """The fault, with the name of the value in the step."""
        if not self.of:
            return self.text
        name = step.operands[self.number] if self.of == "operand" else step.results[self.number].name
        return f"%{name} {self.text}"


def form_fault(step: KernelStep) -> Fault | None:
    """What of the step's form does not follow from its body; None if all does. Equal kernels are looked at once."""
    form, body = step.form, step.body
    return _fault(form, body.inputs, tuple(body.output_nodes))


@functools.lru_cache(maxsize=4096)
def _fault(form: Form, inputs: tuple[Node, ...], results: tuple[Node, ...]) -> Fault | None:
    found = _shape_fault(form)
    if found is None and form.kind == "host":
        found = _host_fault(form, results)
    elif found is None:
        found = _Proof(form, inputs, results).fault()
    return found


def _shape_fault(form: Form) -> Fault | None:
    """Whether the form makes sense by itself."""
    if not form.kind:
        return Fault("the kernel says no form: map[extents], row[extents | reduced axes], nest[extents] or host")
    if form.kind not in KINDS or form.stores not in ("once", "twice"):
        return Fault(f"{form.kind!r} which stores {form.stores!r} is no form")
    if form.kind != "row" and form.axes or form.kind == "host" and (form.space or form.stores != "once"):
        return Fault(f"{form_text(form)} has reduced axes or a space, which only other kinds have")
    rank = len(form.space)
    if list(form.axes) != sorted(set(form.axes) & set(range(rank))):
        return Fault(f"{form_text(form)} reduces axes {list(form.axes)}, which do not ascend within {rank} axes")
    for of, accesses in (("operand", form.operands), ("result", form.results)):
        for number, access in enumerate(accesses):
            if access is not None and not all(0 <= a < rank for a in access):
                return Fault(f"is {access_text(form, access)}, beyond the space of {form_text(form)}", of, number)
    return None


def _host_fault(form: Form, results: Sequence[Node]) -> Fault | None:
    if not any(_is_host(node) for node in topological(results)):
        return Fault("the form is host, but every primitive of the body has loops")
    for of, accesses in (("operand", form.operands), ("result", form.results)):
        for number, access in enumerate(accesses):
            if access is not None:
                return Fault(f"is {access_text(form, access)}, but the host takes everything whole", of, number)
    return None


def _is_host(node: Node) -> bool:
    op = node.op
    return not (has_element(op) or op.nest or isinstance(op, (Reduction, Input, Const)))


class _Proof:
    """The reads of one body; itself the `Scalars` that element rules compute with."""

    def __init__(self, form: Form, inputs: Sequence[Node], results: Sequence[Node]) -> None:
        self.form, self.results = form, results
        self.element, self.row = form.element, form.row
        self.number = {node: at for at, node in enumerate(inputs)}
        # an axis of one element has one index, however it is reached
        self.index: Index = tuple(
            Affine.of(Var(f"axis{a}", 0, d)) if d != 1 else Affine() for a, d in enumerate(form.space)
        )
        self.row_index = self.index if self.row == self.element else tuple(self.index[a] for a in self.row)
        self.reads: dict[Node, list[Index]] = {}
        #: what the loop nest reads, at any index and time
        self.whole: set[Node] = set()
        self.waiting: list[tuple[Node, Index]] = []
        self.fold: Node | None = None
        self.nest: Node | None = None

    def fault(self) -> Fault | None:
        """The first that does not agree."""
        return self._results() or self._values() or self._kind() or self._operands()

    def _results(self) -> Fault | None:
        """Whether the results have the shapes of their accesses; what is computed, and at which index."""
        form = self.form
        for number, (node, access) in enumerate(zip(self.results, form.results)):
            if access not in (self.element, self.row) or node.shape != tuple(form.space[a] for a in access or ()):
                said = f"is {node.type} and said to be stored by {access_text(form, access)}"
                return Fault(f"{said} in {form_text(form)}", "result", number)
            self.read(node, self.index if access == self.element else self.row_index)
        return None

    def _values(self) -> Fault | None:
        """Every value at every index it is read at."""
        found: Fault | None = None
        while self.waiting and found is None:
            node, index = self.waiting.pop()
            op = node.op
            if node in self.number or isinstance(op, Input):
                continue
            if type(op).element is Elementwise.element:
                for i in node.inputs:
                    self.read(i, index if i.type.shape else ())  # type: ignore[union-attr]
            elif op.nest:
                found = self._nest(node, index)
            elif has_element(op):
                op.element(self, node, index, [self._reader(i) for i in node.inputs])
            elif isinstance(op, Reduction):
                found = self._fold(node, index)
            else:
                held = node.inputs[0].op if isinstance(op, Get) else op
                found = Fault(f"{form_text(self.form)} holds {held.name}, which only the host computes")
        return found

    def _fold(self, node: Node, index: Index) -> Fault | None:
        form, op = self.form, node.op
        assert isinstance(op, Reduction)
        self.fold = node
        if form.kind != "row":
            return self._unfit(op.name)
        if op.axes != form.axes or node.inputs[0].shape != form.space:
            what = f"{op.name} reduces axes {list(op.axes)} of {node.inputs[0].type}"
            return Fault(f"{form_text(form)}, but {what}")
        if index != self.row_index:
            return Fault(f"a row of {form_text(form)} reads the {op.name} of another row")
        self.read(node.inputs[0], self.index)
        return None

    def _nest(self, node: Node, index: Index) -> Fault | None:
        form, op = self.form, node.op
        if form.kind != "nest" or self.nest not in (None, node):
            return self._unfit(op.name)
        self.nest = node
        if node.shape != form.space:
            return Fault(f"{form_text(form)}, but the result of {op.name} is {node.type}")
        if op.nest != form.stores:
            return Fault(f"{form_text(form)} stores {form.stores}, but {op.name} stores {op.nest}")
        if index != self.index:
            return Fault(f"{form_text(form)} reads the result of {op.name} at another index")
        # a loop nest reads what it needs when it likes
        before = topological(node.inputs)
        self.whole.update(before)
        other = next((n for n in before if not (has_element(n.op) or isinstance(n.op, Input))), None)
        return None if other is None else self._unfit(other.op.name)

    def _unfit(self, name: str) -> Fault:
        """The body holds a primitive that bodies of the kind do not."""
        return Fault(f"{form_text(self.form)} fits a body with {_FITS[self.form.kind]}; this one holds {name}")

    def _kind(self) -> Fault | None:
        """Whether what makes the kind was there."""
        if self.form.kind == "row" and self.fold is None or self.form.kind == "nest" and self.nest is None:
            return self._unfit("neither")
        return None

    def _operands(self) -> Fault | None:
        form = self.form
        for node, number in self.number.items():
            access = form.operands[number]
            if access is None:
                continue
            if node.shape != tuple(form.space[a] for a in access):
                return Fault(f"is {node.type}, which cannot be {self._said(access)}", "operand", number)
            wanted = tuple(self.index[a] for a in access)
            others = [index for index in self.reads.get(node, ()) if index != wanted]
            if node in self.whole or others:
                where = "" if not others else f" at [{', '.join(map(str, others[0]))}]"
                return Fault(
                    f"is said to be {self._said(access)}, but is also read elsewhere{where}", "operand", number
                )
        return None

    def _said(self, access: Access) -> str:
        return f"read by {access_text(self.form, access)} in {form_text(self.form)}"

    # -- the scalars

    def read(self, node: Node, index: Index) -> Ref:
        """Notes that a value is read; it is computed later, so that deep bodies need no recursion."""
        known = self.reads.setdefault(node, [])
        if len(known) > INDICES:
            index = (ANYWHERE,) * node.rank
        # mostly it is the very same tuple
        if not any(k is index or k == index for k in known):
            known.append(index)
            self.waiting.append((node, index))
        return Ref("value", node.dtype)

    def _reader(self, node: Node) -> Callable[[Index], Ref]:
        return lambda index: self.read(node, index)

    def apply(self, op: Primitive, args: Sequence[Ref]) -> Ref:
        """A scalar of the operation's type."""
        made = op.type([TensorType(a.dtype, ()) for a in args])
        assert isinstance(made, TensorType)
        return Ref("value", made.dtype)

    def const(self, value: float | int | bool, dtype: DType) -> Ref:
        """A literal."""
        return Ref("", dtype, value)

    def from_index(self, index: Affine, dtype: DType) -> Ref:
        """An index as a scalar."""
        return Ref("value", dtype)

    def to_index(self, scalar: Ref, extent: int) -> Affine:
        """A scalar as an index: where it points is not known."""
        return ANYWHERE if scalar.value is None else Affine.of(min(max(int(scalar.value), 0), extent - 1))

    def guard(self, inside: Sequence[tuple[Affine, int, int]], then: Callable[[], Ref], other: Ref) -> Ref:
        """Reads under a condition are reads."""
        return then()


#: what the body of a kernel of each kind holds
_FITS = {
    "map": "no reduction and no loop nest",
    "row": "reductions and no loop nest",
    "nest": "one loop nest and no reduction",
}

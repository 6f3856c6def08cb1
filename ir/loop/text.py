"""The text of loop kernels, followed by the program that calls them:

    kernel @k0.dot(%x: in f32[4,8], %w: in f32[8], %y: out f32[4]) {
      for %i in 0..4 {parallel} {
        %sum: f32 = for %k in 0..8 carry(%acc: f32 = 0.0 combine=add) {vector=8} {
          %a: f32 = load %x[%i, %k] !1
          %b: f32 = load %w[%k] if 0 <= %k - 1 < 7 else 0.0 !1
          %next: f32 = fma(%a, %b, %acc) !1
          yield %next
        }
        store %sum, %y[%i] !1
      }
    } !2

`schedule(...)` behind the parameters says how the loops are to run (symc.ir.loop.schedule), and `scheduled` that they
are written so. Hints of a loop: `{kind=width,
unroll=n, given}`; `given` behind an operation is its literal. An index is affine, with `floordiv(e, n)` and
`mod(e, n)`; a variable whose range is not that of its loop carries it: `%i:0..4`. What a called kernel's body was
before it became loops is not part of this level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symc.ir.index import Affine, Quotient, Var
from symc.ir.loop.nodes import Alloc, Buffer, Carry, For, If, IndexValue, Let, Load, LoopKernel, Stmt, Store
from symc.ir.loop.schedule_text import schedule_text
from symc.ir.modules import Calls, LoopModule
from symc.ir.op import Ref
from symc.ir.program.text import program_lines
from symc.ir.syntax.printing import Printer, global_name, scalar_text, value_name
from symc.ir.tensor.text import STEP
from symc.ir.types import DType, TensorType

Ranges = Mapping[str, tuple[int, int]]
Guard = Sequence[tuple[Affine, int, int]]
_DYNAMIC = Var("")


def affine_text(index: Affine, ranges: Ranges) -> str:
    """An index expression; `ranges` are those of the open loops."""
    parts = []
    for atom, factor in index.terms:
        if isinstance(atom, Var):
            text = value_name(atom.name)
            known = ranges.get(atom.name) if not atom.dynamic else (_DYNAMIC.lo, _DYNAMIC.hi)
            if known != (atom.lo, atom.hi):
                text += f":{atom.lo}..{atom.hi}"
        else:
            name = "floordiv" if isinstance(atom, Quotient) else "mod"
            text = f"{name}({affine_text(atom.expr, ranges)}, {atom.divisor})"
        parts.append(("- " if factor < 0 else "+ ") + (text if abs(factor) == 1 else f"{abs(factor)}*{text}"))
    if index.const or not parts:
        parts.append(("- " if index.const < 0 else "+ ") + str(abs(index.const)))
    joined = " ".join(parts)
    return joined[2:] if joined.startswith("+ ") else "-" + joined[2:]


def ref_text(ref: Ref, dtype: DType | None) -> str:
    """A scalar operand; a literal's element type follows where it is not `dtype`."""
    if not ref.is_literal:
        return value_name(ref.name)
    text = scalar_text(ref.value, ref.dtype)
    return text if ref.dtype == dtype else f"{text}:{ref.dtype}"


def args_text(args: Sequence[Ref]) -> str:
    """Operands in a row; literals take the element type of the first operand that is none."""
    lead = next((a.dtype for a in args if not a.is_literal), None)
    return ", ".join(ref_text(a, lead) for a in args)


class KernelPrinter:
    """Prints the statements of one kernel."""

    def __init__(self, printer: Printer, buffers: Sequence[Buffer]) -> None:
        self.printer = printer
        self.buffers = {b.name: b.type for b in buffers}
        self.ranges: dict[str, tuple[int, int]] = {}
        self.lines: list[str] = []

    def access(self, buffer: str, index: Sequence[Affine], guard: Guard) -> str:
        """`%buffer[index] if lo <= e < hi and ...`."""
        text = f"{value_name(buffer)}[{', '.join(affine_text(i, self.ranges) for i in index)}]"
        if guard:
            tests = [f"{lo} <= {affine_text(e, self.ranges)} < {hi}" for e, lo, hi in guard]
            text += f" if {' and '.join(tests)}"
        return text

    def body(self, body: Sequence[Stmt], indent: str) -> None:
        """The statements of a body."""
        for stmt in body:
            self.statement(stmt, indent)

    def statement(self, stmt: Stmt, indent: str) -> None:
        """One statement, with everything in it."""
        printer, emit = self.printer, self.lines.append
        loc = printer.loc(stmt.origin)
        if isinstance(stmt, Let):
            attributes = printer.attributes(stmt.op, TensorType(stmt.dtype, ()))
            right = f"{stmt.op.name}({args_text(stmt.args)}){attributes}"
            given = " given" if stmt.given else ""
            emit(f"{indent}{value_name(stmt.name)}: {stmt.dtype} = {right}{given}{loc}")
        elif isinstance(stmt, Load):
            other = f" else {ref_text(stmt.other, stmt.dtype)}" if stmt.other is not None else ""
            access = self.access(stmt.buffer, stmt.index, stmt.guard)
            emit(f"{indent}{value_name(stmt.name)}: {stmt.dtype} = load {access}{other}{loc}")
        elif isinstance(stmt, Store):
            known = self.buffers.get(stmt.buffer)
            value = ref_text(stmt.value, known.dtype if known else None)
            access = self.access(stmt.buffer, stmt.index, stmt.guard)
            emit(f"{indent}store {'add ' if stmt.add else ''}{value}, {access}{loc}")
        elif isinstance(stmt, IndexValue):
            index = affine_text(stmt.index, self.ranges)
            emit(f"{indent}{value_name(stmt.name)}: {stmt.dtype} = index({index}){loc}")
        elif isinstance(stmt, Alloc):
            self.buffers[stmt.buffer.name] = stmt.buffer.type
            emit(f"{indent}alloc {value_name(stmt.buffer.name)}: {stmt.buffer.type}{loc}")
        elif isinstance(stmt, If):
            emit(f"{indent}if {ref_text(stmt.cond, None)}{loc} {{")
            self.body(stmt.body, indent + STEP)
            emit(indent + "}")
        else:
            self.loop(stmt, indent, loc)

    def loop(self, loop: For, indent: str, loc: str) -> None:
        """A loop; what it carries stands on its left side."""
        results = [f"{value_name(c.result)}: {c.init.dtype}" for c in loop.carries]
        left = "" if not results else f"{results[0]} = " if len(results) == 1 else f"({', '.join(results)}) = "
        step = f" step {loop.step}" if loop.step != 1 else ""
        carry = f" carry({', '.join(map(_carry_text, loop.carries))})" if loop.carries else ""
        head = f"for {value_name(loop.var)} in {loop.lo}..{loop.hi}{step}{carry}{_hints(loop)}{loc}"
        self.lines.append(f"{indent}{left}{head} {{")
        outer = self.ranges.get(loop.var)
        self.ranges[loop.var] = (loop.lo, loop.hi)
        self.body(loop.body, indent + STEP)
        if outer is None:
            del self.ranges[loop.var]
        else:
            self.ranges[loop.var] = outer
        if loop.carries:
            yields = ", ".join(ref_text(c.yields, c.init.dtype) for c in loop.carries)
            self.lines.append(f"{indent}{STEP}yield {yields}")
        self.lines.append(indent + "}")


def _carry_text(carry: Carry) -> str:
    dtype = carry.init.dtype
    combine = f" combine={carry.combine.name}" if carry.combine is not None else ""
    return f"{value_name(carry.name)}: {dtype} = {ref_text(carry.init, dtype)}{combine}"


def _hints(loop: For) -> str:
    if (loop.kind, loop.width, loop.unroll, loop.given) == ("serial", 0, 1, False):
        return ""
    parts = [f"{loop.kind}={loop.width}" if loop.width else loop.kind]
    if loop.unroll != 1:
        parts.append(f"unroll={loop.unroll}")
    if loop.given:
        parts.append("given")
    return f" {{{', '.join(parts)}}}"


def kernel_lines(kernel: LoopKernel, printer: Printer) -> list[str]:
    """One kernel."""
    params = []
    for b in kernel.buffers:
        alias = f" alias({', '.join(map(value_name, b.alias))})" if b.alias else ""
        params.append(f"{value_name(b.name)}: {b.mode} {b.type}{alias}")
    body = KernelPrinter(printer, kernel.buffers)
    body.body(kernel.body, STEP)
    key = f' key="{kernel.key}"' if kernel.key else ""
    chosen = f" schedule({schedule_text(kernel.schedule)})" if kernel.schedule is not None else ""
    scheduled = " scheduled" if kernel.scheduled else ""
    head = f"kernel {global_name(kernel.name)}({', '.join(params)}){key}{chosen}{scheduled} {{"
    return [head, *body.lines, f"}}{printer.loc(kernel.origin)}"]


def loops_lines(module: LoopModule, printer: Printer) -> list[str]:
    """All kernels, then the program that calls them."""
    lines = []
    for kernel in module.kernels:
        lines += kernel_lines(kernel, printer)
    calls = Calls(module.calls, module.shifts, module.regions)
    return lines + program_lines(module.program, printer, calls, [kernel.name for kernel in module.kernels])

"""The verifier: numbered invariants of every level. `verify(module)` raises VerifyError with the first one broken.

Symbol level (verify_symbol)
  S1  a variable has no inputs; every other node names its operator
  S2  an entry (node, output) names an output that the node has
  S3  a node has as many inputs as its operator lists, and auxiliary states are variables
  S4  no two variables share a name; every name is set
  S5  where types are known, every variable has one
Tensor level (verify_graph)
  T1  operands precede their users, and every node has the type its primitive gives for its operands
  T2  every value that is not a literal has a name, and no two share one; inputs have their own, or (in the body of a
      step) none
  T3  every value that is neither an input nor a literal has an origin that reaches a Symbol
  T4  inputs are nodes of the primitive `input`, with different names; no other input is used
  T5  an update names an input, once in a phase, and is a value of its type; its phase is forward or backward
  T6  outputs have different names and one result each; their phase is forward or backward
  T7  the graphs a primitive holds follow the other T rules (T3: those of loops and branches; others get their origins
      when they are inlined)
  T8  a gradient is of an input, a head of an output, a buffer of a gradient of an input, and of its type; each is there
      once for every order; with a backward half, nothing in the forward half needs a head
Program level (verify_program)
  P1  no two parameters, constants or results share a name
  P2  every operand is defined before its use
  P3  a step's body takes its operands and gives its results, type by type, and follows the T rules
  P4  outputs and updates name values, with roles as in T8; an update has its parameter's type
  P5  a view stays inside its operand, has its element type, and its place is that memory
  P6  an arena place is aligned to its element type and inside the arena; results have places all or none
  P7  no two values alive at the same time overlap in the arena
  P8  `inplace` names an operand with that very memory, which the kernel's form lets the result overwrite, the step
      does not read by another name, and nobody reads afterwards
  P9  an output's buffer holds that output, and nothing else
  P10 a result in a parameter's buffer is that parameter's update; nobody reads what the buffer held before afterwards
  P11 the cut is between two steps; every step has an origin that reaches a Symbol
  P12 a kernel's form follows from its body: kind, space and reduced axes are those of its primitives, every operand
      is read where its access says and nowhere else, every result is stored as its access says
  P13 a loop or branch, its operands and its results agree with its regions, which follow the P rules themselves and
      update carries only
  P14 what the forward half gives is computed in it; where memory is planned, a kernel of its phase writes every output
      and update, and a parameter's buffer holds its update when the update's half has run
  P15 a prologue is of kernels with loops and of views, in a whole program without a backward half; it reads nothing
      that runs write; what later steps read of it is kept, each value apart from all else
Loop level (verify_loops)
  L1  every scalar is defined before its use, in the same or an enclosing body, with the type it is used at
  L2  an operation has the type its primitive gives for its operands, element by element
  L3  loads and stores name a buffer that is visible, at its rank and element type; `in` buffers are not written
  L4  every index of a load or store follows to be inside of its buffer: from the loops, the guard, the conditions
      around, and (an index computed at run time) from a clip, modulus or comparison in the kernel
  L5  what a loop carries keeps its type
  L6  different turns of a parallel, vector or jam loop never store to the same element, nor does one load what
      another stores
  L7  loads, stores and operations have an origin that reaches a Symbol
  L8  loops, buffers and hints are well formed; an index variable has the range of its loop, or that which the
      conditions around leave of it; what is divided or tested does not depend on turns that are given
  L9  a step and the kernel it calls agree on buffers, and on those that share memory; the program is planned
  L10 a carry combines what it says: a turn yields that operation of the carried value and of something that does not
      depend on it, and nothing else reads the carried value
  L11 what a parallel, vector or jam loop carries combines
  L12 where an `out` buffer may take over the memory of an `in` buffer (alias), no load of that follows the store of
      the same element
  L13 the schedule of a kernel whose loops are plain fits them: what it names exists, and may be done
Across a pass (the rewriter and the manager, symc.passes.manager; M6: decompose)
  M1  what replaces a value has its type
  M2  a pass gives the level it says
  M3  the function keeps its inputs: names, order, types and roles (decompose may add keys; a pass that extends, others)
  M4  the function keeps its outputs: names, order, types and roles (a pass that extends may add some)
  M5  the function keeps its updates: which inputs, and when (a pass that extends may add some)
  M6  an operator's program gives the outputs that the operator lists, of the types that were inferred
  M7  properties that a pass establishes hold after it; those that held before hold still, unless it says it breaks them
  M8  a pass leaves the program that it is given as it is: what changes is another one
  M9  values that stay keep their names, or get new ones: no two exchange them
  M10 an operator of a Symbol that a pass makes is the one that its attributes say
  M11 a pass that may change rounding leaves strict regions as they are
"""

from __future__ import annotations

from typing import Any

from symc.ir.loop.verify import verify_loops
from symc.ir.program.verify import verify_program
from symc.ir.symbol.verify import verify_symbol
from symc.ir.tensor.verify import Checked, verify_graph
from symc.ir.text import level_of


def verify(module: Any, origins: bool = True, checked: Checked | None = None) -> None:
    """Check a module of any level. `origins=False` leaves out the rules about provenance (hand-written IR). `checked`
    is what earlier calls (with the same `origins`) have found right, and learns what this one does."""
    level = level_of(module)
    if level == "symbol":
        verify_symbol(module)
    elif level == "tensor":
        verify_graph(module, origins, checked)
    elif level == "loop":
        verify_loops(module, origins, checked)
    else:
        verify_program(module, origins, None, checked)

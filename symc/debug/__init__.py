"""Debugging what passes do: programs checked after every pass, and the pass, the action and the value that are wrong.

trial         a program, passes, and values of its inputs   values      values of inputs
checks        what must hold after every pass               compare     when values agree
bounds        how far rounding may take a value             smooth      gradients against differences
running       the same of machine code and Executors        reading     what is read of modules
blame         the action and the value of a pass            native_fault  faults that only machine code shows
numdiff       the first pass, action and value at fault     bisect      the fewest passes and actions that fail
reduce        a failure made small, by                      shrink, shrink_programs  smaller graphs; kernels and loops
files         a trial as a `.sir` file, and back            reproducer  files of failures inside of the compiler
sirtest       tests that are programs                       pytest_plugin  ... run by pytest
life          where a value comes from, and why not         structure   two programs compared up to names
nan_guard     where the first nan or inf arises             probe       inner values as results
apart         work in a process that may die                alarm       a limit for what loops for ever
trace         what is compiled in a block is written into a directory (symc.tracing)
"""

from symc.tracing import trace as trace

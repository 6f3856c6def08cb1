"""Debugging what passes do: programs checked after every pass, and the pass, the action and the value that are wrong.

trial      a program, passes, and values of its inputs      checks   what must hold after every pass
compare    when values agree                                bounds   how far rounding may take a value
running    the same of native code and Executors            smooth   gradients against differences
values     values of inputs                                 reading  what is read of modules
files      a trial as a `.sir` file, and back               reduce   a failure made small
numdiff    the first pass, action and value at fault        blame    the action and the value of a pass
bisect     the fewest passes and actions that fail          apart    work in a process that may die
alarm      a limit for what loops for ever
trace      what is compiled in a block is written into a directory (symc.tracing)
"""

from symc.tracing import trace as trace

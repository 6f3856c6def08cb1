"""`symc fuzz`: random programs, checked after every pass.

cases      samples of operators: inputs and attributes        varied     attributes drawn for a value at hand
nets       random Symbols of them                             graphs     random graphs over primitives
pipelines  random passes, orders and options                  trial      a program and what is done with it
checks     what must agree after every pass                   bounds     how far rounding may take a value
running    the same of native code and Executors              reduce     a failure made small
files      a failure as a `.sir` file, and back               campaign   many trials, in processes that may die
"""

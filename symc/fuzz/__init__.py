"""`symc fuzz`: random programs, checked after every pass.

cases      samples of operators: inputs and attributes        varied     attributes drawn for a value at hand
nets       random Symbols of them                             graphs     random graphs over primitives
pipelines  random passes, orders and options                  custom     a Custom operator for the nets
campaign   many trials, in processes that may die             worker     such a process

What is checked, and how failures are made small and written, is symc.debug.
"""

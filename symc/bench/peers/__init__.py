"""Workers that run a workload with one library each, in that library's interpreter: they import numpy and the library,
nothing of symc. `worker.py` is the program; an `of_*.py` builds a workload's run from its description."""

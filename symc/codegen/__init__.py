"""From loops to machine code: the only package that knows LLVM."""

"""Elementary functions as LLVM IR, by family."""

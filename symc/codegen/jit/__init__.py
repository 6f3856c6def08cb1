"""From LLVM IR to machine code: LLVM itself, and the object cache."""

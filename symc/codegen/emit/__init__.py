"""From loops to LLVM IR as text."""

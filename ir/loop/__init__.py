"""Level 3: kernels as loop nests, their text, rules and interpreter."""

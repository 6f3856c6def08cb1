"""Level 2: kernels in order over buffers with places, their text, rules and interpreter."""

"""How passes are run: the manager, the rewriter, instruments, and pipelines as text."""

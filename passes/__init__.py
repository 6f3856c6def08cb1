"""How one program becomes the next: the passes, the rewriter and the pipeline."""

if __name__ == "passes":
    raise ImportError("this package is symc.passes: import it under that name")

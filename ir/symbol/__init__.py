"""Level 0: MXNet's graph of operators with text attributes, its text and its rules."""

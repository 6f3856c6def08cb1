"""Level 1: graphs of typed primitives, their text, rules and interpreter."""

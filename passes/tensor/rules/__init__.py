"""The rules of simplify, by the primitives they look at."""

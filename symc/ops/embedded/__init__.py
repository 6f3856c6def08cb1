"""Operators that carry programs of their own: control flow and Python code."""

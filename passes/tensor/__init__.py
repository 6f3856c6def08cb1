"""Passes from symbols to tensor graphs, and on tensor graphs."""

"""Passes from programs to scheduled loops."""

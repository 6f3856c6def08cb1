"""Layers of neural nets, and their losses."""

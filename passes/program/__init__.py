"""Passes from tensor graphs to planned programs."""

"""Random numbers and their densities."""

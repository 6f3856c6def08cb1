"""What the text forms of all levels share: writing and reading of names, numbers, types and origins."""

"""How loops run: threads, lanes, register tiles, panels, blocks of long sums."""

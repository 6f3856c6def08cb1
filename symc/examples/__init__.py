"""Programs that show symc at work; `symc demo` runs the first."""

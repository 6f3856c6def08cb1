"""The `symc` command: dump, opt, run, passes, ops, demo and bench. Heavy modules are imported by the command that needs them."""

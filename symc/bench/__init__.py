"""symc bench: speed beside the peers, in one run, with ratios and shares of the machine's limit."""

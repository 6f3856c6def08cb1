"""Updates of parameters by optimizers."""

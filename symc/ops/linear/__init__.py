"""Products, factorisations and transforms of matrices."""

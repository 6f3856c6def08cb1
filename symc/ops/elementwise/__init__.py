"""Element by element: on one tensor, with a number, on two tensors."""

"""Making, choosing, moving, ordering and reducing elements."""

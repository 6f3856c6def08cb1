"""symc: MXNet's Symbol API, compiled."""

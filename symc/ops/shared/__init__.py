"""What the definitions of many operators share."""

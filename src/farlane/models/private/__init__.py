"""Private versions: every block encrypted, the key wrapped for each recipient, nothing announced."""

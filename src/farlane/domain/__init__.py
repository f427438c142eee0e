"""Pure values and state tables: what every room talks about."""

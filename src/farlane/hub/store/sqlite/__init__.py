"""The durable store of a hub on one machine: SQLite, group commit, append-only tables."""

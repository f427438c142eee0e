"""Domain-free building blocks: clock, backoff, supervised tasks, hashing, keys, logs, settings, files."""

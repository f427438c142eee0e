"""Deciding: a policy in a process of its own, what counts of its answers, and the log of what was decided."""

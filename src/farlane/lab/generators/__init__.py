"""Worlds that are made up by a seed: queues of a supercomputer, a day of a global network."""

"""Traces of real clusters, read into columns: SWF logs of batch systems, GPU clusters' tasks and nodes."""

"""Replicas: a node obtains a model, runs the process that serves it, and carries its requests."""

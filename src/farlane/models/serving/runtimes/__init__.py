"""Runtimes: each loads one kind of model and answers through the port of `farlane.models.serving.runtime`."""

"""The SDK: what publishers import to hand work to a network, from Python functions to YAML job files."""

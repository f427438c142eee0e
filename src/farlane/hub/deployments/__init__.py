"""Deployments: how many replicas there are of which version, and which of them answers a request."""

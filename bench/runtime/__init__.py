"""The runtime beside its peers: the same no-op work on the same machine, in one run."""

"""Models in IPFS: a running kubo over its RPC API, and any trustless gateway, behind the ports of farlane."""

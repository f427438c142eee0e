"""Models on a node: versions fetched from other nodes and the hub, kept within a budget, and passed on to others."""

"""The hub without its world: jobs, nodes, leases and money as a pure state machine."""

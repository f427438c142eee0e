"""The node without its machine: attempts, capacity and results as a pure state machine."""

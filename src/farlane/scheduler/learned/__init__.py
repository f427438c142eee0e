"""The learned policy: checkpoints, features, the network, decisions from a view, and how far to trust them; pure."""

"""Moving blocks: who is asked for what next, and the servers and sources that carry them."""

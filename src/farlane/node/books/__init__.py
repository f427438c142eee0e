"""The node's side of the books: every leaf is checked against what the node remembers, kept, and its head signed."""

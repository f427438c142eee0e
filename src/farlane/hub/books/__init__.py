"""The hub's side of the books: every ended attempt becomes a leaf, every head a node signs gets its voucher."""

"""The hub's durable truth behind one port."""

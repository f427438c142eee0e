"""farlane: the open AI compute network."""

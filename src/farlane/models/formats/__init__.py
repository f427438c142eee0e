"""What a file of a model is, by its content: its format, where its tensors lie, and whether it is refused."""

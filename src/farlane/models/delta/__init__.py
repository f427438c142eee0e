"""One version of a model as a difference to another: tensors aligned, subtracted, split into planes, compressed."""

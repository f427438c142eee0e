"""Content addressing: identifiers of bytes and the stores that keep bytes under them."""

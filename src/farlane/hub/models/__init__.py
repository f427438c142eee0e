"""The models of a network at its hub: who may change and read them, and how versions come in and go out."""

"""The model repository beside its peers: hashing, update bytes, transfer."""

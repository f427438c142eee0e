"""The manifest: the signed description of one version of a model, whose CID is the version."""

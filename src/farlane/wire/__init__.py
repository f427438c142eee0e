"""The wire: farlane's protobuf and gRPC, spoken nowhere else."""

from __future__ import annotations

import os

# gRPC's core reports each lost connection on stderr; what matters of it reaches callers as an error of the tree.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

"""The node's identity: a random id and the secret that keeps it, made once and kept in its directory."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from farlane.domain.ids import NodeId
from farlane.errors import Corrupted
from farlane.kit.files import atomic_write, read_private

FILE = "node.json"
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this node is: the hub gives the id to nobody without the secret."""

    node: NodeId
    secret: bytes = field(repr=False)


def load_identity(directory: Path) -> NodeIdentity:
    """Return the identity kept in a directory, made if there is none.

    Raises:
        Corrupted: the file is not an identity.
        PermissionRefused: others may read or exchange the file.
        DiskFull: a new one cannot be written.
    """
    path = directory / FILE
    try:
        content = read_private(path)
    except FileNotFoundError:
        return _create(path)
    try:
        fields = json.loads(content)
        identity = NodeIdentity(NodeId(str(fields["node"])), bytes.fromhex(fields["secret"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupted(path) from error
    if not identity.node or len(identity.secret) != _SECRET_BYTES:
        raise _corrupted(path)
    return identity


def _create(path: Path) -> NodeIdentity:
    identity = NodeIdentity(NodeId(f"n-{secrets.token_hex(8)}"), secrets.token_bytes(_SECRET_BYTES))
    content = {"node": identity.node, "secret": identity.secret.hex()}
    atomic_write(path, json.dumps(content).encode())
    return identity


def _corrupted(path: Path) -> Corrupted:
    return Corrupted(
        f"{path} is not a node's identity: expected JSON with `node` and `secret`. Restore it from a backup, or remove "
        "it to join as a new node",
        path=str(path),
    )

"""The ticket office: it signs tickets with a key of the hub, made on first use and then kept in its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from farlane.errors import Corrupted
from farlane.kit.clock import Clock
from farlane.kit.files import atomic_write, read_private
from farlane.models.cid import Cid
from farlane.models.transfer.tickets import KEY_BYTES, Ticket, sign_ticket

KEY_FILE: Final = "tickets.key"
VALID_S: Final = 900.0
"""How long a ticket holds: so long may a node fetch that was thrown out, and peers while the hub is away."""
RENEW_S: Final = VALID_S / 3


class TicketOffice:
    """Makes out tickets.

    Args:
        directory: of the hub; the key is kept in `tickets.key` there.
        clock: wall time.

    Raises:
        PermissionRefused: others can read the key.
        Corrupted: the file is no key; it is never replaced on its own.
        DiskFull: it cannot be kept.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(_seed(directory / KEY_FILE))
        self._clock = clock
        self.public_key = self._key.public_key().public_bytes_raw()
        """By which nodes check tickets; 32 bytes."""

    def ticket(self, network: str, node: str, version: Cid) -> str:
        """Return a ticket for one node and version."""
        return sign_ticket(Ticket(network, node, version, int(self._clock.now() + VALID_S)), self._key)


def _seed(path: Path) -> bytes:
    import secrets

    try:
        seed = read_private(path)
    except FileNotFoundError:
        seed = secrets.token_bytes(KEY_BYTES)
        atomic_write(path, seed, 0o600)
    if len(seed) != KEY_BYTES:
        raise Corrupted(
            f"{path} holds {len(seed)} bytes and no key of {KEY_BYTES}: restore it from a backup, or remove it to make "
            "a new one; nodes then need a moment to get new tickets",
            path=str(path),
        )
    return seed

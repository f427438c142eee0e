"""The door of a node's block server: who shows a ticket of the hub gets the blocks of that ticket's version, no others.

Used by the server's thread and by the node's loop at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from farlane.errors import PermissionRefused, Unauthenticated
from farlane.kit.clock import Clock
from farlane.models.cid import Cid
from farlane.models.transfer.tickets import MAX_TICKET_CHARS, Ticket, check_ticket, read_ticket

KNOWN_TICKETS: Final = 1024
"""Tickets whose signature was checked and is not checked again."""


class BlockDoor:
    """Implements `gateway.Admit`.

    Args:
        clock: tells when tickets run out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: dict[Cid, dict[Cid, frozenset[bytes]]] = {}
        self._used_s: dict[Cid, float] = {}
        self._known: OrderedDict[str, Ticket] = OrderedDict()
        self._key, self._network = b"", ""

    def learn(self, key: bytes, own_ticket: str) -> None:
        """Take the hub's key, and the network from a ticket that the hub gave to this node.

        Raises:
            Unauthenticated: the ticket is not by that key.
        """
        network = read_ticket(own_ticket, key).network
        with self._lock:
            if (key, network) != (self._key, self._network):
                self._key, self._network = key, network
                self._known.clear()

    def open(self, version: Cid, digests: frozenset[bytes], root: Cid | None = None) -> None:
        """Give blocks to who has a ticket for a version.

        Args:
            version: whose ticket counts.
            digests: SHA-256 of the blocks.
            root: of what they are: of a delta that makes the version; None for the version itself.
        """
        with self._lock:
            self._versions.setdefault(version, {})[root or version] = digests
            self._used_s[version] = self._clock.monotonic()

    def touch(self, version: Cid) -> None:
        """Note that a version is used."""
        with self._lock:
            if version in self._versions:
                self._used_s[version] = self._clock.monotonic()

    def shut(self, version: Cid, root: Cid | None = None) -> None:
        """Give nothing of a version, or of a delta that makes it, any more."""
        with self._lock:
            opened = self._versions.get(version, {})
            opened.pop(root or version, None)
            if not opened:
                self._versions.pop(version, None)
                self._used_s.pop(version, None)

    def used_s(self, version: Cid) -> float:
        """Return when a block of a version was last given, or the door opened for it: monotonic seconds."""
        return self._used_s.get(version, 0.0)

    def admit(self, shown: str, cid: Cid) -> bool:
        """Let pass who may have a block; never everybody.

        Raises:
            Unauthenticated: no ticket, one that has run out, or none of this hub.
            PermissionRefused: it is of another network, or not for that block.
        """
        with self._lock:
            ticket = self._checked(shown)
            check_ticket(ticket, self._network, self._clock.now())
            if not any(cid.digest in one for one in self._versions.get(ticket.version, {}).values()):
                raise PermissionRefused(
                    f"this ticket is for version {ticket.version}, of which {cid} is no part here",
                    cid=cid.text,
                )
            self._used_s[ticket.version] = self._clock.monotonic()
        return False

    def _checked(self, shown: str) -> Ticket:
        known = self._known.get(shown)
        if known is not None:
            return known
        if not self._key:
            raise Unauthenticated("this node has no hub yet to check tickets with: try again in a moment")
        ticket = read_ticket(shown[: MAX_TICKET_CHARS + 1], self._key)
        self._known[shown] = ticket
        if len(self._known) > KNOWN_TICKETS:
            self._known.popitem(last=False)
        return ticket

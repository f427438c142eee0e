"""Tickets: a hub's word that one node may fetch the blocks of one version from the others, for a while.

A ticket is a text in base64url, a dot, and an Ed25519 signature over that text in base64url. One ticket has one text:
reading refuses whatever does not write to the same bytes again. Everything here is pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from farlane.errors import InvalidInput, PermissionRefused, Unauthenticated
from farlane.models.cid import DAG_CBOR, Cid, parse_cid

if TYPE_CHECKING:  # cryptography takes 0.1 s to import: only those who touch keys pay for it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES: Final = 32
MAX_TICKET_CHARS: Final = 1024
MAX_NAME_CHARS: Final = 200
_FORM: Final = re.compile(
    r"farlane block ticket 1\n"
    r"network: ([^\n]{1,200})\nnode: ([^\n]{1,200})\nversion: (b[a-z2-7]{58})\nuntil: ([0-9]{1,12})\n"
)
_ASK: Final = "nodes get one from their hub when they join the version's swarm"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who may fetch what until when.

    network: whose hub gave it; node: to whom; version: CID of the manifest; until: Unix seconds.
    """

    network: str
    node: str
    version: Cid
    until: int

    @property
    def text(self) -> str:
        """What is signed."""
        return (
            f"farlane block ticket 1\nnetwork: {self.network}\nnode: {self.node}\nversion: {self.version.text}\n"
            f"until: {self.until}\n"
        )


def sign_ticket(ticket: Ticket, key: Ed25519PrivateKey) -> str:
    """Return a ticket as it is shown.

    Raises:
        InvalidInput: a name that no ticket can carry.
    """
    text = ticket.text
    if _FORM.fullmatch(text) is None:
        raise InvalidInput(
            f"no ticket can be made out for node {ticket.node[:40]!r} of network {ticket.network[:40]!r}: names have 1 "
            f"to {MAX_NAME_CHARS} characters in one line, and a version is named by its manifest's CID"
        )
    raw = text.encode()
    return f"{_encoded(raw)}.{_encoded(key.sign(raw))}"


def read_ticket(shown: str, key: bytes) -> Ticket:
    """Return what a ticket says if the hub with this key signed it.

    Args:
        shown: by whoever asks for blocks.
        key: the hub's Ed25519 key, 32 bytes.

    Raises:
        Unauthenticated: there is none, or it is none of that hub.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not shown:
        raise Unauthenticated(f"blocks are given for a ticket, and none was shown: {_ASK}")
    said, dot, signature = shown.partition(".")
    try:
        raw = _decoded(said)
        if not dot or len(shown) > MAX_TICKET_CHARS:
            raise ValueError("it is not of that form")
        Ed25519PublicKey.from_public_bytes(key).verify(_decoded(signature), raw)
        found = _FORM.fullmatch(raw.decode())
        if found is None:
            raise ValueError("it says something else")
        ticket = Ticket(found[1], found[2], parse_cid(found[3]), int(found[4]))
    except (ValueError, InvalidInput, InvalidSignature) as error:
        raise Unauthenticated(f"this is no ticket of the hub of this network: {_ASK}") from error
    if ticket.text.encode() != raw or ticket.version.codec != DAG_CBOR:
        raise Unauthenticated(f"this is no ticket of the hub of this network: {_ASK}")
    return ticket


def check_ticket(ticket: Ticket, network: str, now: float) -> None:
    """Refuse a ticket of another network, or one that has run out.

    Raises:
        Unauthenticated: it has run out.
        PermissionRefused: it is of another network.
    """
    if ticket.network != network:
        raise PermissionRefused("this ticket is of another network")
    if now >= ticket.until:
        raise Unauthenticated(
            f"this ticket has run out {now - ticket.until:.0f} s ago: {_ASK}. Do the clocks of both machines agree?"
        )


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64url") from error
    if _encoded(raw) != text:  # what the decoder passes over would be a second text of the same ticket
        raise ValueError("not base64url")
    return raw

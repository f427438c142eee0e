"""Tickets: what was signed is what is read, and nothing else is."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import InvalidInput, PermissionRefused, Unauthenticated
from farlane.kit.hashing import sha256
from farlane.models.cid import DAG_CBOR, RAW, Cid
from farlane.models.transfer.tickets import Ticket, check_ticket, read_ticket, sign_ticket

HUB = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = HUB.public_key().public_bytes_raw()
TICKET = Ticket("net", "node-1", Cid(1, DAG_CBOR, sha256(b"manifest")), 1_750_000_900)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=200)


def signed_text(text: str) -> str:
    raw = text.encode()
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (raw, HUB.sign(raw)))


@given(
    network=NAMES, node=NAMES, digest=st.binary(min_size=32, max_size=32), until=st.integers(0, 10**12 - 1)
)
def test_what_was_signed_is_read(network: str, node: str, digest: bytes, until: int) -> None:
    ticket = Ticket(network, node, Cid(1, DAG_CBOR, digest), until)
    assert read_ticket(sign_ticket(ticket, HUB), KEY) == ticket


def test_a_ticket_of_another_hub_is_none() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(Unauthenticated, match="no ticket of the hub"):
        read_ticket(sign_ticket(TICKET, other), KEY)


def test_one_changed_character_makes_it_none() -> None:
    shown = sign_ticket(TICKET, HUB)
    for at in range(len(shown)):
        changed = shown[:at] + ("A" if shown[at] != "A" else "B") + shown[at + 1 :]
        with pytest.raises(Unauthenticated):
            read_ticket(changed, KEY)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        ".",
        "a.b",
        "\x00.\x00",
        "é",
        "." * 2000,
        sign_ticket(TICKET, HUB) + "=",
        sign_ticket(TICKET, HUB) + ".x",
    ],
)
def test_what_is_no_ticket_is_refused(shown: str) -> None:
    with pytest.raises(Unauthenticated):
        read_ticket(shown, KEY)


@pytest.mark.parametrize(
    "text",
    [
        TICKET.text + "more: 1\n",
        TICKET.text.replace("until: ", "until: 0"),
        TICKET.text.replace("ticket 1", "ticket 2"),
        replace(TICKET, version=Cid(1, RAW, sha256(b"x"))).text,
        "",
    ],
)
def test_another_text_by_the_right_key_is_no_ticket(text: str) -> None:
    with pytest.raises(Unauthenticated):
        read_ticket(signed_text(text), KEY)


def test_it_holds_in_its_network_until_its_time() -> None:
    check_ticket(TICKET, "net", TICKET.until - 0.001)
    with pytest.raises(Unauthenticated, match="has run out"):
        check_ticket(TICKET, "net", TICKET.until)
    with pytest.raises(PermissionRefused, match="another network"):
        check_ticket(TICKET, "other", 0.0)


@pytest.mark.parametrize("node", ["", "two\nlines", "n" * 201])
def test_no_ticket_is_made_out_to_a_name_that_could_be_read_otherwise(node: str) -> None:
    with pytest.raises(InvalidInput, match="no ticket can be made out"):
        sign_ticket(replace(TICKET, node=node), HUB)

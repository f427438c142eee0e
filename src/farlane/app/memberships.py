"""Memberships: tokens for further organisations and people of a network, made on the hub's machine."""

from __future__ import annotations

from farlane.app.addresses import certificate_names
from farlane.app.layout import Layout
from farlane.app.network_file import load
from farlane.errors import InvalidSetting
from farlane.hub.credentials import Credentials
from farlane.kit.keys import random_secret, server_certificate
from farlane.wire.tokens import Role, Token


def new_token(layout: Layout, role: Role, organisation: str, publisher: str | None = None) -> Token:
    """Make a token; the hub knows it at once, and keeps only its digest.

    Args:
        layout: the network's directory.
        role: client or node.
        organisation: whose it is.
        publisher: who submits with it; nodes have none.

    Raises:
        InvalidSetting: a node with a publisher, or a publisher without the organisation in front.
        InvalidToken: a name that no token can carry.
    """
    if role == "node" and publisher is not None:
        raise InvalidSetting("a node's token names no publisher; leave --publisher out")
    who = "" if role == "node" else publisher or f"{organisation}/member"
    if who and not who.startswith(f"{organisation}/"):
        raise InvalidSetting(
            f"--publisher is {who!r}; expected {organisation}/NAME, so that nobody takes another's name"
        )
    made = Token(
        role,
        organisation,
        who,
        server_certificate(layout.tls, certificate_names(load(layout).host)).spki_sha256,
        random_secret(),
    )
    Credentials(layout.credentials).add(made.secret, role, organisation, who)
    return made

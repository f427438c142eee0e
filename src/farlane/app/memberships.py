"""Memberships: tokens for further organisations and people of a network, made on the hub's machine."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.app.addresses import certificate_names
from farlane.app.layout import Layout
from farlane.app.network_file import check_organisation, load
from farlane.errors import Conflict, InvalidSetting
from farlane.hub.credentials import SHOWN_CHARS, Credentials
from farlane.kit.keys import random_secret, server_certificate
from farlane.sdk.context import read_client_file
from farlane.wire.serving import Identity
from farlane.wire.tokens import Role, Token, parse_token, secret_digest


@dataclass(frozen=True, slots=True)
class KnownToken:
    """One token as far as the hub knows it; name: the beginning of its secret's digest."""

    name: str
    role: Role
    organisation: str
    publisher: str
    admin: bool
    owner: bool


def known_tokens(layout: Layout) -> list[KnownToken]:
    """Return the tokens of a network, the oldest first.

    Raises:
        NotFound: no network in this directory.
    """
    load(layout)
    return [_known(digest, who) for digest, who in Credentials(layout.credentials).listed()]


def withdraw_token(layout: Layout, name: str) -> KnownToken:
    """Withdraw a token: the hub refuses its holder's next call and stream.

    Raises:
        NotFound: no network here, or no such token.
        Conflict: the network's own nodes and commands use it.
    """
    known, credentials = load(layout), Credentials(layout.credentials)
    digest, who = credentials.find(name)
    own = (parse_token(known.join_token), parse_token(read_client_file(layout.root).token))
    if any(secret_digest(token.secret).hex() == digest for token in own):
        raise Conflict(
            f"{name} is the network's own token, which `farlane up` and its commands use; it stays"
        )
    credentials.withdraw(digest)
    return _known(digest, who)


def _known(digest: str, who: Identity) -> KnownToken:
    return KnownToken(digest[:SHOWN_CHARS], who.role, who.organisation, who.publisher, who.admin, who.owner)


def new_token(
    layout: Layout,
    role: Role,
    organisation: str,
    publisher: str | None = None,
    *,
    admin: bool = False,
    owner: bool = False,
) -> Token:
    """Make a token; the hub knows it at once, and keeps only its digest.

    Args:
        layout: the network's directory.
        role: client or node.
        organisation: whose it is.
        publisher: who submits with it; nodes have none.
        admin: whether it may set what its organisation spends.
        owner: whether it may set what every organisation spends; such a one is an administrator too.

    Raises:
        InvalidSetting: no name of an organisation, a node with a publisher or as administrator, or a publisher
            without the organisation in front.
        InvalidToken: a name that no token can carry.
    """
    check_organisation(organisation)
    if role == "node" and publisher is not None:
        raise InvalidSetting("a node's token names no publisher; leave --publisher out")
    if role == "node" and (admin or owner):
        raise InvalidSetting("a node administers nothing; leave --admin, --owner or --join out")
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
    Credentials(layout.credentials).add(
        made.secret, role, organisation, who, admin=admin or owner, owner=owner
    )
    return made

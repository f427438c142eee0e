"""Who calls the gateway: by the network's own token as bearer token, which OpenAI's clients call an API key."""

from __future__ import annotations

from collections.abc import Callable

from farlane.errors import InvalidToken, PermissionRefused, Unauthenticated
from farlane.hub.credentials import SHOWN_CHARS
from farlane.hub.gateway.port import Caller
from farlane.wire.serving import Identity
from farlane.wire.tokens import PREFIX, parse_token, secret_digest

_BEARER = "bearer "
_MAX_CHARS = 2048
_HOW = "send 'Authorization: Bearer TOKEN' with a client token, as `farlane token` on the hub's machine prints it"


class Access:
    """Lets callers in by their tokens.

    Args:
        lookup: SHA-256 of a secret -> whose it is, or None. Asked on each call, so that a withdrawn token stops
            working at once. Secrets are found by their hash, so timing tells nothing about a near miss.
    """

    def __init__(self, lookup: Callable[[bytes], Identity | None]) -> None:
        self._lookup = lookup

    def identity(self, authorization: list[str]) -> tuple[Identity, str]:
        """Return whose token came with a call, and the token's name.

        Args:
            authorization: every `Authorization` header of the call.

        Raises:
            Unauthenticated: there is not exactly one, or the hub does not know it.
        """
        if not authorization:
            raise Unauthenticated(f"the request carries no token: {_HOW}")
        header = authorization[0]
        if len(authorization) > 1 or header[: len(_BEARER)].lower() != _BEARER or len(header) > _MAX_CHARS:
            raise Unauthenticated(f"the request's authorization is not one bearer token: {_HOW}")
        digest = secret_digest(_secret(header[len(_BEARER) :].strip()))
        found = self._lookup(digest)
        if found is None:
            raise Unauthenticated(
                f"this hub does not know the token: it was withdrawn, or belongs to another hub; {_HOW}"
            )
        return found, digest.hex()[:SHOWN_CHARS]

    def caller(self, authorization: list[str]) -> Caller:
        """Return who makes a call.

        Raises:
            Unauthenticated: no proof of it.
            PermissionRefused: a node's token.
        """
        found, key = self.identity(authorization)
        if found.role != "client":
            raise PermissionRefused(f"a {found.role} token cannot call models: {_HOW}")
        return Caller(found.organisation, found.publisher, key, found.admin)

    def require_owner(self, authorization: list[str], what: str) -> None:
        """Let only the hub's owner do something.

        Raises:
            Unauthenticated: no proof of who calls.
            PermissionRefused: somebody else's token.
        """
        found, _ = self.identity(authorization)
        if not found.owner:
            raise PermissionRefused(
                f"{what} takes a token of the hub's owner: `farlane token --organisation NAME --owner` on the hub's "
                "machine makes one"
            )


def _secret(shown: str) -> str:
    if not shown.startswith(PREFIX):
        return shown  # the secret alone, as farlane's own clients send it
    try:
        return parse_token(shown).secret
    except InvalidToken as error:
        raise Unauthenticated(error.message) from error

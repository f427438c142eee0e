"""Aliases moved as publishers ask for it: only if they stand where the publisher thinks they do."""

from __future__ import annotations

from farlane.errors import Conflict, InvalidInput, NotFound
from farlane.models.catalog.catalog import ANYWHERE, Catalog, Expected
from farlane.models.catalog.values import AliasMove, Author
from farlane.models.cid import Cid
from farlane.models.names import check_alias, parse_reference
from farlane.wire.v1 import models_pb2


def expected_of(
    catalog: Catalog, name: str, where: models_pb2.MoveAliasRequest | models_pb2.PushOffer
) -> Expected:
    """Return where an alias must stand now.

    Raises:
        NotFound: what is expected is no version.
    """
    kind = where.WhichOneof("where")
    if kind is None:
        return ANYWHERE
    return catalog.resolve(f"{name}@{where.expected}").manifest if kind == "expected" else None


def require_standing(catalog: Catalog, name: str, alias: str, expected: Expected, target: Cid) -> None:
    """Refuse early what `Catalog.move` will refuse; an alias that is where it is to go is right in any case.

    Raises:
        Conflict: the alias stands elsewhere.
    """
    check_alias(alias)
    try:
        now = catalog.aliases(name).get(alias)
    except NotFound:
        now = None
    if expected is not ANYWHERE and now not in (expected, target):
        raise Conflict(
            f"{name}@{alias} stands on {now.text if now else 'nothing'} and not where you expect it: somebody else "
            f"has moved it; see `farlane models log {name}`",
            name=name,
            alias=alias,
        )


def move_alias(catalog: Catalog, request: models_pb2.MoveAliasRequest, author: Author) -> AliasMove:
    """Do what a request asks for.

    Raises:
        InvalidInput: it does not say whereto.
        NotFound: no such name, version or alias.
        Conflict: the alias stands elsewhere than expected; of two moves at once exactly one wins.
        PermissionRefused: the name is another's.
    """
    name, alias = request.name, check_alias(request.alias)
    expected = expected_of(catalog, name, request)
    match request.WhichOneof("to"):
        case "target":
            return catalog.move(name, alias, parse_reference(f"{name}@{request.target}"), author, expected)
        case "remove":
            return catalog.remove_alias(name, alias, author, expected)
        case "back":
            return catalog.rollback(name, alias, author, expected)
    raise InvalidInput(
        "an alias is moved to a version, taken away or put back; the request says none of these"
    )

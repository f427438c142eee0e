"""Whose models somebody hears of: all public ones and their own; what is private and another's is as if it were not."""

from __future__ import annotations

from collections.abc import Callable

from farlane.errors import Corrupted, NotFound
from farlane.kit.suggestions import nearest
from farlane.models.catalog.values import Model
from farlane.models.names import check_name
from farlane.models.repository import Repository

Owns = Callable[[Model], bool]
"""Tells whether a name is of whoever asks."""


def sees(repository: Repository, name: str, owns: Owns) -> bool:
    """Tell whether somebody may know that there is a name.

    Raises:
        InvalidInput: no model can have it.
    """
    try:
        model = repository.catalog.model(check_name(name))
    except NotFound:
        return False
    return owns(model) or _is_public(repository, name)


def require_seen(repository: Repository, name: str, owns: Owns) -> None:
    """Refuse what is asked about a name that there is not, or not for whoever asks.

    Raises:
        InvalidInput: no model can have that name.
        NotFound: the same for both; the message names the nearest that they may know.
    """
    if not sees(repository, name, owns):
        raise not_seen(repository, name, owns)


def not_seen(repository: Repository, name: str, owns: Owns) -> NotFound:
    """Return what is said of a name that there is not, or not for whoever asks."""
    names = (one.name for one in repository.catalog.models())
    near = next((one for one in nearest(name, names) if sees(repository, one, owns)), None)
    meant = f"; did you mean {near!r}?" if near is not None and near != name else ""
    return NotFound(f"there is no model {name[:80]!r} here that is yours to use{meant}", name=name[:80])


def _is_public(repository: Repository, name: str) -> bool:
    """Tell whether the newest version that can be read is public; all versions of a name are of a kind."""
    for version in reversed(repository.catalog.versions(name)):
        try:
            return repository.manifest(version).encryption is None
        except (NotFound, Corrupted):
            continue
    return False

"""The port by which deployments learn what names of models mean, and what their versions need."""

from __future__ import annotations

from typing import Protocol


class Versions(Protocol):
    """Knows which version a name means now; see `farlane.models.catalog`."""

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """Return the CID of a version.

        Args:
            model: NAME, NAME@alias, NAME@vN or a CID.
            organisation: who asks.
            alias: asks for another alias of the same name instead.

        Raises:
            NotFound: there is no such name, version or alias.
            PermissionRefused: the model is private and not for this organisation.
        """
        ...

    def readers_of(self, version: str) -> tuple[str, ...]:
        """Return the recipients who can read a private version, as `NodeSpec.recipient` writes them; none if public.

        Raises:
            NotFound: the version is not here (any more).
        """
        ...

    def runtime_of(self, version: str) -> str:
        """Return the runtime that a version asks for; empty where only its node can tell, as of private ones.

        Raises:
            NotFound: the version is not here (any more).
            InvalidInput: no runtime can load its files.
        """
        ...

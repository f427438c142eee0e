"""The synchronous side of a hub's models: what `Client.models` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farlane.models.adding import OnProgress
from farlane.models.catalog.values import AliasMove, Author, Version
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository
from farlane.sdk.model_hub import ModelHub
from farlane.sdk.model_values import HubModel, Pulled, Pushed

if TYPE_CHECKING:
    from farlane.sdk.facade import Client


class Models:
    """The models of a client's hub; arguments and errors are those of `farlane.sdk.model_hub.ModelHub`.

    Args:
        client: open.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def _hub(self) -> ModelHub:
        return ModelHub(self._client.aio.connection, random=self._client.aio.random)

    def push(
        self,
        repository: Repository,
        reference: str,
        *,
        alias: str = "",
        expect: str = "",
        on_progress: OnProgress | None = None,
    ) -> Pushed:
        """Publish a version that is in a repository here; `on_progress` is called on farlane's thread."""
        pushing = self._hub.push(repository, reference, alias=alias, expect=expect, on_progress=on_progress)
        return self._client.portal.run(pushing)

    def pull(
        self,
        repository: Repository,
        reference: str,
        *,
        accept: str = "",
        author: Author | None = None,
        on_progress: OnProgress | None = None,
    ) -> Pulled:
        """Take a version from the hub, checked; `on_progress` is called on farlane's thread."""
        pulling = self._hub.pull(repository, reference, accept=accept, author=author, on_progress=on_progress)
        return self._client.portal.run(pulling)

    def describe(self, reference: str) -> tuple[Version, Manifest]:
        """Return what a version at the hub is."""
        return self._client.portal.run(self._hub.describe(reference))

    def list(self) -> list[HubModel]:
        """Return all names with their newest version."""
        return self._client.portal.run(self._hub.list())

    def model(self, name: str) -> HubModel:
        """Return one name with its versions, aliases and history."""
        return self._client.portal.run(self._hub.model(name))

    def tag(self, name: str, alias: str, target: str, *, expect: str = "") -> AliasMove:
        """Put an alias on a version of a name."""
        return self._client.portal.run(self._hub.tag(name, alias, target, expect=expect))

    def untag(self, name: str, alias: str, *, expect: str = "") -> AliasMove:
        """Take an alias away; its history stays."""
        return self._client.portal.run(self._hub.untag(name, alias, expect=expect))

    def rollback(self, name: str, alias: str, *, expect: str = "") -> AliasMove:
        """Put an alias back where it stood before."""
        return self._client.portal.run(self._hub.rollback(name, alias, expect=expect))

    def remove(self, reference: str, *, everything: bool = False) -> str:
        """Remove a version, or with `everything` the model of that name."""
        return self._client.portal.run(self._hub.remove(reference, everything=everything))

    def accept(self, reference: str, licence: str) -> Version:
        """Record that our organisation accepts the licence of a version."""
        return self._client.portal.run(self._hub.accept(reference, licence))

    def trust(self, name: str, publisher: str) -> None:
        """Have the hub take versions of a name from an account from now on; empty for unsigned ones."""
        self._client.portal.run(self._hub.trust(name, publisher))

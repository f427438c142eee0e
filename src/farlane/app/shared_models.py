"""The models that hub and nodes of one machine share: a repository that `farlane models` keeps, and folders from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from farlane.app.layout import Layout
from farlane.app.model_repository import MODELS_DIRECTORY, open_repository
from farlane.errors import Conflict, NotFound
from farlane.hub.credentials import Credentials
from farlane.hub.service import HubService
from farlane.hub.settings import HubSettings
from farlane.kit.clock import Clock, SystemClock
from farlane.models.manifest.values import Manifest
from farlane.node.replicas.model_host import ModelHost
from farlane.node.replicas.opening import OpenedModels, SealedFolders
from farlane.node.settings import NodeSettings

if TYPE_CHECKING:
    from farlane.node.models.model_cache import ModelCache

ABANDONED_S = 7 * 86400.0
"""What came of a push that nobody went on with for so long is dropped when the hub starts."""


@contextmanager
def deploying(service: HubService, settings: HubSettings, root: Path, clock: Clock) -> Iterator[None]:
    """Let a hub deploy the models of a repository, which stays open during the block.

    Args:
        service: not running yet.
        settings: of the hub.
        root: the network's directory, where the repository is unless the settings name another.
        clock: of the hub.

    Raises:
        Corrupted, DiskFull, PermissionRefused, InvalidInput: the repository cannot be opened.
    """
    from farlane.hub.deployments.catalog_versions import CatalogVersions

    credentials = Credentials(Layout(root).credentials)
    directory, budget = settings.models or root / MODELS_DIRECTORY, settings.models_bytes or None
    with open_repository(directory, clock, max_bytes=budget) as repository:
        repository.blocks.drop_partial((), before_s=clock.now() - ABANDONED_S)
        service.serve_models(CatalogVersions(repository, credentials.owners), repository)
        yield


def models_of(settings: NodeSettings, root: Path | None = None) -> tuple[ModelHost, ModelCache]:
    """Return what runs a node's models, and what fetches those that no repository on this machine has.

    Args:
        settings: of the node.
        root: the network's directory, where the repository is unless the settings name another; None for none.

    Raises:
        InvalidSetting: a budget or an address that is none.
    """
    from farlane.app.model_signing import recover_text
    from farlane.node.models.cache_settings import cache_settings
    from farlane.node.models.model_cache import ModelCache

    directory = settings.models or (root / MODELS_DIRECTORY if root is not None else None)
    shared = None
    if directory is not None and directory.is_dir():
        shared = SharedModels(directory, settings.directory / "versions")
    beside = shared.held if shared is not None else tuple
    cache = ModelCache(cache_settings(settings), recover_text, SystemClock(), beside)
    folders: SealedFolders = FirstOf(shared, cache) if shared is not None else cache
    return ModelHost(OpenedModels(folders, settings.directory), settings.directory / "replicas"), cache


class FirstOf:
    """Implements `SealedFolders`: versions of a repository on this machine as they are there, others fetched.

    Args:
        shared: the repository.
        cache: fetches.
    """

    def __init__(self, shared: SharedModels, cache: ModelCache) -> None:
        self._shared, self._cache = shared, cache

    @asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """See `ModelFolders.hold`."""
        async with AsyncExitStack() as stack:
            try:
                folder = await stack.enter_async_context(self._shared.hold(version))
                await self._cache.tell_held()
            except NotFound:
                folder = await stack.enter_async_context(self._cache.hold(version))
            yield folder

    async def manifest(self, version: str) -> Manifest:
        """See `SealedFolders.manifest`."""
        try:
            return await self._shared.manifest(version)
        except NotFound:
            return await self._cache.manifest(version)


class SharedModels:
    """Implements `SealedFolders` over a repository on this machine, or on a disk that it shares.

    Args:
        repository: its directory.
        folders: where each version that was asked for has a folder, checked as it was written, and kept.
    """

    def __init__(self, repository: Path, folders: Path) -> None:
        self._repository, self._folders = repository, folders

    @asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """See `ModelFolders.hold`."""
        yield await asyncio.to_thread(self._folder, version)

    def held(self) -> tuple[str, ...]:
        """Return the versions that have a folder here already."""
        if not self._folders.is_dir():
            return ()
        return tuple(path.name for path in self._folders.iterdir() if not path.name.startswith("."))

    async def manifest(self, version: str) -> Manifest:
        """See `SealedFolders.manifest`."""
        return await asyncio.to_thread(self._manifest, version)

    def _manifest(self, version: str) -> Manifest:
        from farlane.models.cid import parse_cid
        from farlane.models.repository import read_manifest

        with open_repository(self._repository) as repository:
            return read_manifest(repository.blocks, parse_cid(version))

    def _folder(self, version: str) -> Path:
        from farlane.models.cid import parse_cid
        from farlane.models.exporting import export_folder
        from farlane.models.repository import read_manifest

        folder = self._folders / version
        with open_repository(self._repository) as repository:
            manifest = read_manifest(repository.blocks, parse_cid(version))
            known = (
                one for one in repository.catalog.versions(manifest.name) if one.manifest.text == version
            )
            if next(known, None) is None:
                raise NotFound(f"no model in {self._repository} has version {version}", version=version)
            if not folder.is_dir():
                try:
                    export_folder(repository, manifest, folder)
                except Conflict:
                    if not folder.is_dir():  # else another replica has just written it
                        raise
        return folder

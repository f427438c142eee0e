"""Private versions on a node: opened for those who serve them, closed after the last, and never without the key."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import PermissionRefused
from farlane.models.adding import add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import parse_cid
from farlane.models.exporting import export_folder
from farlane.models.manifest.values import Manifest
from farlane.models.private.recipients import new_recipient_key, recipient_key
from farlane.models.private.versions import add_private
from farlane.models.repository import Repository, read_manifest
from farlane.node.replicas import opening
from farlane.node.replicas.opening import OPENED, OpenedModels

WEIGHTS = b"weights of a model" * 1000


class World:
    """A repository, and a node that takes versions from it."""

    def __init__(self, directory: Path) -> None:
        self.node, self._directory = directory / "node", directory
        self._repository = Repository(MemoryBlockStore(), Catalog(MemoryRows()))
        self.models = OpenedModels(self, self.node)
        (directory / "model").mkdir()
        (directory / "model" / "weights.txt").write_bytes(WEIGHTS)

    def private(self, *, shared: bool = True) -> str:
        """Add a private version, shared with the node or with nobody."""
        readers = [recipient_key(self.node).recipient] if shared else []
        added = add_private(
            self._repository, self._directory / "model", "lab/secret", readers, new_recipient_key()
        )
        return added.version.manifest.text

    def public(self) -> str:
        """Add a public version."""
        return add(self._repository, self._directory / "model", "lab/open").version.manifest.text

    @contextlib.asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """See `SealedFolders.hold`."""
        folder = self._directory / "sealed" / version
        if not folder.exists():
            export_folder(self._repository, await self.manifest(version), folder)
        yield folder

    async def manifest(self, version: str) -> Manifest:
        """See `SealedFolders.manifest`."""
        return read_manifest(self._repository.blocks, parse_cid(version))

    def opened(self) -> list[Path]:
        """Return the folders that are decrypted, or half."""
        place = self.node / OPENED
        return list(place.iterdir()) if place.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_private_version_is_in_clear_while_it_is_held_and_no_longer(world: World) -> None:
    version = world.private()
    async with world.models.hold(version) as folder:
        assert (folder / "weights.txt").read_bytes() == WEIGHTS
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "weights.txt").stat().st_mode) == 0o400
    assert world.opened() == []


async def test_replicas_of_one_version_share_it_until_the_last_has_ended(world: World) -> None:
    version = world.private()
    async with contextlib.AsyncExitStack() as second:
        async with world.models.hold(version) as one:
            assert await second.enter_async_context(world.models.hold(version)) == one
        assert (one / "weights.txt").exists()
    assert world.opened() == []


async def test_a_public_version_is_lent_as_it_is(world: World) -> None:
    async with world.models.hold(world.public()) as folder:
        assert (folder / "weights.txt").read_bytes() == WEIGHTS
    assert world.opened() == []


async def test_a_node_without_the_key_opens_nothing(world: World) -> None:
    version = world.private(shared=False)
    own = recipient_key(world.node).recipient.text
    with pytest.raises(PermissionRefused, match=f"share it with {own}"):
        async with world.models.hold(version):
            pytest.fail("it must not be lent")
    assert world.opened() == []


async def test_nothing_stays_of_a_version_whose_replica_is_stopped_while_it_opens(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, reached, go_on = world.private(), threading.Event(), threading.Event()
    real = opening.open_folder

    def slow(*arguments: object) -> None:
        reached.set()
        assert go_on.wait(30)
        real(*arguments)  # type: ignore[arg-type]

    async def serve() -> None:
        async with world.models.hold(version):
            pytest.fail("it was cancelled before")

    monkeypatch.setattr(opening, "open_folder", slow)
    serving = asyncio.ensure_future(serve())
    await asyncio.to_thread(reached.wait, 30)
    for _ in range(2):  # an impatient one cancels twice
        serving.cancel()
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert world.opened() == []

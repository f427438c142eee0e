"""Pulling versions from a hub: checked, with what is missing alone, and gone on with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from farlane.errors import Corrupted, NotFound, PermissionRefused
from farlane.models.adding import Description, add
from farlane.models.catalog.values import Author
from farlane.models.cid import Cid
from farlane.models.repository import Repository
from farlane.sdk.client import AsyncClient
from farlane.sdk.model_hub import ModelHub
from farlane.testing.running_hub import RunningHub

MIB = 1 << 20
LAB = Author("lab", "ada")


def models(client: AsyncClient) -> ModelHub:
    return ModelHub(client.connection, random=Random(1))


@pytest.fixture
def kept(hub: RunningHub, folder: Path) -> Repository:
    """The hub's repository with lab/mini@v1."""
    assert hub.models is not None
    add(hub.models, folder, "lab/mini", author=LAB)
    return hub.models


@pytest.fixture
def empty(tmp_path: Path) -> Repository:
    """A repository of somebody else."""
    from farlane.models.blocks.disk import DiskBlockStore
    from farlane.models.catalog.catalog import Catalog
    from farlane.models.catalog.rows_memory import MemoryRows

    return Repository(DiskBlockStore(tmp_path / "empty"), Catalog(MemoryRows()))


async def test_a_pulled_version_is_the_same_here(
    hub: RunningHub, kept: Repository, empty: Repository
) -> None:
    seen: list[int] = []
    async with hub.client("elsewhere/bob", "elsewhere") as client:
        pulled = await models(client).pull(
            empty, "lab/mini", on_progress=lambda one: seen.append(one.done_bytes)
        )
    version, manifest = empty.resolve("lab/mini")
    assert version.manifest == kept.resolve("lab/mini")[0].manifest == pulled.version.manifest
    assert [empty.file_path(file).read_bytes() for file in manifest.files] == [
        kept.file_path(file).read_bytes() for file in manifest.files
    ]
    assert seen == sorted(seen)
    assert seen[-1] == manifest.size_bytes


async def test_what_is_here_already_is_not_fetched(
    hub: RunningHub, kept: Repository, empty: Repository, folder: Path
) -> None:
    async with hub.client() as client:
        await models(client).pull(empty, "lab/mini")
        assert (await models(client).pull(empty, "lab/mini")).received_bytes == 0
        weights = (folder / "weights.bin").read_bytes()
        (folder / "weights.bin").write_bytes(b"another beginning" + weights[17:])
        add(kept, folder, "lab/mini", author=LAB)
        second = await models(client).pull(empty, "lab/mini@v2")
    assert 0 < second.received_bytes < 1.2 * MIB


async def test_a_pull_that_was_cut_off_fetches_the_rest_alone(
    hub: RunningHub, kept: Repository, empty: Repository
) -> None:
    async with hub.client() as client:
        pulling = asyncio.ensure_future(
            models(client).pull(
                empty, "lab/mini", on_progress=lambda one: one.done_bytes > 2 * MIB and pulling.cancel()
            )
        )
        with pytest.raises(asyncio.CancelledError):
            await pulling
        pulled = await models(client).pull(empty, "lab/mini")
    assert pulled.received_bytes < 4.2 * MIB


async def test_a_pull_goes_on_when_its_hub_comes_back(
    hub: RunningHub, kept: Repository, empty: Repository
) -> None:
    restarts: list[asyncio.Future[None]] = []

    def restart(done: int) -> None:
        if done > MIB and not restarts:
            restarts.append(asyncio.ensure_future(hub.restart()))

    async with hub.client() as client:
        await models(client).pull(empty, "lab/mini", on_progress=lambda one: restart(one.done_bytes))
        await restarts[0]
    assert empty.resolve("lab/mini")[0].manifest == kept.resolve("lab/mini")[0].manifest


async def test_a_version_by_its_cid(hub: RunningHub, kept: Repository, empty: Repository) -> None:
    wanted = kept.resolve("lab/mini")[0].manifest
    async with hub.client() as client:
        assert (await models(client).pull(empty, wanted.text)).version.manifest == wanted
        with pytest.raises(NotFound):
            await models(client).pull(empty, Cid(1, 0x71, bytes(32)).text)


async def test_a_licence_is_accepted_before_anything_is_fetched(
    hub: RunningHub, kept: Repository, empty: Repository, folder: Path
) -> None:
    add(kept, folder, "lab/asked", Description(licence="MIT", acceptance=True), author=LAB)
    async with hub.client("elsewhere/bob", "elsewhere") as client:
        with pytest.raises(PermissionRefused, match="MIT"):
            await models(client).pull(empty, "lab/asked")
        assert list(empty.blocks.iterate()) == []
        await models(client).pull(empty, "lab/asked", accept="MIT")
    assert kept.catalog.accepted("elsewhere", empty.resolve("lab/asked")[0].manifest) == "MIT"


async def test_damage_at_the_hub_is_told(hub: RunningHub, kept: Repository, empty: Repository) -> None:
    file = kept.resolve("lab/mini")[1].file("weights.bin")
    assert file is not None
    path = kept.file_path(file)
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(3 * MIB)
        stream.write(b"X")
    async with hub.client() as client:
        with pytest.raises((Corrupted, NotFound)):
            await models(client).pull(empty, "lab/mini")
    with pytest.raises(NotFound):
        empty.resolve("lab/mini")

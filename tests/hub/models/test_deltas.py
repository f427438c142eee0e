"""Deltas between a publisher, a hub and who pulls: an update travels as a difference, and a bad one does no harm."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from safetensors.numpy import save_file

from farlane.models.adding import Added, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import DeltaRow
from farlane.models.cid import DAG_CBOR, block_cid
from farlane.models.deltas import block_list, deltas_for, make_for
from farlane.models.exporting import export_folder
from farlane.models.repository import Repository
from farlane.sdk.client import AsyncClient
from farlane.sdk.model_hub import ModelHub
from farlane.testing.running_hub import RunningHub
from farlane.testing.tensor_files import moved, weights

BASE = {"embed": weights(1500, seed=1), "layer": weights(1200, seed=2), "head": weights(1000, seed=5)}
TUNED = BASE | {"layer": moved(BASE["layer"]), "head": moved(BASE["head"])}


def models(client: AsyncClient) -> ModelHub:
    return ModelHub(client.connection, random=Random(1))


def empty() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()))


class Publisher:
    """A repository with a model and its fine-tuned version."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here = folder, empty()
        folder.mkdir()
        self.first, self.second = self.added(BASE), self.added(TUNED)

    def added(self, tensors: dict[str, object]) -> Added:
        save_file(tensors, self.folder / "model.safetensors")  # type: ignore[arg-type]
        return add(self.here, self.folder, "lab/tuned")

    def delta(self) -> DeltaRow:
        """Make the delta from the first version to the second."""
        first, second = self.first, self.second
        made = make_for(self.here, second.version, second.manifest, first.version, first.manifest, threads=2)
        assert made is not None
        return made


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "tuned")


async def test_an_update_travels_as_a_delta(hub: RunningHub, publisher: Publisher, tmp_path: Path) -> None:
    delta, other = publisher.delta(), empty()
    async with hub.client() as client:
        first = await models(client).push(publisher.here, "lab/tuned@v1")
        pushed = await models(client).push(publisher.here, "lab/tuned@v2")
        await models(client).pull(other, "lab/tuned@v1")
        pulled = await models(client).pull(other, "lab/tuned@v2")
    assert hub.models is not None
    assert deltas_for(hub.models, delta.target) == deltas_for(other, delta.target) == (delta,)
    assert pushed.sent_bytes < delta.size_bytes + 50_000 < first.sent_bytes / 4
    assert pulled.received_bytes < delta.size_bytes + 50_000
    export_folder(other, other.resolve("lab/tuned@v2")[1], tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        publisher.folder / "model.safetensors"
    ).read_bytes()


async def test_without_its_base_a_delta_is_not_wanted(hub: RunningHub, publisher: Publisher) -> None:
    publisher.delta()
    async with hub.client() as client:
        pushed = await models(client).push(publisher.here, "lab/tuned@v2")
    assert pushed.sent_bytes > pushed.total_bytes
    assert hub.models is not None
    assert deltas_for(hub.models, pushed.version.manifest) == ()


async def test_a_damaged_delta_is_not_offered(hub: RunningHub, publisher: Publisher) -> None:
    junk = b"\xa1\x61x\x01"
    fake = DeltaRow(
        publisher.second.version.manifest,
        publisher.first.version.manifest,
        block_cid(DAG_CBOR, junk),
        len(junk),
    )
    publisher.here.blocks.put(fake.root, junk)
    publisher.here.catalog.deltas.add(fake)
    async with hub.client() as client:
        await models(client).push(publisher.here, "lab/tuned@v1")
        pushed = await models(client).push(publisher.here, "lab/tuned@v2")
    assert pushed.version.number == 2


async def test_a_delta_whose_blocks_are_gone_at_the_hub_is_done_without(
    hub: RunningHub, publisher: Publisher
) -> None:
    delta, other = publisher.delta(), empty()
    assert hub.models is not None
    async with hub.client() as client:
        for version in ("v1", "v2"):
            await models(client).push(publisher.here, f"lab/tuned@{version}")
        hub.models.blocks.delete(block_list(hub.models.blocks, delta.root)[-1])
        await models(client).pull(other, "lab/tuned@v1")
        pulled = await models(client).pull(other, "lab/tuned@v2")
    assert pulled.received_bytes > delta.size_bytes
    assert other.resolve("lab/tuned")[0].manifest == publisher.second.version.manifest

"""A hub with one version of a model in its repository, and nodes that fetch it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest

from farlane.models.adding import Added, add
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import Author, Version
from farlane.models.repository import Repository
from farlane.testing.manifests import KeyedHashSigner
from farlane.testing.model_nodes import ModelNode
from farlane.testing.running_hub import RunningHub

MIB = 1 << 20

Publish = Callable[..., Version]
"""(files: dict[str, bytes], name="lab/mini") -> a new version at the hub."""
MakeNode = Callable[..., ModelNode]
"""(name="n1", **options of ModelNode) -> a node that keeps its models in a directory by that name."""


@pytest.fixture
def content() -> dict[str, bytes]:
    """The files of a model: some blocks, a small one, an empty one."""
    data = Random(3).randbytes(9 * MIB + 4321)
    return {"weights.bin": data, "tokens/words.txt": b"a b c", "empty": b""}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    blocks = DiskBlockStore(tmp_path / "blocks")
    models = Repository(blocks, Catalog(MemoryRows()), KeyedHashSigner.recover)
    async with RunningHub(tmp_path / "hub", models=models) as running:
        yield running


@pytest.fixture
def publish_added(hub: RunningHub, tmp_path: Path) -> Callable[..., Added]:
    """As `publish`, with the manifest."""

    def publish(files: dict[str, bytes], name: str = "lab/mini") -> Added:
        assert hub.models is not None
        folder = tmp_path / f"published-{len(list(tmp_path.iterdir()))}"
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return add(hub.models, folder, name, author=Author("lab", "ada"))

    return publish


@pytest.fixture
def publish(publish_added: Callable[..., Added]) -> Publish:
    return lambda files, name="lab/mini": publish_added(files, name).version


@pytest.fixture
def version(publish: Publish, content: dict[str, bytes]) -> str:
    """CID of the version with that content."""
    return publish(content).manifest.text


@pytest.fixture
def node(hub: RunningHub, tmp_path: Path) -> MakeNode:
    def make(name: str = "n1", **options: object) -> ModelNode:
        return ModelNode(hub, tmp_path / "nodes" / name, name, **options)  # type: ignore[arg-type]

    return make

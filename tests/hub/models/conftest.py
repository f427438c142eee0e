"""A hub with an empty repository, and one on another machine with a version in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from farlane.models.adding import add
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.repository import Repository
from farlane.testing.manifests import KeyedHashSigner
from farlane.testing.running_hub import RunningHub

MIB = 1 << 20


def repository(path: Path, max_bytes: int | None = None) -> Repository:
    """Return a repository on a disk, with a catalog in memory."""
    blocks = DiskBlockStore(path, max_bytes=max_bytes)
    return Repository(blocks, Catalog(MemoryRows()), KeyedHashSigner.recover)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of two files, a few blocks and a small one."""
    made = tmp_path / "mini"
    (made / "tokens").mkdir(parents=True)
    (made / "weights.bin").write_bytes(Random(3).randbytes(5 * MIB + 4321))
    (made / "tokens" / "words.txt").write_text("a b c")
    return made


@pytest.fixture
def own(tmp_path: Path, folder: Path) -> Repository:
    """A publisher's repository with the version lab/mini@v1."""
    made = repository(tmp_path / "own")
    add(made, folder, "lab/mini")
    return made


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub that serves models from a repository on its disk."""
    async with RunningHub(tmp_path / "hub", models=repository(tmp_path / "blocks")) as running:
        yield running

"""What a gateway gives to everybody follows the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.errors import NotFound
from farlane.kit.clock import ManualClock
from farlane.models.adding import Description, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import RAW, block_cid
from farlane.models.ipfs.outgoing import gather
from farlane.models.ipfs.published import PublishedVersions
from farlane.models.ipfs.signed_version import published_as
from farlane.models.repository import Repository
from farlane.testing.manifests import KeyedHashSigner


@pytest.fixture
def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()), KeyedHashSigner.recover, ManualClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "config.json").write_text("{}")
    return tmp_path / "mini"


def test_every_block_of_a_signed_version_is_given(repository: Repository, folder: Path) -> None:
    added = add(repository, folder, "lab/mini", signer=KeyedHashSigner("0xada"))
    published = PublishedVersions(repository)
    out = gather(repository, added.version, added.manifest)
    assert all(published.admit("", cid) and published.source.get(cid) == block for cid, block in out.blocks())
    assert published.versions == ((added.version, published_as(added.version)[0]),)


def test_what_belongs_to_no_version_is_not_given(repository: Repository, folder: Path) -> None:
    published = PublishedVersions(repository)
    stray = block_cid(RAW, b"of a task, or of nobody")
    repository.blocks.put(stray, b"of a task, or of nobody")
    with pytest.raises(NotFound):
        published.admit("", stray)


def test_versions_come_and_go(repository: Repository, folder: Path) -> None:
    published = PublishedVersions(repository)
    first = add(repository, folder, "lab/mini").version
    (folder / "config.json").write_text("[]")
    second = add(repository, folder, "lab/mini").version
    published.refresh()
    assert published.admit("", first.manifest)
    repository.catalog.remove("lab/mini@v1")
    published.refresh()
    assert published.admit("", second.manifest)
    with pytest.raises(NotFound):
        published.admit("", first.manifest)


def test_a_licence_opens_a_version_when_it_is_accepted(repository: Repository, folder: Path) -> None:
    said = Description(licence="LicenseRef-gemma", acceptance=True)
    version = add(repository, folder, "lab/mini", said).version
    published = PublishedVersions(repository)
    assert (published.versions, published.left_out) == ((), 1)
    repository.accept(version, "LicenseRef-gemma")
    published.refresh()
    assert (published.admit("", version.manifest), published.left_out) == (True, 0)

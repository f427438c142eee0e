"""What of a version goes out, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.errors import NotFound, PermissionRefused
from farlane.kit.clock import ManualClock
from farlane.models.adding import Description, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.walking import walk
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.ipfs.outgoing import gather
from farlane.models.manifest.values import Parent, Relation
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.versions import add_private
from farlane.models.repository import Repository
from farlane.testing.manifests import KeyedHashSigner


@pytest.fixture
def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()), KeyedHashSigner.recover, ManualClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "weights.bin").write_bytes(bytes(range(256)) * 10_000)
    return tmp_path / "mini"


def tuned(repository: Repository, folder: Path, parent, name: str = "lab/tuned"):
    (folder / "config.json").write_text('{"tuned": 1}')
    said = Description(parents=(Parent(cid=parent.manifest, relation=Relation.FINETUNE),))
    return add(repository, folder, name, said)


def test_everything_below_a_signed_version_goes_out_once(repository: Repository, folder: Path) -> None:
    first = add(repository, folder, "lab/mini", signer=KeyedHashSigner("0xada")).version
    second = tuned(repository, folder, first)
    out = gather(repository, second.version, second.manifest)
    below = {cid for cid, _ in walk(out.source.get, [out.root])}
    assert (set(out.cids), len(out.cids), out.left_out) == (below, len(below), ())
    assert first.manifest in below
    assert sum(len(data) for _, data in out.blocks()) == out.size_bytes


def test_a_private_version_never_goes_out(repository: Repository, folder: Path) -> None:
    secret = add_private(repository, folder, "lab/secret", [], new_recipient_key())
    with pytest.raises(PermissionRefused, match="is private"):
        gather(repository, secret.version, secret.manifest)
    child = tuned(repository, folder, secret.version)
    out = gather(repository, child.version, child.manifest)
    assert out.left_out == (secret.version.manifest,)
    secrets = {cid for one in secret.manifest.files for cid in (one.cid, one.ipfs_cid)}
    assert secrets.isdisjoint(out.cids)


def test_a_licence_nobody_accepted_keeps_a_version_here(repository: Repository, folder: Path) -> None:
    said = Description(licence="LicenseRef-gemma", acceptance=True)
    version, manifest = (one := add(repository, folder, "lab/mini", said)).version, one.manifest
    child = tuned(repository, folder, version)
    with pytest.raises(PermissionRefused, match="farlane models accept"):
        gather(repository, version, manifest)
    assert gather(repository, child.version, child.manifest).left_out == (version.manifest,)
    repository.accept(version, "LicenseRef-gemma")
    assert gather(repository, version, manifest).root == version.manifest
    assert gather(repository, child.version, child.manifest).left_out == ()


def test_a_version_with_a_hole_does_not_go_out(repository: Repository, folder: Path) -> None:
    added = add(repository, folder, "lab/mini")
    repository.blocks.delete_file(added.manifest.files[0].sha256.hex())
    with pytest.raises(NotFound):
        gather(repository, added.version, added.manifest)

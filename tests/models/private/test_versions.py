"""Private versions in a repository: who reads them, what is shared and taken back, and that nothing leaks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, InvalidInput, PermissionRefused
from farlane.kit.clock import ManualClock
from farlane.models.adding import Description, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import verify_block
from farlane.models.exchange.oci import export_oci
from farlane.models.exchange.ollama import export_ollama
from farlane.models.private import versions
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.versions import (
    add_private,
    files_of,
    is_private,
    open_version,
    readers_of,
    require_public,
    revoke,
    share,
)
from farlane.models.private.wrapping import recipients_of
from farlane.models.repository import Repository
from farlane.testing.manifests import KeyedHashSigner

ADA, BOB, EVE = (new_recipient_key() for _ in range(3))
SECRET = b"weights that nobody else may see " * 50_000


@pytest.fixture
def store() -> MemoryBlockStore:
    return MemoryBlockStore()


@pytest.fixture
def repository(store: MemoryBlockStore) -> Repository:
    return Repository(store, Catalog(MemoryRows()), KeyedHashSigner.recover, ManualClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.txt").write_bytes(SECRET)
    (tmp_path / "model/config.json").write_text("{}")
    return tmp_path / "model"


def read(repository: Repository, reference: str, key: object, target: Path) -> bytes:
    _, manifest = repository.resolve(reference)
    open_version(repository, manifest, key, target)  # type: ignore[arg-type]
    return (target / "weights.txt").read_bytes()


def test_recipients_read_it_and_strangers_do_not(
    repository: Repository, folder: Path, tmp_path: Path
) -> None:
    added = add_private(repository, folder, "mini", [BOB.recipient], ADA, Description(task="chat"))
    assert is_private(added.manifest)
    assert added.manifest.task == "chat"
    for number, key in enumerate((ADA, BOB)):
        assert read(repository, "mini", key, tmp_path / f"plain{number}") == SECRET
    with pytest.raises(PermissionRefused, match="not shared with"):
        read(repository, "mini", EVE, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
    assert (folder / "weights.txt").read_bytes() == SECRET


def test_blocks_are_ciphertext_and_their_cids_tell_nothing(
    repository: Repository, store: MemoryBlockStore, folder: Path
) -> None:
    one = add_private(repository, folder, "mini", [], ADA).manifest
    blocks = [store.get(cid) for cid in store.iterate()]
    assert not any(SECRET[:33] in block or b"weights.txt" in block for block in blocks)
    other = add_private(repository, folder, "mini", [], ADA).manifest
    assert {file.cid for file in one.files}.isdisjoint(file.cid for file in other.files)
    for cid in store.iterate():
        verify_block(cid, store.get(cid))


def test_sharing_opens_one_version_without_a_new_block_of_its_files(
    repository: Repository, store: MemoryBlockStore, folder: Path, tmp_path: Path
) -> None:
    add_private(repository, folder, "mini", [], ADA)
    (folder / "config.json").write_text('{"second": 1}')
    second = add_private(repository, folder, "mini", [], ADA).manifest
    before = store.total_bytes
    version = share(repository, "mini@v2", [EVE.recipient], ADA)
    assert version.number == 3
    assert repository.manifest(version).files == second.files
    assert store.total_bytes - before < 2000
    assert read(repository, "mini@v3", EVE, tmp_path / "third") == SECRET
    assert read(repository, "mini@v3", ADA, tmp_path / "own") == SECRET
    with pytest.raises(PermissionRefused):
        read(repository, "mini@v1", EVE, tmp_path / "first")
    assert share(repository, "mini@v3", [EVE.recipient], ADA).number == 3
    with pytest.raises(PermissionRefused):
        share(repository, "mini@v3", [BOB.recipient], BOB)


def test_revoking_makes_a_version_under_a_new_key(
    repository: Repository, folder: Path, tmp_path: Path
) -> None:
    add_private(repository, folder, "mini", [BOB.recipient, EVE.recipient], ADA, Description(task="chat"))
    added = revoke(repository, "mini", [EVE.recipient], ADA)
    assert added.version.number == 2
    assert added.manifest.task == "chat"
    assert added.manifest.encryption is not None
    assert set(recipients_of(added.manifest.encryption)) == {ADA.recipient, BOB.recipient}
    assert read(repository, "mini", BOB, tmp_path / "bob") == SECRET
    with pytest.raises(PermissionRefused):
        read(repository, "mini", EVE, tmp_path / "eve")
    assert (
        read(repository, "mini@v1", EVE, tmp_path / "old") == SECRET
    )  # what somebody has cannot be taken back
    for nobody in (EVE.recipient, ADA.recipient):
        with pytest.raises(InvalidInput, match="expected one of those it is shared with"):
            revoke(repository, "mini", [nobody], ADA)


def test_more_recipients_than_a_manifest_may_have_are_refused(repository: Repository, folder: Path) -> None:
    add_private(repository, folder, "mini", [], ADA)
    many = [new_recipient_key().recipient for _ in range(256)]
    with pytest.raises(InvalidInput, match="257 recipients"):
        share(repository, "mini", many, ADA)
    assert share(repository, "mini", many[:-1], ADA).number == 2


def test_files_of_an_older_version_are_no_part_of_a_newer(
    repository: Repository, folder: Path, tmp_path: Path
) -> None:
    old = add_private(repository, folder, "mini", [], ADA).manifest
    new = add_private(repository, folder, "mini", [], ADA).manifest
    from dataclasses import replace

    replayed = replace(new, files=(*new.files[:-1], replace(old.files[-1])))
    with pytest.raises(Corrupted, match="of private version"):
        open_version(repository, replayed, ADA, tmp_path / "plain")


def test_a_signed_version_is_shared_by_its_publisher(
    repository: Repository, folder: Path, tmp_path: Path
) -> None:
    signer = KeyedHashSigner("0xada")
    add_private(repository, folder, "mini", [], ADA, signer=signer)
    version = share(repository, "mini", [BOB.recipient], ADA, signer=signer)
    assert version.signature is not None
    assert read(repository, "mini", BOB, tmp_path / "bob") == SECRET
    with pytest.raises(PermissionRefused):
        share(repository, "mini", [EVE.recipient], ADA)


def test_public_and_private_do_not_mix(repository: Repository, folder: Path, tmp_path: Path) -> None:
    public = add(repository, folder, "open").manifest
    assert not is_private(public)
    require_public(public, "publish it to IPFS")
    with pytest.raises(Conflict, match="has a public version"):
        add_private(repository, folder, "open", [], ADA)
    add_private(repository, folder, "closed", [], ADA)
    with pytest.raises(Conflict, match="closed is private"):
        add(repository, folder, "closed")
    with pytest.raises(InvalidInput, match="is not private"):
        open_version(repository, public, ADA, tmp_path / "plain")
    with pytest.raises(InvalidInput, match="is not private"):
        share(repository, "open", [BOB.recipient], ADA)


def test_private_versions_are_never_made_known(repository: Repository, folder: Path) -> None:
    manifest = add_private(repository, folder, "mini", [], ADA).manifest
    with pytest.raises(PermissionRefused, match="mini is private: farlane does not publish it to IPFS"):
        require_public(manifest, "publish it to IPFS")
    for export in (
        lambda: export_oci(repository, manifest, "", "v1", folder / "image"),
        lambda: export_ollama(repository, manifest, "v1", folder / "store"),
    ):
        with pytest.raises(PermissionRefused, match="mini is private"):
            export()


def test_whoever_reads_it_is_told_its_files(repository: Repository, folder: Path) -> None:
    manifest = add_private(repository, folder, "mini", [BOB.recipient], ADA).manifest
    assert [one.path for one in files_of(repository, manifest, BOB)] == ["config.json", "weights.txt"]
    assert set(readers_of(manifest)) == {ADA.recipient, BOB.recipient}
    with pytest.raises(PermissionRefused):
        files_of(repository, manifest, EVE)


def test_revoking_writes_nothing_in_clear(
    repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_private(repository, folder, "mini", [EVE.recipient], ADA)
    shutil.rmtree(folder)
    left: list[bytes] = []

    def look_instead(_: Repository, sealed: Path, *__: object, **___: object) -> None:
        left.extend(path.read_bytes() for path in sealed.parent.rglob("*") if path.is_file())
        raise DiskFull("no room")

    monkeypatch.setattr(versions, "add", look_instead)
    with pytest.raises(DiskFull):
        revoke(repository, "mini", [EVE.recipient], ADA)
    assert len(left) == 3
    assert not any(SECRET[:33] in content for content in left)

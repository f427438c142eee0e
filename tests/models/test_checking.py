"""farlane.models.checking: damage is found, named and mended from another repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Corrupted, NotFound
from farlane.kit.hashing import sha256
from farlane.models.adding import add
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.checking import Fault, check, put_checked, repair
from farlane.models.cid import RAW, block_cid
from farlane.models.exporting import pull
from farlane.models.manifest.values import ModelFile
from farlane.models.repository import Repository
from farlane.models.unixfs.describing import Composite, Known, Plain
from farlane.models.unixfs.file_dag import FileDag, Leaves


def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()))


@pytest.fixture
def good(tmp_path: Path) -> Repository:
    made = repository()
    folder = tmp_path / "mini"
    folder.mkdir()
    (folder / "a.txt").write_text("a" * 3_000_000)
    (folder / "b.txt").write_text("b")
    add(made, folder, "mini")
    return made


def faults(one: Repository) -> list[Fault]:
    return [found for found in check(one) if isinstance(found, Fault)]


def damage(one: Repository) -> None:
    _, manifest = one.resolve("mini")
    file = manifest.file("a.txt")
    assert file is not None
    path = one.file_path(file)
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(2_000_000)
        stream.write(b"X")


def test_a_sound_repository_has_no_faults(good: Repository) -> None:
    assert faults(good) == []
    assert [one.number for one in check(good) if not isinstance(one, Fault)] == [1]


def test_one_wrong_byte_is_found_and_mended_from_elsewhere(good: Repository) -> None:
    other = repository()
    pull(other, good, "mini")
    damage(other)
    (found,) = faults(other)
    assert (found.path, found.version.number) == ("a.txt", 1)
    repair(other, good, found)
    assert faults(other) == []


def test_a_repository_that_is_damaged_too_mends_nothing(good: Repository) -> None:
    other = repository()
    pull(other, good, "mini")
    damage(good)
    damage(other)
    (found,) = faults(other)
    with pytest.raises(Corrupted, match="not the file"):
        repair(other, good, found)


def test_a_missing_manifest_is_a_fault_of_its_version(good: Repository) -> None:
    other = repository()
    version, _ = pull(other, good, "mini")
    other.blocks.delete(version.manifest)
    (found,) = faults(other)
    assert found.path == ""
    repair(other, good, found)
    assert faults(other) == []


def test_another_file_is_not_taken(good: Repository) -> None:
    other, (_, manifest) = repository(), good.resolve("mini")
    with pytest.raises(Corrupted, match=r"b\.txt is not the file"):
        put_checked(other, good, replace(manifest.files[1], sha256=manifest.files[0].sha256))
    with pytest.raises(NotFound):
        put_checked(good, other, manifest.files[1])


def test_a_file_is_taken_as_it_was_cut_when_it_was_published(tmp_path: Path) -> None:
    old, new = repository(), repository()
    path = tmp_path / "model.npy"
    np.save(path, np.arange(3_000_000))
    described = describe_file(
        path, [Composite([1_000_000, 1_000_000, path.stat().st_size - 2_000_000]), Plain()]
    )
    old.blocks.add_file(path, described)
    file = ModelFile(
        path="model.npy", cid=described.dags[0].root, ipfs_cid=described.dags[1].root,
        sha256=bytes.fromhex(described.sha256), size=described.size_bytes,
    )  # fmt: skip
    put_checked(new, old, file)
    assert all(new.blocks.has(root) for root in (file.cid, file.ipfs_cid))
    assert new.file_path(file).read_bytes() == path.read_bytes()


def test_a_dag_with_empty_blocks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"ab")
    digests = b"".join(sha256(part) for part in (b"a", b"", b"b"))
    dag = FileDag(block_cid(RAW, b"ab"), 2, Leaves(digests, np.array([1, 0, 1])), {})
    with pytest.raises(Corrupted, match="empty blocks"):
        describe_file(path, [Known(dag)])

"""farlane.models.checking: damage is found, named and mended from another repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.errors import Corrupted
from farlane.models.adding import add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.checking import Fault, check, put_checked, repair
from farlane.models.exporting import pull
from farlane.models.repository import Repository


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


def test_another_file_is_not_taken(good: Repository, tmp_path: Path) -> None:
    _, manifest = good.resolve("mini")
    (tmp_path / "other").write_text("c")
    with pytest.raises(Corrupted, match=r"b\.txt"):
        put_checked(good, tmp_path / "other", manifest.files[1])

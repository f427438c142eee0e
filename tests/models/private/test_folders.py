"""Sealed folders: names and contents hidden, files that are private again, and no mixture of versions."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import dag_cbor
import pytest

from farlane.errors import Conflict, Corrupted, PermissionRefused
from farlane.models.private.folders import open_folder, seal_folder, sealed_name
from farlane.models.private.sealed_file import seal_file
from farlane.models.private.wrapping import VersionKey, new_version_key

FILES = {"config.json": b"{}", "model.bin.txt": b"weights " * 1000, "sub/vocabulary.txt": b"", "z": b"last"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / path).write_bytes(content)
    return tmp_path / "source"


def sealed(source: Path, target: Path, key: VersionKey) -> dict[str, Path]:
    seal_folder(source, target, key)
    return {path.name: path for path in target.iterdir()}


def with_list(files: dict[str, Path], key: VersionKey, listed: object) -> dict[str, Path]:
    text = dag_cbor.encode({"kind": "farlane-private-files", "version": 1, "files": listed})  # type: ignore[dict-item]
    target = files[sealed_name(0)].with_name("list")
    with target.open("wb") as stream:
        seal_file(io.BytesIO(text), len(text), stream, key, 0)
    return files | {sealed_name(0): target}


def test_a_folder_comes_back_readable_by_us_alone(source: Path, tmp_path: Path) -> None:
    key = new_version_key()
    files = sealed(source, tmp_path / "sealed", key)
    assert sorted(files) == [sealed_name(number) for number in range(5)]
    open_folder(files, key, tmp_path / "plain")
    found = {
        p.relative_to(tmp_path / "plain").as_posix(): p
        for p in (tmp_path / "plain").rglob("*")
        if p.is_file()
    }
    assert {path: file.read_bytes() for path, file in found.items()} == FILES
    assert {stat.S_IMODE(file.stat().st_mode) for file in found.values()} == {0o400}
    for folder in (tmp_path / "plain", tmp_path / "plain/sub"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_of_names_and_contents_is_visible(source: Path, tmp_path: Path) -> None:
    files = sealed(source, tmp_path / "sealed", new_version_key())
    seen = b"".join(path.read_bytes() for path in files.values())
    for text in (b"config", b"weights", b"vocabulary", b"last"):
        assert text not in seen


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_a_missing_file_is_noticed(source: Path, tmp_path: Path, missing: int) -> None:
    key = new_version_key()
    files = sealed(source, tmp_path / "sealed", key)
    del files[sealed_name(missing)]
    with pytest.raises(Corrupted):
        open_folder(files, key, tmp_path / "plain")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sealed", "source"]


def test_files_of_another_version_or_place_are_noticed(source: Path, tmp_path: Path) -> None:
    key = new_version_key()
    files = sealed(source, tmp_path / "sealed", key)
    other = sealed(source, tmp_path / "other", new_version_key())
    one, two = sealed_name(1), sealed_name(2)
    for mixed in (files | {one: other[one]}, files | {one: files[two], two: files[one]}, other):
        with pytest.raises(Corrupted, match="expected file"):
            open_folder(mixed, key, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


def test_a_file_that_was_sealed_twice_under_one_key_is_noticed(source: Path, tmp_path: Path) -> None:
    key = new_version_key()
    files = sealed(source, tmp_path / "sealed", key)
    (source / "z").write_bytes(b"LAST")
    again = sealed(source, tmp_path / "again", key)
    with pytest.raises(Corrupted, match="z opens to other bytes than the version lists"):
        open_folder(files | {sealed_name(4): again[sealed_name(4)]}, key, tmp_path / "plain")


def test_another_key_opens_nothing(source: Path, tmp_path: Path) -> None:
    key = new_version_key()
    files = sealed(source, tmp_path / "sealed", key)
    with pytest.raises(PermissionRefused):
        open_folder(files, VersionKey(key.version_id, bytes(32)), tmp_path / "plain")


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [{"path": "../outside", "size": 2, "sha256": bytes(32)}] * 1,
        [{"path": "/etc/passwd", "size": 2, "sha256": bytes(32)}],
        [{"path": "a", "size": -1, "sha256": bytes(32)}],
        [{"path": "a", "size": 1, "sha256": b"short"}],
        [{"path": "a", "size": 1}],
        "nothing",
    ],
)
def test_a_hostile_list_writes_nothing(source: Path, tmp_path: Path, listed: object) -> None:
    key = new_version_key()
    files = with_list(sealed(source, tmp_path / "sealed", key), key, listed)
    with pytest.raises(Corrupted, match="the list of a private version"):
        open_folder(files, key, tmp_path / "plain")
    assert not (tmp_path / "outside").exists()


def test_what_stands_there_is_not_replaced(source: Path, tmp_path: Path) -> None:
    key = new_version_key()
    files = sealed(source, tmp_path / "sealed", key)
    with pytest.raises(Conflict, match="exists already"):
        open_folder(files, key, source)
    with pytest.raises(Conflict, match="exists already"):
        seal_folder(source, tmp_path / "sealed", key)

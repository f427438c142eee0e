"""The disk store notices what others do to its files and to those it takes in."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, NotFound
from farlane.models.store_disk import DiskStore
from farlane.testing.content_store_suite import HELLO, HELLO_CID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def replace_with_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def replace_with_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_with_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class TestDamage:
    @pytest.mark.parametrize("replace", [replace_with_link, replace_with_directory, replace_with_pipe])
    @pytest.mark.parametrize("operation", ["read", "open", "path", "size", "verify"])
    def test_what_is_no_plain_file_is_never_opened(
        self, root: Path, replace: Callable[[Path], None], operation: str
    ) -> None:
        store = DiskStore(root)
        replace(store.path(store.put(HELLO)))
        with pytest.raises(Corrupted, match="not a plain file"):
            getattr(store, operation)(HELLO_CID)
        assert not store.has(HELLO_CID)
        assert store.total_bytes == 0
        assert store.read(store.put(HELLO)) == HELLO

    @pytest.mark.parametrize("replace", [replace_with_link, replace_with_directory])
    def test_a_new_object_does_not_count_it(self, root: Path, replace: Callable[[Path], None]) -> None:
        store = DiskStore(root)
        replace(store.path(store.put(HELLO)))
        assert DiskStore(root).total_bytes == 0
        assert store.collect(lambda cid: False, older_than_s=0) == (0, 0)

    def test_a_swap_between_check_and_open_is_noticed(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = DiskStore(root)
        path = store.path(store.put(HELLO))
        files = store._files
        monkeypatch.setattr(files, "status", lambda cid: os.stat_result((0o100400, *[0] * 9)))
        path.unlink()
        monkeypatch.setattr(files, "note_use", lambda cid, now_s: None)
        with pytest.raises(NotFound):
            store.open(HELLO_CID)
        path.symlink_to("/etc/passwd")
        with pytest.raises(Corrupted, match="not a plain file"):
            store.open(HELLO_CID)

    def test_quarantine_keeps_one_copy_for_a_look(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        store = DiskStore(root)
        for content in (b"hello w0rld", b"hell0 world"):
            path = store.path(store.put(HELLO))
            path.unlink()
            path.write_bytes(content)
            with caplog.at_level(logging.ERROR), pytest.raises(Corrupted, match="quarantine"):
                store.read(HELLO_CID)
        assert files_under(root) == [f"quarantine/{HELLO_CID}"]
        assert (root / "quarantine" / HELLO_CID).read_bytes() == b"hell0 world"
        assert caplog.text.count("is corrupted") == 2

    def test_quarantine_copes_with_what_it_finds(self, root: Path) -> None:
        store = DiskStore(root)
        for _ in range(2):
            replace_with_directory(store.path(store.put(HELLO)))
            assert not store.has(HELLO_CID)
        names = os.listdir(root / "quarantine")
        assert len(names) == 2
        assert all(name.startswith(HELLO_CID) for name in names)

    def test_a_cut_off_blob_is_replaced_by_the_next_put(self, root: Path) -> None:
        store = DiskStore(root)
        path = store.path(store.put(HELLO))
        path.chmod(0o600)
        os.truncate(path, 3)
        assert store.put(HELLO) == HELLO_CID
        assert store.read(HELLO_CID) == HELLO
        assert store.total_bytes == len(HELLO)


class TestMoving:
    def test_a_move_renames(self, root: Path, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(HELLO)
        inode = file.stat().st_ino
        store = DiskStore(root)
        store.put_file(file, move=True)
        assert store.path(HELLO_CID).stat().st_ino == inode

    @pytest.mark.parametrize("obstacle", ["owner", "mount", "bind mount"])
    def test_what_cannot_be_renamed_is_copied_and_removed(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(HELLO)
        file.chmod(0o640)
        inode = file.stat().st_ino
        store = DiskStore(root)
        with monkeypatch.context() as patched:
            if obstacle == "owner":
                owner = file.stat().st_uid
                patched.setattr(os, "geteuid", lambda: owner + 1)
            elif obstacle == "mount":
                directory, plain_stat = root / "blobs", Path.stat

                def other_device(path: Path, **options: bool) -> os.stat_result:
                    status = plain_stat(path, **options)
                    return os.stat_result((*status[:2], -1, *status[3:10])) if path == directory else status

                patched.setattr(Path, "stat", other_device)
            else:
                patched.setattr(os, "rename", self.refusing(file, errno.EXDEV))
            assert store.put_file(file, move=True) == HELLO_CID
        assert not file.exists()
        assert store.read(HELLO_CID) == HELLO
        assert store.path(HELLO_CID).stat().st_ino != inode
        assert store.total_bytes == len(HELLO)

    @staticmethod
    def refusing(refused: Path, number: int) -> Callable[[Path, Path], None]:
        rename = os.rename

        def refuse(source: Path, target: Path) -> None:
            if source == refused:
                raise OSError(number, os.strerror(number))
            rename(source, target)

        return refuse

    @pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, OSError)])
    def test_a_failed_move_leaves_the_file_as_it_was(
        self,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        error: type[Exception],
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(HELLO)
        file.chmod(0o640)
        before = file.stat()
        store = DiskStore(root, max_bytes=100)
        monkeypatch.setattr(os, "rename", self.refusing(file, number))
        with pytest.raises(error):
            store.put_file(file, move=True)
        after = file.stat()
        assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
        assert not store.has(HELLO_CID)
        store.put(b"x" * 100)  # the reservation was given back

    def test_a_file_that_changes_meanwhile_is_refused(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(HELLO)
        pread = os.pread

        def and_append(descriptor: int, size: int, offset: int) -> bytes:
            data = pread(descriptor, size, offset)
            if data:
                with file.open("ab") as stream:
                    stream.write(b"!")
                monkeypatch.setattr(os, "pread", pread)
            return data

        monkeypatch.setattr(os, "pread", and_append)
        store = DiskStore(root)
        with pytest.raises(Conflict, match="was changed while it was being stored"):
            store.put_file(file, move=True)
        assert list(store.iterate()) == []
        assert file.read_bytes() == HELLO + b"!"

    def test_a_file_that_is_swapped_meanwhile_is_refused(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, other = tmp_path / "file", tmp_path / "other"
        file.write_bytes(HELLO)
        other.write_bytes(b"something else")
        rename = os.rename

        def swap_first(source: Path, target: Path) -> None:
            rename(other, file)
            rename(source, target)

        monkeypatch.setattr(os, "rename", swap_first)
        store = DiskStore(root)
        with pytest.raises(Conflict, match="was replaced while it was being stored"):
            store.put_file(file, move=True)
        assert list(store.iterate()) == []

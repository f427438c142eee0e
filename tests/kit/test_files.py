"""Files stay whole, private and within the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, DiskFull, Internal, InvalidInput, PermissionRefused
from farlane.kit import file_lock
from farlane.kit.file_lock import FileLock
from farlane.kit.files import (
    Ballast,
    atomic_write,
    disk_full_as_error,
    free_bytes,
    open_regular,
    private_directory,
    read_private,
    start_writeback,
    write_all,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Let the kernel refuse larger files with EFBIG, as a full disk refuses them with ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestAtomicWrite:
    def test_new_content_replaces_old_with_the_mode_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "state"
        atomic_write(path, b"one", 0o644)
        atomic_write(path, b"two", 0o640)
        assert path.read_bytes() == b"two"
        assert mode_of(path) == 0o640
        assert os.listdir(tmp_path) == ["state"]

    def test_the_umask_does_not_matter(self, tmp_path: Path) -> None:
        old = os.umask(0o077)
        try:
            atomic_write(tmp_path / "open", b"", 0o644)
        finally:
            os.umask(old)
        assert mode_of(tmp_path / "open") == 0o644

    def test_a_link_is_replaced_not_followed(self, tmp_path: Path) -> None:
        target, link = tmp_path / "target", tmp_path / "link"
        target.write_bytes(b"precious")
        link.symlink_to(target)
        atomic_write(link, b"new")
        assert target.read_bytes() == b"precious"
        assert not link.is_symlink()

    def test_content_and_directory_are_synced_in_this_order(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        sync, replace = os.fsync, os.replace

        def record_sync(descriptor: int) -> None:
            kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            steps.append(f"sync {kind}")
            sync(descriptor)

        def record_replace(source: Path, target: Path) -> None:
            steps.append("rename")
            replace(source, target)

        monkeypatch.setattr(os, "fsync", record_sync)
        monkeypatch.setattr(os, "replace", record_replace)
        atomic_write(tmp_path / "state", b"x")
        assert steps == ["sync file", "rename", "sync directory"]

    def test_a_full_disk_leaves_the_old_content_and_no_rest(self, tmp_path: Path) -> None:
        path = tmp_path / "state"
        path.write_bytes(b"old")
        with file_size_limit(50_000), pytest.raises(DiskFull, match="Free space on that disk"):
            atomic_write(path, bytes(100_000))
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["state"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    path = tmp_path / "data"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    write_all(descriptor, bytes(range(100)))
    os.close(descriptor)
    assert path.read_bytes() == bytes(range(100))


def test_what_is_on_its_way_to_the_disk_is_still_there(tmp_path: Path) -> None:
    path, content = tmp_path / "file", bytes(range(256)) * 4096
    with path.open("wb", buffering=0) as stream:
        stream.write(content)
        start_writeback(stream.fileno(), 0, len(content))
    assert path.read_bytes() == content


def test_where_no_hint_can_be_given_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    start_writeback(-1, 0, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_error(number: int) -> None:
    with pytest.raises(DiskFull, match="cannot write data/x") as caught, disk_full_as_error(Path("data/x")):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value.__cause__, OSError)


def test_other_disk_errors_pass() -> None:
    with pytest.raises(OSError, match="I/O") as caught, disk_full_as_error(Path("x")):
        raise OSError(errno.EIO, "I/O error")
    assert caught.value.errno == errno.EIO


class TestOpenRegular:
    def test_a_plain_file_opens(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"content")
        with open(open_regular(path), "rb") as stream:
            assert stream.read() == b"content"

    @pytest.mark.parametrize("kind", ["link", "dangling", "directory", "pipe"])
    def test_planted_things_are_refused(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "planted"
        if kind == "link":
            path.symlink_to("/etc/passwd")
        elif kind == "dangling":
            path.symlink_to(tmp_path / "nowhere")
        elif kind == "directory":
            path.mkdir()
        else:
            os.mkfifo(path)
        with pytest.raises(InvalidInput, match="not a regular file"):
            open_regular(path)

    def test_a_missing_file_is_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            open_regular(tmp_path / "nothing")


class TestReadPrivate:
    def test_a_private_file_is_read(self, tmp_path: Path) -> None:
        atomic_write(tmp_path / "key", b"secret", 0o600)
        assert read_private(tmp_path / "key") == b"secret"

    def test_a_file_open_to_others_is_refused(self, tmp_path: Path) -> None:
        atomic_write(tmp_path / "key", b"secret", 0o640)
        with pytest.raises(PermissionRefused, match=r"mode 0640.*chmod 600"):
            read_private(tmp_path / "key")

    def test_a_strangers_file_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        atomic_write(tmp_path / "key", b"secret", 0o600)
        monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "key").stat().st_uid + 1)
        with pytest.raises(PermissionRefused, match="owner"):
            read_private(tmp_path / "key")


class TestPrivateDirectory:
    def test_it_is_made_with_its_parents_all_private(self, tmp_path: Path) -> None:
        path = private_directory(tmp_path / "a" / "b")
        assert (mode_of(path), mode_of(path.parent)) == (0o700, 0o700)
        assert private_directory(path) == path

    def test_an_empty_one_is_closed(self, tmp_path: Path) -> None:
        path = tmp_path / "mine"
        path.mkdir(0o755)
        private_directory(path)
        assert mode_of(path) == 0o700

    def test_a_private_one_with_content_is_taken(self, tmp_path: Path) -> None:
        path = private_directory(tmp_path / "mine")
        (path / "file").touch()
        assert private_directory(path) == path

    def test_an_open_one_with_content_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "home"
        path.mkdir()
        path.chmod(0o755)
        (path / "file").touch()
        with pytest.raises(PermissionRefused, match="has content and is open to other users"):
            private_directory(path)
        assert mode_of(path) == 0o755

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InvalidInput, match="not a directory"):
            private_directory(tmp_path / "file")

    def test_a_strangers_directory_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with pytest.raises(PermissionRefused, match="belongs to user"):
            private_directory(tmp_path)


def test_free_bytes_is_what_the_file_system_says(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    assert 0 < free_bytes(tmp_path) <= status.f_blocks * status.f_frsize


class TestBallast:
    def test_it_takes_real_blocks_and_gives_them_back(self, tmp_path: Path) -> None:
        ballast = Ballast(tmp_path / "ballast", 2_500_000)
        assert ballast.held_bytes == 0
        ballast.reserve()
        assert ballast.held_bytes == 2_500_000
        assert (tmp_path / "ballast").stat().st_blocks * 512 >= 2_500_000
        assert ballast.release() == 2_500_000
        assert ballast.release() == 0
        assert os.listdir(tmp_path) == []

    def test_it_is_written_once(self, tmp_path: Path) -> None:
        ballast = Ballast(tmp_path / "ballast", 1000)
        ballast.reserve()
        before = (tmp_path / "ballast").read_bytes()
        ballast.reserve()
        assert (tmp_path / "ballast").read_bytes() == before

    def test_another_size_is_made_anew(self, tmp_path: Path) -> None:
        Ballast(tmp_path / "ballast", 1000).reserve()
        Ballast(tmp_path / "ballast", 2000).reserve()
        assert (tmp_path / "ballast").stat().st_size == 2000

    def test_no_room_leaves_nothing(self, tmp_path: Path) -> None:
        with file_size_limit(50_000), pytest.raises(DiskFull):
            Ballast(tmp_path / "ballast", 100_000).reserve()
        assert os.listdir(tmp_path) == []


class TestFileLock:
    def test_a_second_holder_is_told_who_the_first_is(self, tmp_path: Path) -> None:
        with FileLock(tmp_path / "lock"), pytest.raises(Conflict, match=f"process {os.getpid()}") as caught:
            FileLock(tmp_path / "lock").acquire()
        assert caught.value.facts["pid"] == str(os.getpid())

    def test_released_it_can_be_taken_again(self, tmp_path: Path) -> None:
        lock = FileLock(tmp_path / "lock")
        for _ in range(2):
            lock.acquire()
            lock.release()
        lock.release()
        with FileLock(tmp_path / "lock"):
            assert (tmp_path / "lock").read_text() == str(os.getpid())

    def test_taking_it_twice_is_our_own_mistake(self, tmp_path: Path) -> None:
        with FileLock(tmp_path / "lock") as lock, pytest.raises(Internal, match="held already"):
            lock.acquire()

    def test_a_holder_without_a_pid_is_unknown(self, tmp_path: Path) -> None:
        with FileLock(tmp_path / "lock"):
            (tmp_path / "lock").write_bytes(b"")
            with pytest.raises(Conflict, match="unknown"):
                FileLock(tmp_path / "lock").acquire()

    def test_a_file_system_without_locks_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        with pytest.raises(OSError, match="No locks"):
            FileLock(tmp_path / "lock").acquire()

    def test_a_full_disk_leaves_it_free(self, tmp_path: Path) -> None:
        lock, before = FileLock(tmp_path / "lock"), os.listdir("/proc/self/fd")
        with file_size_limit(0), pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
            lock.acquire()
        assert caught.value.errno == errno.EFBIG
        assert os.listdir("/proc/self/fd") == before
        lock.release()  # nothing is held
        with FileLock(tmp_path / "lock"):
            assert (tmp_path / "lock").read_text() == str(os.getpid())
        with lock:
            assert (tmp_path / "lock").read_text() == str(os.getpid())

    def test_the_lock_ends_with_its_killed_holder(self, tmp_path: Path) -> None:
        code = """
            import sys, time
            from pathlib import Path
            from farlane.kit.file_lock import FileLock
            FileLock(Path(sys.argv[1])).acquire()
            print("held", flush=True)
            time.sleep(60)
        """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "lock")],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(Conflict, match=f"process {holder.pid}"):
                FileLock(tmp_path / "lock").acquire()
            holder.kill()
        with FileLock(tmp_path / "lock"):
            pass

    def test_a_forked_child_does_not_keep_the_lock(self, tmp_path: Path) -> None:
        code = """
            import os, sys, time
            from pathlib import Path
            from farlane.kit.file_lock import FileLock
            lock = FileLock(Path(sys.argv[1]))
            lock.acquire()
            if os.fork() == 0:  # outlives its parent, as a worker may outlive its node
                print("forked", flush=True)
                sys.stdin.read()
                os._exit(0)
            time.sleep(60)
        """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "lock")],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.readline() == b"forked\n"
            with pytest.raises(Conflict, match=f"process {holder.pid}"):
                FileLock(tmp_path / "lock").acquire()
            holder.kill()
            holder.wait()
            with FileLock(tmp_path / "lock"):
                holder.stdin.close()  # ends the child, which lived until here
                assert holder.stdout.read() == b""

    def test_a_forked_child_forgets_the_lock_itself(self, tmp_path: Path) -> None:
        with FileLock(tmp_path / "lock") as lock:
            file_lock._forget_inherited_locks()  # what the child runs first
            assert lock._descriptor is None
            with FileLock(tmp_path / "lock"):
                lock.release()  # does nothing to the new holder
                assert (tmp_path / "lock").read_text() == str(os.getpid())

    def test_releasing_frees_a_lock_that_a_child_still_shares(self, tmp_path: Path) -> None:
        lock = FileLock(tmp_path / "lock")
        lock.acquire()
        assert lock._descriptor is not None
        shared = os.dup(lock._descriptor)
        lock.release()
        try:
            with FileLock(tmp_path / "lock"):
                assert (tmp_path / "lock").read_text() == str(os.getpid())
        finally:
            os.close(shared)

"""The disk store keeps the promises of every content store, and those of a disk."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, NotFound, PermissionRefused
from farlane.kit.clock import Clock, ManualClock
from farlane.models.cid import cid_of
from farlane.models.store import ContentStore
from farlane.models.store_disk import USE_RESOLUTION_S, DiskStore
from farlane.models.temporary import TemporaryFiles
from farlane.testing.content_store_suite import HELLO, HELLO_CID, ContentStoreSuite, Damage, MakeStore


class TestDiskStore(ContentStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        numbers = itertools.count()

        def make(
            *, max_bytes: int | None = None, evict: bool = True, clock: Clock | None = None
        ) -> DiskStore:
            root = tmp_path / f"store{next(numbers)}"
            return DiskStore(root, max_bytes=max_bytes, evict=evict, clock=clock)

        return make

    @pytest.fixture
    def damage(self) -> Damage:
        def flip(store: ContentStore, cid: str) -> None:
            path = store.path(cid)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0x10
            path.chmod(0o600)
            path.write_bytes(data)

        return flip


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


class TestLayout:
    def test_files_lie_in_shards_and_are_private(self, root: Path) -> None:
        DiskStore(root).put(HELLO)
        assert files_under(root) == [f"blobs/n5/{HELLO_CID}"]
        for path in root.rglob("*"):
            expected = 0o700 if path.is_dir() else 0o400
            assert stat.S_IMODE(path.stat().st_mode) == expected, path

    def test_a_new_object_finds_what_is_there(self, root: Path) -> None:
        DiskStore(root).put(HELLO)
        again = DiskStore(root)
        assert again.total_bytes == len(HELLO)
        assert again.read(HELLO_CID) == HELLO

    def test_strange_files_are_passed_over(self, root: Path) -> None:
        store = DiskStore(root)
        store.put(HELLO)
        (root / "blobs" / "README").write_text("not a shard")
        (root / "blobs" / "n5" / "notes.txt").write_text("not a blob")
        assert list(store.iterate()) == [HELLO_CID]
        assert DiskStore(root).total_bytes == len(HELLO)
        assert (root / "blobs" / "n5" / "notes.txt").exists()

    def test_a_directory_open_to_others_is_refused(self, root: Path) -> None:
        root.mkdir()
        root.chmod(0o755)
        (root / "file").touch()
        with pytest.raises(PermissionRefused):
            DiskStore(root)

    def test_two_objects_share_a_directory(self, root: Path) -> None:
        one, other = DiskStore(root), DiskStore(root)
        one.put(HELLO)
        assert other.read(HELLO_CID) == HELLO
        assert other.total_bytes == len(HELLO)
        other.delete(HELLO_CID)
        with pytest.raises(NotFound):
            one.read(HELLO_CID)
        assert one.total_bytes == 0


class TestDurability:
    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
        """What happened to the disk, in order."""
        steps: list[str] = []
        sync, rename = os.fsync, os.rename

        def record_sync(descriptor: int) -> None:
            sync(descriptor)
            status = os.fstat(descriptor)
            if not stat.S_ISDIR(status.st_mode):
                steps.append("sync content")
            elif os.path.samestat(status, (root / "blobs").stat()):
                steps.append("sync blobs")
            else:
                steps.append("sync shard")

        def record_rename(source: Path, target: Path) -> None:
            rename(source, target)
            steps.append("rename")

        monkeypatch.setattr(os, "fsync", record_sync)
        monkeypatch.setattr(os, "rename", record_rename)
        return steps

    FIRST = ("sync content", "rename", "sync shard", "sync blobs")

    def test_content_is_synced_before_its_name_and_the_name_before_the_return(
        self, root: Path, steps: list[str]
    ) -> None:
        store = DiskStore(root)
        store.put(HELLO)
        assert tuple(steps) == self.FIRST

    def test_a_moved_file_is_synced_the_same(self, root: Path, steps: list[str], tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(HELLO)
        DiskStore(root).put_file(tmp_path / "file", move=True)
        assert tuple(steps) == self.FIRST

    def test_a_blob_put_by_a_process_that_died_is_synced_on_the_next_put(
        self, root: Path, steps: list[str]
    ) -> None:
        DiskStore(root).put(HELLO)
        store = DiskStore(root)
        steps.clear()
        store.put(HELLO)
        assert steps == ["sync shard", "sync blobs"]
        store.put(HELLO)
        assert steps == ["sync shard", "sync blobs"]

    def test_a_second_blob_of_a_shard_does_not_sync_the_parent(self, root: Path, steps: list[str]) -> None:
        in_one_shard = (data for n in itertools.count() if cid_of(data := b"%d" % n)[-3:-1] == "n5")
        store = DiskStore(root)
        store.put(next(in_one_shard))
        steps.clear()
        store.put(next(in_one_shard))
        assert steps == ["sync content", "rename", "sync shard"]

    def test_a_killed_writer_leaves_nothing_behind(self, root: Path) -> None:
        code = """
            import os, signal, sys
            from pathlib import Path
            from farlane.models.store_disk import DiskStore
            writer = DiskStore(Path(sys.argv[1])).begin()
            writer.write(bytes(100_000))
            os.kill(os.getpid(), signal.SIGKILL)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(root)],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
            timeout=30,
        )
        assert done.returncode == -9
        assert len(files_under(root)) == 1
        assert DiskStore(root).total_bytes == 0
        assert files_under(root) == []

    def test_a_live_writer_is_spared_by_the_sweep(self, root: Path) -> None:
        writer = DiskStore(root).begin(HELLO_CID)
        writer.write(HELLO)
        other = DiskStore(root)  # sweeps
        assert writer.commit() == HELLO_CID
        assert other.read(HELLO_CID) == HELLO

    def test_processes_may_put_the_same_at_once(self, root: Path) -> None:
        code = """
            import sys
            from pathlib import Path
            from farlane.models.store_disk import DiskStore
            store = DiskStore(Path(sys.argv[1]))
            print("ready", flush=True)
            sys.stdin.readline()
            for number in range(20):
                store.put(bytes([number]) * 50_000)
        """
        DiskStore(root)
        with contextlib.ExitStack() as stack:
            writers = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", textwrap.dedent(code), str(root)],
                        env={"PYTHONPATH": os.pathsep.join(sys.path)},
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
                for _ in range(2)
            ]
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "ready\n"
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
            assert [writer.wait(30) for writer in writers] == [0, 0]
        store = DiskStore(root)
        for number in range(20):
            store.verify(cid_of(bytes([number]) * 50_000))
        assert store.total_bytes == 20 * 50_000
        assert len(files_under(root)) == 20


class TestTemporaryFiles:
    def test_a_sweep_between_creation_and_lock_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        temporary = TemporaryFiles(tmp_path / "temporary")
        plain_open = os.open
        sweeps: list[int] = []

        def swept_open(path: Path, flags: int, mode: int = 0o777) -> int:
            descriptor = plain_open(path, flags, mode)
            if flags & os.O_EXCL and not sweeps:
                monkeypatch.setattr(os, "open", plain_open)
                sweeps.append(TemporaryFiles(tmp_path / "temporary").sweep())
            return descriptor

        monkeypatch.setattr(os, "open", swept_open)
        descriptor, path = temporary.create()
        os.close(descriptor)
        assert sweeps == [1]
        assert path.exists()

    def test_a_sweep_that_holds_the_lock_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter([BlockingIOError(), None])

        def flock(descriptor: int, operation: int) -> None:
            if (answer := next(answers)) is not None:
                raise answer

        monkeypatch.setattr("fcntl.flock", flock)
        descriptor, path = TemporaryFiles(tmp_path / "temporary").create()
        os.close(descriptor)
        assert path.exists()
        assert next(answers, "none left") == "none left"


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


class TestUse:
    def test_the_order_of_use_survives_a_restart(self, root: Path) -> None:
        clock = ManualClock()
        store = DiskStore(root, clock=clock)
        cids = []
        for data in (b"a" * 10, b"b" * 10, b"c" * 10):
            cids.append(store.put(data))
            clock.advance(USE_RESOLUTION_S + 1)
        store.read(cids[0])
        smaller = DiskStore(root, max_bytes=20, clock=clock)
        assert [smaller.has(cid) for cid in cids] == [True, False, True]

    def test_a_smaller_budget_without_eviction_removes_nothing(self, root: Path) -> None:
        DiskStore(root).put(HELLO)
        store = DiskStore(root, max_bytes=5, evict=False)
        assert store.has(HELLO_CID)
        with pytest.raises(DiskFull):
            store.put(b"x")

    def test_reading_often_writes_seldom(self, root: Path) -> None:
        clock = ManualClock()
        store = DiskStore(root, clock=clock)
        path = store.path(store.put(HELLO))
        put_s = path.stat().st_mtime
        clock.advance(USE_RESOLUTION_S - 1)
        store.read(HELLO_CID)
        assert path.stat().st_mtime == put_s
        clock.advance(2)
        store.read(HELLO_CID)
        assert path.stat().st_mtime == pytest.approx(clock.now())

    def test_collection_knows_the_age_of_blobs_it_did_not_put(self, root: Path) -> None:
        clock = ManualClock()
        collector = DiskStore(root, clock=clock)
        DiskStore(root, clock=clock).put(HELLO)
        assert collector.collect(lambda cid: False, older_than_s=60) == (0, 0)
        clock.advance(60)
        assert collector.collect(lambda cid: False, older_than_s=60) == (1, len(HELLO))


@contextlib.contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Let the kernel refuse larger files with EFBIG, in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mountpoint = tmp_path / "small"
    mountpoint.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(mountpoint)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted (needs root): {mounted.stderr.strip()}")
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True, timeout=10)


class TestFullDisk:
    def test_a_write_that_hits_the_limit_leaves_the_store_as_it_was(self, root: Path) -> None:
        store = DiskStore(root, max_bytes=1_000_000)
        store.put(HELLO)
        with file_size_limit(50_000):
            with pytest.raises(DiskFull, match="Free space"):
                store.put(os.urandom(60_000))
            writer = store.begin()
            writer.write(bytes(50_000))
            with pytest.raises(DiskFull):
                writer.write(b"x")
        assert files_under(root) == [f"blobs/n5/{HELLO_CID}"]
        assert store.total_bytes == len(HELLO)
        assert store.put(bytes(900_000))  # the reservations were given back

    @pytest.mark.real
    def test_a_full_disk_is_refused_and_then_recovers(self, small_disk: Path) -> None:
        store = DiskStore(small_disk / "store")
        kept = store.put(b"k" * 300_000)
        with pytest.raises(DiskFull, match="No space left on device") as caught:
            store.put(b"x" * 800_000)
        assert isinstance(caught.value.__cause__, OSError)
        refused = 0
        for number in range(200):
            try:
                store.put(b"%03d" % number * 5000)
            except DiskFull:
                refused += 1
        assert 0 < refused < 200
        assert store.read(kept) == b"k" * 300_000
        for cid in store.iterate():
            store.verify(cid)
        assert os.listdir(small_disk / "store" / "temporary") == []
        store.delete(kept)
        assert store.put(b"y" * 250_000)

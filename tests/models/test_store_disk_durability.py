"""What the disk store acknowledges survives a power cut, a kill and a full disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import DiskFull
from farlane.kit.cid import cid_of
from farlane.models.store_disk import DiskStore
from farlane.testing.content_store_suite import HELLO, HELLO_CID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


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

"""What the block store on a disk acknowledges survives a power cut, a kill and a full disk; all processes see it."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, DiskFull
from farlane.models.blocks import assembly as assembly_module
from farlane.models.blocks.collection import collect
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.index import Index
from farlane.models.blocks.port import Placement
from farlane.models.cid import RAW, block_cid
from farlane.models.unixfs.file_dag import DescribedFile
from farlane.testing.block_store_suite import HELLO, HELLO_CID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([number]) * 1_000_000 for number in range(1, 5)))
    return path


@pytest.fixture
def described(file: Path) -> DescribedFile:
    return describe_file(file)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def assemble(store: DiskBlockStore, described: DescribedFile, content: bytes) -> None:
    assembly = store.begin_file(described.dags, described.sha256)
    for index in assembly.missing():
        leaf = assembly.leaves[index]
        assembly.write(index, content[leaf.offset :][: leaf.length])
    assembly.commit()


class TestPowerCut:
    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
        """What happened to the disk, in order."""
        steps: list[str] = []
        sync, rename, enter = os.fsync, os.rename, Index.enter

        def record_sync(descriptor: int) -> None:
            sync(descriptor)
            status = os.fstat(descriptor)
            if not stat.S_ISDIR(status.st_mode):
                steps.append("sync content")
                return
            names = {"blocks": root / "blocks", "files": root / "files"}
            same = [
                name
                for name, path in names.items()
                if path.exists() and os.path.samestat(status, path.stat())
            ]
            steps.append(f"sync {same[0] if same else 'shard'}")

        def record_rename(source: Path, target: Path) -> None:
            rename(source, target)
            steps.append("rename")

        def record_enter(index: Index, *arguments: object) -> None:
            steps.append("index")
            enter(index, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "fsync", record_sync)
        monkeypatch.setattr(os, "rename", record_rename)
        monkeypatch.setattr(Index, "enter", record_enter)
        return steps

    def test_a_block_is_synced_before_its_name(self, root: Path, steps: list[str]) -> None:
        store = DiskBlockStore(root)
        steps.clear()
        store.put(HELLO_CID, HELLO)
        assert steps == ["sync content", "rename", "sync shard", "sync blocks"]
        steps.clear()
        store.put(HELLO_CID, HELLO)  # its first writer may have died before the sync
        assert steps == ["sync shard"]

    def test_many_blocks_share_one_pass(self, root: Path, steps: list[str]) -> None:
        store = DiskBlockStore(root)
        steps.clear()
        store.put_many([(block_cid(RAW, data), data) for data in (b"1", b"2", b"3")])
        assert steps[:6] == ["sync content"] * 3 + ["rename"] * 3
        assert steps[-1] == "sync blocks"

    @pytest.mark.parametrize("placement", [Placement.COPY, Placement.MOVE])
    def test_the_index_names_a_file_when_it_is_on_the_disk(
        self, root: Path, steps: list[str], file: Path, described: DescribedFile, placement: Placement
    ) -> None:
        store = DiskBlockStore(root)
        steps.clear()
        store.add_file(file, described, placement)
        assert steps.index("sync files") < steps.index("index")
        assert steps[steps.index("sync files") - 2 :][:2] == ["sync content", "rename"]

    def test_what_the_index_does_not_know_is_removed(
        self, root: Path, file: Path, described: DescribedFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = DiskBlockStore(root)
        with monkeypatch.context() as patched:
            patched.setattr(Index, "enter", lambda *arguments: os._exit(9))
            child = os.fork()
            if not child:
                store.add_file(file, described, Placement.MOVE)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert f"files/{described.sha256}" in files_under(root)
        assert file.exists()  # nothing is lost
        again = DiskBlockStore(root)
        assert list(again.files()) == []
        assert f"files/{described.sha256}" not in files_under(root)
        again.add_file(file, describe_file(file), Placement.MOVE)
        assert again.file(described.sha256).size_bytes == 4_000_000

    def test_after_a_power_cut_what_arrived_is_verified_again(
        self,
        root: Path,
        file: Path,
        described: DescribedFile,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        assembly = DiskBlockStore(root).begin_file(described.dags, described.sha256)
        content = file.read_bytes()
        for index in range(len(assembly.leaves)):
            leaf = assembly.leaves[index]
            assembly.write(index, content[leaf.offset :][: leaf.length])
        assembly.close()
        with (root / "partial" / described.sha256).open("r+b") as stream:
            stream.write(bytes(1000))  # never reached the disk
        (tmp_path / "boot").write_text("another")
        monkeypatch.setattr(assembly_module, "_BOOT", tmp_path / "boot")
        assembly = DiskBlockStore(root).begin_file(described.dags, described.sha256)
        assert list(assembly.missing()) == [0]


class TestKill:
    def test_an_assembly_goes_on_after_a_kill(self, root: Path, file: Path, described: DescribedFile) -> None:
        code = """
            import os, signal, sys
            from pathlib import Path
            from farlane.models.blocks.describing import describe_file
            from farlane.models.blocks.disk import DiskBlockStore
            root, file = map(Path, sys.argv[1:])
            described, content = describe_file(file), file.read_bytes()
            assembly = DiskBlockStore(root).begin_file(described.dags, described.sha256)
            for index in (3, 1):
                leaf = assembly.leaves[index]
                assembly.write(index, content[leaf.offset :][: leaf.length])
            os.kill(os.getpid(), signal.SIGKILL)
        """
        with python(code, root, file) as writer:
            assert writer.wait(60) == -9
        store = DiskBlockStore(root)
        assembly = store.begin_file(described.dags, described.sha256)
        assert list(assembly.missing()) == [0, 2]
        content = file.read_bytes()
        assert store.get(assembly.leaves.cid(3)) == content[assembly.leaves[3].offset :]
        for index in assembly.missing():
            leaf = assembly.leaves[index]
            assembly.write(index, content[leaf.offset :][: leaf.length])
        assert assembly.commit().path.read_bytes() == content
        assert not list((root / "partial").iterdir())

    @pytest.mark.parametrize("entered", [False, True])
    def test_a_commit_that_was_killed_can_be_done_again(
        self, root: Path, file: Path, described: DescribedFile, monkeypatch: pytest.MonkeyPatch, entered: bool
    ) -> None:
        enter = Index.enter

        def die(index: Index, *arguments: object) -> None:
            if entered:
                enter(index, *arguments)  # type: ignore[arg-type]
            os._exit(9)

        with monkeypatch.context() as patched:
            patched.setattr(Index, "enter", die)
            child = os.fork()
            if not child:
                assemble(DiskBlockStore(root), described, file.read_bytes())
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        store = DiskBlockStore(root)
        assert len(list(store.files())) == entered
        assemble(store, described, file.read_bytes())
        assert store.file_path(described.sha256).read_bytes() == file.read_bytes()
        assert store.file_path(described.sha256).stat().st_mode & 0o777 == 0o400
        assert not list((root / "partial").iterdir())

    def test_the_holds_of_a_killed_process_end(self, root: Path) -> None:
        code = """
            import sys
            from pathlib import Path
            from farlane.models.blocks.disk import DiskBlockStore
            from farlane.testing.block_store_suite import HELLO, HELLO_CID
            store = DiskBlockStore(Path(sys.argv[1]))
            store.put(HELLO_CID, HELLO)
            with store.hold(HELLO_CID):
                print("held", flush=True)
                sys.stdin.readline()
        """
        store = DiskBlockStore(root)
        with python(code, root) as holder:
            assert heard(holder) == "held\n"
            assert store.held() == {HELLO_CID}
            assert store.get(HELLO_CID) == HELLO
            with pytest.raises(Conflict, match="held"):
                store.delete(HELLO_CID)
            assert store.sweep(lambda digest: False, max_bytes=0, spare_s=0).blocks == 0
            holder.kill()
            holder.wait(60)
        assert store.held() == frozenset()
        assert store.delete(HELLO_CID)

    def test_processes_may_add_the_same_at_once(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        code = """
            import sys
            from pathlib import Path
            from farlane.models.blocks.describing import describe_file
            from farlane.models.blocks.disk import DiskBlockStore
            from farlane.models.cid import RAW, block_cid
            described = describe_file(Path(sys.argv[2]))
            print("ready", flush=True)
            sys.stdin.readline()
            store = DiskBlockStore(Path(sys.argv[1]))
            for number in range(20):
                data = bytes([number]) * 5000
                store.put(block_cid(RAW, data), data)
            store.add_file(Path(sys.argv[2]), described)
        """
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(python(code, root, file)) for _ in range(2)]
            assert [heard(writer) for writer in writers] == ["ready\n"] * 2
            for writer in writers:
                say(writer, "go\n")
            assert [writer.wait(60) for writer in writers] == [0, 0]
        store = DiskBlockStore(root)
        blocks = list(store.iterate())
        assert len(blocks) == 20 + len(described.dags[0].leaves) + len(described.dags[0].nodes)
        assert all(store.get(cid) for cid in blocks)
        assert store.file_path(described.sha256).read_bytes() == file.read_bytes()

    def test_who_adds_waits_for_who_collects(self, root: Path) -> None:
        code = """
            import sys
            from pathlib import Path
            from farlane.models.blocks.disk import DiskBlockStore
            from farlane.testing.block_store_suite import HELLO, HELLO_CID
            store = DiskBlockStore(Path(sys.argv[1]))
            print("adding", flush=True)
            store.put(HELLO_CID, HELLO)
            print("added", flush=True)
        """
        store = DiskBlockStore(root)
        with python(code, root) as adder:
            with store.exclusively():
                assert heard(adder) == "adding\n"
                assert not store.has(HELLO_CID)
                store.put(block_cid(RAW, b"mine"), b"mine")  # whoever is alone may add
                assert [cid.digest for cid in store.iterate()] == [block_cid(RAW, b"mine").digest]
            assert heard(adder) == "added\n"
            assert adder.wait(60) == 0
        assert store.has(HELLO_CID)


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
    """A file system of 8 MiB."""
    mountpoint = tmp_path / "small"
    mountpoint.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(mountpoint)]
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
    @pytest.mark.real
    def test_a_full_disk_is_refused_and_then_recovers(
        self, small_disk: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(small_disk / "store")
        store.add_file(file, described)
        refused, kept = 0, []
        for number in range(40):
            data = b"%03d" % number * 50_000
            cid = block_cid(RAW, data)
            try:
                store.put(cid, data)
                kept.append(cid)
            except DiskFull:
                refused += 1
        assert 0 < refused < 40
        assert all(store.get(cid) for cid in [*kept, described.dags[0].leaves.cid(0)])
        assert not files_under(small_disk / "store" / "temporary")
        removed = collect(store, lambda: [described.dags[0].root], spare_s=0)
        assert removed.blocks == len(kept)
        assert store.file_path(described.sha256).read_bytes() == file.read_bytes()
        store.put(kept[0], b"000" * 50_000)
        store.close()

    def test_a_full_disk_leaves_the_store_as_it_was(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(root)
        store.put(HELLO_CID, HELLO)
        before = files_under(root / "blocks"), store.total_bytes
        large = os.urandom(900_000)
        with file_size_limit(600_000):
            with pytest.raises(DiskFull, match="Free space"):
                store.put(block_cid(RAW, large), large)
            with pytest.raises(DiskFull):
                store.begin_file(described.dags, described.sha256)
        assert (files_under(root / "blocks"), store.total_bytes) == before
        with file_size_limit(600_000), pytest.raises(DiskFull):
            store.add_file(file, described)
        assert list(store.files()) == []
        assert files_under(root / "files") == files_under(root / "temporary") == []
        assert store.add_file(file, described, Placement.MOVE).size_bytes == 4_000_000

    def test_a_move_that_fails_at_the_end_leaves_the_file(
        self, root: Path, file: Path, described: DescribedFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object) -> None:
            raise DiskFull("the index cannot grow")

        file.chmod(0o640)
        store = DiskBlockStore(root)
        with monkeypatch.context() as patched:
            patched.setattr(Index, "enter", full)
            with pytest.raises(DiskFull):
                store.add_file(file, described, Placement.MOVE)
        assert file.stat().st_mode & 0o777 == 0o640
        assert files_under(root / "files") == []
        assert list(store.files()) == []

"""The block store on a disk keeps the promises of every block store, and those of several processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, InvalidInput, NotFound
from farlane.kit.clock import Clock
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.port import BlockStore, Placement
from farlane.models.cid import RAW, Cid, block_cid
from farlane.models.unixfs.describing import Composite, Plain
from farlane.models.unixfs.file_dag import DescribedFile
from farlane.models.unixfs.profiles import V0_2015
from farlane.testing.block_store_suite import HELLO, HELLO_CID, BlockStoreSuite, DamageBlock, MakeBlocks


def flip(store: BlockStore, cid: Cid, position: int) -> None:
    """Flip a bit of a block on the disk."""
    place = store.locate(cid)
    assert place is not None
    place.path.chmod(0o600)
    with place.path.open("r+b") as stream:
        stream.seek(place.offset + position)
        (byte,) = stream.read(1)
        stream.seek(place.offset + position)
        stream.write(bytes([byte ^ 1]))


class TestDiskBlockStore(BlockStoreSuite):
    @pytest.fixture
    def make_blocks(self, tmp_path: Path) -> MakeBlocks:
        def make(*, max_bytes: int | None = None, clock: Clock | None = None) -> DiskBlockStore:
            return DiskBlockStore(tmp_path / "store", max_bytes=max_bytes, clock=clock)

        return make

    @pytest.fixture
    def damage_block(self) -> DamageBlock:
        return flip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([number]) * 1_200_000 for number in (1, 2, 3)))
    return path


@pytest.fixture
def described(file: Path) -> DescribedFile:
    return describe_file(file, [Composite([1_200_000] * 3), Plain()])


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class TestLayout:
    def test_single_blocks_lie_as_flatfs_lays_them(self, root: Path) -> None:
        DiskBlockStore(root).put(HELLO_CID, HELLO)
        name = "CIQLSTJHXGJU2PQIUUXFFV62PWV7VREE57RXUU4A52IIR55M4LX432I"
        assert (root / "blocks" / name[-3:-1] / f"{name}.data").read_bytes() == HELLO
        assert (root / "blocks" / "SHARDING").read_text() == "/repo/flatfs/shard/v1/next-to-last/2\n"

    def test_a_file_is_read_only_and_nothing_else_is_left(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        stored = DiskBlockStore(root).add_file(file, described)
        assert stored.path == root / "files" / described.sha256
        assert stored.path.stat().st_mode & 0o777 == 0o400
        assert [
            name for name in files_under(root) if name.startswith(("temporary", "files/.", "partial"))
        ] == []

    def test_a_new_object_finds_everything(self, root: Path, file: Path, described: DescribedFile) -> None:
        store = DiskBlockStore(root)
        store.put(HELLO_CID, HELLO)
        stored = store.add_file(file, described)
        blocks, total = set(store.iterate()), store.total_bytes
        store.close()
        again = DiskBlockStore(root)
        assert again.file(described.sha256) == stored
        assert (set(again.iterate()), again.total_bytes) == (blocks, total)
        assert all(again.get(cid) for cid in blocks)


class TestPlacement:
    def test_a_moved_file_keeps_its_inode(self, root: Path, file: Path, described: DescribedFile) -> None:
        inode = file.stat().st_ino
        assert DiskBlockStore(root).add_file(file, described, Placement.MOVE).path.stat().st_ino == inode
        assert not file.exists()

    def test_a_file_with_a_second_name_is_copied(
        self, root: Path, file: Path, described: DescribedFile, tmp_path: Path
    ) -> None:
        os.link(file, tmp_path / "other")
        stored = DiskBlockStore(root).add_file(file, described, Placement.MOVE)
        (tmp_path / "other").write_bytes(b"changed")
        assert stored.path.stat().st_size == described.size_bytes
        assert not file.exists()

    def test_a_file_referred_to_stays_and_takes_its_blocks_away(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(root)
        leaf = described.dags[0].leaves.cid(0)
        assert store.add_file(file, described, Placement.REFERENCE).path == file
        assert store.get(leaf) == bytes([1]) * store.size(leaf)
        assert store.total_bytes == sum(len(block) for dag in described.dags for block in dag.nodes.values())
        file.write_bytes(b"changed")
        assert not store.has(leaf)
        with pytest.raises(NotFound):
            store.get(leaf)
        with pytest.raises(NotFound):
            store.file_path(described.sha256)

    def test_a_link_is_refused(
        self, root: Path, file: Path, described: DescribedFile, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to(file)
        with pytest.raises(InvalidInput):
            DiskBlockStore(root).add_file(tmp_path / "link", described)

    def test_wrapped_leaves_are_made_again_from_the_file(self, root: Path, file: Path) -> None:
        described = describe_file(file, [Plain(), Plain(V0_2015)])
        store = DiskBlockStore(root)
        store.add_file(file, described)
        leaf = described.dags[1].leaves.cid(2)
        assert block_cid(leaf.codec, store.get(leaf), 0) == leaf
        assert store.size(leaf) == len(store.get(leaf))
        assert store.locate(leaf) is None


class TestDamage:
    def test_a_flipped_byte_in_a_file_condemns_its_leaf_alone(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(root)
        store.add_file(file, described)
        leaves = described.dags[0].leaves
        good = store.get(leaves.cid(1))
        flip(store, leaves.cid(1), 77)
        with pytest.raises(Corrupted, match=leaves.cid(1).text):
            store.get(leaves.cid(1))
        assert not store.has(leaves.cid(1))
        assert store.get(leaves.cid(2))
        with pytest.raises(NotFound):
            store.file_path(described.sha256)
        store.put(leaves.cid(1), good)
        assert store.get(leaves.cid(1)) == good
        assembly = store.begin_file(described.dags, described.sha256)
        assert assembly.copy_local() == described.size_bytes
        assembly.commit()
        assert store.file_path(described.sha256).read_bytes() == file.read_bytes()

    def test_adding_a_damaged_file_again_mends_it(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(root)
        store.add_file(file, described)
        flip(store, described.dags[0].leaves.cid(0), 0)
        with pytest.raises(Corrupted):
            store.get(described.dags[0].leaves.cid(0))
        store.add_file(file, described)
        assert store.get(described.dags[0].leaves.cid(0))
        assert store.file_path(described.sha256).read_bytes() == file.read_bytes()

    @pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
    def test_what_is_no_plain_file_is_never_opened(self, root: Path, kind: str) -> None:
        store = DiskBlockStore(root)
        store.put(HELLO_CID, HELLO)
        place = store.locate(HELLO_CID)
        assert place is not None
        place.path.unlink()
        make = {
            "link": lambda path: path.symlink_to("/etc/passwd"),
            "directory": Path.mkdir,
            "pipe": os.mkfifo,
        }
        make[kind](place.path)
        assert not store.has(HELLO_CID)
        with pytest.raises(Corrupted):
            store.get(HELLO_CID)
        store.put(HELLO_CID, HELLO)
        assert store.get(HELLO_CID) == HELLO


class TestAssembly:
    def test_one_assembles_a_file_at_a_time(self, root: Path, described: DescribedFile) -> None:
        assembly = DiskBlockStore(root).begin_file(described.dags, described.sha256)
        with pytest.raises(Conflict, match="already"):
            DiskBlockStore(root).begin_file(described.dags, described.sha256)
        assembly.abort()
        DiskBlockStore(root).begin_file(described.dags, described.sha256).abort()
        assert not list((root / "partial").iterdir())

    def test_a_wrong_second_dag_is_refused(self, root: Path, file: Path, tmp_path: Path) -> None:
        (tmp_path / "other").write_bytes(bytes(file.stat().st_size))
        dags = [describe_file(file).dags[0], describe_file(tmp_path / "other").dags[0]]
        store = DiskBlockStore(root)
        assembly = store.begin_file(dags)
        content = file.read_bytes()
        for index in assembly.missing():
            leaf = assembly.leaves[index]
            assembly.write(index, content[leaf.offset :][: leaf.length])
        with pytest.raises(Corrupted, match="another file"):
            assembly.commit()
        assert list(store.files()) == []
        assert not list((root / "partial").iterdir())

    def test_a_budget_counts_what_is_being_assembled(self, root: Path, described: DescribedFile) -> None:
        store = DiskBlockStore(root, max_bytes=4_000_000)
        store.begin_file(described.dags, described.sha256)
        with pytest.raises(DiskFull, match="collect"):
            store.put(block_cid(RAW, bytes(500_000)), bytes(500_000))

    def test_a_name_leads_nowhere_else(self, root: Path, described: DescribedFile) -> None:
        with pytest.raises(InvalidInput, match="SHA-256"):
            DiskBlockStore(root).begin_file(described.dags, "../../escape")


class TestBudget:
    @pytest.mark.parametrize("placement", [Placement.COPY, Placement.MOVE])
    def test_a_file_that_just_fits_is_kept(
        self, root: Path, file: Path, described: DescribedFile, placement: Placement
    ) -> None:
        nodes = {cid: len(block) for dag in described.dags for cid, block in dag.nodes.items()}
        needed = described.size_bytes + sum(nodes.values())
        store = DiskBlockStore(root, max_bytes=needed)
        store.add_file(file, described, placement)
        assert store.total_bytes == needed
        with pytest.raises(DiskFull):
            store.put(HELLO_CID, HELLO)

    def test_a_lost_index_loses_no_file(self, root: Path, file: Path, described: DescribedFile) -> None:
        store = DiskBlockStore(root)
        path = store.add_file(file, described).path
        store.close()
        for part in root.glob("index.sqlite*"):
            part.unlink()
        with pytest.raises(Corrupted, match="missing"):
            DiskBlockStore(root)
        assert path.exists()

    def test_a_file_of_the_store_moved_into_it_stays(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(root)
        path = store.add_file(file, described).path
        store.add_file(path, describe_file(path), Placement.MOVE)
        assert store.file_path(described.sha256).exists()


class TestSweep:
    def test_the_unkept_goes_and_the_kept_and_held_stay(
        self, root: Path, file: Path, described: DescribedFile
    ) -> None:
        store = DiskBlockStore(root)
        store.add_file(file, described)
        other = block_cid(RAW, b"other")
        store.put(HELLO_CID, HELLO)
        store.put(other, b"other")
        kept = described.dags[1].leaves.digest(0)
        with DiskBlockStore(root).hold(other):
            removed = store.sweep(lambda digest: digest == kept, max_bytes=0, spare_s=0)
        assert (removed.files, store.has(other), store.has(HELLO_CID)) == (0, True, False)
        assert store.file(described.sha256)
        assert store.sweep(lambda digest: False, max_bytes=0, spare_s=1000).files == 0
        assert store.sweep(lambda digest: False, max_bytes=0, spare_s=0).files == 1
        assert store.total_bytes == 0
        assert list(store.iterate()) == []

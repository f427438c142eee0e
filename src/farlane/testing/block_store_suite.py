"""What every block store must do: two classes of tests, run on the fake and on the real stores.

`BlocksSuite` is of single blocks, also for stores that know no files; a subclass provides the fixture `store`, with
none of the suite's blocks in it. `BlockStoreSuite` is of all the rest, too; a subclass provides two fixtures:

* `make_blocks`: called as `make_blocks(max_bytes=None, clock=None)`, returns a new, empty store;
* `damage_block`: called as `damage_block(store, cid, position)`, flips a bit of a block behind the store's back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, NotFound, TooLarge
from farlane.kit.clock import Clock
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.port import MAX_BLOCK_BYTES, BlockSource, BlockStore, Placement
from farlane.models.cid import DAG_PB, RAW, Cid, Octets, block_cid
from farlane.models.unixfs.describing import Composite, Plain
from farlane.models.unixfs.file_dag import DescribedFile

HELLO = b"hello world"
HELLO_CID = block_cid(RAW, HELLO)
ABSENT = block_cid(RAW, b"nowhere to be found")

DamageBlock = Callable[[BlockStore, Cid, int], None]


class MakeBlocks(Protocol):
    """Makes a new, empty store."""

    def __call__(self, *, max_bytes: int | None = None, clock: Clock | None = None) -> BlockStore:
        """Return the store."""
        ...


class Blocks(BlockSource, Protocol):
    """Single blocks to read and write: the part of `BlockStore` that is not about files, holds and budgets."""

    def put(self, cid: Cid, data: Octets) -> None:
        """Keep a block; see `BlockStore`."""
        ...

    def put_many(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep many blocks; see `BlockStore`."""
        ...

    def iterate(self) -> Iterator[Cid]:
        """Yield a raw CID for each block here."""
        ...

    def delete(self, cid: Cid) -> bool:
        """Remove a block and tell whether it was here."""
        ...


class BlocksSuite:
    """The promises of every place for single blocks."""

    def test_a_block_comes_back(self, store: Blocks) -> None:
        """Under any CID with its digest, and once however often it is put."""
        store.put(HELLO_CID, HELLO)
        store.put(HELLO_CID, bytearray(HELLO))
        assert store.get(HELLO_CID) == HELLO
        assert store.get(Cid(0, DAG_PB, HELLO_CID.digest)) == HELLO
        assert (store.has(HELLO_CID), store.size(HELLO_CID)) == (True, len(HELLO))
        assert list(store.iterate()).count(HELLO_CID) == 1

    def test_many_blocks_come_back(self, store: Blocks) -> None:
        """The empty one, and one that is there already, among them."""
        datas = [b"", HELLO, b"another", bytes(MAX_BLOCK_BYTES)]
        store.put(HELLO_CID, HELLO)
        store.put_many([(block_cid(RAW, data), data) for data in datas])
        assert [store.get(block_cid(RAW, data)) for data in datas] == datas

    def test_of_many_blocks_a_wrong_one_does_not_come_in(self, store: Blocks) -> None:
        """What came before it may stay."""
        with pytest.raises(Corrupted, match=ABSENT.text):
            store.put_many([(HELLO_CID, HELLO), (ABSENT, b"something else")])
        assert not store.has(ABSENT)

    def test_a_deleted_block_is_gone(self, store: Blocks) -> None:
        """And can be put again."""
        store.put(HELLO_CID, HELLO)
        assert store.delete(HELLO_CID) is True
        assert not store.has(HELLO_CID)
        store.put(HELLO_CID, HELLO)
        assert store.get(HELLO_CID) == HELLO

    @pytest.mark.parametrize("operation", ["get", "size", "locate"])
    def test_a_missing_block_is_not_found(self, store: Blocks, operation: str) -> None:
        """Asking for what is not here says so."""
        assert not store.has(ABSENT)
        assert store.delete(ABSENT) is False
        with pytest.raises(NotFound, match=ABSENT.text):
            getattr(store, operation)(ABSENT)

    def test_wrong_and_huge_blocks_are_refused(self, store: Blocks) -> None:
        """Nothing unverified comes in."""
        with pytest.raises(Corrupted, match=HELLO_CID.text):
            store.put(HELLO_CID, b"hello w0rld")
        huge = bytes(MAX_BLOCK_BYTES + 1)
        with pytest.raises(TooLarge):
            store.put(block_cid(RAW, huge), huge)
        assert not store.has(HELLO_CID)
        assert not store.has(block_cid(RAW, huge))


class BlockStoreSuite(BlocksSuite):
    """The promises of `farlane.models.blocks.port.BlockStore`."""

    @pytest.fixture
    def store(self, make_blocks: MakeBlocks) -> BlockStore:
        """An unlimited store."""
        return make_blocks()

    def test_what_is_here_is_listed_and_counted_once(self, store: BlockStore) -> None:
        """However often it is put."""
        store.put(HELLO_CID, HELLO)
        store.put(HELLO_CID, HELLO)
        assert list(store.iterate()) == [HELLO_CID]
        assert store.total_bytes == len(HELLO)

    def test_a_spent_budget_is_a_full_disk(self, make_blocks: MakeBlocks) -> None:
        """What was there stays."""
        store = make_blocks(max_bytes=100)
        store.put(HELLO_CID, HELLO)
        with pytest.raises(DiskFull, match="collect"):
            store.put(block_cid(RAW, bytes(90)), bytes(90))
        assert store.get(HELLO_CID) == HELLO

    @pytest.mark.parametrize("position", [0, 5, len(HELLO) - 1])
    def test_flipped_bits_are_found_and_a_good_copy_can_be_put(
        self, store: BlockStore, damage_block: DamageBlock, position: int
    ) -> None:
        """A damaged block is an error once, then absent, then replaceable."""
        store.put(HELLO_CID, HELLO)
        damage_block(store, HELLO_CID, position)
        with pytest.raises(Corrupted, match=HELLO_CID.text):
            store.get(HELLO_CID)
        assert not store.has(HELLO_CID)
        store.put(HELLO_CID, HELLO)
        assert store.get(HELLO_CID) == HELLO

    def test_a_held_block_cannot_be_deleted(self, store: BlockStore) -> None:
        """Holds nest, and the last one out frees the block."""
        store.put(HELLO_CID, HELLO)
        with store.hold(HELLO_CID):
            with store.hold(HELLO_CID):
                assert store.held() == {HELLO_CID}
            with pytest.raises(Conflict, match="held"):
                store.delete(HELLO_CID)
        assert store.held() == frozenset()
        assert store.delete(HELLO_CID)
        assert not store.has(HELLO_CID)

    @staticmethod
    def described(path: Path) -> tuple[bytes, DescribedFile]:
        """Write a file of three tensors, and return its content and names."""
        content = b"".join(bytes([number]) * 1_200_000 for number in (1, 2, 3))
        path.write_bytes(content)
        return content, describe_file(path, [Composite([1_200_000] * 3), Plain()])

    def test_a_file_is_kept_once_and_its_blocks_are_found(self, store: BlockStore, tmp_path: Path) -> None:
        """Both DAGs share its bytes; only their inner nodes are kept beside it."""
        content, described = self.described(tmp_path / "file")
        stored = store.add_file(tmp_path / "file", described, Placement.MOVE)
        assert not (tmp_path / "file").exists()
        assert store.file_path(described.sha256).read_bytes() == content
        assert stored.roots == tuple(dag.root for dag in described.dags)
        for dag in described.dags:
            leaves = [dag.leaves[index] for index in range(len(dag.leaves))]
            assert b"".join(store.get(leaf.cid) for leaf in leaves) == content
            assert all(store.get(cid) == block for cid, block in dag.nodes.items())
            place = store.locate(leaves[1].cid)
            assert place is not None
            assert place.path.read_bytes()[place.offset :][: place.length] == store.get(leaves[1].cid)
        nodes = {cid: block for dag in described.dags for cid, block in dag.nodes.items()}
        assert store.total_bytes == len(content) + sum(map(len, nodes.values()))

    def test_a_file_that_changed_is_refused(self, store: BlockStore, tmp_path: Path) -> None:
        """Its names would be wrong; it stays."""
        _, described = self.described(tmp_path / "file")
        (tmp_path / "file").write_bytes(bytes(3_600_000))
        with pytest.raises(Conflict, match="changed"):
            store.add_file(tmp_path / "file", described, Placement.MOVE)
        assert (tmp_path / "file").exists()
        assert list(store.iterate()) == []

    def test_a_file_arrives_leaf_by_leaf(self, store: BlockStore, tmp_path: Path) -> None:
        """In any order, going on after an interruption, and giving what arrived already."""
        content, described = self.described(tmp_path / "file")
        leaves = described.dags[0].leaves
        first, *rest = reversed(range(len(leaves)))
        pieces = [content[leaf.offset :][: leaf.length] for leaf in (leaves[at] for at in range(len(leaves)))]
        assembly = store.begin_file(described.dags, described.sha256)
        with pytest.raises(Corrupted):
            assembly.write(first, b"wrong")
        assembly.write(first, pieces[first])
        assert store.get(leaves[first].cid) == pieces[first]
        assembly.close()
        assembly = store.begin_file(described.dags, described.sha256)
        assert list(assembly.missing()) == sorted(rest)
        with pytest.raises(Conflict, match="lacks"):
            assembly.commit()
        store.put(leaves[rest[0]].cid, pieces[rest[0]])
        assert assembly.copy_local() == len(pieces[rest[0]])
        for at in rest[1:]:
            assembly.write(at, pieces[at])
        assert assembly.commit().sha256 == described.sha256
        assert store.file_path(described.sha256).read_bytes() == content
        assert store.delete_file(described.sha256)
        assert not store.has(leaves[0].cid)

    def test_files_under_way_are_their_owners(self, store: BlockStore, tmp_path: Path) -> None:
        """Nobody waits for, or goes on with, the same file of another; what may not be taken is not copied."""
        content, described = self.described(tmp_path / "file")
        leaf = described.dags[0].leaves[0]
        mine = store.begin_file(described.dags, described.sha256, "me")
        mine.write(0, content[: leaf.length])
        with pytest.raises(Conflict):
            store.begin_file(described.dags, described.sha256, "me")
        theirs = store.begin_file(described.dags, described.sha256, "them")
        assert theirs.copy_local(lambda cid: cid != leaf.cid) == 0
        assert 0 in theirs.missing()
        assert theirs.copy_local(lambda cid: cid == leaf.cid) == leaf.length
        assert (
            store.partial_bytes([described.sha256, f"{described.sha256}.done"], "me") >= described.size_bytes
        )
        theirs.abort()
        for at in mine.missing():
            one = mine.leaves[at]
            mine.write(at, content[one.offset :][: one.length])
        assert mine.commit().sha256 == described.sha256

    def test_it_tells_which_files_hold_a_block(self, store: BlockStore, tmp_path: Path) -> None:
        """Whole ones and those under way, as far as they are written; none holds a single block."""
        content, described = self.described(tmp_path / "file")
        leaves = described.dags[0].leaves
        assembly = store.begin_file(described.dags, described.sha256)
        assembly.write(0, content[: leaves[0].length])
        assert store.holders(leaves[0].cid) == {described.sha256}
        assert store.holders(leaves[1].cid) == frozenset()
        assembly.abort()
        store.add_file(tmp_path / "file", described)
        assert {described.sha256} == store.holders(leaves[1].cid)
        store.put(block_cid(RAW, b"alone"), b"alone")
        assert store.holders(block_cid(RAW, b"alone")) == frozenset()

    def test_what_nobody_goes_on_with_can_be_dropped(self, store: BlockStore, tmp_path: Path) -> None:
        """Unless somebody has it open, names it, or wrote to it lately."""
        content, described = self.described(tmp_path / "file")
        assembly = store.begin_file(described.dags, described.sha256)
        assembly.write(0, content[: assembly.leaves[0].length])
        later = time.time() + 3600
        store.drop_partial((), before_s=later)
        assembly.close()
        store.drop_partial((), before_s=1.0)
        store.drop_partial({described.sha256}, before_s=later)
        assert assembly.leaves[0].length <= store.partial_bytes() < described.size_bytes
        assert store.partial_bytes({described.sha256, f"{described.sha256}.done"}) == 0
        store.drop_partial((), before_s=later)
        assert store.partial_bytes() == 0

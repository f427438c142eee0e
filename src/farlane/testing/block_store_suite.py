"""What every block store must do: one class of tests, run on the fake and on the real store.

A subclass provides two fixtures:

* `make_blocks`: called as `make_blocks(max_bytes=None, clock=None)`, returns a new, empty store;
* `damage_block`: called as `damage_block(store, cid, position)`, flips a bit of a block behind the store's back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, NotFound, TooLarge
from farlane.kit.clock import Clock
from farlane.models.blocks.port import MAX_BLOCK_BYTES, BlockStore
from farlane.models.cid import DAG_PB, RAW, Cid, block_cid

HELLO = b"hello world"
HELLO_CID = block_cid(RAW, HELLO)
ABSENT = block_cid(RAW, b"nowhere to be found")

DamageBlock = Callable[[BlockStore, Cid, int], None]


class MakeBlocks(Protocol):
    """Makes a new, empty store."""

    def __call__(self, *, max_bytes: int | None = None, clock: Clock | None = None) -> BlockStore:
        """Return the store."""
        ...


class BlockStoreSuite:
    """The promises of `farlane.models.blocks.port.BlockStore`."""

    @pytest.fixture
    def store(self, make_blocks: MakeBlocks) -> BlockStore:
        """An unlimited store."""
        return make_blocks()

    def test_a_block_comes_back(self, store: BlockStore) -> None:
        """Under any CID with its digest, and once however often it is put."""
        store.put(HELLO_CID, HELLO)
        store.put(HELLO_CID, bytearray(HELLO))
        assert store.get(HELLO_CID) == HELLO
        assert store.get(Cid(0, DAG_PB, HELLO_CID.digest)) == HELLO
        assert (store.has(HELLO_CID), store.size(HELLO_CID)) == (True, len(HELLO))
        assert list(store.iterate()) == [HELLO_CID]
        assert store.total_bytes == len(HELLO)

    @pytest.mark.parametrize("operation", ["get", "size", "locate"])
    def test_a_missing_block_is_not_found(self, store: BlockStore, operation: str) -> None:
        """Asking for what is not here says so."""
        assert not store.has(ABSENT)
        assert store.delete(ABSENT) is False
        with pytest.raises(NotFound, match=ABSENT.text):
            getattr(store, operation)(ABSENT)

    def test_wrong_and_huge_blocks_are_refused(self, store: BlockStore) -> None:
        """Nothing unverified comes in."""
        with pytest.raises(Corrupted, match=HELLO_CID.text):
            store.put(HELLO_CID, b"hello w0rld")
        huge = bytes(MAX_BLOCK_BYTES + 1)
        with pytest.raises(TooLarge):
            store.put(block_cid(RAW, huge), huge)
        assert list(store.iterate()) == []

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

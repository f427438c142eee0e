"""The fake block store keeps the promises of every block store."""

from __future__ import annotations

import pytest

from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import BlockStore
from farlane.models.cid import Cid
from farlane.testing.block_store_suite import BlockStoreSuite, DamageBlock, MakeBlocks


class TestMemoryBlockStore(BlockStoreSuite):
    @pytest.fixture
    def make_blocks(self) -> MakeBlocks:
        return MemoryBlockStore

    @pytest.fixture
    def damage_block(self) -> DamageBlock:
        def flip(store: BlockStore, cid: Cid, position: int) -> None:
            assert isinstance(store, MemoryBlockStore)
            place = store._places.get(cid.digest)
            if place is None:
                data = bytearray(store._blocks[cid.digest])
                data[position] ^= 1
                store._blocks[cid.digest] = bytes(data)
                return
            file = store._files[place.sha256]
            changed = bytearray(file.data)
            changed[place.offset + position] ^= 1
            file.data = bytes(changed)

        return flip

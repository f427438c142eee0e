"""The fake store keeps the promises of every content store."""

from __future__ import annotations

import gc

import pytest

from farlane.models.store import ContentStore
from farlane.models.store_memory import MemoryStore
from farlane.testing.content_store_suite import ContentStoreSuite, Damage, MakeStore


class TestMemoryStore(ContentStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return MemoryStore

    @pytest.fixture
    def damage(self) -> Damage:
        def flip(store: ContentStore, cid: str) -> None:
            assert isinstance(store, MemoryStore)
            data = bytearray(store._blobs[cid])
            data[0] ^= 1
            store._blobs[cid] = bytes(data)

        return flip

    def test_its_files_go_with_it(self) -> None:
        store = MemoryStore()
        path = store.path(store.put(b"content"))
        assert path.exists()
        del store
        gc.collect()
        assert not path.parent.exists()

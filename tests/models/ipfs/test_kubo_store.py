"""A kubo keeps the promises of every place for single blocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farlane.models.ipfs.kubo_store import KuboStore
from farlane.testing.block_store_suite import HELLO_CID, BlocksSuite


class TestKuboStore(BlocksSuite):
    @pytest.fixture
    def store(self, kubo) -> Iterator[KuboStore]:
        store = KuboStore(kubo.rpc)
        store.delete(HELLO_CID)
        yield store
        store.delete(HELLO_CID)

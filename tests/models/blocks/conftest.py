"""Small DAGs of every kind of block for tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from farlane.kit.clock import ManualClock
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import BlockStore
from farlane.models.cid import DAG_CBOR, RAW, Cid, block_cid
from farlane.models.unixfs.directory import Entry, directory


class Dags:
    """Puts blocks of every kind into a store."""

    def __init__(self, store: BlockStore) -> None:
        self.store = store

    def raw(self, data: bytes) -> Cid:
        cid = block_cid(RAW, data)
        self.store.put(cid, data)
        return cid

    def folder(self, *files: Cid) -> Cid:
        made = directory([Entry(f"file {number}", cid, 1) for number, cid in enumerate(files)])
        self.store.put_many(made.nodes.items())
        return made.root

    def document(self, *links: Cid) -> Cid:
        import dag_cbor
        from multiformats import CID

        data = dag_cbor.encode({"deep": [{"links": [CID.decode(link.bytes) for link in links]}], "size": 3})
        cid = block_cid(DAG_CBOR, data)
        self.store.put(cid, data)
        return cid

    def version(self, seed: str) -> Sequence[Cid]:
        """Return a document, its folder, and the two files in that; the document names the first one, too."""
        one, two = self.raw(f"{seed} one".encode()), self.raw(f"{seed} two".encode())
        folder = self.folder(one, two)
        return self.document(one, folder), folder, one, two


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def dags(clock: ManualClock) -> Dags:
    return Dags(MemoryBlockStore(clock=clock))

"""Directories are listed as they were made, and those that are made to harm are refused."""

from __future__ import annotations

import pytest

from farlane.errors import InvalidInput, TooLarge
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.cid import DAG_PB, RAW, Cid, block_cid
from farlane.models.unixfs.dag_pb import PbLink, PbNode, decode_node, encode_node
from farlane.models.unixfs.directory import Entry, directory
from farlane.models.unixfs.listing import ListingLimits, list_directory, list_files
from farlane.models.unixfs.nodes import MURMUR3_X64_64, NodeData, NodeKind, encode_data
from farlane.models.unixfs.profiles import V1_2025

LEAF = block_cid(RAW, b"x")
PLAIN = encode_data(NodeData(NodeKind.DIRECTORY))


@pytest.fixture
def store() -> MemoryBlockStore:
    store = MemoryBlockStore()
    store.put(LEAF, b"x")
    return store


def put_links(store: MemoryBlockStore, links: list[tuple[str, Cid]], data: bytes = PLAIN) -> Cid:
    block = encode_node(PbNode([PbLink(cid, name, 1) for name, cid in links], data))
    cid = block_cid(DAG_PB, block)
    store.put(cid, block)
    return cid


def shard(slots: list[int], fanout: int = 256, hash_code: int = MURMUR3_X64_64) -> bytes:
    field = sum(1 << slot for slot in slots)
    octets = field.to_bytes((field.bit_length() + 7) // 8, "big")
    return encode_data(NodeData(NodeKind.SHARD, octets, hash_code=hash_code, fanout=fanout))


@pytest.mark.parametrize("count", [0, 1, 1000, 8000], ids=["empty", "one", "plain", "sharded"])
def test_a_directory_comes_back(store: MemoryBlockStore, count: int) -> None:
    entries = [Entry(f"file é {number}", LEAF, 1) for number in range(count)]
    made = directory(entries)
    store.put_many(made.nodes.items())
    assert (len(made.nodes) > 1) == (count == 8000)
    assert list_directory(store, made.root) == sorted(entries, key=lambda entry: entry.name.encode())
    assert len(list_files(store, made.root)) == count


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "/etc/passwd", "a\\b", "a\0b", "n" * 256])
def test_names_that_lead_elsewhere_are_refused(store: MemoryBlockStore, name: str) -> None:
    with pytest.raises(InvalidInput):
        list_directory(store, put_links(store, [(name, LEAF)]))


def test_a_name_is_there_once(store: MemoryBlockStore) -> None:
    with pytest.raises(InvalidInput, match="twice"):
        list_directory(store, put_links(store, [("a", LEAF), ("a", LEAF)]))


def test_directories_that_repeat_themselves_are_counted_out(store: MemoryBlockStore) -> None:
    cid = put_links(store, [("a", LEAF), ("b", LEAF)])
    for _ in range(30):
        cid = put_links(store, [("a", cid), ("b", cid)])
    with pytest.raises(TooLarge, match="entries"):
        list_files(store, cid, ListingLimits(entries=1000))
    for _ in range(2):
        cid = put_links(store, [("a", cid)])
    with pytest.raises(TooLarge, match="directories lie in each other"):
        list_files(store, cid)
    with pytest.raises(TooLarge, match="bytes"):
        list_files(
            store, put_links(store, [(str(number), LEAF) for number in range(9)]), ListingLimits(size_bytes=8)
        )


def test_a_link_is_not_followed(store: MemoryBlockStore) -> None:
    link = put_links(store, [], encode_data(NodeData(NodeKind.SYMLINK, b"/etc/passwd")))
    with pytest.raises(InvalidInput, match="symlink"):
        list_files(store, put_links(store, [("harmless", link)]))
    with pytest.raises(InvalidInput, match="no directory"):
        list_directory(store, link)


def test_shards_that_are_not_in_order_are_refused(store: MemoryBlockStore) -> None:
    made = directory([Entry(f"name {number}", LEAF, 1) for number in range(8000)])
    store.put_many(made.nodes.items())
    links = decode_node(made.nodes[made.root]).links
    below = links[0].cid
    empty = put_links(store, [], shard([]))
    every = list(range(256))
    bad = [
        put_links(store, [("00", below), ("01", below)], shard([0, 1])),
        put_links(store, [("01", below)], shard([0])),
        put_links(store, [("00", below)], shard([0, 1])),
        put_links(store, [("00name 1", LEAF)], shard([0])),
        put_links(store, [("00", empty)], shard([0])),
        put_links(store, [("00", LEAF)], shard([0])),
        put_links(store, [("00", below)], shard([0], fanout=100)),
        put_links(store, [("00", below)], shard([0], fanout=1 << 20)),
        put_links(store, [("00", below)], shard([0], hash_code=0x12)),
    ]
    for _ in range(9):
        empty = put_links(store, [(f"{slot:02X}", empty) for slot in every], shard(every))
    for root in (*bad, empty):
        with pytest.raises(InvalidInput):
            list_directory(store, root)
    assert len(links) == V1_2025.fanout

"""Files are read back as they were described, and DAGs that lie, repeat themselves or go too deep are refused."""

from __future__ import annotations

import io
import random

import pytest

from farlane.errors import FarlaneError, InvalidInput, NotFound, TooLarge
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.cid import DAG_PB, RAW, Cid, block_cid
from farlane.models.unixfs.dag_pb import PbLink, PbNode, encode_node
from farlane.models.unixfs.describing import Composite, ContentDefined, Plain, Plan, describe
from farlane.models.unixfs.nodes import NodeData, NodeKind, encode_data, wrap_leaf
from farlane.models.unixfs.profiles import V0_2015
from farlane.models.unixfs.reading import Limits, read_bytes, read_file

CONTENT = random.Random(5).randbytes(3_000_000)


def put_node(store: MemoryBlockStore, links: list[Cid], data: NodeData) -> Cid:
    block = encode_node(PbNode([PbLink(cid, "", 0) for cid in links], encode_data(data)))
    cid = block_cid(DAG_PB, block)
    store.put(cid, block)
    return cid


def put_file(store: MemoryBlockStore, parts: list[tuple[Cid, int]], size_bytes: int | None = None) -> Cid:
    sizes = [size for _, size in parts]
    data = NodeData(NodeKind.FILE, None, sum(sizes) if size_bytes is None else size_bytes, sizes)
    return put_node(store, [cid for cid, _ in parts], data)


def put_raw(store: MemoryBlockStore, data: bytes) -> Cid:
    cid = block_cid(RAW, data)
    store.put(cid, data)
    return cid


@pytest.mark.parametrize(
    "plan",
    [Plain(), Plain(V0_2015), Composite([7, 2_999_990, 3]), Composite([1] * 3_000), ContentDefined()],
    ids=["plain", "wrapped", "composite", "many parts", "content"],
)
def test_a_file_comes_back(plan: Plan) -> None:
    content = CONTENT if not isinstance(plan, Composite) else CONTENT[: sum(plan.parts)]
    store = MemoryBlockStore()
    dag = describe(io.BytesIO(content), len(content), [plan]).dags[0]
    store.put_many(dag.nodes.items())
    for leaf in dag.leaves:
        part = content[leaf.offset : leaf.offset + leaf.length]
        store.put(leaf.cid, wrap_leaf(part) if dag.leaves.wrapped else part)
    read = read_file(store, dag.root)
    assert (read.root, read.size_bytes, read.nodes) == (dag.root, len(content), dag.nodes)
    assert read.leaves.digests == dag.leaves.digests
    assert read.leaves.lengths.tolist() == dag.leaves.lengths.tolist()
    assert b"".join(read_bytes(store, dag.root)) == content


def test_nodes_alone_tell_the_dag() -> None:
    store = MemoryBlockStore()
    dag = describe(io.BytesIO(CONTENT), len(CONTENT)).dags[0]
    store.put_many(dag.nodes.items())
    assert read_file(store, dag.root).leaves.digests == dag.leaves.digests
    with pytest.raises(NotFound):
        list(read_bytes(store, dag.root))


def test_sizes_that_contradict_each_other_are_refused() -> None:
    store = MemoryBlockStore()
    leaf = put_raw(store, b"12345")
    inner = put_file(store, [(leaf, 5)])
    wrong_sum = put_file(store, [(leaf, 5)], size_bytes=6)
    wrong_child = put_file(store, [(inner, 4), (leaf, 5)])
    wrong_count = put_node(store, [leaf], NodeData(NodeKind.FILE, None, 5, [5, 0]))
    for root in (wrong_sum, wrong_child, wrong_count):
        with pytest.raises(InvalidInput, match="got it wrong"):
            read_file(store, root)
    wrong_leaf = put_file(store, [(leaf, 4)])
    with pytest.raises(InvalidInput, match="has 5 bytes"):
        list(read_bytes(store, wrong_leaf))


def test_a_dag_that_repeats_itself_is_counted_out() -> None:
    store = MemoryBlockStore()
    cid, size = put_raw(store, b"ha"), 2
    for _ in range(6):
        cid, size = put_file(store, [(cid, size)] * 100), size * 100
    with pytest.raises(TooLarge, match="bytes"):
        read_file(store, cid, Limits(size_bytes=10**9))
    with pytest.raises(TooLarge, match="leaves"):
        read_file(store, cid, Limits(leaves=5000))
    with pytest.raises(TooLarge, match="nodes"):
        read_file(store, cid, Limits(nodes=50))
    empty, size = put_raw(store, b""), 0
    for _ in range(3):
        empty = put_file(store, [(empty, 0)] * 100)
    with pytest.raises(TooLarge, match="leaves"):
        list(read_bytes(store, empty, Limits(leaves=5000)))


def test_a_chain_is_refused() -> None:
    store = MemoryBlockStore()
    cid = put_raw(store, b"x")
    for _ in range(31):
        cid = put_file(store, [(cid, 1)])
    assert b"".join(read_bytes(store, cid)) == b"x"
    cid = put_file(store, [(cid, 1)])
    with pytest.raises(TooLarge, match="levels"):
        read_file(store, cid)


def test_what_cannot_be_assembled_can_still_be_read() -> None:
    store = MemoryBlockStore()
    raw, wrapped = put_raw(store, b"raw"), block_cid(DAG_PB, wrap_leaf(b"wrapped"))
    store.put(wrapped, wrap_leaf(b"wrapped"))
    mixed = put_file(store, [(raw, 3), (wrapped, 7)])
    inline = put_node(store, [raw], NodeData(NodeKind.FILE, b"inline ", 10, [3]))
    odd = put_node(store, [], NodeData(NodeKind.RAW, b"old", 3))
    for root, content in ((mixed, b"rawwrapped"), (inline, b"inline raw"), (odd, b"old")):
        with pytest.raises(InvalidInput, match="leaf by leaf"):
            read_file(store, root)
        assert b"".join(read_bytes(store, root)) == content


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff",
        encode_node(PbNode([], b"\xff")),
        encode_node(PbNode([], encode_data(NodeData(NodeKind.DIRECTORY)))),
        encode_node(PbNode([], encode_data(NodeData(NodeKind.SYMLINK, b"/etc/passwd")))),
    ],
    ids=["no data", "no node", "no message", "directory", "symlink"],
)
def test_what_is_no_file_is_said(block: bytes) -> None:
    store = MemoryBlockStore()
    cid = block_cid(DAG_PB, block)
    store.put(cid, block)
    with pytest.raises(FarlaneError) as refused:
        read_file(store, cid)
    assert isinstance(refused.value, InvalidInput)

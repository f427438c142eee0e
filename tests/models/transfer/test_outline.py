"""Outlines: a file's DAG from its inner nodes, as far as they are here, and what does not fit together."""

from __future__ import annotations

import pytest

from farlane.errors import Corrupted, TooLarge
from farlane.models.cid import DAG_CBOR, DAG_PB, Cid, block_cid, cid_of_digest
from farlane.models.transfer.outline import MAX_DEPTH, Get, Lacking, outline
from farlane.models.transfer.plan import plan_of
from farlane.models.unixfs.dag_pb import PbLink, PbNode, encode_node
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.unixfs.nodes import NodeData, NodeKind, encode_data
from farlane.testing.block_serving import MIB, Kept


def nodes_only(dag: FileDag) -> Get:
    return dag.nodes.get


def a_node(sizes: list[int], cids: list[Cid], kind: NodeKind = NodeKind.FILE) -> tuple[Cid, bytes]:
    data = encode_data(NodeData(kind, size_bytes=sum(sizes), block_sizes=sizes))
    block = encode_node(PbNode([PbLink(cid, "", 0) for cid in cids], data))
    return block_cid(DAG_PB, block), block


def test_both_dags_of_a_file_are_read_from_their_nodes(kept: Kept) -> None:
    for dag in kept.file.dags:
        read = outline(dag.root, dag.size_bytes, nodes_only(dag))
        assert isinstance(read, FileDag)
        assert read.leaves.digests == dag.leaves.digests
        assert list(read.leaves.lengths) == list(dag.leaves.lengths)
        assert dict(read.nodes) == dict(dag.nodes)


def test_what_is_lacking_is_named_level_by_level(kept: Kept) -> None:
    dag, here, rounds = kept.file.dags[0], {}, 0
    while isinstance(read := outline(dag.root, dag.size_bytes, here.get), Lacking):
        here |= {cid: dag.nodes[cid] for cid in read.nodes}
        rounds += 1
    assert rounds == 2
    assert read.leaves.digests == dag.leaves.digests


def test_a_file_of_one_block_needs_no_node(kept: Kept) -> None:
    leaf = kept.file.dags[0].leaves[0]
    read = outline(leaf.cid, leaf.length, lambda _: None)
    assert isinstance(read, FileDag)
    assert len(read.leaves) == 1


def test_a_dag_of_another_size_than_its_file_is_refused(kept: Kept) -> None:
    dag = kept.file.dags[0]
    with pytest.raises(Corrupted, match="bytes where"):
        outline(dag.root, dag.size_bytes + 1, nodes_only(dag))
    leaf = cid_of_digest(0x55, bytes(32))
    with pytest.raises(Corrupted, match="longer than a block"):
        outline(leaf, 3 * MIB, lambda _: None)


def test_hostile_nodes_are_refused() -> None:
    leaf = cid_of_digest(0x55, bytes(32))
    folder, folder_block = a_node([], [], NodeKind.DIRECTORY)
    with pytest.raises(Corrupted, match="not an inner node"):
        outline(folder, 0, {folder: folder_block}.get)
    cid, block = a_node([1, 2], [leaf])
    with pytest.raises(Corrupted, match="not an inner node"):
        outline(cid, 3, {cid: block}.get)
    with pytest.raises(Corrupted, match="no part of a file"):
        outline(cid_of_digest(DAG_CBOR, bytes(32)), 3, lambda _: None)
    noise = block_cid(DAG_PB, b"\xff\xff")
    with pytest.raises(Corrupted, match="does not fit"):
        outline(noise, 3, {noise: b"\xff\xff"}.get)


def test_a_dag_that_is_too_deep_is_refused() -> None:
    here: dict[Cid, bytes] = {}
    cid = cid_of_digest(0x55, bytes(32))
    for _ in range(MAX_DEPTH + 1):
        cid, block = a_node([5], [cid])
        here[cid] = block
    with pytest.raises(TooLarge, match="levels deep"):
        outline(cid, 5, here.get)


def test_a_plan_has_each_block_once_and_all_its_places(kept: Kept) -> None:
    dag = kept.file.dags[0]
    plan = plan_of([dag, dag])
    assert len(plan.cids) == len(set(plan.cids)) <= len(dag.leaves)
    assert {(place.file, place.leaf) for places in plan.places for place in places} == {
        (file, leaf) for file in range(2) for leaf in range(len(dag.leaves))
    }
    have = plan.present([[0], []])
    assert [bool(flag) for flag in have].count(False) == 1

"""Damage is found wherever it is, and mended from a source that has the block, with what lies below it."""

from __future__ import annotations

from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.verifying import Fault, repair, verify, verify_all
from farlane.models.cid import DAG_CBOR, RAW, Cid, block_cid


def damage(store: MemoryBlockStore, cid: Cid) -> None:
    block = bytearray(store._blocks[cid.digest])
    block[0] ^= 1
    store._blocks[cid.digest] = bytes(block)


def copy_of(store: MemoryBlockStore) -> MemoryBlockStore:
    other = MemoryBlockStore()
    other.put_many((cid, store.get(cid)) for cid in store.iterate())
    return other


def test_a_sound_dag_has_no_findings(dags) -> None:
    version = dags.version("v1")
    found = verify(dags.store, [version[0]])
    assert (found.blocks, found.size_bytes, found.findings) == (4, dags.store.total_bytes, ())
    assert verify_all(dags.store) == found


def test_each_fault_is_told_apart(dags) -> None:
    document, folder, one, two = dags.version("v1")
    odd = block_cid(DAG_CBOR, b"\xff")
    dags.store.put(odd, b"\xff")
    root = dags.document(document, odd)
    damage(dags.store, one)
    dags.store.delete(two)
    found = verify(dags.store, [root])
    assert found.blocks == 4
    assert {finding.cid: finding.fault for finding in found.findings} == {
        one: Fault.DAMAGED,
        two: Fault.MISSING,
        odd: Fault.UNREADABLE,
    }
    assert all(finding.message for finding in found.findings)
    assert folder not in {finding.cid for finding in found.findings}


def test_a_whole_store_is_read(dags) -> None:
    _, folder, one, _ = dags.version("v1")
    for cid in (folder, one):
        damage(dags.store, cid)
    found = verify_all(dags.store)
    assert {finding.cid.digest for finding in found.findings} == {folder.digest, one.digest}
    assert {finding.fault for finding in found.findings} == {Fault.DAMAGED}
    assert found.blocks == 2


def test_faults_are_mended_all_the_way_down(dags) -> None:
    document, folder, one, two = dags.version("v1")
    source = copy_of(dags.store)
    damage(dags.store, folder)
    dags.store.delete(two)
    found = repair(dags.store, [document], [MemoryBlockStore(), source])
    assert set(found.repaired) == {folder, two}
    assert (found.blocks, found.findings) == (4, ())
    assert verify(dags.store, [document]).findings == ()
    assert one in {Cid(1, RAW, cid.digest) for cid in dags.store.iterate()}


def test_what_no_source_has_is_left_as_a_finding(dags) -> None:
    document, _, one, _ = dags.version("v1")
    source = copy_of(dags.store)
    damage(source, one)
    damage(dags.store, one)
    found = repair(dags.store, [document], [source])
    assert found.repaired == ()
    assert [(finding.cid, finding.fault) for finding in found.findings] == [(one, Fault.DAMAGED)]

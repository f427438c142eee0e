"""Nothing that roots or holds lead to is collected; the rest goes, least recently used first, within the budget."""

from __future__ import annotations

from pathlib import Path

from farlane.models.blocks.collection import collect
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.walking import links_of
from farlane.models.cid import DAG_CBOR, DAG_PB, Cid, block_cid
from farlane.models.unixfs.describing import Composite, Plain


def here(dags, cids) -> list[bool]:
    return [dags.store.has(cid) for cid in cids]


def test_what_roots_lead_to_stays(dags) -> None:
    kept, gone = dags.version("kept"), dags.version("gone")
    found = collect(dags.store, lambda: [kept[0]], spare_s=0)
    assert (found.files, found.blocks) == (0, 4)
    assert found.size_bytes > 0
    assert here(dags, kept) == [True] * 4
    assert here(dags, gone) == [False] * 4
    assert collect(dags.store, lambda: [kept[0]], spare_s=0).blocks == 0


def test_what_is_held_stays_until_it_is_released(dags) -> None:
    version = dags.version("v1")
    with dags.store.hold(version[1]):
        collect(dags.store, list, spare_s=0)
        assert here(dags, version) == [False, True, True, True]
    collect(dags.store, list, spare_s=0)
    assert here(dags, version) == [False] * 4


def test_the_least_recently_used_goes_first(dags, clock) -> None:
    cids = []
    for number in range(5):
        cids.append(dags.raw(bytes(999) + bytes((number,))))
        clock.advance(10)
    dags.store.get(cids[0])
    clock.advance(10)
    assert collect(dags.store, list, max_bytes=3000, spare_s=0) == (0, 2, 2000)
    held = [cid for cid, has in zip(cids, here(dags, cids), strict=True) if has]
    assert held == [cids[0], cids[3], cids[4]]


def test_a_budget_that_what_is_kept_exceeds_takes_nothing_of_it(dags) -> None:
    version = dags.version("v1")
    collect(dags.store, lambda: [version[0]], max_bytes=1, spare_s=0)
    assert here(dags, version) == [True] * 4


def test_what_came_just_now_is_spared(dags, clock) -> None:
    early = dags.raw(b"early")
    clock.advance(100)
    late = dags.raw(b"late")
    collect(dags.store, list, spare_s=60)
    assert set(dags.store.iterate()) == {late}
    assert early != late


def test_an_upload_in_flight_keeps_what_has_come(dags) -> None:
    version = dags.version("v1")
    absent = block_cid(DAG_PB, b"not here yet")
    root = dags.document(absent, version[1])
    with dags.store.hold(root):
        collect(dags.store, list, spare_s=0)
        assert here(dags, [root, *version[1:]]) == [True] * 4


def test_what_comes_while_marking_is_marked_at_the_end(dags) -> None:
    first, second = dags.version("first"), dags.version("second")
    parts = {cid: dags.store.get(cid) for cid in second}
    dags.store.delete(second[1])
    roots = [first[0], second[0]]
    asked = []

    def tell() -> list[Cid]:
        asked.append(len(roots))
        if len(asked) == 2:
            dags.store.put(second[1], parts[second[1]])
            roots.append(dags.document(dags.raw(b"third")))
        return roots

    assert collect(dags.store, tell, spare_s=0).blocks == 0
    assert here(dags, [*first, *second, roots[2]]) == [True] * 9


def test_what_cannot_be_read_stays_and_keeps_nothing(dags) -> None:
    for codec in (DAG_PB, DAG_CBOR):
        cid = block_cid(codec, b"\xff\xff")
        dags.store.put(cid, b"\xff\xff")
        other = dags.raw(b"other")
        collect(dags.store, lambda cid=cid: [cid], spare_s=0)
        assert here(dags, [cid, other]) == [True, False]


def test_links_can_be_left_out(dags) -> None:
    parent = dags.version("parent")
    child = dags.document(parent[0], dags.raw(b"weights"))
    collect(
        dags.store,
        lambda: [child],
        spare_s=0,
        links=lambda cid, block: [link for link in links_of(cid, block) if link.codec != DAG_CBOR],
    )
    assert here(dags, [child, *parent]) == [True, False, False, False, False]


def test_a_file_stays_by_any_of_its_dags(dags, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10)
    described = describe_file(path, [Composite([60, 2500]), Plain()])
    for dag in described.dags:
        stored = dags.store.add_file(path, described)
        collect(dags.store, lambda dag=dag: [dag.root], spare_s=0)
        assert dags.store.file(stored.sha256).size_bytes == 2560
    assert collect(dags.store, list, spare_s=0).files == 1

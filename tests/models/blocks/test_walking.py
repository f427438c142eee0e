"""DAGs are walked parents first, each block once, by the links of its own codec."""

from __future__ import annotations

import pytest

from farlane.errors import InvalidInput, NotFound, TooLarge
from farlane.models.blocks.walking import links_of, walk
from farlane.models.cid import DAG_CBOR, DAG_PB, RAW, Cid, block_cid


def test_every_block_once_parents_first(dags) -> None:
    document, folder, one, two = dags.version("v1")
    assert [cid for cid, _ in walk(dags.store.get, [document, one])] == [document, one, folder, two]
    assert [cid for cid, _ in walk(dags.store.get, [folder, document])] == [folder, one, two, document]


def test_bytes_under_two_codecs_are_two_visits(dags) -> None:
    document, _, one, two = dags.version("v1")
    plain = Cid(1, RAW, document.digest)
    root = dags.document(plain, document)
    assert {one, two} <= {cid for cid, _ in walk(dags.store.get, [root])}


def test_what_is_missing_ends_it_unless_the_reader_says_otherwise(dags) -> None:
    nowhere = block_cid(DAG_PB, b"nowhere")
    root = dags.document(nowhere, dags.raw(b"here"))
    with pytest.raises(NotFound):
        list(walk(dags.store.get, [root]))
    found = dict(walk(lambda cid: None if cid == nowhere else dags.store.get(cid), [root]))
    assert found[nowhere] is None
    assert len(found) == 3


def test_more_blocks_than_asked_for_are_refused(dags) -> None:
    document = dags.version("v1")[0]
    assert len(list(walk(dags.store.get, [document], max_blocks=4))) == 4
    with pytest.raises(TooLarge):
        list(walk(dags.store.get, [document], max_blocks=3))


@pytest.mark.parametrize("block", [b"", b"\xff", b"\x81" * 100_000, b"\xa1\x61a"])
def test_what_is_no_dag_cbor_is_said(block: bytes) -> None:
    with pytest.raises(InvalidInput, match="dag-cbor"):
        links_of(block_cid(DAG_CBOR, block), block)


def test_plain_bytes_link_to_nothing() -> None:
    assert links_of(block_cid(RAW, b"\xff"), b"\xff") == []

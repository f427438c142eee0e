"""CAR files come back as they were written, and those that are cut off or wrong are refused."""

from __future__ import annotations

import io

import pytest

from farlane.errors import Corrupted, DiskFull, InvalidInput, NotFound, TooLarge
from farlane.models.blocks.car import export_car, import_car, pieces, read_car
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import MAX_BLOCK_BYTES
from farlane.models.cid import RAW, block_cid
from farlane.models.unixfs.protobuf import varint

SPECIFICATION_V2 = bytes.fromhex("0aa16776657273696f6e02")


def second_version(inner: bytes, padding: int = 0, index: bytes = b"index") -> bytes:
    offset = 51 + padding
    numbers = [offset, len(inner), offset + len(inner)]
    header = bytes(16) + b"".join(number.to_bytes(8, "little") for number in numbers)
    return SPECIFICATION_V2 + header + bytes(padding) + inner + index


def test_a_dag_goes_out_and_comes_back(dags) -> None:
    roots = [dags.version("v1")[0], dags.version("v2")[0]]
    written = b"".join(export_car(dags.store, roots))
    assert written == b"".join(export_car(dags.store, roots))
    other = MemoryBlockStore()
    assert import_car(other, io.BytesIO(written)) == (
        tuple(roots),
        8,
        sum(map(dags.store.size, all_of(dags))),
    )
    assert set(other.iterate()) == set(dags.store.iterate())
    assert b"".join(export_car(other, roots)) == written
    assert other.held() == frozenset()


def all_of(dags):
    return list(dags.store.iterate())


@pytest.mark.parametrize("padding", [0, 1000])
def test_the_second_version_is_read(dags, padding: int) -> None:
    root = dags.version("v1")[0]
    inner = b"".join(export_car(dags.store, [root]))
    other = MemoryBlockStore()
    assert import_car(other, io.BytesIO(second_version(inner, padding))).blocks == 4
    assert set(other.iterate()) == set(dags.store.iterate())


def test_a_car_without_roots_or_blocks_is_one() -> None:
    file = read_car(io.BytesIO(b"".join(pieces([], []))))
    assert file.roots == ()
    assert list(file.blocks) == []


def test_many_blocks_come_in_batches() -> None:
    blocks = [(block_cid(RAW, data), data) for data in (b"%d" % number for number in range(1000))]
    store = MemoryBlockStore()
    assert import_car(store, io.BytesIO(b"".join(pieces([], blocks)))).blocks == 1000
    assert len(list(store.iterate())) == 1000
    with pytest.raises(DiskFull):
        import_car(MemoryBlockStore(max_bytes=100), io.BytesIO(b"".join(pieces([], blocks))))


def test_a_cut_is_found_wherever_it_is(dags) -> None:
    written = b"".join(export_car(dags.store, [dags.version("v1")[0]]))
    sections = {len(written)}
    whole = 0
    for end in range(len(written) + 1):
        try:
            whole += len(list(read_car(io.BytesIO(written[:end])).blocks)) == 4
            sections.add(end)
        except Corrupted:
            continue
        except InvalidInput:
            assert end == 0
    assert whole == 1
    assert len(sections) == 5  # where a block has just ended, no reader can know that more should follow
    for end in range(11, len(second_version(written, index=b""))):
        with pytest.raises((Corrupted, InvalidInput)):
            list(read_car(io.BytesIO(second_version(written, index=b"")[:end])).blocks)


def test_other_bytes_than_a_cid_says_are_found() -> None:
    store, good = MemoryBlockStore(), (block_cid(RAW, b"good"), b"good")
    with pytest.raises(Corrupted, match="fetch them again"):
        import_car(store, io.BytesIO(b"".join(pieces([], [good, (block_cid(RAW, b"a"), b"b")]))))


HEADER = b"".join(pieces([], []))


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", InvalidInput),
        (b"\x00", InvalidInput),
        (b"PK\x03\x04" + bytes(100), InvalidInput),
        (varint(1 << 30), TooLarge),
        (b"\xff" * 20, TooLarge),
        (b"\x02\xa0\xa0", InvalidInput),
        (HEADER + b"\x00", InvalidInput),
        (HEADER + b"\x03abc", InvalidInput),
        (HEADER + varint(40) + bytes(40), InvalidInput),
        (HEADER + varint(40) + b"\x01\x55\x1b\x20" + bytes(36), InvalidInput),
        (HEADER + varint(1 << 31), TooLarge),
        (HEADER + varint(MAX_BLOCK_BYTES + 100), TooLarge),
        (HEADER + b"\xa8\x00", InvalidInput),
        (second_version(HEADER, 2 << 20), InvalidInput),
        (SPECIFICATION_V2 + bytes(40), InvalidInput),
    ],
)
def test_what_is_no_car_is_said(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(read_car(io.BytesIO(raw)).blocks)


def test_what_is_missing_ends_the_export(dags) -> None:
    root = dags.document(block_cid(RAW, b"nowhere"))
    with pytest.raises(NotFound):
        list(export_car(dags.store, [root]))

"""Blocks as a CAR file of version 1, written as a stream. Source: the CARv1 specification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from farlane.models.cid import Cid


def pieces(roots: Sequence[Cid], blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Yield the bytes of a CAR.

    Args:
        roots: named in its header; kubo takes a CAR without any.
        blocks: in the order in which they shall stand.
    """
    import dag_cbor
    import multiformats

    links: list[dag_cbor.IPLDKind] = [multiformats.CID.decode(root.bytes) for root in roots]
    header = dag_cbor.encode({"roots": links, "version": 1})
    yield _varint(len(header)) + header
    for cid, data in blocks:
        name = cid.bytes
        yield _varint(len(name) + len(data)) + name + data


def _varint(number: int) -> bytes:
    """Encode an unsigned LEB128."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)

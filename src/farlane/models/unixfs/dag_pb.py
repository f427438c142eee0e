"""dag-pb blocks: data and named links, in the one encoding that other IPFS implementations write.

Links come before data, and each link has its name and size even where they are empty.
Source: https://ipld.io/specs/codecs/dag-pb/spec/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from farlane.errors import InvalidInput, TooLarge
from farlane.models.cid import Cid, Octets, cid_from_bytes
from farlane.models.unixfs.protobuf import (
    LENGTH_DELIMITED,
    VARINT,
    Field,
    bytes_field,
    fields,
    integer_field,
    varint,
)

MAX_NODE_BYTES: Final = 2 << 20
"""Largest block decoded. Source: the limit of bitswap messages."""
MAX_LINKS: Final = 32_768
"""Most links of one node decoded; a directory block below the sharding threshold has at most 6,600."""

_WHAT: Final = "a dag-pb block"
_LINK: Final = "a dag-pb link"


class PbLink(NamedTuple):
    """A link: the block it names, its name (text in UTF-8), and the bytes of all blocks below, as its writer says."""

    cid: Cid
    name: str
    total_bytes: int


class PbNode(NamedTuple):
    """A node: its links in order, and its data; None if it has none."""

    links: Sequence[PbLink]
    data: bytes | None


def encode_node(node: PbNode) -> bytes:
    """Return the block of a node."""
    parts = []
    for cid, name, total_bytes in node.links:
        text = name.encode()
        raw = cid.bytes
        link = b"\x0a%c%b\x12%b%b\x18%b" % (len(raw), raw, varint(len(text)), text, varint(total_bytes))
        parts.append(b"\x12" + varint(len(link)) + link)
    if node.data is not None:
        parts.append(bytes_field(1, node.data))
    return b"".join(parts)


def decode_node(block: Octets) -> PbNode:
    """Return the node in a block.

    Raises:
        InvalidInput: it is no dag-pb block, or links to something else than blocks farlane knows.
        TooLarge: it exceeds MAX_NODE_BYTES or MAX_LINKS.
    """
    if memoryview(block).nbytes > MAX_NODE_BYTES:
        raise TooLarge(
            f"a dag-pb block of {memoryview(block).nbytes} bytes exceeds the limit of {MAX_NODE_BYTES}"
        )
    links: list[PbLink] = []
    data: bytes | None = None
    links_ended = False
    for field in fields(bytes(block), _WHAT):
        if field.wire_type != LENGTH_DELIMITED or field.number not in (1, 2):
            raise InvalidInput(f"{_WHAT} has field {field.number}: expected links (2) and data (1) only")
        if field.number == 1:
            if data is not None:
                raise InvalidInput(f"{_WHAT} has data twice")
            data, links_ended = field.octets, bool(links)
            continue
        if links_ended:
            raise InvalidInput(f"{_WHAT} has data between its links: expected links and then data")
        if len(links) == MAX_LINKS:
            raise TooLarge(f"{_WHAT} has more than {MAX_LINKS} links")
        links.append(_decode_link(field.octets))
    return PbNode(links, data)


def _decode_link(message: bytes) -> PbLink:
    found: dict[int, Field] = {}
    for field in fields(message, _LINK):
        expected = VARINT if field.number == 3 else LENGTH_DELIMITED
        if field.number not in (1, 2, 3) or field.wire_type != expected:
            raise InvalidInput(
                f"{_LINK} has field {field.number}: expected hash (1), name (2) and size (3) only"
            )
        if found and field.number <= max(found):
            raise InvalidInput(f"{_LINK} has field {field.number} twice or out of order")
        found[field.number] = field
    if 1 not in found:
        raise InvalidInput(f"{_LINK} names no block")
    try:
        name = found[2].octets.decode() if 2 in found else ""
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{_LINK} has a name that is not UTF-8: {found[2].octets[:60]!r}") from error
    return PbLink(cid_from_bytes(found[1].octets), name, found[3].integer if 3 in found else 0)


def link_size(cid_bytes: int, name: str, total_bytes: int) -> int:
    """Return how many bytes one link adds to a block."""
    text_bytes = len(name.encode())
    inner = 1 + len(varint(cid_bytes)) + cid_bytes + 1 + len(varint(text_bytes)) + text_bytes
    inner += len(integer_field(3, total_bytes))
    return 1 + len(varint(inner)) + inner

"""Packed blobs: MessagePack followed by a CRC-32, since SQLite does not notice a flipped bit in a blob."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from farlane.domain.failures import Failure
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import OutputFile
from farlane.domain.resources import GpuKind
from farlane.errors import Corrupted, FarlaneError

T = TypeVar("T")
RESTORE_ADVICE = "stop the hub and restore a backup (`farlane restore`)"
_CRC_BYTES = 4
_encoder = msgspec.msgpack.Encoder()


class LeasedDetails(msgspec.Struct, array_like=True, frozen=True):
    """Columns of `TasksLeased`. In all of these a new field goes last, with a default: old rows still decode."""

    indices: list[int]
    attempts: list[int]
    gpu: GpuKind | None


class EndedDetails(msgspec.Struct, array_like=True, frozen=True):
    """Columns of `TasksEnded`, without its results."""

    indices: list[int]
    attempts: list[int]
    states: bytes
    failures: dict[int, Failure]
    outputs: dict[int, tuple[OutputFile, ...]]
    lease_ms: list[int]
    cpu_us: list[int]
    peak_bytes: list[int]
    amounts: list[int]


class FailedDetails(msgspec.Struct, array_like=True, frozen=True):
    """Columns of `AttemptsFailed`."""

    indices: list[int]
    attempts: list[int]
    failures: list[Failure]
    lease_ms: list[int]
    amounts: list[int]


class MeteredDetails(msgspec.Struct, array_like=True, frozen=True):
    """Columns of `LeasesMetered`."""

    indices: list[int]
    attempts: list[int]
    parts: list[int]
    lease_ms: list[int]
    amounts: list[int]


class RequeuedDetails(msgspec.Struct, array_like=True, frozen=True):
    """The column of `TasksRequeued`."""

    indices: list[int]


class PackedColumn(msgspec.Struct, array_like=True, frozen=True):
    """A `Column` of payloads or results."""

    inline: list[bytes]
    blobs: dict[int, BlobRef]


class PackedLeaves(msgspec.Struct, array_like=True, frozen=True):
    """Leaves of one length, joined and deflated: most of their fields are alike."""

    size_bytes: int
    deflated: bytes


def pack(value: object) -> bytearray:
    """Return the MessagePack of a value, followed by its CRC-32 (big-endian)."""
    buffer = bytearray()
    _encoder.encode_into(value, buffer)
    buffer += zlib.crc32(buffer).to_bytes(_CRC_BYTES, "big")
    return buffer


class Unpacker(Generic[T]):
    """Reads packed blobs of one type.

    Args:
        kind: the type that was packed.
        what: its name for people.
    """

    def __init__(self, kind: type[T], what: str) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._what = what

    def __call__(self, blob: bytes) -> T:
        """Return the value of a packed blob.

        Raises:
            Corrupted: the checksum is wrong, or the bytes are not such a value.
        """
        body = memoryview(blob)[:-_CRC_BYTES]
        if zlib.crc32(body) != int.from_bytes(blob[-_CRC_BYTES:], "big"):
            raise Corrupted(f"{self._what} in the store does not match its checksum: {RESTORE_ADVICE}")
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, FarlaneError) as error:
            raise Corrupted(
                f"{self._what} in the store cannot be read ({error}): {RESTORE_ADVICE}"
            ) from error


unpack_spec = Unpacker(JobSpec, "a job's specification")
unpack_node = Unpacker(NodeSpec, "a node's description")
unpack_column = Unpacker(PackedColumn, "a batch of payloads or results")
unpack_leased = Unpacker(LeasedDetails, "a batch of leases")
unpack_ended = Unpacker(EndedDetails, "a batch of ended tasks")
unpack_failed = Unpacker(FailedDetails, "a batch of failed attempts")
unpack_metered = Unpacker(MeteredDetails, "a batch of parts of leases")
unpack_requeued = Unpacker(RequeuedDetails, "a batch of requeued tasks")
_unpack_leaves = Unpacker(PackedLeaves, "a batch of leaves")
_SIZES = "the sizes of a batch of payloads"
_unpack_sizes: Unpacker[int | list[int]] = Unpacker(int | list[int], _SIZES)  # type: ignore[arg-type]


def pack_leaves(leaves: Sequence[bytes]) -> bytearray:
    """Return the packed leaves of a batch, all of one length."""
    return pack(PackedLeaves(len(leaves[0]) if leaves else 0, zlib.compress(b"".join(leaves), 1)))


def unpack_leaves(blob: bytes) -> list[bytes]:
    """Return the leaves of a batch.

    Raises:
        Corrupted: they are damaged.
    """
    packed = _unpack_leaves(blob)
    try:
        joined = zlib.decompress(packed.deflated)
    except zlib.error as error:
        raise Corrupted(
            f"a batch of leaves in the store cannot be read ({error}): {RESTORE_ADVICE}"
        ) from error
    size = packed.size_bytes or 1
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def pack_sizes(sizes: Sequence[int]) -> bytearray:
    """Return the packed sizes of a batch: one number when all are alike, as those of most batches are."""
    alike = bool(sizes) and sizes.count(sizes[0]) == len(sizes)
    return pack(sizes[0] if alike else list(sizes))


def unpack_sizes(blob: bytes, count: int) -> list[int]:
    """Return the sizes of a batch of `count` payloads.

    Raises:
        Corrupted: they cannot be read, or are not as many.
    """
    found = _unpack_sizes(blob)
    sizes = [found] * count if isinstance(found, int) else found
    if len(sizes) != count:
        raise Corrupted(f"{_SIZES} in the store has {len(sizes)} rows for {count} tasks: {RESTORE_ADVICE}")
    return sizes

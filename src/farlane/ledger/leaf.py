"""The leaf: what one attempt used, produced and cost, in canonical bytes that Python and Solidity hash alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from hashlib import sha256
from struct import Struct

from farlane.domain.failures import Blame, FailureKind
from farlane.domain.jobs import JobSpec
from farlane.errors import InvalidInput

VERSION = 1
NONE = bytes(32)
"""A digest of nothing: no model, no GPU, no output."""
_LAYOUT = Struct(">BQIHIBBB32s32s32s32s32sIQQHQQQQ")
LEAF_BYTES = _LAYOUT.size
"""Length of every leaf: abi.encodePacked of its fixed-size fields."""


class Outcome(IntEnum):
    """How the attempt ended."""

    DONE = 0
    FAILED = 1
    RUNS_AGAIN = 2
    INTERIM = 3


FAILURE_CODES = {kind: number for number, kind in enumerate(FailureKind, 1)}
"""Kind of failure -> its number in a leaf; 0 is none. New kinds go to the end."""
BLAME_CODES = {Blame.PUBLISHER: 1, Blame.PROVIDER: 2, Blame.NETWORK: 3, Blame.HUB: 4}
"""Blame -> its number in a leaf; 0 is none."""
FAILURES = {number: kind for kind, number in FAILURE_CODES.items()}
BLAMES = {number: blame for blame, number in BLAME_CODES.items()}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One attempt, or a part of a long one; fields in the order of the canonical bytes.

    task: job << 24 | index; part: 0 for the only or last leaf of an attempt, k for its k-th interim leaf;
    spec, model, input, output, gpu: SHA-256 digests, zeros where there is none; hourly_nano: price of the reserved
    resources for an hour; amount_nano: what is owed for this leaf, both in nano-credits; ended_ms: unix milliseconds.
    """

    task: int
    attempt: int
    copy: int
    part: int
    outcome: int
    failure: int
    blame: int
    spec: bytes
    model: bytes
    input: bytes
    output: bytes
    gpu: bytes
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    gpu_count: int
    lease_ms: int
    hourly_nano: int
    amount_nano: int
    ended_ms: int


FIELDS = tuple(field.name for field in fields(Leaf))


def pack(leaf: Leaf) -> bytes:
    """Return a leaf's canonical bytes.

    Raises:
        InvalidInput: a number does not fit its field.
    """
    return pack_values(*(getattr(leaf, name) for name in FIELDS))


def pack_values(*values: int | bytes) -> bytes:
    """Return the canonical bytes of a leaf's values, in the order of its fields.

    Raises:
        InvalidInput: a number does not fit its field.
    """
    try:
        return _LAYOUT.pack(VERSION, *values)
    except Exception as error:
        raise InvalidInput(f"a leaf has a value that does not fit its field: {error}") from error


def unpack(raw: bytes) -> Leaf:
    """Return the leaf of canonical bytes.

    Raises:
        InvalidInput: another length, version, or a number without a meaning.
    """
    if len(raw) != LEAF_BYTES:
        raise InvalidInput(f"a leaf has {LEAF_BYTES} bytes; these are {len(raw)}")
    version, *values = _LAYOUT.unpack(raw)
    if version != VERSION:
        raise InvalidInput(
            f"the leaf has version {version}; this farlane knows version {VERSION}: upgrade it"
        )
    leaf = Leaf(*values)
    if (
        leaf.outcome not in tuple(Outcome)
        or leaf.failure not in {0, *FAILURES}
        or leaf.blame not in {0, *BLAMES}
    ):
        raise InvalidInput(
            f"the leaf's outcome {leaf.outcome}, failure {leaf.failure} or blame {leaf.blame} has no meaning: upgrade"
        )
    return leaf


def amount_of(raw: bytes) -> int:
    """Return what is owed for a packed leaf, in nano-credits, without unpacking it."""
    return int.from_bytes(raw[-16:-8], "big")


def spec_bytes(spec: JobSpec) -> bytes:
    """Return the canonical bytes of a job's specification: JSON, keys sorted, without spaces, UTF-8.

    `serve` is left out where it is not set, so that specifications from before there was one keep their digest.
    """
    fields_set = asdict(spec)
    if spec.serve is None:
        del fields_set["serve"]
    return json.dumps(fields_set, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def spec_digest(spec: JobSpec) -> bytes:
    """Return the SHA-256 of a specification's canonical bytes: the digest inside its CID."""
    return sha256(spec_bytes(spec)).digest()


def output_digest(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return one digest for a command's output files: SHA-256 over `path NUL digest` of each, by path."""
    known = sorted(files)
    return (
        sha256(b"".join(path.encode() + b"\0" + digest for path, digest in known)).digest() if known else NONE
    )


def gpu_digest(model: str) -> bytes:
    """Return what stands for a GPU model's name."""
    return sha256(model.encode()).digest() if model else NONE

"""What every block store checks and says alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from farlane.errors import Corrupted, InvalidInput, NotFound, TooLarge
from farlane.models.blocks.port import MAX_BLOCK_BYTES
from farlane.models.cid import Cid, Octets, verify_block
from farlane.models.unixfs.file_dag import FileDag


def check_block(cid: Cid, data: Octets) -> None:
    """Check a block before it is kept.

    Raises:
        TooLarge: it exceeds MAX_BLOCK_BYTES.
        Corrupted: the bytes are not the block's.
    """
    size_bytes = memoryview(data).nbytes
    if size_bytes > MAX_BLOCK_BYTES:
        raise TooLarge(
            f"block {cid} of {size_bytes} bytes exceeds the limit of {MAX_BLOCK_BYTES}", cid=cid.text
        )
    verify_block(cid, data)


def check_same_file(dags: Sequence[FileDag]) -> None:
    """Check that DAGs can be of one file that is assembled leaf by leaf.

    Raises:
        InvalidInput: there is none, their sizes differ, or the first one's leaves are not raw.
    """
    if not dags:
        raise InvalidInput("a file needs at least one DAG to be assembled by")
    if len({dag.size_bytes for dag in dags}) != 1:
        sizes = ", ".join(f"{dag.root}: {dag.size_bytes}" for dag in dags)
        raise InvalidInput(f"the DAGs of one file must have one size, not these: {sizes}")
    if dags[0].leaves.wrapped:
        raise InvalidInput(
            f"DAG {dags[0].root} has no raw leaves, so its file is not assembled leaf by leaf: put another DAG first"
        )


class Readable(Protocol):
    """Where blocks may be: the part of a `BlockSource` that reading needs."""

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified.

        Raises:
            NotFound, Corrupted: it is not here, or not any more.
        """
        ...


def block_if_here(source: Readable, cid: Cid) -> bytes | None:
    """Return a block, or None where it is not here or damaged."""
    try:
        return source.get(cid)
    except (NotFound, Corrupted):
        return None


def missing_block(cid: Cid) -> NotFound:
    """Return the error for a block that is not here."""
    return NotFound(f"block {cid} is not in this store: fetch or add it first", cid=cid.text)


def missing_file(sha256: str) -> NotFound:
    """Return the error for a file that is not here."""
    return NotFound(
        f"no file with SHA-256 {sha256[:100]} is in this store: fetch or add it first", sha256=sha256[:100]
    )


def damaged(cid: Cid) -> Corrupted:
    """Return the error for a block whose bytes changed in the store."""
    return Corrupted(
        f"block {cid} is corrupted: its bytes changed in the store. It is out of sight now; fetch or add it again, "
        "and check the disk",
        cid=cid.text,
    )

"""The list of a private version's files: the plain content of its first sealed file, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from farlane.errors import Corrupted, FarlaneError
from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.manifest.paths import check_paths
from farlane.models.manifest.values import MAX_FILES
from farlane.models.private.sealed_file import MAX_SIZE_BYTES

_KIND: Final = "farlane-private-files"


@dataclass(frozen=True, slots=True)
class Listed:
    """One file as it was before it was sealed; sha256 of its 32 bytes."""

    path: str
    size: int
    sha256: bytes


def encode_list(listed: Iterable[Listed]) -> bytes:
    """Return the list as bytes."""
    import dag_cbor

    files: list[Any] = [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in listed]
    return bytes(dag_cbor.encode({"kind": _KIND, "version": 1, "files": files}))


def decode_list(raw: bytes) -> list[Listed]:
    """Read a list; whoever has the key wrote it, and yet its paths must not lead out of the folder.

    Raises:
        Corrupted: it is none.
    """
    import dag_cbor

    try:
        document: dict[str, Any] = dag_cbor.decode(raw)  # type: ignore[assignment]
        if document["kind"] != _KIND or document["version"] != 1 or len(document["files"]) > MAX_FILES:
            raise _bad_list()
        listed = [_read(one) for one in document["files"]]
        check_paths([one.path for one in listed])
    except FarlaneError as error:
        raise Corrupted(f"the list of a private version cannot be used: {error.message}") from error
    except Exception as error:  # the library raises its own, and what it decodes may be anything
        raise _bad_list() from error
    if not listed:
        raise _bad_list()
    return listed


def _read(entry: dict[str, Any]) -> Listed:
    path, size, digest = entry["path"], entry["size"], entry["sha256"]
    if not isinstance(path, str) or type(size) is not int or not isinstance(digest, bytes):
        raise _bad_list()
    if not 0 <= size <= MAX_SIZE_BYTES or len(digest) != DIGEST_BYTES:
        raise _bad_list()
    return Listed(path, size, digest)


def _bad_list() -> Corrupted:
    return Corrupted(
        "the list of a private version is not one: a newer farlane wrote it, or a faulty program"
    )

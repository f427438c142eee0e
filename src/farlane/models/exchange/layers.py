"""What OCI layouts and Ollama's store have in common: a JSON manifest of blobs that are named by their SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farlane.errors import Corrupted
from farlane.kit.files import write_all
from farlane.kit.hashing import sha256_hex
from farlane.models.exporting import copy_checked
from farlane.models.manifest.values import ModelFile
from farlane.models.repository import Repository

MAX_DOCUMENT_BYTES: Final = 4 << 20
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of a manifest: its media type, `sha256:` and 64 hex digits, bytes, and what is noted about it."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Return it as it stands in a manifest."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**found, "annotations": dict(self.annotations)} if self.annotations else found


def write_document(blobs: Path, value: object, media_type: str, separator: str) -> Layer:
    """Write a JSON document as a blob and return its layer; `separator` stands between `sha256` and the digits."""
    raw = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    return write_blob(blobs, raw, media_type, separator)


def write_blob(blobs: Path, raw: bytes, media_type: str, separator: str) -> Layer:
    """Write bytes as a blob and return its layer."""
    digits = sha256_hex(raw)
    path = blobs / f"sha256{separator}{digits}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with path.open("xb") as stream:
            write_all(stream.fileno(), raw)
    return Layer(media_type, f"sha256:{digits}", len(raw), {})


def write_file(
    repository: Repository,
    place: Path,
    file: ModelFile,
    media_type: str,
    notes: Mapping[str, str] | None = None,
) -> Layer:
    """Write a version's file as a blob, whole or not at all; one that is there already stays.

    Args:
        repository: has the file.
        place: the blob's path.
        file: of the version.
        media_type: of the layer.
        notes: annotations of the layer.

    Raises:
        NotFound: the file is not here.
        Corrupted: it is not what the manifest says.
    """
    if not place.exists():
        temporary = place.with_name(f".{place.name}")
        temporary.unlink(missing_ok=True)
        for _ in copy_checked(repository.file_path(file), temporary, file):
            pass
        os.rename(temporary, place)
    return Layer(media_type, f"sha256:{file.sha256.hex()}", file.size, notes or {})


def read_document(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file.

    Raises:
        Corrupted: it is missing, too long or none.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_DOCUMENT_BYTES + 1)
        found = json.loads(raw) if len(raw) <= MAX_DOCUMENT_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise Corrupted(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise Corrupted(f"{path} is no JSON object, or longer than {MAX_DOCUMENT_BYTES} bytes")
    return found


def layers_of(document: Mapping[str, Any], limit: int) -> Sequence[Layer]:
    """Return the layers of a manifest.

    Raises:
        Corrupted: they are none.
    """
    found = document.get("layers")
    if not isinstance(found, list) or len(found) > limit:
        raise Corrupted(f"the manifest has no list of at most {limit} layers")
    return [layer_of(one) for one in found]


def layer_of(value: object) -> Layer:
    """Return a layer from a manifest.

    Raises:
        Corrupted: it is none, or its digest could be a path.
    """
    entry = value if isinstance(value, dict) else {}
    kind, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    notes = entry.get("annotations") or {}
    sound = isinstance(kind, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None
    if not sound or type(size) is not int or size < 0 or not isinstance(notes, dict):
        raise Corrupted(
            f"a layer of the manifest has no media type, SHA-256 digest or size: {str(value)[:120]}"
        )
    assert isinstance(kind, str)
    assert isinstance(digest, str)
    return Layer(kind, digest, size, {str(name): str(text) for name, text in notes.items()})


def checked_blob(path: Path, layer: Layer) -> Path:
    """Return a blob's path if it is a plain file with the bytes its layer says.

    Raises:
        Corrupted: it is missing, a link, or has other bytes.
    """
    from farlane.kit.hashing import sha256_file

    if path.is_symlink() or not path.is_file():
        raise Corrupted(f"the blob {layer.digest} is not there as a plain file: copy the layout again")
    if path.stat().st_size != layer.size or sha256_file(path).hex() != layer.digest.removeprefix("sha256:"):
        raise Corrupted(
            f"the blob {layer.digest} has other bytes than its manifest says: copy the layout again"
        )
    return path


def copy_blob(blob: Path, target: Path, layer: Layer) -> None:
    """Copy a blob to a new file, checking the bytes that are written.

    Raises:
        Corrupted: they are not the layer's.
    """
    digest = hashlib.sha256()
    with blob.open("rb") as source, target.open("xb") as out:
        while piece := source.read(1 << 20):
            digest.update(piece)
            out.write(piece)
    if digest.hexdigest() != layer.digest.removeprefix("sha256:"):
        raise Corrupted(f"the blob {layer.digest} was changed while it was copied: try again")

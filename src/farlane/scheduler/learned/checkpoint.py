"""Checkpoints as bytes: a zip of float32 arrays for each member of an ensemble, and a manifest; read with suspicion.

`numpy.load` opens one too: array `name` of member 0 is `0/name`. Arrays are stored, not compressed, in the order of
their names and with a fixed date, so that equal weights give equal bytes anywhere.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlane.errors import Corrupted, InvalidInput, TooLarge
from farlane.scheduler.learned.manifest import (
    Features,
    Manifest,
    features_digest,
    manifest_bytes,
    read_manifest,
)

MAX_BYTES = 1_000_000
"""A checkpoint of more bytes, packed or unpacked, is refused."""
MANIFEST = "manifest.json"
_MAX_ENTRIES = 1024
_DATE = (1980, 1, 1, 0, 0, 0)
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OSError)
"""What zipfile raises on bytes that are no zip, a damaged or an encrypted one (a RuntimeError)."""
_PREFIX = 10
_HEADER = re.compile(
    rb"(\x93NUMPY\x01\x00..)"
    rb"(\{'descr': '<f4', 'fortran_order': False, 'shape': \(((?:[0-9]{1,18}, ?){0,8}[0-9]{0,18})\), \} *\n)",
    re.DOTALL,
)
"""The .npy format, version 1.0: magic, two bytes for the header's length, the header.

Source: NumPy enhancement proposal 1.
"""

Arrays = Mapping[str, NDArray[np.float32]]
"""One network's weights by name."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of one network's arrays by name."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights of one or more like networks (an ensemble) and what is known of them."""

    members: tuple[Arrays, ...]
    manifest: Manifest


def write_checkpoint(members: Sequence[Arrays], manifest: Manifest) -> bytes:
    """Return a checkpoint as bytes; equal input gives equal bytes.

    Args:
        members: float32 arrays by name, the same names and shapes for each member.
        manifest: what to say of them; its `members` must be how many there are.

    Raises:
        InvalidInput: members differ in shape, hold numbers that are not finite, or are not as many as said.
        TooLarge: it has more than `MAX_BYTES`.
    """
    if not members or len(members) != manifest.members:
        raise InvalidInput(
            f"{len(members)} members for a manifest of {manifest.members}; expected as many, and at least one"
        )
    entries = {MANIFEST: manifest_bytes(manifest)}
    shapes = {name: array.shape for name, array in members[0].items()}
    for at, arrays in enumerate(members):
        try:
            _check_arrays(arrays, shapes, at)
        except Corrupted as error:
            raise InvalidInput(f"weights that cannot be written: {error}") from error
        entries |= {f"{at}/{name}.npy": _npy(array) for name, array in arrays.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # zipfile writes the system it runs on otherwise
            archive.writestr(info, entries[name])
    data = buffer.getvalue()
    if len(data) > MAX_BYTES:
        raise TooLarge(
            f"a checkpoint of {len(data):,} bytes; expected at most {MAX_BYTES:,}: train a smaller one"
        )
    return data


def read_checkpoint(
    data: bytes, features: Features | None = None, shapes: Shapes | None = None
) -> Checkpoint:
    """Return the checkpoint in bytes that may come from anybody.

    Args:
        data: the bytes.
        features: what this program computes, in order; None: any will do.
        shapes: of the network that is to run it; None: any will do.

    Raises:
        TooLarge: it has, or would unpack to, more than `MAX_BYTES`.
        UnsupportedVersion: it was written for another format.
        InvalidInput: it was trained for other features.
        Corrupted: it is no checkpoint; arrays are missing, left over, of another shape or type, or not finite.
    """
    if len(data) > MAX_BYTES:
        raise TooLarge(f"a checkpoint of {len(data):,} bytes; expected at most {MAX_BYTES:,}")
    entries = _unpack(data)
    if MANIFEST not in entries:
        raise Corrupted(f"a checkpoint without {MANIFEST}; expected one that farlane wrote: export it again")
    manifest = read_manifest(entries.pop(MANIFEST))
    if features is not None:
        _check_features(manifest, features)
    members = _members(entries, manifest.members)
    if not any(members):
        raise Corrupted("a checkpoint that has no arrays; expected the weights of a network: export it again")
    shapes = shapes or {name: array.shape for name, array in members[0].items()}
    for at, arrays in enumerate(members):
        _check_arrays(arrays, shapes, at)
    return Checkpoint(tuple(members), manifest)


def _unpack(data: bytes) -> dict[str, bytes]:
    """Return the entries of a zip; what they unpack to is bounded before and while it is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()
            if len({info.filename for info in found}) < len(found):
                raise Corrupted("a checkpoint that names an entry twice; expected each once: export it again")
            if len(found) > _MAX_ENTRIES or sum(info.file_size for info in found) > MAX_BYTES:
                raise TooLarge(f"a checkpoint that unpacks to more than {MAX_BYTES:,} bytes; refused")
            return {info.filename: _entry(archive, info) for info in found}
    except _BROKEN as error:
        raise Corrupted(
            "not a checkpoint, or a damaged one: it cannot be unpacked as a zip; fetch or export it again"
        ) from error


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # Reading stops at the stated size, which was counted; a checksum over it is compared at its end.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Corrupted(f"{info.filename!r} is packed in a way that checkpoints are not; export it again")
    with archive.open(info) as entry:
        return entry.read(MAX_BYTES + 1)


def _members(entries: dict[str, bytes], count: int) -> list[dict[str, NDArray[np.float32]]]:
    members: list[dict[str, NDArray[np.float32]]] = [{} for _ in range(count)]
    by_text = {str(at): arrays for at, arrays in enumerate(members)}
    for path, data in entries.items():
        at, _, name = path.removesuffix(".npy").partition("/")
        if not path.endswith(".npy") or not name or at not in by_text:
            raise Corrupted(
                f"an entry {path!r} that belongs to none of {count} members; expected `MEMBER/NAME.npy`",
                entry=path,
            )
        by_text[at][name] = _array(data, path)
    return members


def _array(data: bytes, path: str) -> NDArray[np.float32]:
    """Return the array in .npy bytes; only the header that numpy writes for float32 in rows will do."""
    found = _HEADER.match(data)
    if found is None or len(found[1]) + len(found[2]) != int.from_bytes(found[1][-2:], "little") + _PREFIX:
        raise Corrupted(
            f"{path!r} is not a float32 array in rows as numpy writes it; export it again", entry=path
        )
    shape = tuple(int(length) for length in found[3].split(b",") if length.strip())
    body = data[found.end() :]
    if 4 * math.prod(shape) != len(body):
        raise Corrupted(f"{path!r} is longer or shorter than its shape {shape}; export it again", entry=path)
    return np.frombuffer(body, np.dtype("<f4")).astype(np.float32).reshape(shape)


def _npy(array: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, "<f4", order="C"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _check_features(manifest: Manifest, features: Features) -> None:
    if manifest.digest == features_digest(features):
        return
    for kind, names in features.items():
        found = manifest.features.get(kind, ())
        for what, odd in (("lacks", set(names) - set(found)), ("knows besides", set(found) - set(names))):
            if odd:
                raise InvalidInput(
                    f"a checkpoint for other {kind} features: it {what} {', '.join(sorted(odd)[:5])}; "
                    "use weights of this version of farlane, or train again",
                    kind=kind,
                )
    raise InvalidInput(
        "a checkpoint for features in another order; train again, or use weights of this version"
    )


def _check_arrays(arrays: Arrays, shapes: Shapes, member: int) -> None:
    for what, odd in (
        ("lacks", shapes.keys() - arrays.keys()),
        ("has beyond the network's", arrays.keys() - shapes.keys()),
    ):
        if odd:
            raise Corrupted(
                f"member {member} {what} the array(s) {', '.join(sorted(odd)[:5])}", member=member
            )
    for name, array in arrays.items():
        if array.shape != tuple(shapes[name]):
            raise Corrupted(
                f"{name} of member {member} has the shape {array.shape}; expected {tuple(shapes[name])}",
                member=member,
            )
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise Corrupted(f"{name} of member {member} is not of finite float32 numbers", member=member)

"""The few values of a GGUF header that serving needs, read with every size checked before llama.cpp sees the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from farlane.errors import Corrupted

MAX_PAIRS = 4096
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 16 << 20
MAX_ARRAY_ITEMS = 4 << 20
_STRING, _ARRAY = 8, 9
_FORMATS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""Source: `gguf_type` in the GGUF specification, version 3."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about its model."""

    architecture: str
    context_tokens: int
    """Longest context it was trained for; 0 where it does not say."""
    width: int
    """Length of a token's vector."""
    pooling: int
    """How an embedding is made of the tokens' vectors; 0 where it is a model that writes."""


def read_header(path: Path) -> GgufHeader:
    """Read a file's metadata.

    Raises:
        Corrupted: it is no GGUF file of version 2 or 3, or ends before its metadata does.
    """
    with path.open("rb") as stream:
        try:
            pairs = _pairs(stream)
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise Corrupted(
                f"{path.name} is no GGUF file, or is cut short; fetch or publish it again"
            ) from error
    architecture = str(pairs.get("general.architecture", ""))
    if not architecture:
        raise Corrupted(f"{path.name} does not name its architecture; convert the model to GGUF again")

    def number(name: str) -> int:
        value = pairs.get(f"{architecture}.{name}", 0)
        return value if isinstance(value, int) and value > 0 else 0

    return GgufHeader(
        architecture, number("context_length"), number("embedding_length"), number("pooling_type")
    )


def _pairs(stream: BinaryIO) -> dict[str, object]:
    magic, version, _, count = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF" or version not in {2, 3} or count > MAX_PAIRS:
        raise KeyError("magic")
    return dict(_pair(stream) for _ in range(count))


def _pair(stream: BinaryIO) -> tuple[str, object]:
    key = _text(stream, MAX_KEY_BYTES)
    [kind] = struct.unpack("<I", stream.read(4))
    if kind != _ARRAY:
        return key, _value(stream, kind)
    item, count = struct.unpack("<IQ", stream.read(12))
    if count > MAX_ARRAY_ITEMS:
        raise KeyError("array")
    if item == _STRING:
        for _ in range(count):
            _text(stream, MAX_STRING_BYTES)
    else:
        stream.seek(struct.calcsize(_FORMATS[item]) * count, 1)
    return key, None


def _value(stream: BinaryIO, kind: int) -> object:
    if kind == _STRING:
        return _text(stream, MAX_STRING_BYTES)
    form = _FORMATS[kind]
    return struct.unpack(form, stream.read(struct.calcsize(form)))[0]


def _text(stream: BinaryIO, limit: int) -> str:
    [size] = struct.unpack("<Q", stream.read(8))
    if size > limit:
        raise KeyError("string")
    data = stream.read(size)
    if len(data) != size:
        raise struct.error("cut short")
    return data.decode("utf-8", "replace")

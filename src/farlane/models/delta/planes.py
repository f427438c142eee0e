"""Byte planes: the n-th bytes of all elements together, each plane compressed, stored or left out as zeros."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from farlane.errors import Corrupted
from farlane.models.delta.elements import Element, Words

Buffer = bytes | bytearray | memoryview
_WINDOW_LOG = 21
MAX_WINDOW_BYTES = 1 << 23
"""A frame that asks for more memory to be opened is refused."""

_local = threading.local()


def pack(element: Element, words: Words) -> list[bytes]:
    """Return each plane of (elements,) words, least significant first: empty if all zero, compressed, or as it is.

    A plane is stored as it is exactly if its packed length is that of the plane.
    """
    columns = np.ascontiguousarray(words).view(np.uint8).reshape(-1, element.width_bytes)
    return [_pack_plane(np.ascontiguousarray(columns[:, place])) for place in range(element.width_bytes)]


def unpack(element: Element, count: int, packed: Sequence[Buffer]) -> Words:
    """Return the (count,) words whose planes were packed.

    Raises:
        Corrupted: if there is another number of planes, or one is not a plane of `count` bytes.
    """
    if len(packed) != element.width_bytes:
        raise Corrupted(
            f"a piece of {element.name} has {len(packed)} byte planes: expected {element.width_bytes}; "
            "fetch the blocks instead"
        )
    words = np.empty(count, dtype=element.words)
    columns = words.view(np.uint8).reshape(-1, element.width_bytes)
    for place, plane in enumerate(packed):
        columns[:, place] = _unpack_plane(plane, count)
    return words


def compress_bytes(data: Buffer, level: int = 3, dictionary: Buffer | None = None) -> bytes:
    """Return a zstd frame that states its size; `dictionary` is any content that resembles `data`."""
    import zstandard

    window = min(
        max(len(data) + len(dictionary or b""), 1 << 10).bit_length(), MAX_WINDOW_BYTES.bit_length() - 1
    )
    # The tables must be large enough for all of the dictionary, or matches in it are not found.
    tables = {"hash_log": 22, "chain_log": 22} if dictionary else {}
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=max(window, 10), write_checksum=False, write_dict_id=False, **tables
    )
    return zstandard.ZstdCompressor(
        compression_params=parameters, dict_data=_dictionary(dictionary)
    ).compress(data)


def expand_bytes(frame: Buffer, size_bytes: int, dictionary: Buffer | None = None) -> bytes:
    """Return the `size_bytes` that a frame holds; nothing larger is ever made.

    Raises:
        Corrupted: if it is no frame, holds another size, or asks for a larger window.
    """
    import zstandard

    try:
        stated = zstandard.get_frame_parameters(frame)
        if stated.content_size != size_bytes or stated.window_size > MAX_WINDOW_BYTES:
            raise _bad_frame(
                f"it states {stated.content_size} bytes, window {stated.window_size}", size_bytes
            )
        opener = zstandard.ZstdDecompressor(
            dict_data=_dictionary(dictionary), max_window_size=MAX_WINDOW_BYTES
        )
        data = opener.decompress(frame, max_output_size=size_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _bad_frame(str(error), size_bytes) from error
    if len(data) != size_bytes:
        raise _bad_frame(f"it holds {len(data)} bytes", size_bytes)
    return data


def _dictionary(content: Buffer | None) -> Any:
    import zstandard

    if not content:
        return None
    return zstandard.ZstdCompressionDict(bytes(content), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _pack_plane(plane: Words) -> bytes:
    if not plane.any():
        return b""
    frame: bytes = _plane_compressor().compress(plane)
    return frame if len(frame) < plane.nbytes else plane.tobytes()


def _unpack_plane(packed: Buffer, count: int) -> Words | int:
    if not packed:
        return 0
    if len(packed) == count:
        return np.frombuffer(packed, dtype=np.uint8)
    return np.frombuffer(expand_bytes(packed, count), dtype=np.uint8)


def _plane_compressor() -> Any:
    """Return this thread's compressor: nearly no matches, much entropy coding.

    Planes of weights hardly repeat: looking for short repetitions costs time and makes the result larger. Runs of
    zeros are still found as matches of 7 bytes.
    """
    import zstandard

    if not hasattr(_local, "compressor"):
        parameters = zstandard.ZstdCompressionParameters(
            window_log=_WINDOW_LOG,
            hash_log=10,
            min_match=7,
            strategy=zstandard.STRATEGY_FAST,
            write_content_size=True,
            write_checksum=False,
        )
        _local.compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return _local.compressor


def _bad_frame(reason: str, size_bytes: int) -> Corrupted:
    return Corrupted(
        f"a piece of a delta does not open to {size_bytes} bytes: {reason}; fetch the blocks instead"
    )

"""Frames between the node, its zygote and its workers: small msgpack arrays over inherited sockets."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from farlane.errors import Corrupted

LENGTH = struct.Struct("<I")
MAX_WORK_FRAME_BYTES = 1 << 30
MAX_RESULT_FRAME_BYTES = 1 << 20
VALUE, VALUE_FILE, COMMAND_DONE = "value", "value-file", "command-done"
"""Kinds of a result that is not a failure; every other kind is the value of a `FailureKind`."""


class Spawn(msgspec.Struct, array_like=True, tag="spawn"):
    """Fork a worker; four descriptors come along: work socket, stdout, stderr, shared progress memory."""

    worker: int
    scratch: str
    site_path: str | None
    env: list[tuple[str, str]]
    nonce: bytes
    memory_headroom_bytes: int
    max_result_bytes: int


class Kill(msgspec.Struct, array_like=True, tag="kill"):
    """Kill a worker with everything it started."""

    worker: int


class Ready(msgspec.Struct, array_like=True, tag="ready"):
    """The zygote is up and can fork."""

    pid: int


class Forked(msgspec.Struct, array_like=True, tag="forked"):
    """A worker runs under this process id."""

    worker: int
    pid: int


class Exited(msgspec.Struct, array_like=True, tag="exited"):
    """A worker is gone and so is everything it started.

    `status` as `os.wait` gives it (-1: it could not be forked, `error` says why); CPU seconds and peak memory are
    those of its whole life, with what it left behind.
    """

    worker: int
    status: int
    cpu_s: float
    peak_bytes: int
    error: str = ""


class FunctionItem(msgspec.Struct, array_like=True, tag=1):
    """One function call for a worker; `sequence` counts a worker's items from 1."""

    sequence: int
    function: str
    function_path: str
    payload: bytes | None
    payload_path: str | None
    result_path: str
    memory_bytes: int
    disk_bytes: int
    env: tuple[tuple[str, str], ...]
    index: int


class CommandItem(msgspec.Struct, array_like=True, tag=2):
    """One script for a worker; `scratch` is the directory it makes for it."""

    sequence: int
    script: str
    setup: str
    inputs: tuple[tuple[str, str], ...]
    scratch: str
    memory_bytes: int
    disk_bytes: int
    env: tuple[tuple[str, str], ...]
    index: int


Item = FunctionItem | CommandItem


class Result(msgspec.Struct, array_like=True):
    """How one item ended. `payload` is the value or the pickled exception; times in ns, peak 0 if unknown."""

    sequence: int
    kind: str
    payload: bytes
    message: str
    traceback: str
    started_ns: int
    wall_ns: int
    cpu_ns: int
    peak_bytes: int


encoder = msgspec.msgpack.Encoder()
request_decoder: msgspec.msgpack.Decoder[Spawn | Kill] = msgspec.msgpack.Decoder(Spawn | Kill)
notice_decoder: msgspec.msgpack.Decoder[Ready | Forked | Exited] = msgspec.msgpack.Decoder(
    Ready | Forked | Exited
)
work_decoder: msgspec.msgpack.Decoder[list[Item]] = msgspec.msgpack.Decoder(list[Item])
result_decoder: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


def framed(body: bytes) -> bytes:
    """Return a body with its length in front."""
    return LENGTH.pack(len(body)) + body


def split_results(buffer: bytearray | bytes) -> tuple[list[Result], int]:
    """Decode every whole result frame at the front of `buffer`.

    Returns:
        The results and how many bytes they took.

    Raises:
        Corrupted: a frame that is too long or not a result.
    """
    results = []
    used = 0
    for start, end in _bodies(buffer):
        try:
            results.append(result_decoder.decode(memoryview(buffer)[start:end]))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupted(f"a worker sent {end - start} bytes that are no result: {error}") from error
        used = end
    return results, used


def _bodies(buffer: bytearray | bytes) -> Iterator[tuple[int, int]]:
    position, size = 0, len(buffer)
    while size - position >= LENGTH.size:
        (length,) = LENGTH.unpack_from(buffer, position)
        if length > MAX_RESULT_FRAME_BYTES:
            raise Corrupted(
                f"a worker announced a result of {length} bytes; at most {MAX_RESULT_FRAME_BYTES} may come"
            )
        position += LENGTH.size + length
        if position > size:
            return
        yield position - length, position

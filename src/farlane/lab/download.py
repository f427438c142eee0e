"""Fetching traces: resumed where a connection broke off, bounded, and kept only if every byte is right."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, cast

from farlane.errors import Conflict, Corrupted, NotFound, PermissionRefused, Unavailable
from farlane.kit.files import atomic_write, disk_full_as_error, fsync_directory
from farlane.lab.public_traces import PublicTrace
from farlane.lab.traces.text import unpacked

TIMEOUT_S = 30.0
"""Without a byte for so long, a connection counts as broken."""
BLOCK_BYTES = 1 << 16
Progress = Callable[[int, int], None]
"""Called with the bytes that are here, and those expected in all."""


def present(trace: PublicTrace, directory: Path) -> bool:
    """Tell whether a trace is in a directory.

    Raises:
        Corrupted: there is a file of its name that is another.
    """
    kept = directory / trace.path
    if not kept.exists():
        return False
    if _hash_of(kept, packed=trace.pack) != trace.sha256:
        raise Corrupted(
            f"{kept} is not the trace {trace.name} as it is published: move it away, and fetch it anew",
            path=str(kept),
        )
    return True


def fetch(
    trace: PublicTrace,
    directory: Path,
    *,
    accept_terms: bool = False,
    progress: Progress = lambda _have, _expected: None,
) -> Path:
    """Bring a trace into a directory, unless it is there; returns the file.

    What a broken connection leaves behind is kept, and the next call goes on from there.

    Args:
        trace: which.
        directory: of all traces; made where it is missing.
        accept_terms: that its terms are accepted, which some must be.
        progress: told as bytes come.

    Raises:
        PermissionRefused: its terms must be accepted first.
        NotFound: it is not published there any more.
        Unavailable: the server cannot be reached, or broke off.
        Corrupted: what came is not the trace, or the file that is there is another; nothing of it is kept.
        Conflict: another process fetches it.
        DiskFull: there is no room.
    """
    if present(trace, directory):
        return directory / trace.path
    if trace.restricted and not accept_terms:
        raise PermissionRefused(
            f"the trace {trace.name} comes with terms: {trace.terms}. Say --accept-terms if you accept them"
        )
    kept = directory / trace.path
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f".{kept.name}.part")
    with disk_full_as_error(partial), _locked(partial, trace) as stream:
        _receive(trace, stream, progress)
        _check(trace, partial)
        if trace.pack:
            atomic_write(kept, gzip.compress(partial.read_bytes(), mtime=0), 0o644)
            partial.unlink()
        else:
            os.fsync(stream.fileno())
            partial.replace(kept)
            fsync_directory(kept.parent)
    return kept


@contextmanager
def _locked(partial: Path, trace: PublicTrace) -> Iterator[IO[bytes]]:
    """Lend the file that grows to whoever comes first."""
    with partial.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                f"another process fetches {trace.name} into {partial.parent}: wait for it"
            ) from error
        yield stream


def _receive(trace: PublicTrace, stream: IO[bytes], progress: Progress) -> None:
    """Ask for what is missing, and put it behind what is there."""
    have = stream.seek(0, os.SEEK_END)
    if have == trace.size_bytes:
        return
    with closing(_asked(trace, have)) as answer:
        if answer.status != HTTPStatus.PARTIAL_CONTENT:  # the server sends all of it
            have = 0
            stream.truncate(0)
        while block := _read(trace, answer, have):
            stream.write(block)
            have += len(block)
            progress(have, trace.size_bytes)
            if have > trace.size_bytes:
                break  # no need to see the rest of what cannot be right
    stream.flush()
    if have < trace.size_bytes:
        raise _broken(trace, have, "the server sent no more")


def _asked(trace: PublicTrace, have: int) -> HTTPResponse:
    headers = {"User-Agent": "farlane", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(trace.url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _asked(trace, 0)
        if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise NotFound(f"{trace.url} is published there no more (HTTP {error.code})") from error
        raise _broken(trace, have, error) from error
    except (OSError, HTTPException) as error:
        raise _broken(trace, have, error) from error
    return cast(HTTPResponse, answer)


def _read(trace: PublicTrace, answer: HTTPResponse, have: int) -> bytes:
    try:
        return answer.read(BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise _broken(trace, have, error) from error


def _broken(trace: PublicTrace, have: int, why: object) -> Unavailable:
    return Unavailable(
        f"cannot fetch {trace.name} from {trace.url}: {why}. {have} of {trace.size_bytes} bytes are here; "
        "the same command goes on from there"
    )


def _check(trace: PublicTrace, partial: Path) -> None:
    size, found = partial.stat().st_size, _hash_of(partial, packed=False)
    if size != trace.size_bytes or found != trace.sha256:
        partial.unlink()
        raise Corrupted(
            f"what {trace.url} sent is not the trace {trace.name}: {size} bytes with SHA-256 {found}, expected "
            f"{trace.size_bytes} with {trace.sha256}. Nothing of it is kept. Try once more; if it stays so, it was "
            "changed where it is published",
            sha256=found,
        )


def _hash_of(path: Path, *, packed: bool) -> str:
    """Return the SHA-256 of a file's bytes, unpacked where they are packed."""
    digest = hashlib.sha256()
    with unpacked(path) if packed else path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

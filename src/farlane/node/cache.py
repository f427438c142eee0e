"""The blob cache: what tasks need is fetched once, held while it is in use and evicted when it is not."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from farlane.domain.jobs import BlobRef
from farlane.errors import Corrupted, FarlaneError, NotFound
from farlane.kit.files import private_directory
from farlane.models.store import ContentStore

Fetch = Callable[[BlobRef, Path], Awaitable[None]]
"""Puts a blob's verified bytes into a file."""
_PARALLEL_FETCHES = 8


class BlobCache:
    """Blobs on this machine's disk, shared by all jobs.

    Everything returned is held until it is released as often as it was returned. Used from one event loop.

    Args:
        store: where the blobs are kept; its budget decides what is evicted.
        fetch: gets a blob from the hub.
        directory: for files that are on their way; on the disk of the store.
    """

    def __init__(self, store: ContentStore, fetch: Fetch, directory: Path) -> None:
        self._store = store
        self._fetch = fetch
        self._incoming = private_directory(directory)
        self._holds: dict[str, _Hold] = {}
        self._trusted: set[str] = set()
        self._fetching: dict[str, asyncio.Future[FarlaneError | None]] = {}
        self._parallel = asyncio.Semaphore(_PARALLEL_FETCHES)
        self.fetched_bytes = 0

    def hold_present(self, blob: BlobRef) -> str | None:
        """Return the path of a blob that is here and was verified by this process; None means: `await hold`."""
        hold = self._holds.get(blob.cid)
        if hold is None:
            if blob.cid not in self._trusted:
                return None
            hold = self._hold(blob)
            if hold is None:
                return None
        hold.count += 1
        return hold.path

    async def hold(self, blob: BlobRef) -> str:
        """Return the path of a blob, fetched first if need be; all who ask meanwhile share one fetch.

        Raises:
            Corrupted: the bytes that came are others.
            NotFound: the hub does not hold it.
            FarlaneError: it cannot be fetched or kept.
        """
        while (path := self.hold_present(blob)) is None:
            others = self._fetching.get(blob.cid)
            if others is None:
                await self._obtain(blob)
            elif (error := await asyncio.shield(others)) is not None:
                raise error
        return path

    def release(self, cid: str) -> None:
        """Give back one hold."""
        hold = self._holds[cid]
        hold.count -= 1
        if not hold.count:
            del self._holds[cid]
            hold.kept.close()

    def _hold(self, blob: BlobRef) -> _Hold | None:
        kept = contextlib.ExitStack()
        try:
            kept.enter_context(self._store.hold(blob.cid))
            path = str(self._store.path(blob.cid))
        except (NotFound, Corrupted):  # evicted, or damaged and noticed
            kept.close()
            self._trusted.discard(blob.cid)
            return None
        hold = self._holds[blob.cid] = _Hold(path, kept)
        return hold

    async def _obtain(self, blob: BlobRef) -> None:
        done: asyncio.Future[FarlaneError | None] = asyncio.get_running_loop().create_future()
        self._fetching[blob.cid] = done
        error: FarlaneError | None = None
        try:
            async with self._parallel:
                if not await asyncio.to_thread(self._is_sound, blob.cid):
                    await self._bring(blob)
            self._trusted.add(blob.cid)
        except FarlaneError as failure:
            error = failure
            raise
        finally:
            # After a cancellation there is no error: those who wait try for themselves.
            del self._fetching[blob.cid]
            done.set_result(error)

    async def _bring(self, blob: BlobRef) -> None:
        file = self._incoming / secrets.token_hex(16)
        try:
            await self._fetch(blob, file)
            cid = await asyncio.to_thread(self._store.put_file, file, move=True)
        finally:
            file.unlink(missing_ok=True)
        if cid != blob.cid:
            raise Corrupted(
                f"the bytes fetched for blob {blob.cid} are those of {cid}: fetch it again", cid=blob.cid
            )
        self.fetched_bytes += blob.size_bytes

    def _is_sound(self, cid: str) -> bool:
        """Tell whether a blob an earlier process left is whole; reads it."""
        try:
            self._store.verify(cid)
        except (NotFound, Corrupted):
            return False
        return True


class _Hold:
    """One blob in use: where it is, how often it was returned, and what keeps it in the store."""

    __slots__ = ("count", "kept", "path")

    def __init__(self, path: str, kept: contextlib.ExitStack) -> None:
        self.path = path
        self.kept = kept
        self.count = 0

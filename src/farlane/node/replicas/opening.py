"""Private versions on a node: decrypted for the replicas that serve them, and for no longer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from farlane.kit.files import private_directory
from farlane.models.manifest.values import Encryption, Manifest
from farlane.models.private.folders import open_folder
from farlane.models.private.recipients import recipient_keys
from farlane.models.private.wrapping import key_among, unwrap

log = logging.getLogger(__name__)
OPENED: Final = "opened"
"""Where decrypted versions are, in the node's directory; the agent removes at its start what a killed one left."""


class SealedFolders(Protocol):
    """Lends the files of versions as they were published: those of a private one encrypted."""

    def hold(self, version: str) -> AbstractAsyncContextManager[Path]:
        """See `ModelFolders.hold`."""
        ...

    async def manifest(self, version: str) -> Manifest:
        """Return what a version says that is held.

        Raises:
            NotFound: it is not here.
        """
        ...


@dataclass(slots=True)
class _Opened:
    """A version that is decrypted, or will be: where, and for how many. The lock is of whoever works on the folder."""

    folder: Path
    ready: asyncio.Future[None] = field(init=False)
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    dropped: bool = False


class OpenedModels:
    """Implements `ModelFolders` over others: public versions as they are, private ones decrypted by the node's key.

    A decrypted version is in a folder of mode 0700 and goes with the last replica that uses it.

    Args:
        folders: where versions come from.
        directory: the node's, with its recipient key.
    """

    def __init__(self, folders: SealedFolders, directory: Path) -> None:
        self._folders, self._directory = folders, directory
        self._opened: dict[str, _Opened] = {}

    @contextlib.asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """See `ModelFolders.hold`.

        Raises:
            PermissionRefused: the version is private and not shared with this node.
            Corrupted: it does not open.
            DiskFull: there is no room for it in clear.
        """
        async with self._folders.hold(version) as sealed:
            encryption = (await self._folders.manifest(version)).encryption
            if encryption is None:
                yield sealed
                return
            async with self._open(version, sealed, encryption) as folder:
                yield folder

    @contextlib.asynccontextmanager
    async def _open(self, version: str, sealed: Path, encryption: Encryption) -> AsyncIterator[Path]:
        opened = self._opened.get(version)
        if opened is None:
            # A name of its own: what was opened before may still be on its way out.
            opened = _Opened(self._directory / OPENED / f"{version}-{secrets.token_hex(4)}")
            opened.ready = _in_thread(self._decrypt, opened, sealed, encryption)
            self._opened[version] = opened
        opened.users += 1
        try:
            await asyncio.shield(opened.ready)
            yield opened.folder
        finally:
            opened.users -= 1
            if not opened.users:
                del self._opened[version]
                await _ended(_in_thread(_drop, opened))

    def _decrypt(self, opened: _Opened, sealed: Path, encryption: Encryption) -> None:
        with opened.lock:
            if opened.dropped:
                return
            key = unwrap(encryption, key_among(encryption, recipient_keys(self._directory)))
            private_directory(opened.folder.parent)
            open_folder({path.name: path for path in sealed.iterdir()}, key, opened.folder)
        log.info("a private version is decrypted in %s, as long as it is served", opened.folder)


def _drop(opened: _Opened) -> None:
    """Remove a decrypted version; one that is on its way once it is there, since no thread can be stopped."""
    with opened.lock:
        opened.dropped = True
        shutil.rmtree(opened.folder, ignore_errors=True)


def _in_thread(work: Callable[..., None], *arguments: object) -> asyncio.Future[None]:
    done = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
    done.add_done_callback(lambda found: found.cancelled() or found.exception())  # its waiters may be gone
    return done


async def _ended(work: asyncio.Future[None]) -> None:
    """Wait for work that must come to its end, however often the waiter is cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled

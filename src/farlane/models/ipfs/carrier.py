"""A transfer's carrier for any source that gives blocks one by one: threads ask, so that several are on the way."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from farlane.errors import Corrupted, NotFound, TooLarge
from farlane.kit.hashing import sha256
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import Cid
from farlane.models.transfer.carrier import Keep

STREAMS: Final = 6
"""Requests to one source at once."""
_EMPTY: Final = sha256(b"")


class SourceCarrier:
    """One source: a gateway, or a kubo.

    Args:
        source: gives verified blocks, from any thread.
        name: of the source, for its threads.
    """

    def __init__(self, source: BlockSource, name: str) -> None:
        self._source = source
        self.missing: set[Cid] = set()
        """Blocks that the source said it does not have."""
        self._threads = ThreadPoolExecutor(STREAMS, thread_name_prefix=f"blocks of {name}")

    async def fetch(self, cid: Cid, keep: Keep) -> int:
        """Bring a block; see `Carrier`. A fetch that is cancelled may still end in its thread, unheard."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, cid, keep)

    async def close(self) -> None:
        """Start no more fetches; those under way end within the deadline of their source."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, cid: Cid, keep: Keep) -> int:
        try:
            # The empty block is known to all, and kubo gives it to nobody by bitswap.
            data = b"" if cid.digest == _EMPTY else self._source.get(cid)
        except NotFound:
            self.missing.add(cid)
            raise
        except TooLarge as error:  # more than any block has: as wrong as other bytes
            raise Corrupted(error.message, cid=cid.text) from error
        keep(data)
        return len(data)

"""The port of whoever brings single blocks from one source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from farlane.models.cid import Cid, Octets

Keep = Callable[[Octets], None]
"""Takes a block's bytes and checks them, in whatever thread they arrived; raises Corrupted if they are others."""


class Carrier(Protocol):
    """One source. Several blocks may be fetched at once; cancelling a fetch takes it back."""

    async def fetch(self, cid: Cid, keep: Keep) -> int:
        """Bring a block, hand it to `keep`, and return how many bytes it has.

        Raises:
            NotFound: the source does not have it.
            Corrupted: what came is not the block.
            PermissionRefused: it is not for us.
            Unavailable: the source cannot be reached, or went away.
        """
        ...

    async def close(self) -> None:
        """End everything that goes on with the source."""
        ...

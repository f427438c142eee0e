"""Which blobs a store has, when each was last used, who holds it, and which must go when the budget is spent."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from farlane.errors import DiskFull, TooLarge


@dataclass(slots=True)
class Entry:
    """One blob: its size and when it was last put or used (Unix seconds)."""

    size_bytes: int
    used_s: float


class Inventory:
    """The books of one store. Pure and not thread-safe: the store locks.

    Args:
        max_bytes: budget for all blobs and unfinished writes, or None for no limit.
        evict: whether least recently used blobs make room; otherwise a spent budget is a full disk.
    """

    def __init__(self, max_bytes: int | None, *, evict: bool) -> None:
        self._max_bytes = max_bytes
        self._evict = evict
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # least recently used first
        self._holds: Counter[str] = Counter()
        self._reserved_bytes = 0
        self.total_bytes = 0

    def __contains__(self, cid: str) -> bool:
        return cid in self._entries

    def get(self, cid: str) -> Entry | None:
        """Return a blob's entry."""
        return self._entries.get(cid)

    def add(self, cid: str, size_bytes: int, used_s: float) -> None:
        """Note a blob as the most recently used; a known one is corrected."""
        self.remove(cid)
        self._entries[cid] = Entry(size_bytes, used_s)
        self.total_bytes += size_bytes

    def touch(self, cid: str, used_s: float) -> None:
        """Note a use of a known blob."""
        self._entries[cid].used_s = used_s
        self._entries.move_to_end(cid)

    def remove(self, cid: str) -> None:
        """Forget a blob; nothing happens if it is unknown."""
        if (entry := self._entries.pop(cid, None)) is not None:
            self.total_bytes -= entry.size_bytes

    def hold(self, cid: str) -> None:
        """Count one more holder."""
        self._holds[cid] += 1

    def release(self, cid: str) -> None:
        """Count one holder less."""
        self._holds[cid] -= 1
        if not self._holds[cid]:
            del self._holds[cid]

    def held(self, cid: str) -> bool:
        """Tell whether anybody holds a blob."""
        return cid in self._holds

    def reserve(self, size_bytes: int, blob_bytes: int) -> list[str]:
        """Set bytes aside for an unfinished write.

        Args:
            size_bytes: how many more.
            blob_bytes: how large its blob is with them.

        Returns:
            The blobs to remove for it, least recently used first. They count until they are removed.

        Raises:
            TooLarge: if the blob alone exceeds the budget; nothing changed.
            DiskFull: if too much is held, or nothing may be evicted; nothing changed.
        """
        victims = self._victims(size_bytes, blob_bytes) if self._max_bytes is not None else []
        self._reserved_bytes += size_bytes
        return victims

    def unreserve(self, size_bytes: int) -> None:
        """Give bytes of a finished or failed write back."""
        self._reserved_bytes -= size_bytes

    def excess(self) -> list[str]:
        """Return the blobs to remove because the budget is smaller than it was; none if none may be evicted."""
        return self._victims(0, 0) if self._max_bytes is not None and self._evict else []

    def _victims(self, size_bytes: int, blob_bytes: int) -> list[str]:
        limit = self._max_bytes or 0
        if blob_bytes > limit:
            raise TooLarge(
                f"a blob of {blob_bytes} bytes or more exceeds the {limit} bytes of the whole store: "
                "raise its max_bytes or store less",
                limit_bytes=limit,
            )
        over = self.total_bytes + self._reserved_bytes + size_bytes - limit
        victims: list[str] = []
        for cid, entry in self._entries.items() if self._evict else ():
            if over <= 0:
                break
            if not self.held(cid):
                victims.append(cid)
                over -= entry.size_bytes
        if over > 0:
            raise DiskFull(
                f"the content store's {limit} bytes are spent, {over} more are needed and "
                f"{'the rest is in use' if self._evict else 'nothing may be evicted'}: raise its max_bytes or "
                "remove what is no longer needed",
                limit_bytes=limit,
            )
        return victims

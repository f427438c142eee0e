"""Stop sequences over text that comes in pieces: nothing of one is ever let through, wherever the pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Lets text through up to the first stop sequence.

    Args:
        stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False
        """Whether one has come: what follows is dropped."""

    def feed(self, text: str) -> str:
        """Take a piece; return what may be shown of all that came."""
        if self.found:
            return ""
        self._held += text
        places = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if places:
            self.found = True
            return self._shown(min(places))
        return self._shown(len(self._held) - self._begun())

    def rest(self) -> str:
        """Return what was held back, once nothing more comes."""
        return "" if self.found else self._shown(len(self._held))

    def _shown(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        return shown

    def _begun(self) -> int:
        """Return how many characters at the end may be the beginning of a stop sequence."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0

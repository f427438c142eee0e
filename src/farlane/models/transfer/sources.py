"""What a transfer knows of each source: what it has, how fast it is, and whether it can be relied on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from farlane.models.transfer.bitmap import Flags

FIRST_WINDOW = 4
"""Requests in flight at a source whose rate is not known."""
MAX_WINDOW = 32
PIPELINE_S = 0.4
"""Requests in flight cover so many seconds of a source's rate: enough for any round trip, little to take back."""
FIRST_DEADLINE_S = 6.0
"""How long a source of unknown rate may take for its first block."""
LEAST_DEADLINE_S = 3.0
MOST_DEADLINE_S = 30.0
SLACK = 4.0
"""A request may take so many times what the source's rate lets expect."""
STRIKES = 3
"""Requests in a row that a source may leave unanswered or refuse."""
PAUSE_S = 20.0
"""How long a source with too many strikes is left alone; each time twice as long."""
SAMPLE_BYTES = 256 << 10
"""A rate is measured over so many bytes at least: what a block of a few bytes took tells of the round trip alone."""
RATE_WEIGHT = 0.3
"""Of the newest measurement, in the moving mean of a source's rate."""


class Fault(Enum):
    """Why a request brought nothing."""

    LIED = "sent bytes that are not the block"
    MISSING = "does not have the block"
    LOST = "was lost or refused"


@dataclass(slots=True)
class Source:
    """One peer or the origin.

    Attributes:
        have: (blocks,) what it may be asked for.
        origin: whether it is the origin, which is spared.
        asked: block -> when it was asked for, in the order of asking.
        late: blocks it was asked for in vain so far; they may still come.
        rate: bytes a second, 0 while unknown.
        sample_bytes, sample_s: what has come since the rate was last measured, and when that was.
    """

    have: Flags
    origin: bool = False
    asked: dict[int, float] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
    rate: float = 0.0
    window: int = FIRST_WINDOW
    strikes: int = 0
    pauses: int = 0
    paused_until_s: float = 0.0
    banned: bool = False
    asked_bytes: int = 0
    heard_s: float = 0.0
    sample_bytes: int = 0
    sample_s: float = 0.0
    received_bytes: int = 0

    def usable(self, now: float) -> bool:
        """Tell whether it may be asked for something new."""
        return not self.banned and now >= self.paused_until_s

    def room(self, now: float) -> int:
        """Return how many more requests it may be given."""
        if not self.usable(now):
            return 0
        # While something is late, nothing new: a source that stalls holds on to as little as possible.
        return 0 if self.late else max(0, self.window - len(self.asked))

    def wait_s(self, size: int) -> float:
        """Return how long `size` bytes would take that are asked for now, behind all that was asked for before."""
        return (self.asked_bytes + size) / self.rate if self.rate else FIRST_DEADLINE_S

    def deadline_s(self, since_s: float) -> float:
        """Return until when the oldest request may take, if the source has not been heard since `since_s`."""
        if not self.rate:
            return since_s + FIRST_DEADLINE_S
        expected_s = SLACK * self.asked_bytes / self.rate
        return since_s + min(MOST_DEADLINE_S, max(LEAST_DEADLINE_S, expected_s))

    def ask(self, now: float, index: int, size: int) -> None:
        """Note a request."""
        if not self.asked:
            self.heard_s = self.sample_s = now
            self.sample_bytes = 0
        self.asked[index] = now
        self.asked_bytes += size

    def forget(self, index: int, size: int) -> bool:
        """Note that a request has ended; tells whether there was one."""
        self.late.discard(index)
        if self.asked.pop(index, None) is None:
            return False
        self.asked_bytes -= size
        return True

    def measure(self, now: float, size: int) -> None:
        """Take an arrival into the rate, and the window after it."""
        self.heard_s = now
        self.received_bytes += size
        self.strikes = 0
        self.sample_bytes += size
        if self.sample_bytes < SAMPLE_BYTES:
            return
        # Requests overlap: the time since the last sample is what these bytes took. The mean is of seconds a byte, for
        # blocks that come in bursts would lift a mean of rates without end.
        pace = max(now - self.sample_s, 1e-5) / self.sample_bytes
        if self.rate:
            pace = (1 - RATE_WEIGHT) / self.rate + RATE_WEIGHT * pace
        self.rate = 1 / pace
        self.window = int(min(MAX_WINDOW, max(1, 1 + self.rate * PIPELINE_S / max(size, SAMPLE_BYTES))))
        self.sample_bytes, self.sample_s = 0, now

    def strike(self, now: float) -> bool:
        """Note a request in vain; tells whether the source is now left alone for a while."""
        self.strikes += 1
        self.window = max(1, self.window // 2)
        if self.strikes < STRIKES:
            return False
        self.strikes = 0
        self.paused_until_s = now + PAUSE_S * 2 ** min(self.pauses, 6)
        self.pauses += 1
        self.late.clear()
        return True

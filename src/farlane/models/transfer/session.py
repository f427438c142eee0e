"""The session of one transfer: from which source each missing block is asked for next. Pure: events in, commands out.

Rarest blocks go first, each source gets as many requests as its rate keeps busy, and whoever sends a wrong byte is
banned with that block. A request that takes too long is given to another source; when nothing is left to ask for,
the last requests are doubled at quicker ones. The origin is asked only for what it was granted for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from farlane.models.transfer.bitmap import Flags, flags_of
from farlane.models.transfer.commands import Ask, Ban, Cancel, Command, Done, Lacking
from farlane.models.transfer.sources import Fault, Source

LACKING_S = 1.0
"""How long a block may be without a usable source before the keeper of the swarm is told."""
PATIENT_STRIKES = 2
"""A source that has let so many deadlines pass in a row does not count as one that has a block."""
MAX_LACKING = 64
"""Blocks named at once."""
MOST_ASKED_OF = 2
"""Sources that are asked for one block at the same time, in the end game."""
HASTE = 2.0
"""In the end game a request is doubled where another source is likely to be this many times quicker."""


class Session:
    """Fetches the missing ones of a fixed list of blocks.

    Every event returns the commands that follow from it; times are seconds of one monotonic clock.

    Args:
        sizes: bytes of each block.
        have: which are here already.
        start: where in the list this session prefers to begin: another place in each session of a swarm.
    """

    def __init__(self, sizes: Sequence[int], have: Flags, *, start: int = 0) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.have = have.copy()
        self.sources: dict[str, Source] = {}
        self._open = ~have
        self._copies = np.zeros(len(sizes), np.int32)
        self._holders: dict[int, list[str]] = {}
        self._lacking: dict[int, float] = {}
        blocks = len(sizes)
        self._turn = (np.arange(blocks) - start) % max(1, blocks)
        self._finished = False

    @property
    def missing(self) -> int:
        """Return how many blocks are not here."""
        return int(np.count_nonzero(~self.have))

    @property
    def missing_bytes(self) -> int:
        """Return how many bytes are not here."""
        return int(self.sizes[~self.have].sum())

    def begin(self, now: float) -> list[Command]:
        """Start: a session that lacks nothing is done."""
        return self._next(now)

    def source_joined(self, now: float, name: str, have: Flags, *, origin: bool = False) -> list[Command]:
        """Hear of a source and what it may be asked for; one heard of before begins anew unless it was banned."""
        known = self.sources.get(name)
        if known is not None and known.banned:
            return []
        commands = self._forget_source(known, name) if known is not None else []
        self.sources[name] = Source(have.copy(), origin)
        if not origin:
            self._copies += have
        return commands + self._next(now, None if commands else [name])

    def source_has(self, now: float, name: str, indices: Iterable[int]) -> list[Command]:
        """Hear that a source has more, or that the origin may be asked for more."""
        source = self.sources.get(name)
        if source is None or source.banned:
            return []
        new = flags_of(len(self.have), indices) & ~source.have
        source.have |= new
        if not source.origin:
            self._copies += new
        return self._next(now, [name])

    def source_left(self, now: float, name: str) -> list[Command]:
        """Hear that a source is gone; what it was asked for is asked of others."""
        source = self.sources.get(name)
        if source is None or source.banned:
            return []
        commands = self._forget_source(source, name)
        del self.sources[name]
        return commands + self._next(now)

    def arrived(self, now: float, name: str, index: int) -> list[Command]:
        """Hear that a source has sent a block, whose bytes were checked and kept."""
        commands: list[Command] = []
        source = self.sources.get(name)
        if source is not None:
            source.forget(index, int(self.sizes[index]))
            source.measure(now, int(self.sizes[index]))
        if not self.have[index]:
            self.have[index] = True
            self._open[index] = False
            self._lacking.pop(index, None)
            commands += self._cancel_others(index, name)
        freed = [command.source for command in commands if isinstance(command, Cancel)]
        return commands + self._next(now, [name, *freed])

    def failed(self, now: float, name: str, index: int, fault: Fault) -> list[Command]:
        """Hear that a request has brought nothing."""
        source = self.sources.get(name)
        if source is None or source.banned:
            return []
        if fault is Fault.LIED:
            return self._ban(now, source, name, index)
        self._release(source, name, index)
        if fault is Fault.MISSING:
            self._strip(source, index)
        commands: list[Command] = self._pause(source, name) if source.strike(now) else []
        return commands + self._next(now)

    def tick(self, now: float) -> list[Command]:
        """Look at the clock, several times a second: what takes too long is given to others."""
        commands: list[Command] = []
        for name, source in self.sources.items():
            if source.asked and source.usable(now) and now > source.deadline_s(source.heard_s):
                commands += self._overdue(now, source, name)
        return commands + self._next(now) + self._tell_lacking(now)

    def _overdue(self, now: float, source: Source, name: str) -> list[Command]:
        source.heard_s = now  # the next deadline counts from here
        for index in source.asked:
            source.late.add(index)
            if not self.have[index] and self._live(index) == 0:
                self._open[index] = True
        return self._pause(source, name) if source.strike(now) else []

    def _next(self, now: float, only: Iterable[str] | None = None) -> list[Command]:
        """Give work to sources: to all of them, or to those alone for which something has changed."""
        if self._finished:
            return []
        if self.have.all():
            self._finished = True
            return [Done()]
        commands: list[Command] = []
        # The quickest first; the origin last, when the peers have taken what they can.
        looked_at = self.sources if only is None else [name for name in only if name in self.sources]
        ready = [(name, self.sources[name]) for name in looked_at if self.sources[name].room(now)]
        for name, source in sorted(ready, key=lambda item: (item[1].origin, -item[1].rate)):
            commands += self._fill(now, source, name)
        if not self._open.any():
            commands += self._hurry(now, ready)
        return commands

    def _fill(self, now: float, source: Source, name: str) -> list[Command]:
        candidates, room = np.flatnonzero(self._open & source.have), source.room(now)
        if not len(candidates) or not room:
            return []
        # Rarest first; among equals, on from where this session began.
        order = np.lexsort((self._turn[candidates], self._copies[candidates]))[:room]
        return [self._ask(now, source, name, int(candidates[at])) for at in order]

    def _ask(self, now: float, source: Source, name: str, index: int) -> Ask:
        source.ask(now, index, int(self.sizes[index]))
        self._holders.setdefault(index, []).append(name)
        self._open[index] = False
        self._lacking.pop(index, None)
        return Ask(name, index)

    def _hurry(self, now: float, ready: list[tuple[str, Source]]) -> list[Command]:
        """Ask quicker sources too for what slow ones still owe."""
        commands: list[Command] = []
        for name, source in ready:
            slow = self._slow_requests(source, name)[: source.room(now)]
            commands += [self._ask(now, source, name, index) for index in slow]
        return commands

    def _slow_requests(self, source: Source, name: str) -> list[int]:
        found = []
        for index, holders in self._holders.items():
            if self.have[index] or not source.have[index] or name in holders or len(holders) >= MOST_ASKED_OF:
                continue
            size = int(self.sizes[index])
            others = [self.sources[holder] for holder in holders]
            rest_s = min((other.wait_s(0) for other in others), default=np.inf)
            if source.wait_s(size) * HASTE < rest_s:
                found.append(index)
        return found

    def _live(self, index: int) -> int:
        """Return how many sources are asked for a block and not late with it."""
        return sum(index not in self.sources[holder].late for holder in self._holders.get(index, ()))

    def _release(self, source: Source, name: str, index: int) -> None:
        if not source.forget(index, int(self.sizes[index])):
            return
        holders = self._holders.get(index, [])
        if name in holders:
            holders.remove(name)
        if not holders:
            self._holders.pop(index, None)
        if not self.have[index] and self._live(index) == 0:
            self._open[index] = True

    def _cancel_others(self, index: int, winner: str) -> list[Command]:
        return [
            Cancel(holder, index)
            for holder in self._holders.pop(index, [])
            if holder != winner and self.sources[holder].forget(index, int(self.sizes[index]))
        ]

    def _strip(self, source: Source, index: int) -> None:
        if source.have[index]:
            source.have[index] = False
            if not source.origin:
                self._copies[index] -= 1

    def _pause(self, source: Source, name: str) -> list[Command]:
        commands: list[Command] = [Cancel(name, index) for index in source.asked]
        for index in list(source.asked):
            self._release(source, name, index)
        return commands

    def _forget_source(self, source: Source, name: str) -> list[Command]:
        if not source.origin:
            self._copies -= source.have
        return self._pause(source, name)

    def _ban(self, now: float, source: Source, name: str, index: int) -> list[Command]:
        reason = f"{name} {Fault.LIED.value} (block {index})"
        self._release(source, name, index)
        commands = self._forget_source(source, name)
        source.have[:] = False
        source.banned = True
        return [Ban(name, reason), *commands, *self._next(now)]

    def _tell_lacking(self, now: float) -> list[Command]:
        """Name blocks that no usable source has had for a while."""
        if self._finished:
            return []
        reach = np.zeros(len(self.have), np.bool_)
        for source in self.sources.values():
            if source.usable(now) and source.strikes < PATIENT_STRIKES:
                reach |= source.have
        lacking = np.flatnonzero(self._open & ~reach)
        since = {int(index): self._lacking.get(int(index), now) for index in lacking}
        self._lacking = since
        due = sorted(index for index, at_s in since.items() if now - at_s >= LACKING_S)[:MAX_LACKING]
        for index in due:
            since[index] = now  # again after as long
        return [Lacking(tuple(due))] if due else []

"""The swarm of one version: who has which block, and who may fetch what from the origin. Pure: events in, news out.

The origin is to send each block about once however many nodes ask. Each missing block is therefore granted to one
member at a time, which takes it from the origin and passes it on; the others wait until that member has it. A grant
that is not used in time goes to somebody else. Source: super-seeding, BEP 16, turned from pieces revealed into
pieces granted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from farlane.models.transfer.bitmap import Flags, flags_of

FIRST_GRANTS = 4
"""Blocks granted at once to a member whose rate is not known."""
MAX_GRANTS = 128
GRANT_AHEAD_S = 1.0
"""Grants cover so many seconds of a member's rate."""
GRANT_S = 8.0
"""How long a member may hold a grant without using it."""
LACK_PATIENCE_S = 3.0
"""A member that lacks a block is granted it when for so long nobody was granted it and nobody got it."""


@dataclass(slots=True)
class Member:
    """One node of the swarm.

    Attributes:
        have: (blocks,) what it has.
        address: where its block server is, empty where nobody can call it.
        grants: block -> until when the grant holds.
        rate: blocks a second that it has taken from the origin lately.
    """

    have: Flags
    address: str = ""
    grants: dict[int, float] = field(default_factory=dict)
    used: int = 0
    since_s: float = 0.0
    at: int = 0

    @property
    def reachable(self) -> bool:
        """Tell whether others can fetch from it."""
        return bool(self.address)

    @property
    def complete(self) -> bool:
        """Tell whether it has everything."""
        return bool(self.have.all())


@dataclass(slots=True)
class News:
    """What one member has to hear: who came with what, what they have got since, who left, and new grants."""

    joined: list[tuple[str, str, Flags]] = field(default_factory=list)
    has: dict[str, list[int]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    granted: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.joined or self.has or self.left or self.granted)


class Swarm:
    """Members of one version's swarm.

    Args:
        blocks: how many blocks the version has.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.members: dict[str, Member] = {}
        self.granted = 0
        """Grants given so far: what the origin sends, in blocks."""
        self._held = np.zeros(blocks, np.int32)
        self._granted_until = np.zeros(blocks, np.float64)
        self._moved_s = np.full(blocks, -np.inf)
        self._news: dict[str, News] = {}
        self._joined = 0

    def join(self, now: float, name: str, address: str, have: Flags) -> None:
        """Take a member in; its news begin with everybody it can reach."""
        if name in self.members:
            self.leave(now, name)
        member = Member(have.copy(), address, since_s=now, at=self._start(self._joined))
        self._joined += 1
        if member.reachable:
            self._held += member.have
            for other in self._listening():
                self._news[other].joined.append((name, address, member.have.copy()))
        self._news[name] = News(
            [
                (known, peer.address, peer.have.copy())
                for known, peer in self.members.items()
                if peer.reachable
            ]
        )
        self.members[name] = member
        self._grant_all(now)

    def leave(self, now: float, name: str) -> None:
        """Let a member go; what it was granted is granted to others."""
        member = self.members.pop(name, None)
        if member is None:
            return
        self._news.pop(name, None)
        for index in member.grants:
            self._granted_until[index] = 0.0
        if member.reachable:
            self._held -= member.have
            for other in self._listening():
                news = self._news[other]
                news.joined = [row for row in news.joined if row[0] != name]
                news.has.pop(name, None)
                news.left.append(name)
        self._grant_all(now)

    def has(self, now: float, name: str, indices: list[int]) -> None:
        """Hear that a member has got blocks."""
        member = self.members[name]
        new = flags_of(self.blocks, indices) & ~member.have
        fresh = [int(index) for index in np.flatnonzero(new)]
        if not fresh:
            return
        member.have |= new
        self._moved_s[new] = now
        for index in fresh:
            member.used += member.grants.pop(index, None) is not None
        if member.reachable:
            self._held += new
            for other in self._listening():
                if other != name and not self.members[other].complete:
                    self._news[other].has.setdefault(name, []).extend(fresh)
        self._grant_all(now)

    def lacks(self, now: float, name: str, indices: list[int]) -> None:
        """Hear that a member finds no usable source of blocks: it is granted some, unless they spread."""
        member = self.members[name]
        for index in indices:
            if len(member.grants) >= MAX_GRANTS:
                return  # else one member could hold what all others wait for
            if member.have[index] or now < self._moved_s[index] + LACK_PATIENCE_S:
                continue
            self._grant(now, name, member, index)

    def tick(self, now: float) -> None:
        """Look at the clock: grants that were not used in time are given to others."""
        for member in self.members.values():
            for index in [index for index, until_s in member.grants.items() if until_s < now]:
                del member.grants[index]
        self._grant_all(now)

    def take_news(self, name: str) -> News:
        """Return what a member has to hear since it was last asked."""
        news = self._news.get(name)
        if not news:
            return News()
        self._news[name] = News()
        return news

    def _start(self, number: int) -> int:
        # By the golden ratio members begin far from one another however many there will be.
        return int(number * 0.6180339887498949 % 1.0 * self.blocks)

    def _listening(self) -> list[str]:
        return [name for name, member in self.members.items() if name in self._news and not member.complete]

    def _grant_all(self, now: float) -> None:
        # Nobody has it and nobody is about to: granted once. Members that others can reach go first.
        free = (self._held == 0) & (self._granted_until < now)
        if not free.any():
            return
        reachable = [item for item in self.members.items() if item[1].reachable]
        for name, member in reachable:
            self._grant_some(now, name, member, free)
        if len(reachable) < len(self.members):
            never = self._held == 0
            for _, other in reachable:
                never &= other.have
            for name, member in self.members.items():
                if not member.reachable:
                    self._grant_hidden(now, name, member, never)

    def _grant_some(self, now: float, name: str, member: Member, free: Flags) -> None:
        room = self._room(now, member)
        if room <= 0:
            return
        wanted = np.flatnonzero(free & ~member.have)
        begin = int(np.searchsorted(wanted, member.at))
        for index in np.concatenate((wanted[begin:], wanted[:begin]))[:room]:
            self._grant(now, name, member, int(index))
            free[index] = False

    def _grant_hidden(self, now: float, name: str, member: Member, never: Flags) -> None:
        """Let a member whom nobody can reach fetch what none of the others will ever have to give."""
        own = never & ~member.have
        own[list(member.grants)] = False
        for index in np.flatnonzero(own)[: max(0, self._room(now, member))]:
            self._grant(now, name, member, int(index))

    def _room(self, now: float, member: Member) -> int:
        rate = member.used / max(now - member.since_s, 0.1)
        return int(min(MAX_GRANTS, max(FIRST_GRANTS, rate * GRANT_AHEAD_S))) - len(member.grants)

    def _grant(self, now: float, name: str, member: Member, index: int) -> None:
        member.grants[index] = now + GRANT_S
        self._granted_until[index] = now + GRANT_S
        self._moved_s[index] = now
        self.granted += 1
        self._news[name].granted.append(index)

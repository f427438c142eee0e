"""The watcher: it claims for a provider in time, also where the hub is dead and the chain's endpoint comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

from farlane.errors import FarlaneError, RpcRefused, Unavailable
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import ChannelState, SignedClaim
from farlane.ledger.settlement import SettlementReport, new_units, plan_settlements

log = logging.getLogger(__name__)

MAX_READS = 16
"""Channels asked for at once."""


class ChannelReader(Protocol):
    """The part of `Ledger` that a watcher reads."""

    async def channel(self, channel: bytes) -> ChannelState:
        """Return a channel by its id."""
        ...


class ClaimSettler(Protocol):
    """How a watcher claims; see `Settler`."""

    async def settle(
        self, claims: Sequence[SignedClaim], policy: GasPolicy | None = None
    ) -> SettlementReport:
        """Settle a batch, and tell the good from the bad."""
        ...

    async def hurry(self, channel: bytes, policy: GasPolicy) -> bool:
        """Let what is under way for a channel cost more."""
        ...


VoucherSource = Callable[[], Iterable[SignedClaim]]
"""Returns the newest voucher of every channel."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """When a watcher claims. Amounts in units."""

    poll_s: float = 30.0
    """Seconds between two looks; a small part of the close window."""
    threshold: int = 10**18
    """Unclaimed value of a channel from which it is claimed without a close."""
    dust: int = 1
    """Value below which not even a last claim before shutdown is worth its gas; a close is always answered."""
    safety_s: float = 3600.0
    """The claim should be on the chain this long before the close can be finished."""
    policy: GasPolicy = field(default_factory=GasPolicy)
    """What an ordinary claim may cost; its urgent cap counts for closes alone."""


@dataclass(frozen=True, slots=True)
class Claiming:
    """A claim to make now. deadline: unix seconds of the chain, 0.0 without a close."""

    claim: SignedClaim
    deadline: float


def decide(
    claims: Iterable[SignedClaim],
    states: Mapping[bytes, ChannelState],
    settings: WatchSettings,
    *,
    leaving: bool = False,
) -> list[Claiming]:
    """Return what must be claimed now, the most urgent first; pure.

    Args:
        claims: the newest voucher of each channel.
        states: channels by id.
        settings: when a claim is due.
        leaving: the watcher is about to stop, so that nobody will see a close.
    """
    found = []
    for claim in claims:
        state = states.get(claim.channel.id)
        new = 0 if state is None else new_units(claim, state)
        if state is None or new == 0:
            continue
        if state.close_at:
            found.append(Claiming(claim, max(1.0, state.close_at - settings.safety_s)))
        elif new >= (settings.dust if leaving else settings.threshold):
            found.append(Claiming(claim, 0.0))
    return sorted(found, key=lambda each: (not each.deadline, each.deadline))


class ChannelWatcher:
    """Looks at the channels of a provider again and again, and claims what is in danger or large enough.

    It keeps nothing: after a restart the first look finds every close again, and the outbox what was under way.

    Args:
        ledger: the chain.
        vouchers: what could be claimed.
        settler: how it is claimed.
        settings: when.
        random: source of the jitter.
    """

    def __init__(
        self,
        ledger: ChannelReader,
        vouchers: VoucherSource,
        settler: ClaimSettler,
        settings: WatchSettings | None = None,
        random: Random | None = None,
    ) -> None:
        self._ledger, self._vouchers, self._settler = ledger, vouchers, settler
        self._settings, self._random = settings or WatchSettings(), random or Random()
        self._under_way: dict[bytes, float] = {}
        self._refused: dict[bytes, tuple[int, ChannelState]] = {}
        self.trouble = ""
        """Why the chain cannot be looked at; empty if it can."""

    async def run(self) -> None:
        """Watch until cancelled; an endpoint that is away is waited for."""
        cap_s = max(1.0, min(60.0, self._settings.poll_s))
        backoff = Backoff(min(1.0, cap_s), cap_s)
        delays = backoff.delays(self._random)
        async with TaskSupervisor("channel watcher") as tasks:
            while True:
                try:
                    for batch, policy in await self.look():
                        tasks.start(self._settle(batch, policy), "claim", optional=True)
                    self.trouble, delays = "", backoff.delays(self._random)
                    pause_s = self._settings.poll_s
                except (Unavailable, RpcRefused) as error:
                    if not self.trouble:
                        log.warning("the channels cannot be looked at: %s", error.message)
                    self.trouble, pause_s = error.message, next(delays)
                await asyncio.sleep(pause_s)

    async def poll(self, *, leaving: bool = False) -> SettlementReport:
        """Look once, and wait until what is due is settled; `leaving`: as the last act before a shutdown.

        Raises:
            ChainUnavailable: the chain cannot be looked at.
        """
        report = SettlementReport()
        due = await self.look(leaving=leaving)
        for each in await asyncio.gather(*(self._settle(batch, policy) for batch, policy in due)):
            report.add(each)
        return report

    async def look(self, *, leaving: bool = False) -> list[tuple[list[SignedClaim], GasPolicy]]:
        """Look at every channel once; returns the batches to settle, and what each may cost.

        Raises:
            ChainUnavailable: the chain cannot be looked at.
        """
        claims = list(self._vouchers())
        states = await self._states([claim.channel.id for claim in claims])
        due = decide(claims, states, self._settings, leaving=leaving)
        fresh = [each for each in due if await self._is_fresh(each, states[each.claim.channel.id])]
        batches: list[tuple[list[SignedClaim], GasPolicy]] = []
        for group in (
            [each for each in fresh if each.deadline],
            [each for each in fresh if not each.deadline],
        ):
            if group:
                policy = self._policy(group[0].deadline)
                planned = plan_settlements((each.claim for each in group), states)
                batches += [(batch, policy) for batch in planned]
                self._under_way |= {each.claim.channel.id: each.deadline for each in group}
        return batches

    async def _is_fresh(self, due: Claiming, state: ChannelState) -> bool:
        channel, cumulative = due.claim.channel.id, due.claim.signed.voucher.cumulative
        if channel in self._under_way:
            if due.deadline and not self._under_way[channel]:
                await self._settler.hurry(channel, self._policy(due.deadline))
                self._under_way[channel] = due.deadline
            return False
        return self._refused.get(channel) != (cumulative, state)

    async def _states(self, channels: Sequence[bytes]) -> dict[bytes, ChannelState]:
        gate = asyncio.Semaphore(MAX_READS)

        async def read(channel: bytes) -> ChannelState:
            async with gate:
                return await self._ledger.channel(channel)

        return dict(zip(channels, await asyncio.gather(*map(read, channels)), strict=True))

    def _policy(self, deadline: float) -> GasPolicy:
        policy = self._settings.policy
        return replace(policy, deadline=deadline) if deadline else replace(policy, urgent_max_fee_wei=0)

    async def _settle(self, batch: Sequence[SignedClaim], policy: GasPolicy) -> SettlementReport:
        try:
            report = await self._settler.settle(batch, policy)
        finally:
            for claim in batch:
                self._under_way.pop(claim.channel.id, None)
        for claim, error in report.refused:
            await self._note_refused(claim, error)
        if report.paid:
            log.info("claimed %d vouchers", len(report.paid))
        return report

    async def _note_refused(self, claim: SignedClaim, error: FarlaneError) -> None:
        log.error("the voucher of channel 0x%s is refused: %s", claim.channel.id.hex(), error.message)
        # Not tried again before something about it changes.
        state = await self._ledger.channel(claim.channel.id)
        self._refused[claim.channel.id] = (claim.signed.voucher.cumulative, state)

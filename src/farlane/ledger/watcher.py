"""The watcher: it claims for a provider in time, also where the hub is dead and the chain's endpoint comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

from farlane.errors import FarlaneError, RpcRefused, Unavailable
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.claim_count import ClaimCount
from farlane.ledger.claiming import Claiming, WatchSettings, decide
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import ChannelState, SignedClaim, TransactionReceipt
from farlane.ledger.settlement import SettlementReport, plan_settlements

log = logging.getLogger(__name__)

MAX_READS = 16
"""Channels asked for at once."""
RETRY_REFUSED_S = 900.0
"""A refused voucher of a channel that is being closed is tried again after so long, though nothing has changed."""


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

    async def hurry(self, policy: GasPolicy) -> int:
        """Let all that is under way cost more."""
        ...


class VoucherSource(Protocol):
    """What a watcher may claim."""

    def channels(self) -> Iterable[bytes]:
        """Return the channels to look at."""
        ...

    async def claims(self, states: Mapping[bytes, ChannelState]) -> Iterable[SignedClaim]:
        """Return each channel's newest voucher and, where its deposit does not cover that, the newest it covers."""
        ...


class ChannelWatcher:
    """Looks at the channels of a provider again and again, and claims what is in danger or large enough.

    It keeps nothing: after a restart the first look finds every close again, and the outbox what was under way.

    Args:
        ledger: the chain.
        vouchers: what could be claimed.
        settler: how it is claimed.
        settings: when.
        random: source of the jitter.
        count: counts what was claimed.
    """

    def __init__(
        self,
        ledger: ChannelReader,
        vouchers: VoucherSource,
        settler: ClaimSettler,
        settings: WatchSettings | None = None,
        random: Random | None = None,
        count: ClaimCount | None = None,
    ) -> None:
        self._ledger, self._vouchers, self._settler = ledger, vouchers, settler
        self._settings, self._random = settings or WatchSettings(), random or Random()
        self._count = count or ClaimCount()
        self._states: dict[bytes, ChannelState] = {}
        self._under_way: set[bytes] = set()
        self._refused: dict[bytes, tuple[int, ChannelState, float]] = {}
        self._paid: dict[bytes, int] = {}
        self._regular_at = 0.0
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
                    delays = backoff.delays(self._random)
                    pause_s = self._settings.poll_s
                except (Unavailable, RpcRefused) as error:
                    self._say(error.message)
                    pause_s = next(delays)
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
        states = self._states = await self._read(list(self._vouchers.channels()))
        self._say("")
        claims = await self._vouchers.claims(states)
        regular = leaving or self._is_regular()
        due = decide(claims, states, self._settings, leaving=leaving, regular=regular)
        due = [each for each in due if not self._is_refused(each.claim, states[each.claim.channel.id])]
        urgent = min((each.deadline for each in due if each.deadline), default=0.0)
        if urgent:
            await self._settler.hurry(self._policy(urgent))
        return self._batches([each for each in due if each.claim.channel.id not in self._under_way])

    def _batches(self, fresh: Sequence[Claiming]) -> list[tuple[list[SignedClaim], GasPolicy]]:
        batches: list[tuple[list[SignedClaim], GasPolicy]] = []
        for group in (
            [each for each in fresh if each.deadline],
            [each for each in fresh if not each.deadline],
        ):
            if group:
                policy = self._policy(group[0].deadline)
                planned = plan_settlements((each.claim for each in group), self._states)
                batches += [(batch, policy) for batch in planned]
                self._under_way |= {each.claim.channel.id for each in group}
        return batches

    def _is_regular(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._regular_at:
            return False
        self._regular_at = now + self._settings.regular_s
        return True

    def _is_refused(self, claim: SignedClaim, state: ChannelState) -> bool:
        """Tell whether a voucher was refused and nothing about it has changed since."""
        cumulative, before, at = self._refused.get(claim.channel.id, (0, None, 0.0))
        if (cumulative, before) != (claim.signed.voucher.cumulative, state):
            return False
        return not (state.close_at and asyncio.get_running_loop().time() - at >= RETRY_REFUSED_S)

    async def _read(self, channels: Sequence[bytes]) -> dict[bytes, ChannelState]:
        gate = asyncio.Semaphore(MAX_READS)

        async def read(channel: bytes) -> ChannelState:
            async with gate:
                return await self._ledger.channel(channel)

        return dict(zip(channels, await asyncio.gather(*map(read, channels)), strict=True))

    def _policy(self, deadline: float) -> GasPolicy:
        policy = self._settings.policy
        return replace(policy, deadline=deadline) if deadline else replace(policy, urgent_max_fee_wei=0)

    async def _settle(self, batch: Sequence[SignedClaim], policy: GasPolicy) -> SettlementReport:
        # As it was when that was decided: a later look may see what this very batch has claimed.
        seen = {claim.channel.id: self._states[claim.channel.id].claimed for claim in batch}
        try:
            report = await self._settler.settle(batch, policy)
        finally:
            self._under_way -= {claim.channel.id for claim in batch}
        for claim, receipt in report.paid:
            self._note_paid(claim, receipt, seen[claim.channel.id])
        for claim, error in report.refused:
            await self._note_refused(claim, error)
        return report

    def _note_paid(self, claim: SignedClaim, receipt: TransactionReceipt, claimed: int) -> None:
        channel, voucher = claim.channel.id, claim.signed.voucher
        before = max(self._paid.get(channel, 0), claimed)
        self._paid[channel] = max(before, voucher.cumulative)
        units = max(0, voucher.cumulative - before)
        self._count.claims += 1
        self._count.units += units
        log.info(
            "claimed %d units for work up to task %d of channel 0x%s, in transaction 0x%s (%d gas)",
            units, voucher.tasks, channel.hex(), receipt.hash.hex(), receipt.gas_used,
        )  # fmt: skip

    async def _note_refused(self, claim: SignedClaim, error: FarlaneError) -> None:
        self._count.refused += 1
        log.error("the voucher of channel 0x%s is refused: %s", claim.channel.id.hex(), error.message)
        # Not tried again before something about it changes.
        state = await self._ledger.channel(claim.channel.id)
        at = asyncio.get_running_loop().time()
        self._refused[claim.channel.id] = (claim.signed.voucher.cumulative, state, at)

    def _say(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.warning("the channels cannot be looked at: %s", trouble)
        elif self.trouble and not trouble:
            log.info("the channels can be looked at again")
        self.trouble = trouble
        self._count.reachable = not trouble

"""The contract's bookkeeping done again from its events alone: balances, channels, jobs, and what is locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from farlane.ledger import port
from farlane.ledger.accounts import Address
from farlane.ledger.audit.deviations import Deviations
from farlane.ledger.port import CLOSED, ChannelState, LedgerEvent
from farlane.ledger.vouchers import Channel

_NEVER = ChannelState(0, 0, 0)


@dataclass(slots=True)
class _Job:
    payer: Address
    provider: Address
    dispute_bond: int
    locked: int


class ChainReplay:
    """Balances and channels as events leave them; an event that cannot be is noted and still applied.

    Args:
        into: takes what is wrong.
    """

    def __init__(self, into: Deviations) -> None:
        self.balances: defaultdict[Address, int] = defaultdict(int)
        self.settlements: defaultdict[Address, int] = defaultdict(int)
        self.channels: dict[bytes, ChannelState] = {}
        self.parties: dict[bytes, Channel] = {}
        self.transactions = self.deposited = self.withdrawn = 0
        self._jobs: dict[bytes, _Job] = {}
        self._into = into
        self._where = ""

    @property
    def locked(self) -> int:
        """Units in channels that are not closed and in jobs that have not ended."""
        open_channels = (state for state in self.channels.values() if state.close_at != CLOSED)
        return sum(state.deposit - state.claimed for state in open_channels) + sum(
            job.locked for job in self._jobs.values()
        )

    def apply(self, events: Iterable[LedgerEvent]) -> None:
        """Replay events in their order."""
        last = (-1, -1)
        for event in events:
            self._where = event_text(event)
            if (event.block, event.position) <= last:
                self._wrong("events in rising order", f"block {event.block} after block {last[0]}")
            last = (event.block, event.position)
            _APPLY[type(event)](self, event)

    def _wrong(self, expected: object, found: object) -> None:
        self._into.add("chain-event", self._where, expected, found)

    def _debit(self, account: Address, amount: int) -> None:
        if self.balances[account] < amount:
            self._wrong(f"a balance of {amount} units of {account}", f"{self.balances[account]} units")
        self.balances[account] -= amount

    def _deposited(self, event: port.Deposited) -> None:
        self.balances[event.account] += event.amount
        self.deposited += event.amount

    def _withdrawn(self, event: port.Withdrawn) -> None:
        self._debit(event.account, event.amount)
        self.withdrawn += event.amount

    def _opened(self, event: port.ChannelOpened) -> None:
        if event.channel.id in self.channels:
            self._wrong("a channel that was never opened", "one that was")
        self._debit(event.channel.payer, event.amount)
        self.channels[event.channel.id] = ChannelState(event.amount, 0, 0)
        self.parties[event.channel.id] = event.channel
        self.transactions += 1

    def _topped_up(self, event: port.ChannelToppedUp) -> None:
        state = self._known(event.channel_id)
        if state.close_at:
            self._wrong("an open channel", "one that closes")
        if (parties := self.parties.get(event.channel_id)) is not None:
            self._debit(parties.payer, event.amount)
        self.channels[event.channel_id] = replace(state, deposit=state.deposit + event.amount)

    def _settled(self, event: port.VoucherSettled) -> None:
        state = self._known(event.channel_id)
        if state.close_at == CLOSED or not state.claimed < event.cumulative <= state.deposit:
            self._wrong(
                f"above {state.claimed}, at most {state.deposit} units, not closed",
                f"{event.cumulative} units",
            )
        if event.paid != event.cumulative - state.claimed:
            self._wrong(f"{event.cumulative - state.claimed} units paid", f"{event.paid} units")
        self.channels[event.channel_id] = replace(state, claimed=event.cumulative)
        if (parties := self.parties.get(event.channel_id)) is not None:
            self.balances[parties.provider] += event.paid
            self.settlements[parties.provider] += 1

    def _closing(self, event: port.CloseStarted) -> None:
        state = self._known(event.channel_id)
        if state.close_at:
            self._wrong("an open channel", "one that closes or is closed")
        self.channels[event.channel_id] = replace(state, close_at=event.close_at)

    def _closed(self, event: port.ChannelClosed) -> None:
        state = self._known(event.channel_id)
        if state.close_at == CLOSED or event.refunded != state.deposit - state.claimed:
            self._wrong(f"{state.deposit - state.claimed} units refunded, once", f"{event.refunded} units")
        self.channels[event.channel_id] = replace(state, close_at=CLOSED)
        if (parties := self.parties.get(event.channel_id)) is not None:
            self.balances[parties.payer] += event.refunded

    def _job_opened(self, event: port.JobOpened) -> None:
        if event.job in self._jobs:
            self._wrong("a job that was never opened", "one that was")
        self._debit(event.payer, event.price)
        self._debit(event.provider, event.provider_bond)
        locked = event.price + event.provider_bond
        self._jobs[event.job] = _Job(event.payer, event.provider, event.dispute_bond, locked)
        self.transactions += 1

    def _job_disputed(self, event: port.JobDisputed) -> None:
        if (job := self._jobs.get(event.job)) is None:
            self._wrong("a job that was opened", "none")
            return
        self._debit(job.payer, job.dispute_bond)
        job.locked += job.dispute_bond

    def _job_ended(self, event: port.JobEnded) -> None:
        if (job := self._jobs.get(event.job)) is None:
            self._wrong("a job that was opened", "none")
            return
        if event.to_payer + event.to_provider != job.locked:
            self._wrong(f"{job.locked} units paid out", f"{event.to_payer + event.to_provider} units")
        job.locked = 0
        self.balances[job.payer] += event.to_payer
        self.balances[job.provider] += event.to_provider
        self.settlements[job.provider] += event.to_provider > 0

    def _known(self, channel: bytes) -> ChannelState:
        if channel not in self.channels:
            self._wrong("a channel that was opened", f"none with id 0x{channel.hex()}")
        return self.channels.get(channel, _NEVER)


def event_text(event: LedgerEvent) -> str:
    """Return where an event stands, for people."""
    return f"{type(event).__name__} in block {event.block}, transaction 0x{event.transaction.hex()}"


_APPLY: dict[type, Callable[[ChainReplay, Any], None]] = {
    port.Deposited: ChainReplay._deposited,
    port.Withdrawn: ChainReplay._withdrawn,
    port.ChannelOpened: ChainReplay._opened,
    port.ChannelToppedUp: ChainReplay._topped_up,
    port.VoucherSettled: ChainReplay._settled,
    port.CloseStarted: ChainReplay._closing,
    port.ChannelClosed: ChainReplay._closed,
    port.JobOpened: ChainReplay._job_opened,
    port.JobDisputed: ChainReplay._job_disputed,
    port.JobEnded: ChainReplay._job_ended,
}

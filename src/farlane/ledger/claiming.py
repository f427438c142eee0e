"""Claiming: which voucher of a channel the contract would pay, whether it is worth a transaction, how urgent; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import CLOSED, ChannelState, SignedClaim


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """When a watcher claims. Amounts in units."""

    poll_s: float = 30.0
    """Seconds between two looks; a small part of the close window."""
    threshold: int | None = 10**18
    """Unclaimed value of a channel from which it is claimed without a close; None: never."""
    dust: int = 1
    """Value below which not even a last claim before shutdown is worth its gas; a close is always answered."""
    safety_s: float = 3600.0
    """The claim should be on the chain this long before the close can be finished."""
    regular_s: float = 0.0
    """Seconds between two looks in which anything but closes is claimed; 0: in every one."""
    policy: GasPolicy = field(default_factory=GasPolicy)
    """What an ordinary claim may cost; its urgent cap counts for closes alone."""


@dataclass(frozen=True, slots=True)
class Claiming:
    """A claim to make now. deadline: unix seconds of the chain, 0.0 without a close."""

    claim: SignedClaim
    deadline: float


def new_units(claim: SignedClaim, state: ChannelState) -> int:
    """Return what settling a claim would pay, in units; 0 where the contract would refuse it."""
    cumulative = claim.signed.voucher.cumulative
    return max(0, cumulative - state.claimed) if state.claimable and cumulative <= state.deposit else 0


def best_claims(
    claims: Iterable[SignedClaim], states: Mapping[bytes, ChannelState]
) -> dict[bytes, SignedClaim]:
    """Return, by channel, the claim that pays the most now; none where no claim of it pays anything.

    The contract refuses a voucher above the deposit, so that an older one may be the best.

    Args:
        claims: any number for each channel.
        states: channels by id; one that is missing was never opened.
    """
    best: dict[bytes, SignedClaim] = {}
    most: dict[bytes, int] = {}
    for claim in claims:
        channel = claim.channel.id
        state = states.get(channel)
        new = 0 if state is None else new_units(claim, state)
        if new > most.get(channel, 0):
            best[channel], most[channel] = claim, new
    return best


def decide(
    claims: Iterable[SignedClaim],
    states: Mapping[bytes, ChannelState],
    settings: WatchSettings,
    *,
    leaving: bool = False,
    regular: bool = True,
) -> list[Claiming]:
    """Return what must be claimed now, the most urgent first; pure.

    Args:
        claims: vouchers; of a channel the one that pays the most counts.
        states: channels by id.
        settings: when a claim is due.
        leaving: the watcher is about to stop, so that nobody will see a close.
        regular: claim also what is in no danger, if it is enough.
    """
    found = []
    for channel, claim in best_claims(claims, states).items():
        state = states[channel]
        if state.close_at:
            found.append(Claiming(claim, max(1.0, state.close_at - settings.safety_s)))
        elif regular and _is_enough(new_units(claim, state), settings, leaving=leaving):
            found.append(Claiming(claim, 0.0))
    return sorted(found, key=lambda each: (not each.deadline, each.deadline))


def covered_units(state: ChannelState, promised: int, claimable: int) -> int:
    """Return how much of what is promised on a channel the chain pays, what was claimed included; pure.

    Args:
        state: the channel.
        promised: by the newest voucher.
        claimable: by the highest voucher that the deposit covers, 0 without one.
    """
    if state.close_at == CLOSED:
        return state.claimed
    # A deposit that lies between two vouchers pays the lower one alone.
    return state.deposit if promised <= state.deposit else max(state.claimed, claimable)


def _is_enough(new: int, settings: WatchSettings, *, leaving: bool) -> bool:
    least = settings.dust if leaving else settings.threshold
    return least is not None and new >= least

"""Payers: how organisations that hold their own accounts stand, as settlement last saw it."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.units import credits_text


@dataclass(frozen=True, slots=True)
class PayerState:
    """How an organisation that holds its own account stands.

    at_stake_nano: locked in its channels beyond what is owed: what the hub's session key could cost it; notices: what
    it must do, for people.
    """

    at_stake_nano: int = 0
    notices: tuple[str, ...] = ()


def custody_text(state: PayerState | None, channel_deposit: str) -> str:
    """Return which key of a publisher's organisation the hub holds, and what its loss can cost.

    Args:
        state: of one that holds its own account, None where the hub holds it.
        channel_deposit: credits that the hub locks in each channel beyond what is owed.
    """
    if state is None:
        return (
            "the hub pays nodes in your name by a session key: at most the "
            f"{channel_deposit} credits that each channel locks beyond what is owed could be lost with it"
        )
    return (
        "the hub signs for your organisation's own channels by a session key: at most what they lock beyond what is "
        f"owed, {credits_text(state.at_stake_nano)} credits now, could be lost with it"
    )

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


def custody_text(state: PayerState | None, held_nano: int | None = None) -> str:
    """Return which key of a publisher's organisation the hub holds, and what its loss can cost.

    Args:
        state: of one that holds its own account, None where the hub holds it.
        held_nano: what is in the account that the hub holds, its channels included; None before that was first read.
    """
    if state is None:
        amount = "all" if held_nano is None else f"the {credits_text(held_nano)}"
        return (
            f"the hub holds your organisation's account: {amount} credits in it could be lost with its keys"
        )
    return (
        "the hub signs for your organisation's own channels by a session key: at most what they lock beyond what is "
        f"owed, {credits_text(state.at_stake_nano)} credits now, could be lost with it"
    )

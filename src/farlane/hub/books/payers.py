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


def lack_text(organisation: str, account: str, missing_nano: int) -> str:
    """Return that an account which the hub holds does not cover what its organisation owes."""
    return f"the account {account} that the hub holds for {organisation} lacks {credits_text(missing_nano)} credits"


def lack_notice(organisation: str, account: str, missing_nano: int, *, embedded: bool) -> str:
    """Return `lack_text` with what to type; `embedded`: the hub makes its chain's credits itself."""
    missing = credits_text(missing_nano)
    fix = (
        f"`farlane ledger grant {missing}` makes them, with an administrator's token"
        if embedded
        else f"`farlane ledger deposit {missing} --for {organisation}` pays them in"
    )
    return f"{lack_text(organisation, account, missing_nano)}, and vouchers wait for them: {fix}"

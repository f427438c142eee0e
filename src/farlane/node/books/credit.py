"""Credit: how much a node works ahead of being paid, and when it stops and goes on again; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farlane.domain.units import credits_text, parse_credits_floor
from farlane.errors import InvalidInput, InvalidSetting

UNLIMITED = "unlimited"
_RESUME = 3, 4
"""Work is taken again once what is unpaid is below this part of the credit, so that it does not flutter."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What an organisation owes a node, in nano-credits: in leaves without a voucher, ended without a leaf, running."""

    unpaid_nano: int = 0
    unbooked_nano: int = 0
    running_nano: int = 0

    @property
    def total_nano(self) -> int:
        """Return the sum."""
        return self.unpaid_nano + self.unbooked_nano + self.running_nano


class CreditLine:
    """Decides, for each organisation, whether more work is taken.

    Args:
        limit_nano: work ahead of payment; None for no limit.
    """

    def __init__(self, limit_nano: int | None) -> None:
        self._limit_nano = limit_nano
        self.stopped: dict[str, str] = {}
        """Organisations of which no work is taken, and why."""

    def decide(self, exposures: Mapping[str, Exposure], grounds: Mapping[str, str]) -> list[str]:
        """Look at all organisations; returns those that were stopped or may go on now.

        Args:
            exposures: what each owes.
            grounds: other reasons to take no work of one: a dispute, a full disk.
        """
        changed = []
        for organisation in {*exposures, *grounds, *self.stopped}:
            exposure = exposures.get(organisation, Exposure())
            before = self.stopped.get(organisation, "")
            reason = grounds.get(organisation) or self._reason(organisation, exposure, stopped=bool(before))
            if reason:
                # While it lasts the figures of the first moment stand: they say what was decided on.
                self.stopped[organisation] = before or reason
            else:
                self.stopped.pop(organisation, None)
            if bool(reason) != bool(before):
                changed.append(organisation)
        return changed

    def _reason(self, organisation: str, exposure: Exposure, *, stopped: bool) -> str:
        limit = self._limit_nano
        if limit is None:
            return ""
        bound = limit * _RESUME[0] // _RESUME[1] if stopped else limit
        if exposure.total_nano < bound:
            return ""
        return (
            f"{organisation} owes this node {credits_text(exposure.total_nano)} credits without a voucher "
            f"({credits_text(exposure.unpaid_nano)} booked, {credits_text(exposure.unbooked_nano)} ended and not "
            f"booked, {credits_text(exposure.running_nano)} running); the node works ahead for at most "
            f"{credits_text(limit)}. Settle what is owed (`farlane ledger balance` shows it), or have the node's owner "
            "raise node.credit"
        )


def credit_limit_floor(value: str) -> int | None:
    """Read the setting `node.credit` as nano-credits; None for no limit.

    Raises:
        InvalidSetting: it is no amount.
    """
    if value.strip().lower() == UNLIMITED:
        return None
    try:
        return parse_credits_floor(value)
    except InvalidInput as error:
        raise InvalidSetting(
            f"node.credit: {error.message}, or {UNLIMITED!r} to work without vouchers"
        ) from error

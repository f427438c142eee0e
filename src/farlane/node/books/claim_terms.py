"""The settings by which a node claims, read and checked before it joins."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.units import parse_credits_floor
from farlane.errors import InvalidInput, InvalidSetting
from farlane.node.settings import NodeSettings

URGENT_FACTOR = 10
"""An urgent claim may cost so many times what an ordinary one may."""
_WEI_PER_GWEI = 10**9


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """When and at which price a node claims.

    threshold_nano: unclaimed nano-credits of a channel from which it is claimed without a close, 0 for never;
    max_fee_wei: most wei per gas; confirmations: blocks on top of a claim before it counts.
    """

    threshold_nano: int
    max_fee_wei: int
    confirmations: int

    @property
    def urgent_max_fee_wei(self) -> int:
        """Most wei per gas for a claim whose channel is about to close."""
        return self.max_fee_wei * URGENT_FACTOR


def claim_terms(settings: NodeSettings) -> ClaimTerms:
    """Read `node.claim_credits`, `node.max_fee_gwei` and `node.confirmations`.

    Raises:
        InvalidSetting: one that cannot be.
    """
    try:
        threshold_nano = parse_credits_floor(settings.claim_credits)
    except InvalidInput as error:
        raise InvalidSetting(
            f"node.claim_credits: {error.message}, or 0 to claim on a close alone"
        ) from error
    max_fee_wei = int(settings.max_fee_gwei * _WEI_PER_GWEI)
    if max_fee_wei <= 0:
        raise InvalidSetting(f"node.max_fee_gwei is {settings.max_fee_gwei:g}; expected gwei per gas above 0")
    if settings.confirmations < 0:
        raise InvalidSetting(f"node.confirmations is {settings.confirmations}; expected 0 or more blocks")
    return ClaimTerms(threshold_nano, max_fee_wei, settings.confirmations)

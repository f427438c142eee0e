"""Fees: what a transaction offers per gas, and how much more its replacement must."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.ledger.rpc import RpcClient

GWEI = 10**9
BUMP_PERCENT = 13
"""A replacement must offer a tenth more in geth, an eighth in Nethermind. Source: their txpool defaults."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per gas: the tip for the proposer, and the most in all."""

    max_tip: int
    max_fee: int

    def bumped(self) -> Fees:
        """Return what replaces a transaction with these fees."""
        return Fees(_more(self.max_tip), _more(self.max_fee))

    def at_least(self, other: Fees) -> Fees:
        """Return fees that are below neither."""
        return Fees(max(self.max_tip, other.max_tip), max(self.max_fee, other.max_fee))

    def capped(self, max_fee: int) -> Fees:
        """Return fees that are not above `max_fee` in all."""
        return Fees(min(self.max_tip, max_fee), min(self.max_fee, max_fee))


def fees_for(base_fee: int, tip: int) -> Fees:
    """Return fees that hold while the base fee doubles: it grows by an eighth a block at most.

    Source: EIP-1559, base fee max change denominator 8.
    """
    return Fees(tip, 2 * base_fee + tip)


async def current_fees(rpc: RpcClient) -> Fees:
    """Ask the chain what to offer now."""
    block = await rpc.call("eth_getBlockByNumber", "latest", False)
    tip = await rpc.quantity("eth_maxPriorityFeePerGas")
    return fees_for(int(block.get("baseFeePerGas", "0x0"), 16), tip)


def _more(wei: int) -> int:
    return wei + max(1, -(-wei * BUMP_PERCENT // 100))

"""Grants: credits that a hub makes on the chain embedded in it, and what its organisations begin with."""

from __future__ import annotations

from farlane.errors import IdempotencyMismatch, InvalidInput
from farlane.hub.settlement.chain import GAS_WEI, ChainDesk, Connection
from farlane.hub.settlement.keys import HubKeys
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.vouchers import units_floor

MAX_UINT = 2**256 - 1


class Grants:
    """Makes credits, on an embedded chain.

    Args:
        connection: the chain.
        desk: the way to the contracts.
        keys: the hub's.
    """

    def __init__(self, connection: Connection, desk: ChainDesk, keys: HubKeys) -> None:
        self._connection, self._desk, self._keys = connection, desk, keys

    async def grant(self, key: str, organisation: str, nano: int) -> TransactionReceipt:
        """Make credits for an organisation and pay them into its account.

        Args:
            key: makes the grant idempotent.
            organisation: whose account.
            nano: nano-credits.

        Raises:
            InvalidInput: this chain's credits are not ours to make.
            IdempotencyMismatch: the key is that of another grant.
        """
        desk, operator = self._desk, self._keys.operator()
        if not self._connection.embedded:
            raise InvalidInput(
                "credits of this network are a token on a real chain; `farlane ledger deposit --rpc URL` pays them in"
            )
        units = units_floor(nano, desk.ledger.units_per_credit)
        await desk.call_token("approve", operator, "approve", desk.deployment.ledger, MAX_UINT)
        await desk.call_token(f"mint/{key}", operator, "mint", operator, units)
        return await desk.call(f"deposit/{key}", operator, "deposit", self._keys.payer(organisation), units)

    async def begin(self, organisation: str, nano: int) -> list[TransactionReceipt]:
        """Give an organisation the coin for its gas, and once for all some credits to begin with.

        Args:
            organisation: whose account; the hub holds it.
            nano: nano-credits; another amount than at an earlier start changes nothing for those who had theirs.
        """
        desk, payer, operator = self._desk, self._keys.payer(organisation), self._keys.operator()
        if self._connection.faucet is not None:
            await self._connection.faucet(payer, GAS_WEI)
        if not nano:
            return []
        key = f"start/{payer}"
        known = await desk.known(f"deposit/{key}")
        if known is not None:
            return [await desk.outbox.outcome(known)]
        try:
            return [await self.grant(key, organisation, nano)]
        except IdempotencyMismatch:
            # An earlier start has made another amount, and ended before it was paid in.
            await desk.outbox.outcome(f"mint/{key}")
            made = await desk.ledger.token_balance(operator)
            units = min(units_floor(nano, desk.ledger.units_per_credit), made)
            return [await desk.call(f"deposit/{key}", operator, "deposit", payer, units)]

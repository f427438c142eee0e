"""Whose account: an address as people type it, or the name of an organisation that the hub knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farlane.errors import NotFound
from farlane.sdk.client import AsyncClient

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address
    from farlane.ledger.deploy import Deployment


async def account_of(whose: str, deployment: Deployment) -> Address:
    """Return an address that was typed, or the account that an organisation pays from, as the hub says.

    Raises:
        InvalidInput: it begins as an address and is none.
        Conflict: the hub settles another network than the file's.
        NotFound: the hub has no book of such an organisation.
    """
    from farlane.ledger.accounts import parse_address

    if whose[:2].lower() == "0x":
        return parse_address(whose)
    async with AsyncClient() as client:
        return parse_address(await _asked(client, whose, deployment))


async def _asked(client: AsyncClient, organisation: str, deployment: Deployment) -> str:
    from farlane.sdk.ledger import LedgerClient
    from farlane.sdk.own_channels import check_hub

    ledger = LedgerClient(client.connection)
    status = await ledger.status()
    check_hub(status, deployment)
    if status.organisation == organisation:
        return status.account
    for row in reversed(await ledger.channels(all=True)):
        if row.organisation == organisation:
            return row.payer
    raise NotFound(
        f"the hub has no book of an organisation {organisation!r}; yours is {status.organisation!r}. Give the "
        "account's address, as `farlane ledger balance` shows it to that organisation"
    )

"""Settling: which chain a hub settles on, with which keys, as its settings say."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from farlane.domain.units import parse_credits_floor
from farlane.errors import FarlaneError, InvalidSetting
from farlane.hub.hub import Hub
from farlane.hub.settings import HubSettings
from farlane.hub.settlement.chain import Connection, OpenOutbox
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.rounds import SettlementSettings
from farlane.hub.settlement.service import Settlement
from farlane.kit.clock import Clock
from farlane.ledger.accounts import Address, PrivateKey, parse_address
from farlane.ledger.deploy import Deployment, deployment_from_json
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import policy_of
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import RpcClient
from farlane.ledger.rpc_endpoints import transport_of

log = logging.getLogger(__name__)
EMBEDDED_POLL_S = 0.05
EMBEDDED_PLACE = "the chain embedded in this hub"
URGENT_FACTOR = 10
"""A claim of a channel that is being closed may cost so many times what else may: what is not claimed then is lost."""
FIRST_CHAIN_ID = 7_700_000_000
"""Embedded chains take ids from here on, far from those of public chains. Source: ethereum-lists/chains."""


def settlement_of(
    settings: HubSettings, network: str, clock: Clock, hub: Callable[[], Hub]
) -> tuple[Settlement, HubKeys]:
    """Return the settlement of a hub and the keys it uses.

    Raises:
        InvalidSetting: an amount, address or combination that cannot be.
    """
    keys = HubKeys(settings.directory / "keys", payers_of(settings.payers))
    ordinary = policy_of(settings.max_fee_gwei)
    amounts = SettlementSettings(
        settings.settle_s,
        parse_credits_floor(settings.channel_deposit),
        parse_credits_floor(settings.least_settlement),
        parse_credits_floor(settings.starting_credits),
        replace(ordinary, urgent_max_fee_wei=ordinary.max_fee_wei * URGENT_FACTOR),
    )
    if settings.rpc and settings.network_file is None:
        raise InvalidSetting(
            "hub.rpc names a chain, but not where the network's contracts are on it: set hub.network_file too"
        )
    if settings.rpc:
        transport_of(settings.rpc)  # a typing error is told at the start, not in the log

    def connect() -> AbstractAsyncContextManager[Connection]:
        return _real(settings) if settings.rpc else _embedded(settings, network, clock)

    file = settings.network_file or settings.directory / "ledger.json"
    return Settlement(settings.directory, file, network, keys, amounts, hub, connect, clock), keys


def network_of(settings: HubSettings) -> str | None:
    """Return the id a new network must have, None where any will do.

    Raises:
        InvalidSetting: the network file is missing.
        InvalidInput: it is not one.
    """
    return None if settings.network_file is None else _deployment(settings.network_file).network


def payers_of(texts: tuple[str, ...]) -> Mapping[str, Address]:
    """Read `organisation=0xADDRESS` settings.

    Raises:
        InvalidSetting: one that is something else.
    """
    found = {}
    for text in texts:
        organisation, _, address = text.partition("=")
        try:
            found[organisation.strip()] = parse_address(address)
        except FarlaneError as error:
            raise InvalidSetting(
                f"hub.payers: {text!r} is not organisation=0xADDRESS: {error.message}"
            ) from error
    return found


def chain_id_of(network: str) -> int:
    """Return the chain id of a network's embedded chain: the same for the same network."""
    return FIRST_CHAIN_ID + zlib.crc32(network.encode()) % 200_000_000


@asynccontextmanager
async def _real(settings: HubSettings) -> AsyncIterator[Connection]:
    assert settings.network_file is not None  # `settlement_of` has refused that
    chain_id = _deployment(settings.network_file).chain_id
    async with RpcClient(settings.rpc, chain_id=chain_id) as rpc:
        yield Connection(
            rpc, embedded=False, place=rpc.place, url="",
            open_outbox=_outbox(rpc, OutboxSettings(confirmations=settings.confirmations)),
        )  # fmt: skip


@asynccontextmanager
async def _embedded(settings: HubSettings, network: str, clock: Clock) -> AsyncIterator[Connection]:
    """Open the chain beside the store; its EVM is imported only now, in a thread of its own."""
    from farlane.ledger.embedded.embedded import EmbeddedChain
    from farlane.ledger.embedded.server import serve_rpc

    async with AsyncExitStack() as stack:
        opening = partial(
            EmbeddedChain.open,
            settings.directory / "chain.db",
            chain_id=chain_id_of(network),
            genesis={},
            clock=clock,
        )
        chain = await asyncio.get_running_loop().run_in_executor(None, opening)
        stack.callback(chain.close)
        url = ""
        if settings.chain_port >= 0:
            url = await stack.enter_async_context(serve_rpc(chain, "127.0.0.1", settings.chain_port))
            log.info("JSON-RPC of the embedded chain: %s", url)
        rpc = await stack.enter_async_context(RpcClient(chain.transport()))
        yield Connection(
            rpc, embedded=True, place=EMBEDDED_PLACE, url=url,
            open_outbox=_outbox(rpc, OutboxSettings(poll_s=EMBEDDED_POLL_S)), faucet=chain.faucet,
        )  # fmt: skip


def _outbox(rpc: RpcClient, how: OutboxSettings) -> OpenOutbox:
    async def opened(
        path: Path, deployment: Deployment, key_of: Callable[[Address], PrivateKey | None]
    ) -> ChainOutbox:
        return await ChainOutbox.open(path, rpc, deployment.chain_id, key_of, settings=how)

    return opened


def _deployment(file: Path) -> Deployment:
    try:
        return deployment_from_json(file.read_bytes())
    except OSError as error:
        raise InvalidSetting(
            f"hub.network_file: {file} cannot be read ({error.strerror}); `farlane network deploy` makes such a file"
        ) from error

"""Direct calls beside a hub: one process, one key and one machine, of which they get a share of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from farlane.domain.nodes import NodeSpec
from farlane.errors import ChainUnavailable, FarlaneError, InvalidInput, InvalidSetting
from farlane.kit.keys import server_certificate
from farlane.ledger.delegations import verify_delegation
from farlane.node.books.opening import read_network_file
from farlane.node.books.signing import HeadKey, read_delegation
from farlane.node.direct.settings import DirectSettings, direct_settings
from farlane.node.direct.share import Share, carve
from farlane.node.offer import Devices
from farlane.node.settings import NodeSettings
from farlane.wire.channel import parse_url

log = logging.getLogger(__name__)
CHAIN_RETRY_S = 15.0
"""Pause before a chain that was away is asked again."""


@dataclass(frozen=True, slots=True)
class DirectPlan:
    """What is served, where, on what share and which chain; every setting was checked.

    own_chain: whether the chain is another than the one on which the node's books are kept.
    """

    settings: NodeSettings
    direct: DirectSettings
    rpc: tuple[str, ...]
    network_file: Path
    own_chain: bool
    host: str
    port: int
    endpoint: str
    share: Share


def plan_direct(
    settings: NodeSettings, spec: NodeSpec, devices: Devices
) -> tuple[NodeSpec, Devices, DirectPlan | None]:
    """Return what is left of a node's offer for its hub, and what is served beside it, None where nothing is.

    Raises:
        InvalidSetting: settings that cannot be, or do not go together.
    """
    if settings.direct_listen is None:
        return spec, devices, None
    rpc, network_file, own_chain = _chain_of(settings)
    if settings.direct_endpoint is None:
        raise InvalidSetting("node.direct_listen needs node.direct_endpoint: how publishers reach the node")
    host, port = parse_listen("node.direct_listen", settings.direct_listen)
    try:
        parse_url(settings.direct_endpoint)
    except InvalidInput as error:
        raise InvalidSetting(
            f"node.direct_endpoint: {error.message}", setting="node.direct_endpoint"
        ) from error
    direct = direct_settings(settings)
    if not direct.payers:
        log.warning("nobody is let in for direct calls: name payers in node.direct_allow")
    left, kept, share = carve(settings, spec, devices)
    plan = DirectPlan(
        settings, direct, rpc, network_file, own_chain, host, port, settings.direct_endpoint, share
    )
    return left, kept, plan


def _chain_of(settings: NodeSettings) -> tuple[tuple[str, ...], Path, bool]:
    """Return endpoints and network file of direct calls, and whether they are others than the books'."""
    file, rpc = settings.direct_network_file, settings.direct_rpc
    if (file is None) != (rpc is None) or (file is None and settings.direct_delegation is not None):
        raise InvalidSetting(
            "node.direct_network_file and node.direct_rpc go together, and node.direct_delegation with both"
        )
    if file is not None and rpc is not None:
        theirs = settings.network_file
        if theirs is not None and read_network_file(theirs).chain_id == read_network_file(file).chain_id:
            # The key must not have two outboxes on one chain.
            raise InvalidSetting(
                "node.direct_network_file is on the chain of node.network_file: leave it and node.direct_rpc out where "
                "both are one network; two networks of one chain need a node each"
            )
        return rpc, file, True
    if settings.rpc is None or settings.network_file is None:
        raise InvalidSetting(
            "node.direct_listen needs node.rpc and node.network_file: publishers find the node on that chain, and pay "
            "it there. Where its hub keeps its books on another chain, node.direct_rpc and node.direct_network_file"
        )
    return settings.rpc, settings.network_file, False


def parse_listen(name: str, text: str) -> tuple[str, int]:
    """Read HOST:PORT.

    Raises:
        InvalidSetting: it is not that.
    """
    host, sign, port = text.rpartition(":")
    if not (host and sign and port.isdecimal() and int(port) < 65536):
        raise InvalidSetting(f"{name} {text!r} is not HOST:PORT, such as 0.0.0.0:7718 or [::]:7718")
    return host.strip("[]"), int(port)


async def serve_beside(plan: DirectPlan, spec: NodeSpec, key: HeadKey, leaving: asyncio.Event) -> None:
    """Serve direct calls; whatever is wrong with them is logged, and the hub's work goes on.

    Args:
        plan: what `plan_direct` returned.
        spec: what the node says of itself.
        key: the node's.
        leaving: set once no more orders are to be taken; what runs then is finished. A cancellation ends it.
    """
    await key.unlock()
    if key.key is None:
        return  # said by `unlock`
    try:
        key = _key_there(plan, key)
    except FarlaneError as error:
        log.error("direct calls are not served: %s", error.message)
        return
    while not leaving.is_set():
        try:
            await _serve(plan, spec, key, leaving)
        except ChainUnavailable as error:
            log.warning("direct calls cannot be served yet: %s", error.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(leaving.wait(), CHAIN_RETRY_S)
        except FarlaneError as error:
            log.error("direct calls are not served: %s", error.message)
            return


def _key_there(plan: DirectPlan, key: HeadKey) -> HeadKey:
    """Return the node's key with the delegation that counts on the chain of direct calls, if any."""
    if plan.own_chain:
        path = plan.settings.direct_delegation
        signed = None if path is None else read_delegation(path, key.address, time.time())
        key = HeadKey(key.directory, key.address, signed, key.key)
    if key.delegation is not None:
        domain = read_network_file(plan.network_file).domain
        verify_delegation(key.delegation, domain, key.address, time.time())
    return key


async def _serve(plan: DirectPlan, spec: NodeSpec, key: HeadKey, leaving: asyncio.Event) -> None:
    # Loaded here: a node that serves no direct calls and watches no chain starts without them.
    from farlane.ledger.deploy import verify_deployment
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.ledger.network_registry import NetworkRegistry
    from farlane.ledger.rpc import RpcClient
    from farlane.node.direct.registering import try_to_register
    from farlane.node.direct.serving import DirectNode

    settings = plan.settings
    name, _ = parse_url(plan.endpoint)
    certificate = await asyncio.to_thread(server_certificate, settings.directory / "tls", [name, "localhost"])
    deployment = read_network_file(plan.network_file)
    async with RpcClient(plan.rpc, chain_id=deployment.chain_id) as rpc:
        await verify_deployment(rpc, deployment)
        registry = NetworkRegistry(rpc, deployment)
        await registry.check()
        ledger = EthereumLedger(rpc, deployment)
        # On one chain the node's other claims see to these too: two outboxes of a key would be in each other's way.
        node = DirectNode(
            settings.directory, plan.direct, spec, plan.share, key, ledger, certificate, claims=plan.own_chain
        )
        async with node.serving(plan.host, plan.port):
            entry = await try_to_register(registry, key, plan.endpoint, certificate)
            if entry is not None:
                log.info("publishers find this node at %s, by its key %s", plan.endpoint, key.address)
            await leaving.wait()

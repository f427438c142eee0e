"""Direct calls beside a hub: one process, one key and one machine, of which they get a share of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from farlane.domain.nodes import NodeSpec
from farlane.errors import ChainUnavailable, FarlaneError, InvalidInput, InvalidSetting
from farlane.kit.keys import server_certificate
from farlane.node.books.opening import read_network_file
from farlane.node.books.signing import HeadKey
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
    """What is served, where, on what share; every setting was checked."""

    settings: NodeSettings
    direct: DirectSettings
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
    if settings.rpc is None or settings.network_file is None or settings.direct_endpoint is None:
        raise InvalidSetting(
            "node.direct_listen needs node.direct_endpoint, node.rpc and node.network_file: publishers find the node "
            "on that chain, and pay it there"
        )
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
    return left, kept, DirectPlan(settings, direct, host, port, settings.direct_endpoint, share)


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


async def _serve(plan: DirectPlan, spec: NodeSpec, key: HeadKey, leaving: asyncio.Event) -> None:
    # Loaded here: a node that serves no direct calls and watches no chain starts without them.
    from farlane.ledger.deploy import verify_deployment
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.ledger.network_registry import NetworkRegistry
    from farlane.ledger.rpc import RpcClient
    from farlane.node.direct.registering import try_to_register
    from farlane.node.direct.serving import DirectNode

    settings = plan.settings
    assert settings.rpc is not None  # `plan_direct` has refused these
    assert settings.network_file is not None
    name, _ = parse_url(plan.endpoint)
    certificate = await asyncio.to_thread(server_certificate, settings.directory / "tls", [name, "localhost"])
    deployment = read_network_file(settings.network_file)
    async with RpcClient(settings.rpc) as rpc:
        await verify_deployment(rpc, deployment)
        registry = NetworkRegistry(rpc, deployment)
        await registry.check()
        ledger = EthereumLedger(rpc, deployment)
        # The node's own claims see to the vouchers: two outboxes of one key would be in each other's way.
        node = DirectNode(
            settings.directory, plan.direct, spec, plan.share, key, ledger, certificate, claims=False
        )
        async with node.serving(plan.host, plan.port):
            entry = await try_to_register(registry, key, plan.endpoint, certificate)
            if entry is not None:
                log.info("publishers find this node at %s, by its key %s", plan.endpoint, key.address)
            await leaving.wait()

"""A node that serves publishers without any hub: its keys, its entry on chain, and its server, put together."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from farlane.domain.nodes import NodeSpec
from farlane.errors import InvalidInput, InvalidSetting
from farlane.kit.files import private_directory
from farlane.kit.keys import server_certificate
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.delegations import verify_delegation
from farlane.ledger.deploy import Deployment, verify_deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.network_registry import NetworkRegistry
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.rpc import RpcClient
from farlane.ledger.sending import Sender
from farlane.node.books.signing import HeadKey, read_delegation
from farlane.node.direct.registering import register_node
from farlane.node.direct.serving import DirectNode
from farlane.node.direct.settings import DirectSettings
from farlane.node.direct.share import Share
from farlane.node.identity import load_identity
from farlane.node.offer import Devices, labels_of, offer_of
from farlane.node.probe import ProbeSettings, probe
from farlane.node.settings import NodeSettings
from farlane.wire.channel import parse_url

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DirectPlan:
    """What to serve and where.

    host, port: where it listens; endpoint: how others reach it, as the registry will say; direct_cpu: cores for
    direct calls, all that are offered where None.
    """

    node: NodeSettings
    direct: DirectSettings
    deployment: Deployment
    rpc_url: str
    host: str
    port: int
    endpoint: str
    direct_cpu: float | None = None
    policy: GasPolicy | None = None
    """What gas may cost; the default cap where None."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A node that is ready: the address of its key, who is paid, and whether publishers find it on chain."""

    key: Address
    provider: Address
    listed: bool


async def serve_directly(plan: DirectPlan, key: PrivateKey, on_ready: Callable[[Serving], None]) -> None:
    """Register the node and serve until SIGTERM or SIGINT; `on_ready` hears that it can be called.

    Raises:
        InvalidInput: the endpoint is no URL, or the share is larger than what is offered.
        InvalidSignature: the delegation is another key's or network's, or has expired.
        Conflict: the chain is another, or the key is registered as something else.
        FarlaneError: see `farlane.node.direct.serving.DirectNode.serving`.
    """
    name, _ = parse_url(plan.endpoint)
    directory = private_directory(plan.node.directory)
    certificate = await asyncio.to_thread(server_certificate, directory / "tls", [name, "localhost"])
    spec, devices = await asyncio.to_thread(_offer, plan)
    signer = _head_key(plan, key)
    stopped = _stop_signal()
    async with RpcClient(plan.rpc_url, chain_id=plan.deployment.chain_id) as rpc:
        await verify_deployment(rpc, plan.deployment)
        sender = Sender(rpc, plan.deployment.chain_id, policy=plan.policy)
        registry = NetworkRegistry(rpc, plan.deployment, sender=sender)
        await registry.check()
        ledger = EthereumLedger(rpc, plan.deployment, sender=sender)
        share = Share(spec.capacity, devices)
        node = DirectNode(directory, plan.direct, spec, share, signer, ledger, certificate)
        async with node.serving(plan.host, plan.port):
            entry = await register_node(registry, signer, plan.endpoint, certificate)
            on_ready(Serving(signer.address, signer.provider, entry is not None))
            await stopped.wait()


def _head_key(plan: DirectPlan, key: PrivateKey) -> HeadKey:
    """Return the key with the delegation that the settings name."""
    settings, now = plan.node, time.time()
    found = HeadKey(Path(settings.directory), key.address, key=key)
    if settings.delegation is not None:
        found.delegation = read_delegation(settings.delegation, key.address, now)
        verify_delegation(found.delegation, plan.deployment.domain, key.address, now)
    if settings.provider is not None and settings.provider.lower() != found.provider.lower():
        raise InvalidSetting(
            f"node.provider is {settings.provider}, but {found.provider} is whom this key may sign for: set "
            "node.delegation to what `farlane key delegate` wrote for it",
            setting="node.provider",
        )
    return found


def _offer(plan: DirectPlan) -> tuple[NodeSpec, Devices]:
    directory = plan.node.directory
    found = probe(ProbeSettings(directory, labels_of(plan.node)))
    spec, devices = offer_of(plan.node, found, load_identity(directory), plan.deployment.network)
    if plan.direct_cpu is None:
        return spec, devices
    milli = int(plan.direct_cpu * 1000)
    if not 0 < milli <= spec.capacity.cpu_milli:
        raise InvalidInput(
            f"{plan.direct_cpu:g} cores for direct calls; expected 0.001 to the "
            f"{spec.capacity.cpu_milli / 1000:g} offered"
        )
    return replace(spec, capacity=replace(spec.capacity, cpu_milli=milli)), devices


def _stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped

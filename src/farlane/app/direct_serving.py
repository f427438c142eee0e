"""A node that serves publishers without any hub: its keys, its entry on chain, and its server, put together."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from farlane.domain.nodes import NodeSpec
from farlane.errors import InvalidInput
from farlane.kit.files import private_directory
from farlane.kit.keys import ServerCertificate, server_certificate
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import Deployment, verify_deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.network_registry import Entry, EntryKind, Listing, NetworkRegistry
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.rpc import RpcClient
from farlane.node.books.claim_terms import claim_terms
from farlane.node.direct.serving import DirectNode
from farlane.node.direct.settings import DirectSettings
from farlane.node.identity import load_identity
from farlane.node.offer import labels_of, offer_of
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


async def serve_directly(plan: DirectPlan, key: PrivateKey, on_ready: Callable[[Entry], None]) -> None:
    """Register the node and serve until SIGTERM or SIGINT; `on_ready` hears of its entry on chain.

    Raises:
        InvalidInput: the endpoint is no URL, or the share is larger than what is offered.
        Conflict: the chain is another, or the key is registered as something else.
        FarlaneError: see `farlane.node.direct.serving.DirectNode.serving`.
    """
    name, _ = parse_url(plan.endpoint)
    directory = private_directory(plan.node.directory)
    certificate = await asyncio.to_thread(server_certificate, directory / "tls", [name, "localhost"])
    spec = await asyncio.to_thread(_spec, plan)
    stopped = _stop_signal()
    async with RpcClient(plan.rpc_url) as rpc:
        await verify_deployment(rpc, plan.deployment)
        registry = NetworkRegistry(rpc, plan.deployment)
        await registry.check()
        ledger = EthereumLedger(rpc, plan.deployment)
        terms = claim_terms(plan.node)
        direct = replace(
            plan.direct,
            policy=GasPolicy(terms.max_fee_wei, terms.urgent_max_fee_wei),
            confirmations=terms.confirmations,
        )
        node = DirectNode(directory, direct, spec, key, ledger, certificate)
        async with node.serving(plan.host, plan.port):
            on_ready(await _register(registry, key, plan.endpoint, certificate))
            await stopped.wait()


async def _register(
    registry: NetworkRegistry, key: PrivateKey, endpoint: str, certificate: ServerCertificate
) -> Entry:
    listing = Listing(endpoint.rstrip("/"), certificate.spki_sha256)
    return await registry.list_key(key, EntryKind.NODE, key, listing)


def _spec(plan: DirectPlan) -> NodeSpec:
    directory = plan.node.directory
    found = probe(ProbeSettings(directory, labels_of(plan.node)))
    # Tasks of direct calls get no GPU, so none is offered.
    settings = replace(plan.node, gpus="none")
    spec, _ = offer_of(settings, found, load_identity(directory), plan.deployment.network)
    if plan.direct_cpu is None:
        return spec
    milli = int(plan.direct_cpu * 1000)
    if not 0 < milli <= spec.capacity.cpu_milli:
        raise InvalidInput(
            f"{plan.direct_cpu:g} cores for direct calls; expected 0.001 to the "
            f"{spec.capacity.cpu_milli / 1000:g} offered"
        )
    return replace(spec, capacity=replace(spec.capacity, cpu_milli=milli))


def _stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped

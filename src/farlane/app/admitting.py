"""Being let in by key: find hubs on chain, dial each under its registered TLS key, answer its challenge; both sides."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import grpc

from farlane.app.shared_models import models_of
from farlane.errors import FarlaneError, InvalidSignature, NotFound, PermissionRefused, Unauthenticated
from farlane.hub.admission import Admission
from farlane.hub.settings import HubSettings
from farlane.kit.clock import Clock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.admission import sign_admission
from farlane.ledger.deploy import Deployment, deployment_from_json, verify_deployment
from farlane.ledger.network_registry import Entry, EntryKind, NetworkRegistry, registry_domain
from farlane.ledger.rpc import RpcClient
from farlane.node.agent import run_node
from farlane.node.settings import NodeSettings
from farlane.wire.channel import open_pinned_channel
from farlane.wire.status import from_rpc_error
from farlane.wire.tokens import Token
from farlane.wire.v1 import admission_pb2, admission_pb2_grpc

log = logging.getLogger(__name__)
CALL_TIMEOUT_S = 10.0
FRESH_S = 10.0
"""A credential that is refused so soon after it was given is no credential that has run out."""


def hub_admission(settings: HubSettings, pin: bytes, clock: Clock) -> Admission | None:
    """Return what lets keys of the registry into a hub, None where its chain is its own.

    Args:
        settings: the hub's; `rpc` and `network_file` say where the registry is.
        pin: SHA-256 of its TLS key.
        clock: wall time.

    Raises:
        InvalidInput: the network file is not one.
    """
    if not settings.rpc or settings.network_file is None:
        return None
    deployment = deployment_from_json(settings.network_file.read_bytes())
    rpc = RpcClient(settings.rpc, chain_id=deployment.chain_id)
    return Admission(NetworkRegistry(rpc, deployment), pin, clock)


async def work_by_key(
    settings: NodeSettings, rpc_url: str, deployment: Deployment, key: PrivateKey, min_bond: int = 0
) -> None:
    """Run a node at a hub that lets its key in, until it is drained; where its credential has run out it asks again.

    Raises:
        FarlaneError: as `find_hub` and `farlane.node.agent.run_node`.
    """
    while True:
        admitted = await find_hub(rpc_url, deployment, key, min_bond)
        log.info("let in by the hub at %s, as %s", admitted.url, admitted.token.organisation)
        began = time.monotonic()
        try:
            await run_node(settings, admitted.url, admitted.token, *models_of(settings))
        except Unauthenticated as error:
            if time.monotonic() - began < FRESH_S:  # asking once more would only go round in circles
                raise
            log.warning("the credential is not known any more, asking for another: %s", error.message)
        else:
            return


@dataclass(frozen=True, slots=True)
class Admitted:
    """A hub that let this key in: its URL, and the token that stands for the credential it gave."""

    url: str
    token: Token


async def find_hub(rpc_url: str, deployment: Deployment, key: PrivateKey, min_bond: int = 0) -> Admitted:
    """Return the first hub on chain that lets the key in; the others are named in the log, with why not.

    Args:
        rpc_url: the chain.
        deployment: where the registry is.
        key: the node's.
        min_bond: units that a hub's operator must have bonded.

    Raises:
        Conflict: the chain is another, or was forged; nothing was signed.
        NotFound: no hub is registered.
        PermissionRefused: none lets the key in.
        ChainUnavailable: the endpoint does not answer.
    """
    async with RpcClient(rpc_url, chain_id=deployment.chain_id) as rpc:
        await verify_deployment(rpc, deployment)
        registry = NetworkRegistry(rpc, deployment)
        await registry.check()
        listed = [one async for one in registry.entries(EntryKind.HUB) if not one.retired]
        hubs, unbonded = await registry.bonded(listed, min_bond)
    if not listed:
        raise NotFound("no hub is registered on this network: `farlane network register-hub` lists one")
    problems = [f"{one.listing.endpoint}: {why}" for one, why in unbonded]
    for hub in hubs:
        try:
            return await ask_hub(hub, deployment, key)
        except FarlaneError as error:
            log.warning("hub %s at %s: %s", hub.key, hub.listing.endpoint, error.message)
            problems.append(f"{hub.listing.endpoint}: {error.message.splitlines()[0]}")
    raise PermissionRefused(f"no hub of this network lets {key.address} in: {'; '.join(problems)}")


async def ask_hub(hub: Entry, deployment: Deployment, key: PrivateKey) -> Admitted:
    """Ask one hub; raises what it refuses with, WrongHub where it holds another TLS key than it registered."""
    if hub.problem:
        raise NotFound(hub.problem)
    url, pin = hub.listing.endpoint, hub.listing.tls_key_hash
    async with await open_pinned_channel(url, pin) as channel:
        stub = admission_pb2_grpc.AdmissionServiceStub(channel)
        try:
            found = await stub.Challenge(
                admission_pb2.ChallengeRequest(key=key.address), timeout=CALL_TIMEOUT_S
            )
            if found.network != deployment.network or len(found.nonce) != 32:
                raise InvalidSignature(f"the hub serves network {found.network!r}, not {deployment.network}")
            domain = registry_domain(deployment)
            signature = sign_admission(domain, key, pin, found.nonce, found.expires)
            answer = admission_pb2.AdmitRequest(
                key=key.address, nonce=found.nonce, expires=found.expires, signature=signature
            )
            reply = await stub.Admit(answer, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "asking the hub to be let in") from error
    return Admitted(url, Token("node", reply.organisation, "", pin, reply.secret))

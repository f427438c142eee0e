"""Nodes that publishers call themselves: found on chain, dialled under their registered TLS key, asked for terms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from farlane.domain.jobs import JobSpec
from farlane.errors import FarlaneError, InvalidSignature, NotFound
from farlane.ledger.accounts import Address
from farlane.ledger.deploy import Deployment
from farlane.ledger.direct_leaf import reserve_ceiling
from farlane.ledger.network_registry import Entry, EntryKind, NetworkRegistry
from farlane.ledger.rpc import RpcClient
from farlane.wire.channel import open_pinned_channel
from farlane.wire.compute import OPTIONS, NodeTerms, terms_from_wire
from farlane.wire.status import from_rpc_error
from farlane.wire.v1 import compute_pb2, compute_pb2_grpc

ASK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node found on chain that answered under its registered TLS key, and what it asks."""

    entry: Entry
    terms: NodeTerms


async def find_nodes(
    rpc: RpcClient, deployment: Deployment
) -> tuple[list[FoundNode], list[tuple[Entry, str]]]:
    """Ask every node on chain for its terms; returns those that answered, and why the others did not."""
    registry = NetworkRegistry(rpc, deployment)
    entries = [one async for one in registry.entries(EntryKind.NODE) if not one.retired]
    answers = await asyncio.gather(*(_ask(one, deployment) for one in entries), return_exceptions=True)
    found, silent = [], []
    for entry, answer in zip(entries, answers, strict=True):
        if isinstance(answer, NodeTerms):
            found.append(FoundNode(entry, answer))
        elif isinstance(answer, FarlaneError):
            silent.append((entry, answer.message.splitlines()[0]))
        elif isinstance(answer, BaseException):
            raise answer
    return found, silent


def cheapest(nodes: list[FoundNode], spec: JobSpec) -> FoundNode:
    """Return the node on which a task can cost least; of equals the one registered first.

    Raises:
        NotFound: there is none.
    """
    if not nodes:
        raise NotFound("no node of this network can be called directly: see `farlane direct nodes`")

    def price(node: FoundNode) -> int:
        return reserve_ceiling(node.terms.spec.rates, spec)

    return min(nodes, key=price)


def by_key(nodes: list[FoundNode], key: Address) -> FoundNode:
    """Return the node of one key.

    Raises:
        NotFound: it is not among them.
    """
    for node in nodes:
        if node.entry.key == key:
            return node
    raise NotFound(f"no node {key} answers on this network: see `farlane direct nodes`", key=key)


async def _ask(entry: Entry, deployment: Deployment) -> NodeTerms:
    if entry.problem:
        raise NotFound(entry.problem)
    async with compute_stub(entry) as stub:
        try:
            terms = terms_from_wire(await stub.Describe(compute_pb2.DescribeRequest(), timeout=ASK_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "asking the node for its terms") from error
    if (terms.network, terms.key) != (deployment.network, entry.key):
        raise InvalidSignature(
            f"the node says it is {terms.key} of network {terms.network}; the registry says {entry.key} of "
            f"{deployment.network}"
        )
    return terms


@asynccontextmanager
async def compute_stub(entry: Entry) -> AsyncIterator[compute_pb2_grpc.ComputeAsyncStub]:
    """Connect to a node under its registered TLS key; raises as `farlane.wire.channel.open_channel`."""
    listing = entry.listing
    channel = await open_pinned_channel(listing.endpoint, listing.tls_key_hash, options=OPTIONS)
    async with channel:
        yield compute_pb2_grpc.ComputeStub(channel)

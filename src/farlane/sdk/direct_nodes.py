"""Nodes that publishers call themselves: found on chain, dialled under their registered TLS key, asked for terms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from farlane.domain.jobs import JobSpec
from farlane.errors import FarlaneError, InvalidSignature, NotFound
from farlane.ledger.accounts import Address, parse_address
from farlane.ledger.deploy import Deployment
from farlane.ledger.direct_leaf import reserve_ceiling, tariff_for
from farlane.ledger.network_registry import Entry, EntryKind, NetworkRegistry
from farlane.ledger.rpc import RpcClient
from farlane.ledger.vouchers import check_delegation
from farlane.sdk.direct_check import delegation_of
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

    @property
    def provider(self) -> Address:
        """Who is paid for its work."""
        return parse_address(self.terms.account.provider)


async def find_nodes(
    rpc: RpcClient, deployment: Deployment, min_bond: int = 0
) -> tuple[list[FoundNode], list[tuple[Entry, str]]]:
    """Ask every node on chain for its terms; returns those that answered, and why the others did not.

    Args:
        rpc: the chain.
        deployment: where the registry is.
        min_bond: units that a node's operator must have bonded; the others are not dialled.
    """
    registry = NetworkRegistry(rpc, deployment)
    listed = [one async for one in registry.entries(EntryKind.NODE) if not one.retired]
    entries, unbonded = await registry.bonded(listed, min_bond)
    answers = await asyncio.gather(*(_ask(one, deployment) for one in entries), return_exceptions=True)
    found: list[FoundNode] = []
    silent = list(unbonded)
    for entry, answer in zip(entries, answers, strict=True):
        if isinstance(answer, NodeTerms):
            found.append(FoundNode(entry, answer))
        elif isinstance(answer, FarlaneError):
            silent.append((entry, answer.message.splitlines()[0]))
        elif isinstance(answer, BaseException):
            raise answer
    return found, silent


def fits(node: FoundNode, spec: JobSpec) -> bool:
    """Tell whether a node could run a task if it did nothing else."""
    said = node.terms.spec
    return said.capacity.holds(spec.resources) and (
        spec.function is None or spec.function.python == said.python
    )


def ceiling(node: FoundNode, spec: JobSpec, payload_bytes: int = 0) -> int:
    """Return the most a task may cost on a node, in nano-credits.

    Raises:
        InvalidInput: it asks for GPUs that the node has not.
    """
    said = node.terms.spec
    return reserve_ceiling(tariff_for(spec, said.rates, said.capacity), spec, payload_bytes)


def cheapest(nodes: list[FoundNode], spec: JobSpec) -> FoundNode:
    """Return the node that a task fits on and where it can cost least; of equals the one registered first.

    Raises:
        NotFound: there is none, or it fits on none.
    """
    fitting = [node for node in nodes if fits(node, spec)]
    if fitting:
        return min(fitting, key=lambda node: ceiling(node, spec))
    if nodes:
        raise NotFound(
            f"the task fits on none of the {len(nodes)} nodes that answer: `farlane direct nodes` says what they have; "
            "ask for less"
        )
    raise NotFound("no node of this network can be called directly: see `farlane direct nodes`")


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
    _check_provider(entry, terms, deployment)
    return terms


def _check_provider(entry: Entry, terms: NodeTerms, deployment: Deployment) -> None:
    """Check who is paid: the node's own key, or the operator that the registry names, who has let this key sign."""
    if terms.account.provider == entry.key:
        return
    if terms.account.provider != entry.operator:
        raise InvalidSignature(
            f"the node works for {terms.account.provider}; the registry says that it is operated by {entry.operator}"
        )
    check_delegation(deployment.domain, delegation_of(terms.account), terms.account.signature, time.time())


@asynccontextmanager
async def compute_stub(entry: Entry) -> AsyncIterator[compute_pb2_grpc.ComputeAsyncStub]:
    """Connect to a node under its registered TLS key; raises as `farlane.wire.channel.open_channel`."""
    listing = entry.listing
    channel = await open_pinned_channel(listing.endpoint, listing.tls_key_hash, options=OPTIONS)
    async with channel:
        yield compute_pb2_grpc.ComputeStub(channel)

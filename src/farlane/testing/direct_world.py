"""A small world of direct calls: a chain's contracts, a node that serves, and payers with credits."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from farlane.domain.ids import NodeId
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import Capacity, Resources
from farlane.kit.keys import server_certificate
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.delegations import SignedDelegation
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.network_registry import EntryKind, Listing, NetworkRegistry
from farlane.ledger.rpc import RpcClient
from farlane.node.books.signing import HeadKey
from farlane.node.direct.service import SILENCE_S
from farlane.node.direct.serving import DirectNode
from farlane.node.direct.settings import DirectSettings
from farlane.node.direct.share import Share
from farlane.node.offer import Devices
from farlane.sdk.direct import DirectPublisher
from farlane.sdk.direct_nodes import FoundNode, by_key, compute_stub, find_nodes
from farlane.wire.status import final_error, remember_end
from farlane.wire.v1 import compute_pb2

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account of every anvil, which has its coins. Source: anvil's default mnemonic."""
ETHER = 10**18
RATES = RateVector(core_second=1_000_000, gib_second=100_000, gpu_second=(("*", 2_000_000),))
SMALL = Resources(cpu_milli=250, memory_bytes=128 << 20, disk_bytes=64 << 20)
"""Of these four fit into the node's share."""
CAPACITY = Capacity(1000, 1 << 30, 1 << 30)


@dataclasses.dataclass
class DirectWorld:
    """A network with one node key and one payer with credits; everything else is up to the test.

    operator: who lists the node and is paid, the node itself where a test does not say otherwise.
    """

    rpc: RpcClient
    deployment: Deployment
    ledger: EthereumLedger
    node: PrivateKey
    payer: PrivateKey
    root: Path

    @asynccontextmanager
    async def serving(
        self,
        *,
        delegation: SignedDelegation | None = None,
        operator: PrivateKey | None = None,
        devices: Devices = (),
        silence_s: float = SILENCE_S,
        claims: bool = False,
        **changes: object,
    ) -> AsyncIterator[FoundNode]:
        """Run the node, registered, and look at it as a publisher does; `changes` are of its settings.

        It claims where `claims` says so: waiting for that takes most of a test's time.
        """
        settings = DirectSettings(**{"payers": frozenset({self.payer.address}), **changes})  # type: ignore[arg-type]
        certificate = server_certificate(self.root / "tls", ["127.0.0.1"])
        share = Share(CAPACITY, devices)
        key = HeadKey(self.root / "node", self.node.address, delegation, self.node)
        node = DirectNode(
            self.root / "node", settings, node_spec(), share, key, self.ledger, certificate, silence_s, claims
        )
        async with node.serving("127.0.0.1", 0) as at:
            listing = Listing(f"https://127.0.0.1:{at.port}", certificate.spki_sha256)
            registry = NetworkRegistry(self.rpc, self.deployment)
            await registry.list_key(operator or self.node, EntryKind.NODE, self.node, listing)
            yield await self.find()

    async def find(self) -> FoundNode:
        """Look the node up on chain and ask it for its terms."""
        found, _ = await find_nodes(self.rpc, self.deployment)
        return by_key(found, self.node.address)

    def publisher(
        self, node: FoundNode, directory: str = "publisher", payer: PrivateKey | None = None
    ) -> DirectPublisher:
        """Return a publisher whose channels are in a directory of that name."""
        return DirectPublisher(self.root / directory, self.ledger, payer or self.payer, node)

    async def rich(self, units: int = 10**10) -> PrivateKey:
        """Return a new key with credits, and coin for gas."""
        key = PrivateKey.generate()
        await self.ledger.pay_gas(FAUCET, key.address, ETHER)
        if units:
            await self.ledger.mint(FAUCET, key.address, units)
        return key


def node_spec() -> NodeSpec:
    """Return what the node says of itself."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return NodeSpec(
        node=NodeId("n1"), name="node", organisation="lab", python=python, platform="linux-x86_64", rates=RATES,
        capacity=CAPACITY, labels=(),
    )  # fmt: skip


@asynccontextmanager
async def direct_world(url: str, root: Path) -> AsyncIterator[DirectWorld]:
    """Put a new network on a chain of which `FAUCET` has coins."""
    async with RpcClient(url) as rpc:
        deployment = await deploy(rpc, FAUCET, DeploymentPlan("ef" * 16, FAUCET.address, close_window_s=3600))
        ledger = EthereumLedger(rpc, deployment)
        world = DirectWorld(rpc, deployment, ledger, PrivateKey.generate(), PrivateKey.generate(), root)
        world.node, world.payer = await world.rich(0), await world.rich()
        yield world


async def say_to_node(node: FoundNode, *requests: compute_pb2.TaskRequest) -> list[compute_pb2.TaskReply]:
    """Make one call with these messages and nothing else; returns all that the node answers.

    Raises:
        FarlaneError: what it refuses with.
    """
    async with compute_stub(node.entry) as stub:
        call = stub.ExecuteTask(timeout=60)
        remember_end(call)
        try:
            for request in requests:
                await call.write(request)
            return [reply async for reply in call]
        except grpc.aio.AioRpcError as error:
            raise await final_error(call, error, "calling the node") from error
        finally:
            call.cancel()

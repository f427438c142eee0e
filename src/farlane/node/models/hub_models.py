"""The hub as a source of models: what a version is, and its blocks over the node's own channel, NAT or not."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Final

import grpc

from farlane.errors import ConnectionLost, FarlaneError, NotFound, Unavailable
from farlane.kit.backoff import Backoff
from farlane.models.cid import Cid
from farlane.models.transfer.carrier import Keep
from farlane.node.replicas.port import HubChannel
from farlane.node.replicas.stream import NodeProof
from farlane.wire.block_stream import BlockStream
from farlane.wire.status import from_rpc_error
from farlane.wire.v1 import models_pb2, models_pb2_grpc

log = logging.getLogger(__name__)
ASK_S: Final = 30.0
WAIT_S: Final = 5.0
"""How long a block waits for a hub that is away, before it is asked of somebody else."""
TRIES: Final = 8
BACKOFF: Final = Backoff(first_s=0.2, cap_s=10.0)


def proof_message(proof: NodeProof) -> models_pb2.NodeProof:
    """Return who the node is as it travels."""
    return models_pb2.NodeProof(node=proof.node, secret=proof.secret)


async def describe(hub: HubChannel, proof: NodeProof, version: Cid) -> models_pb2.VersionDescription:
    """Ask the hub what a version is, again and again while it is away.

    Raises:
        NotFound: there is no such version, or it is not for this node.
        Unavailable: the hub does not come back.
    """
    request = models_pb2.DescribeVersionRequest(reference=version.text, node=proof_message(proof))
    delays = BACKOFF.delays(Random())
    for _ in range(TRIES - 1):
        try:
            return await _describe_once(hub, request)
        except Unavailable as error:
            log.debug("version %s cannot be described yet: %s", version, error.message)
            await asyncio.sleep(next(delays))
    return await _describe_once(hub, request)


async def _describe_once(
    hub: HubChannel, request: models_pb2.DescribeVersionRequest
) -> models_pb2.VersionDescription:
    doing = "asking the hub for a model's version"
    stub = models_pb2_grpc.BlockServiceStub(await hub.channel())
    try:
        return await stub.DescribeVersion(request, timeout=ASK_S)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, doing) from error
    except (asyncio.CancelledError, grpc.aio.BaseError) as error:
        # A channel that closes cancels its calls under whoever awaits them.
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise ConnectionLost(f"{doing}: the connection ended") from error


class HubCarrier:
    """Implements `Carrier` over the hub's BlockService; `run` keeps its stream open.

    Args:
        hub: the way to it.
        proof: who the node is.
        version: whose blocks.
    """

    def __init__(self, hub: HubChannel, proof: NodeProof, version: Cid) -> None:
        self._hub, self._proof, self._version = hub, proof, version
        self._stream: BlockStream | None = None
        self._open, self._broken = asyncio.Event(), asyncio.Event()
        self._refused: FarlaneError | None = None
        self.received_bytes = 0

    async def run(self) -> None:
        """Open a stream when one is needed, and another when it has broken, until cancelled."""
        while True:
            channel = await self._hub.channel()
            self._broken.clear()
            async with BlockStream(channel, self._version.text, proof_message(self._proof)) as stream:
                self._stream = stream
                self._open.set()
                await self._broken.wait()
                self._open.clear()
                self._stream = None
            await asyncio.sleep(BACKOFF.first_s)

    async def fetch(self, cid: Cid, keep: Keep) -> int:
        """Bring a block; see `Carrier`."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._open.wait()
        except TimeoutError as error:
            raise Unavailable("the hub is away: blocks come from it again when it is back") from error
        stream = self._stream
        if stream is None:
            raise Unavailable("the hub has just gone away")
        try:
            data = await stream.fetch(cid.bytes)
        except NotFound:
            raise
        except FarlaneError:
            if stream is self._stream:
                self._broken.set()
            raise
        self.received_bytes += len(data)
        await asyncio.to_thread(keep, data)
        return len(data)

    async def fetch_patiently(self, cid: Cid, keep: Keep) -> int:
        """Bring a block, again and again while the hub is away; raises as `fetch`."""
        delays = BACKOFF.delays(Random())
        for _ in range(TRIES - 1):
            try:
                return await self.fetch(cid, keep)
            except Unavailable as error:
                log.debug("block %s cannot be fetched yet: %s", cid, error.message)
                await asyncio.sleep(next(delays))
        return await self.fetch(cid, keep)

    async def close(self) -> None:
        """Nothing more: the stream is `run`'s."""

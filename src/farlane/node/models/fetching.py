"""Fetching a version to a node's shelf: described by the hub, its blocks from here, from peers and from the hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farlane.errors import Corrupted
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.models.cid import Cid, verify_block
from farlane.models.manifest.codec import decode
from farlane.models.manifest.signature import Recover, Signature, check_signature
from farlane.models.manifest.values import MAX_MANIFEST_BYTES, Manifest
from farlane.models.transfer.bitmap import Flags
from farlane.models.transfer.carrier import Carrier
from farlane.models.transfer.download import Download, KeepBlock, Progress
from farlane.node.models.peer_sources import PeerSources
from farlane.node.models.swarm_member import SwarmMember
from farlane.wire.v1 import models_pb2

log = logging.getLogger(__name__)
LOG_S: Final = 10.0
"""How often the log says how far a fetch is."""


def read_description(
    description: models_pb2.VersionDescription, version: Cid, recover: Recover
) -> tuple[Manifest, bytes]:
    """Return the manifest of a version and its bytes, checked against its CID and its publisher's signature.

    Raises:
        Corrupted: it is another one.
        InvalidSignature: who signed it is not who it names.
    """
    raw = description.manifest
    if len(raw) > MAX_MANIFEST_BYTES:
        raise Corrupted(f"the hub sends {len(raw)} bytes as the manifest of {version}: none is as long")
    verify_block(version, raw)
    manifest = decode(raw, version)
    stated = description.version.signature if description.version.HasField("signature") else None
    signature = Signature(stated.signer, stated.signature) if stated is not None else None
    check_signature(manifest, version, signature, recover)
    return manifest, raw


@dataclass(frozen=True, slots=True)
class Wanted:
    """Blocks to fetch: their CIDs, (blocks,) bytes of each, and who takes them."""

    cids: Sequence[Cid]
    sizes: NDArray[np.int64]
    keep: KeepBlock


class Fetching:
    """What is missing of some blocks on its way; made before the node joins the swarm, so that it hears the first news.

    Args:
        root: of the version or delta, for the log.
        wanted: the blocks.
        have: (blocks,) which are here.
        origin: brings what the hub grants.
        member: in the swarm; not running yet.
        clock: for rates and deadlines.
    """

    def __init__(
        self, root: Cid, wanted: Wanted, have: Flags, origin: Carrier, member: SwarmMember, clock: Clock
    ) -> None:
        self._root, self._member = root, member
        blocks = len(wanted.cids)
        self._download = Download(
            wanted.cids, wanted.sizes, have, wanted.keep, clock=clock,
            start=Random().randrange(max(1, blocks)), on_got=member.got, on_lacking=member.lacks,
        )  # fmt: skip
        self._sources = PeerSources(self._download, origin, blocks)
        member.download, member.listener = self._download, self._sources

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._download.progress

    async def run(self) -> None:
        """Fetch until every block is here.

        Raises:
            DiskFull: no room; what came is kept.
            DeadlineExceeded: nothing comes any more.
            FarlaneError: the hub wants this node in the swarm no more.
        """
        try:
            async with TaskSupervisor("fetch of a model") as tasks:
                tasks.start(self._tell(), "progress")
                await self._until_done()
            self._member.download = None
        finally:
            self._member.listener = None
            await self._sources.close()

    async def _until_done(self) -> None:
        running = asyncio.ensure_future(self._download.run())
        refused = self._member.refused
        either: list[asyncio.Future[Any]] = [running, refused]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if refused.done() and not running.done():
                raise refused.result()
            await running
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(LOG_S)
            log.info("%s: %s", self._root, told(self.progress))


def told(progress: Progress) -> str:
    """Return how far a fetch is, for the log."""
    return (
        f"{progress.done_bytes} of {progress.total_bytes} bytes are here: {progress.from_peers} came from other nodes, "
        f"{progress.from_origin} from the hub"
    )

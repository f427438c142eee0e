"""Files by their DAGs, from several sources at once: inner nodes first, then leaves, each into its place on disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from farlane.errors import Corrupted, FarlaneError, NotFound
from farlane.kit.clock import SystemClock
from farlane.models.blocks.port import BlockSource, BlockStore, FileAssembly
from farlane.models.cid import Cid, Octets
from farlane.models.ipfs.carrier import SourceCarrier
from farlane.models.ipfs.gateway_source import GatewaySource
from farlane.models.ipfs.kubo_store import KuboStore
from farlane.models.ipfs.rpc import KuboRpc
from farlane.models.manifest.values import ModelFile
from farlane.models.transfer.download import PATIENCE_S, Download
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.transfer.plan import Plan, plan_of
from farlane.models.unixfs.file_dag import FileDag

NODE_STREAMS: Final = 8
"""Inner nodes asked for at once."""

Tell = Callable[[str, int], None]
"""(path of a file that grows, bytes of this batch that are here)."""


@dataclass(slots=True)
class Sources:
    """Who is asked.

    first: for single blocks, takes the next of several by itself; each: by name, for many blocks at once; patience_s:
    how long nothing may come; banned: who sent wrong bytes when many were asked for.
    """

    first: BlockSource
    each: Callable[[], Mapping[str, BlockSource]]
    patience_s: float = PATIENCE_S
    banned: list[str] = field(default_factory=list)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Who sent wrong bytes."""
        liars = self.first.liars if isinstance(self.first, GatewaySource) else ()
        return tuple(dict.fromkeys((*liars, *self.banned)))


def gateways(urls: Sequence[str], *, patience_s: float = PATIENCE_S) -> Sources:
    """Return trustless gateways as sources.

    Raises:
        InvalidInput: no URL, too many, or one that is none.
    """
    source = GatewaySource(urls)
    return Sources(source, source.one_by_one, patience_s)


def kubo(rpc: KuboRpc, *, patience_s: float = PATIENCE_S) -> Sources:
    """Return a running kubo, which asks its own peers for what it does not have, as the source."""
    source = KuboStore(rpc, network=True)
    return Sources(source, lambda: {rpc.place: source}, patience_s)


class FileFetch:
    """Fetches some files of a version into a store.

    Args:
        blocks: where they go.
        sources: who is asked.
        tell: hears of progress.
    """

    def __init__(self, blocks: BlockStore, sources: Sources, tell: Tell) -> None:
        self._blocks, self._sources, self._tell = blocks, sources, tell
        self._wanted: list[tuple[ModelFile, list[FileDag]]] = []
        self._present = 0

    def outline(self, files: Sequence[ModelFile]) -> dict[bytes, FileDag]:
        """Learn how files are cut, for which their inner nodes are fetched; return each plain DAG by its SHA-256.

        Raises:
            NotFound, Unavailable: nobody gives an inner node.
            Corrupted, TooLarge: the nodes make up no such file.
        """
        plain: dict[bytes, FileDag] = {}
        with ThreadPoolExecutor(NODE_STREAMS, thread_name_prefix="inner nodes") as threads:
            for one in files:
                dags = [
                    self._outlined(threads, root, one.size) for root in dict.fromkeys((one.cid, one.ipfs_cid))
                ]
                plain[one.sha256] = dags[-1]
                if self._is_here(one):
                    self._present += one.size
                else:
                    self._wanted.append((one, dags))
        return plain

    def run(self) -> int:
        """Fetch what is missing of the files and make them visible; return how many bytes came.

        Raises:
            DeadlineExceeded: nothing came for too long; what came is kept.
            Corrupted: a file is not what its manifest says.
            Conflict: somebody else fetches one of the files at this moment.
            DiskFull: no room.
        """
        if not self._wanted:
            self._tell("", self._present)
            return 0
        with contextlib.ExitStack() as stack:
            assemblies: list[FileAssembly] = []
            for one, dags in self._wanted:
                assembly = self._blocks.begin_file(dags, one.sha256.hex())
                stack.callback(assembly.close)
                assembly.copy_local()
                assemblies.append(assembly)
            fetched = asyncio.run(self._download(plan_of([dags[0] for _, dags in self._wanted]), assemblies))
            for assembly in assemblies:
                assembly.commit()
        return fetched

    async def _download(self, plan: Plan, assemblies: Sequence[FileAssembly]) -> int:
        def keep(index: int, data: Octets) -> None:
            for place in plan.places[index]:
                assemblies[place.file].write(place.leaf, data)

        def got(index: int) -> None:
            path = self._wanted[plan.places[index][0].file][0].path
            self._tell(path, self._present + download.progress.done_bytes)

        def lacking(indices: Sequence[int]) -> None:
            if not gone.done() and (
                error := self._hopeless(carriers, download, [plan.cids[at] for at in indices])
            ):
                gone.set_exception(error)

        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        have = plan.present([assembly.missing() for assembly in assemblies])
        download = Download(
            plan.cids, plan.sizes, have, keep,
            clock=SystemClock(), on_got=got, on_lacking=lacking, patience_s=self._sources.patience_s,
        )  # fmt: skip
        carriers = {name: SourceCarrier(source, name) for name, source in self._sources.each().items()}
        try:
            for name, carrier in carriers.items():
                download.add_source(name, carrier, np.ones(len(plan.cids), np.bool_))
            await _first_of(download.run(), gone)
        finally:
            self._sources.banned += download.progress.banned
            for carrier in carriers.values():
                await carrier.close()
        return download.progress.from_peers

    def _hopeless(
        self, carriers: Mapping[str, SourceCarrier], download: Download, wanted: Sequence[Cid]
    ) -> FarlaneError | None:
        """Return why blocks will not come however long one waits, None where they still may."""
        banned = set(download.progress.banned)
        left = [carrier for name, carrier in carriers.items() if name not in banned]
        if not left:
            return Corrupted(
                f"all that was asked sent wrong bytes ({', '.join(sorted(carriers))}): name another source"
            )
        for cid in wanted:
            if all(cid in carrier.missing for carrier in left):
                return NotFound(
                    f"block {cid} is missing everywhere that was asked: name another source. What came is kept",
                    cid=cid.text,
                )
        return None

    def _outlined(self, threads: ThreadPoolExecutor, root: Cid, size_bytes: int) -> FileDag:
        while isinstance(found := outline(root, size_bytes, self._local), Lacking):
            blocks = threads.map(self._sources.first.get, found.nodes)
            self._blocks.put_many(zip(found.nodes, blocks, strict=True))
        return found

    def _local(self, cid: Cid) -> bytes | None:
        return self._blocks.get(cid) if self._blocks.has(cid) else None

    def _is_here(self, file: ModelFile) -> bool:
        try:
            roots = self._blocks.file(file.sha256.hex()).roots
        except NotFound:
            return False
        return {file.cid.digest, file.ipfs_cid.digest} <= {root.digest for root in roots}


async def _first_of(work: Coroutine[None, None, None], gone: asyncio.Future[None]) -> None:
    """Do the work, or stop it when `gone` says that it is in vain."""
    task = asyncio.create_task(work, name="download")
    await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        gone.cancel()
        await task
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await gone

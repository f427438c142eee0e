"""Blocks inside a running kubo, read and written over its RPC API.

A kubo keeps no whole files that a runtime could map, so this is the part of the port that deals with blocks: to run a
model, its blocks are copied into a store on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from farlane.errors import Corrupted, DeadlineExceeded, InvalidInput, NotFound, TooLarge
from farlane.models.blocks import car
from farlane.models.blocks.port import Location
from farlane.models.cid import DAG_CBOR, DAG_PB, RAW, Cid, Octets, parse_cid, verify_block
from farlane.models.ipfs.rpc import MAX_BLOCK_BYTES, KuboRpc

_CODECS: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor"}


class KuboStore:
    """The blocks of one kubo; every block that comes out of it is verified. May be used from any thread.

    Blocks put here are not pinned: `pin` their root, or the kubo's garbage collection takes them.

    Args:
        rpc: the kubo.
        network: ask the kubo's peers, too, for blocks that it does not have; by default nothing but its own store.
    """

    def __init__(self, rpc: KuboRpc, *, network: bool = False) -> None:
        self._rpc = rpc
        self._network = network

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is in the kubo's own store."""
        return self._rpc.block_size(cid.text) is not None

    def size(self, cid: Cid) -> int:
        """Return a block's size in bytes.

        Raises:
            NotFound: it is not in the kubo's own store.
        """
        size = self._rpc.block_size(cid.text)
        if size is None:
            raise NotFound(f"block {cid} is not in the kubo at {self._rpc.place}", cid=cid.text)
        return size

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified.

        Raises:
            NotFound: it is not there.
            Corrupted: the kubo gave other bytes.
            DeadlineExceeded: its peers were asked, and none has come with it.
        """
        try:
            data = self._rpc.block(cid.text, offline=not self._network)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"the kubo at {self._rpc.place} has not come by block {cid}: is anybody online who has it? "
                f"({error.message})",
                cid=cid.text,
            ) from error
        verify_block(cid, data)
        return data

    def locate(self, cid: Cid) -> Location | None:
        """Return None: only `get` can give a kubo's blocks.

        Raises:
            NotFound: it is not in the kubo's own store.
        """
        self.size(cid)
        return None

    def put(self, cid: Cid, data: Octets) -> None:
        """Keep a block, unpinned.

        Raises:
            Corrupted: the bytes are not the block's, or the kubo took it for another.
            TooLarge: it exceeds what bitswap carries.
        """
        block = self._checked(cid, data)
        kept = parse_cid(self._rpc.put_block(block, _CODECS[cid.codec]))
        if kept.digest != cid.digest:
            raise Corrupted(f"the kubo at {self._rpc.place} kept block {cid} as {kept}", cid=cid.text)

    def put_many(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep many blocks with one call, unpinned.

        Raises:
            Corrupted, TooLarge: as `put`; blocks before the one at fault may be kept.
        """
        self.put_dag(blocks, ())

    def put_dag(self, blocks: Iterable[tuple[Cid, Octets]], roots: Sequence[Cid]) -> None:
        """Keep many blocks with one call and pin `roots` with everything below them.

        Args:
            blocks: each verified before it is sent.
            roots: all of their blocks are among `blocks` or in the kubo already.

        Raises:
            Corrupted, TooLarge: as `put`; blocks before the one at fault may be kept, nothing is pinned.
            NotFound: a block below a root is missing; nothing of that root is pinned.
        """
        pieces = car.pieces(roots, ((cid, self._checked(cid, data)) for cid, data in blocks))
        self._rpc.import_car(pieces)
        for root in roots:
            self._rpc.pin(root.text)

    def iterate(self) -> Iterator[Cid]:
        """Yield a raw CID for each block with SHA-256 in the kubo's store, whoever put it there."""
        for text in self._rpc.local_blocks():
            if (cid := _ours(text)) is not None:
                yield cid

    def delete(self, cid: Cid) -> bool:
        """Remove a block and tell whether it was there.

        Raises:
            Conflict: it is pinned, by itself or as part of something.
        """
        return self._rpc.remove_block(cid.text)

    def pin(self, root: Cid, name: str | None = None) -> None:
        """Keep a DAG, all of whose blocks are there, from the kubo's garbage collection.

        Raises:
            NotFound: a block of it is missing.
        """
        self._rpc.pin(root.text, name=name, offline=not self._network)

    def unpin(self, root: Cid) -> bool:
        """Leave a DAG to the kubo's garbage collection and tell whether it had been pinned."""
        return self._rpc.unpin(root.text)

    def _checked(self, cid: Cid, data: Octets) -> bytes:
        if memoryview(data).nbytes > MAX_BLOCK_BYTES:
            raise TooLarge(
                f"block {cid} has {memoryview(data).nbytes} bytes; other IPFS peers take at most {MAX_BLOCK_BYTES}",
                cid=cid.text,
                limit=MAX_BLOCK_BYTES,
            )
        verify_block(cid, data)
        return bytes(data)


def _ours(text: str) -> Cid | None:
    try:
        return parse_cid(text)
    except InvalidInput:
        return None  # of another hash or codec, put there by somebody else

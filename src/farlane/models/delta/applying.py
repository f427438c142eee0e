"""Applying a delta: pieces rebuilt from bases and payload, and every block checked before anybody sees it.

What cannot be rebuilt, for whatever reason, is no error but a gap: its blocks are fetched like those of any model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from farlane.errors import Corrupted, FarlaneError, InvalidInput
from farlane.models.blocks.port import FileAssembly
from farlane.models.cid import Cid, verify_block
from farlane.models.delta import format as wire
from farlane.models.delta import pieces
from farlane.models.delta.format import Delta, FileRef, Instruction, TargetRef
from farlane.models.delta.ordered_work import default_threads, in_order
from farlane.models.delta.pieces import PIECE_BYTES, Operation
from farlane.models.unixfs.file_dag import Leaves

log = logging.getLogger(__name__)


class DeltaBlocks(Protocol):
    """Where the blocks of a delta come from: any store, or a client that fetches them."""

    def get(self, cid: Cid) -> bytes:
        """Return a block; it is checked here."""
        ...


class Readable(Protocol):
    """A base: any file of the right size."""

    def read(self, offset: int, length: int) -> bytearray:
        """Return exactly `length` bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The next bytes of a target, or None where they cannot be made."""

    length: int
    data: memoryview | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it.

    Attributes:
        blocks: how many blocks of the target were rebuilt, right and written.
        size_bytes: their size.
        missing: how many blocks of the target are still to be fetched.
    """

    blocks: int
    size_bytes: int
    missing: int


def read_delta(cid: Cid, blocks: DeltaBlocks) -> Delta:
    """Return the root of a delta.

    Raises:
        Corrupted: it is none.
        NotFound: the source does not have it.
        UnsupportedVersion: a newer farlane wrote it.
    """
    return wire.decode_delta(_block(cid, blocks))


def apply_delta(
    target: TargetRef,
    delta: Delta,
    bases: Mapping[Cid, Readable],
    blocks: DeltaBlocks,
    assembly: FileAssembly,
    *,
    threads: int | None = None,
) -> Applied:
    """Rebuild a target and write every block that is right and not there yet.

    Args:
        target: one of the delta's.
        delta: its root.
        bases: the base files that are here, by CID; pieces that need another are missing.
        blocks: has the delta's other blocks.
        assembly: of the target's DAG, which comes from its manifest and not from the delta; it checks every block.
        threads: how many pieces are rebuilt at once; None for the number of cores.

    Raises:
        InvalidInput: the assembly is of a file of another size, or its blocks are not plain bytes (CIDv0).
        DiskFull: a block cannot be written.
    """
    leaves = assembly.leaves
    if leaves.size_bytes != target.file.size_bytes or leaves.wrapped:
        raise InvalidInput(
            f"the delta makes {target.file.size_bytes} bytes in plain blocks, the file to assemble has "
            f"{leaves.size_bytes} and {'wrapped' if leaves.wrapped else 'plain'} blocks: it is for another file"
        )
    wanted = set(assembly.missing())
    written = written_bytes = 0
    for index, data in _by_leaf(rebuild(target, delta, bases, blocks, threads=threads), leaves):
        if data is None or index not in wanted:
            continue
        try:
            assembly.write(index, data)
        except Corrupted as error:
            log.debug("block %d was rebuilt wrongly: %s", index, error)
            continue
        written, written_bytes = written + 1, written_bytes + len(data)
    missing = len(wanted) - written
    if missing:
        log.info("delta for %s: %d of %d blocks must be fetched", target.file.cid.text, missing, len(leaves))
    return Applied(written, written_bytes, missing)


def rebuild(
    target: TargetRef,
    delta: Delta,
    bases: Mapping[Cid, Readable],
    blocks: DeltaBlocks,
    *,
    threads: int | None = None,
) -> Iterator[Rebuilt]:
    """Yield a target from its first to its last byte, unchecked, with gaps where it cannot be rebuilt."""
    work = _Rebuilding(delta.bases, bases)
    yield from in_order(work.rebuild, _pieces(target, delta, blocks), threads or default_threads())


class _Piece(NamedTuple):
    """A piece to make; without an instruction it is a gap."""

    length: int
    instruction: Instruction | None
    payload: tuple[memoryview, ...]


class _Rebuilding:
    """Makes pieces; called by several threads."""

    def __init__(self, references: Sequence[FileRef], bases: Mapping[Cid, Readable]) -> None:
        self._bases = [bases.get(reference.cid) for reference in references]

    def rebuild(self, piece: _Piece) -> Rebuilt:
        if piece.instruction is None:
            return Rebuilt(piece.length, None)
        try:
            return Rebuilt(piece.length, self._made(piece.instruction, piece.payload))
        except (FarlaneError, OSError) as error:
            log.debug("a piece of %d bytes cannot be rebuilt: %s", piece.length, error)
            return Rebuilt(piece.length, None)

    def _made(self, one: Instruction, payload: Sequence[memoryview]) -> memoryview:
        basis = None
        if one.operation in pieces.BASED:
            base = self._bases[one.base]
            if base is None:
                raise Corrupted("the base is not here; fetch the blocks instead")
            basis = base.read(one.offset, one.base_length)
        data = pieces.decode(one.operation, one.element, one.length, payload, basis)
        if len(data) != one.length:
            raise Corrupted(f"a piece has {len(data)} bytes, not {one.length}; fetch the blocks instead")
        return data


def _pieces(target: TargetRef, delta: Delta, blocks: DeltaBlocks) -> Iterator[_Piece]:
    """Yield the pieces of a target; whatever is wrong with a part leaves a gap of the length that it makes."""
    for reference in target.parts:
        try:
            part = wire.decode_part(_block(reference.cid, blocks), reference.makes_bytes, delta.bases)
        except (FarlaneError, OSError) as error:
            log.info("a part of a delta is of no use: %s", error)
            yield from _gaps(reference.makes_bytes)
            continue
        payload = _Payload(part.payload, blocks)
        for one in part.instructions:
            if one.operation is Operation.COPY:
                yield from _copies(one)
            else:
                data = payload.take(one.sizes)
                yield _Piece(one.length, one, data) if data is not None else _Piece(one.length, None, ())


class _Payload:
    """The payload of a part, block after block."""

    def __init__(self, cids: Sequence[Cid], blocks: DeltaBlocks) -> None:
        self._cids = iter(cids)
        self._blocks = blocks
        self._rest = memoryview(b"")
        self._broken = False

    def take(self, sizes: Sequence[int]) -> tuple[memoryview, ...] | None:
        """Return the next parts of these sizes; None from the first block on that cannot be had."""
        wanted = sum(sizes)
        have: list[memoryview] = [self._rest]
        size = len(self._rest)
        try:
            while not self._broken and size < wanted:
                have.append(memoryview(_block(next(self._cids), self._blocks)))
                size += len(have[-1])
        except (FarlaneError, OSError, StopIteration) as error:
            log.info("the payload of a delta is incomplete: %s", error)
            self._broken = True
        if self._broken:
            return None
        data = have[0] if len(have) == 1 else memoryview(b"".join(have))
        self._rest = data[wanted:]
        cut, at = [], 0
        for part in sizes:
            cut.append(data[at : at + part])
            at += part
        return tuple(cut)


def _copies(one: Instruction) -> Iterator[_Piece]:
    for start in range(0, one.length, PIECE_BYTES):
        length = min(PIECE_BYTES, one.length - start)
        copy = Instruction(one.operation, one.element, length, one.base, one.offset + start, length, ())
        yield _Piece(length, copy, ())


def _gaps(length: int) -> Iterator[_Piece]:
    for start in range(0, length, PIECE_BYTES):
        yield _Piece(min(PIECE_BYTES, length - start), None, ())


def _by_leaf(rebuilt: Iterable[Rebuilt], leaves: Leaves) -> Iterator[tuple[int, memoryview | None]]:
    """Yield each leaf's index with its bytes, None if any of them is missing."""
    source = iter(rebuilt)
    current = Rebuilt(0, memoryview(b""))
    used = 0
    for index, length in enumerate(leaves.lengths.tolist()):
        need = length
        parts: list[memoryview] = []
        whole = True
        while need:
            if used == current.length:
                current, used = next(source), 0
            step = min(need, current.length - used)
            if current.data is None:
                whole = False
            else:
                parts.append(current.data[used : used + step])
            used, need = used + step, need - step
        if not whole:
            yield index, None
        else:
            yield index, parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _block(cid: Cid, blocks: DeltaBlocks) -> bytes:
    data = blocks.get(cid)
    verify_block(cid, data)
    return data

"""Making a delta: the pieces of each target against their best place in a base, coded on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from farlane.errors import InvalidInput
from farlane.models.cid import DAG_CBOR, RAW, Cid, block_cid, parse_cid
from farlane.models.delta import format as wire
from farlane.models.delta import pieces
from farlane.models.delta.alignment import Place, Stretch, pieces_of
from farlane.models.delta.format import Delta, FileRef, Instruction, Part, PartRef, TargetRef
from farlane.models.delta.ordered_work import default_threads, in_order
from farlane.models.delta.pieces import Coded, Operation
from farlane.models.delta.spans import SpannedFile

_PART_PIECES = 4096
_PART_PAYLOAD_BYTES = 64 << 20
_SAMPLE_BYTES = 64 << 10
_SAMPLED_BYTES = 512 << 10


class BlockSink(Protocol):
    """Where the blocks of a delta go."""

    def put(self, cid: Cid, data: bytes) -> None:
        """Keep a block under its CID."""
        ...


@dataclass(frozen=True, slots=True)
class MadeDelta:
    """A finished delta.

    Attributes:
        cid: of its root.
        size_bytes: of all its blocks: what a receiver loads.
        target_bytes: of the files it makes.
        copied_bytes: how much of them is in the bases already.
    """

    cid: Cid
    delta: Delta
    size_bytes: int
    target_bytes: int
    copied_bytes: int


def make_delta(
    bases: Sequence[SpannedFile],
    targets: Sequence[SpannedFile],
    sink: BlockSink,
    *,
    threads: int | None = None,
    on_coded: Callable[[int], None] | None = None,
) -> MadeDelta:
    """Make the delta that turns bases into targets; without bases it is a compressed copy.

    Args:
        bases: what every receiver is expected to have; each with its CID.
        targets: what is to be made; each with its CID.
        sink: takes the blocks; the root comes last.
        threads: how many pieces are coded at once; None for the number of cores.
        on_coded: called with the number of bytes of the targets that are done since the last call.

    Raises:
        InvalidInput: a file has no CID.
        Corrupted: a file became shorter meanwhile.
    """
    builder = _Builder(sink, on_coded)
    made = tuple(
        TargetRef(_reference(target), tuple(_parts(builder, bases, target, threads or default_threads())))
        for target in targets
    )
    delta = Delta(tuple(map(_reference, bases)), made)
    cid = builder.put(wire.encode_delta(delta), DAG_CBOR)
    return MadeDelta(
        cid, delta, builder.size_bytes, sum(target.size_bytes for target in targets), builder.copied_bytes
    )


def estimate_delta(
    bases: Sequence[SpannedFile], targets: Sequence[SpannedFile], *, threads: int | None = None
) -> int:
    """Return about how many bytes a delta would have, from a sample of each piece: is it worth making?"""
    estimated = 0
    for target in targets:
        sizes = in_order(
            lambda stretch, target=target: _estimate(bases, target, stretch),  # type: ignore[misc]
            pieces_of(target.spans, bases),
            threads or default_threads(),
        )
        estimated += sum(sizes)
    return estimated


class _Builder:
    """Writes blocks and counts them."""

    def __init__(self, sink: BlockSink, on_coded: Callable[[int], None] | None) -> None:
        self._sink = sink
        self.coded = on_coded or _untold
        self.size_bytes = 0
        self.copied_bytes = 0

    def put(self, data: bytes, codec: int) -> Cid:
        cid = block_cid(codec, data)
        self._sink.put(cid, data)
        self.size_bytes += len(data)
        return cid


class _PartBuilder:
    """One part under way: its payload leaves in whole blocks, so that little of it is ever in memory."""

    def __init__(self, builder: _Builder) -> None:
        self._builder = builder
        self._instructions: list[Instruction] = []
        self._payload: list[Cid] = []
        self._rest = bytearray()

    @property
    def full(self) -> bool:
        size = len(self._payload) * wire.PAYLOAD_BLOCK_BYTES
        return len(self._instructions) >= _PART_PIECES or size >= _PART_PAYLOAD_BYTES

    def add(self, instruction: Instruction, payload: Sequence[bytes]) -> None:
        last = self._instructions[-1] if self._instructions else None
        if last and _continues(last, instruction):
            length = last.length + instruction.length
            self._instructions[-1] = replace(last, length=length, base_length=length)
        else:
            self._instructions.append(instruction)
        for data in payload:
            self._rest += data
        while len(self._rest) >= wire.PAYLOAD_BLOCK_BYTES:
            self._flush(wire.PAYLOAD_BLOCK_BYTES)

    def finish(self) -> PartRef:
        if self._rest:
            self._flush(len(self._rest))
        part = Part(tuple(self._instructions), tuple(self._payload))
        makes = sum(one.length for one in self._instructions)
        return PartRef(self._builder.put(wire.encode_part(part), DAG_CBOR), makes)

    def _flush(self, size: int) -> None:
        self._payload.append(self._builder.put(bytes(self._rest[:size]), RAW))
        del self._rest[:size]


def _parts(
    builder: _Builder, bases: Sequence[SpannedFile], target: SpannedFile, threads: int
) -> Iterator[PartRef]:
    coded = in_order(lambda stretch: _encode(bases, target, stretch), pieces_of(target.spans, bases), threads)
    part: _PartBuilder | None = None
    for instruction, payload in coded:
        part = part or _PartBuilder(builder)
        part.add(instruction, payload)
        if instruction.operation is Operation.COPY:
            builder.copied_bytes += instruction.length
        builder.coded(instruction.length)
        if part.full:
            yield part.finish()
            part = None
    if part:
        yield part.finish()


def _encode(
    bases: Sequence[SpannedFile], target: SpannedFile, stretch: Stretch
) -> tuple[Instruction, tuple[bytes, ...]]:
    data = target.read(stretch.offset, stretch.length)
    place, basis = _best_place(bases, stretch, data)
    coded: Coded = pieces.encode(stretch.element, data, basis)
    if coded.operation not in pieces.BASED or place is None:
        place = Place(0, 0, 0)
    instruction = Instruction(
        coded.operation,
        stretch.element,
        stretch.length,
        place.base,
        place.offset,
        place.length,
        tuple(map(len, coded.payload)),
    )
    return instruction, coded.payload


def _estimate(bases: Sequence[SpannedFile], target: SpannedFile, stretch: Stretch) -> int:
    estimated = 0
    for start in range(0, stretch.length, _SAMPLED_BYTES):
        length = min(_SAMPLED_BYTES, stretch.length - start)
        sample = _sample(stretch, start, length)
        data = target.read(sample.offset, sample.length)
        _, basis = _best_place(bases, sample, data)
        estimated += pieces.estimate(sample.element, data, basis) * length // sample.length
    return estimated


def _sample(stretch: Stretch, start: int, length: int) -> Stretch:
    """Return the first bytes of a part of a stretch, with the places that correspond to them."""
    length = min(length, _SAMPLE_BYTES)
    places = tuple(
        Place(place.base, place.offset + start, length) if place.length == stretch.length else place
        for place in stretch.places
    )
    return Stretch(stretch.offset + start, length, stretch.element, places)


def _best_place(
    bases: Sequence[SpannedFile], stretch: Stretch, data: bytearray
) -> tuple[Place | None, bytearray | None]:
    choices = [(place, bases[place.base].read(place.offset, place.length)) for place in stretch.places]
    if not choices:
        return None, None
    if len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda choice: pieces.estimate(stretch.element, data, choice[1]))


def _continues(last: Instruction, following: Instruction) -> bool:
    """Tell whether two copies are one."""
    return (
        last.operation is Operation.COPY
        and following.operation is Operation.COPY
        and last.element == following.element
        and last.base == following.base
        and last.offset + last.length == following.offset
    )


def _untold(count: int) -> None:
    """Tell nobody."""


def _reference(file: SpannedFile) -> FileRef:
    if not file.cid:
        raise InvalidInput(f"{file.path} has no CID: a delta names its files by their CIDs")
    return FileRef(parse_cid(file.cid), file.size_bytes)

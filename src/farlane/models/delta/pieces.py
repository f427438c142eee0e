"""One piece of a target: which way of coding it is shortest, the coded bytes, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from farlane.errors import Corrupted
from farlane.models.delta import elements, planes
from farlane.models.delta.elements import Element, Words
from farlane.models.delta.grouping import Groups

PIECE_BYTES = 4 << 20
"""What is coded at once: large enough for good statistics, small enough to hold several in memory."""
MAX_PIECE_BYTES = 8 << 20
"""The largest piece a receiver opens."""
_SAMPLE_ELEMENTS = 32 << 10


class Operation(IntEnum):
    """How a piece is made; the numbers are part of the format."""

    COPY = 0
    """Bytes of a base as they are."""
    STORED = 1
    """Bytes of the payload, as they are or as one zstd frame."""
    PLANES = 2
    """Byte planes without a base."""
    XOR = 3
    """Byte planes of target XOR base."""
    DIFFERENCE = 4
    """Byte planes of the numerical difference, for floats in the order of the base's exponents."""
    DICTIONARY = 5
    """One zstd frame that refers to bytes of a base."""


BASED = frozenset({Operation.COPY, Operation.XOR, Operation.DIFFERENCE, Operation.DICTIONARY})
"""Operations that read a base."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded piece: the operation and its payload, one part for each plane or just one."""

    operation: Operation
    payload: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the payload."""
        return sum(map(len, self.payload))


def encode(element: Element, target: bytearray, basis: bytearray | None) -> Coded:
    """Code a piece against the bytes of a base that correspond to it, or None where there are none.

    Args:
        element: type of the elements; its width divides the length.
        target: 1 to MAX_PIECE_BYTES.
        basis: as many bytes, or any number up to MAX_PIECE_BYTES as an example of what may repeat.
    """
    if basis is not None and target == basis:
        return Coded(Operation.COPY, ())
    ways = _ways(element, target, basis)
    if len(ways) == 1:
        chosen = ways[0]
    else:
        sample, sample_basis = _sample(element, target, basis)
        chosen = min(ways, key=lambda way: _code(way, element, sample, sample_basis).size_bytes)
    coded = _code(chosen, element, target, basis)
    if coded.size_bytes < len(target) or chosen is Operation.STORED:
        return coded
    return _code(Operation.STORED, element, target, None)


def estimate(element: Element, target: bytearray, basis: bytearray | None) -> int:
    """Return about how many bytes a piece takes when it is coded, from a sample of it."""
    if basis is not None and target == basis:
        return 0
    sample, sample_basis = _sample(element, target, basis)
    smallest = min(
        _code(way, element, sample, sample_basis).size_bytes for way in _ways(element, target, basis)
    )
    return smallest * len(target) // max(len(sample), 1)


def decode(
    operation: Operation,
    element: Element,
    length: int,
    payload: Sequence[memoryview],
    basis: bytearray | None,
) -> memoryview:
    """Return the `length` bytes of a coded piece.

    Raises:
        Corrupted: if the payload is not one of such a piece.
    """
    if operation is Operation.COPY and basis is not None and not payload:
        return memoryview(basis)
    if operation in (Operation.STORED, Operation.DICTIONARY):
        return _open_bytes(length, payload, basis)
    count = length // element.width_bytes
    words = planes.unpack(element, count, payload)
    if operation is Operation.PLANES:
        return _bytes(elements.rotate_sign_first(element, words) if element.is_float else words)
    if basis is None or len(basis) != length:
        raise Corrupted(f"a piece of {length} bytes has no base of that length; fetch the blocks instead")
    base = np.frombuffer(basis, dtype=element.words)
    if operation is Operation.XOR:
        return _bytes(words ^ base)
    if element.is_float:
        words = Groups(elements.exponents(element, base)).scatter(words)
    return _bytes(elements.add_difference(element, words, base))


def _ways(element: Element, target: bytearray, basis: bytearray | None) -> list[Operation]:
    alone = [Operation.PLANES] if element.is_float else [Operation.STORED]
    if element.width_bytes > 1 and not element.is_float:
        alone.append(Operation.PLANES)
    if basis is None:
        return alone
    if len(basis) != len(target):
        return [*alone, Operation.DICTIONARY] if not element.is_float else alone
    numeric = [Operation.DIFFERENCE] if element.is_float else [Operation.XOR, Operation.DIFFERENCE]
    if element is elements.BYTES:
        numeric.append(Operation.DICTIONARY)
    return [*alone, *numeric]


def _code(operation: Operation, element: Element, target: bytearray, basis: bytearray | None) -> Coded:
    if operation is Operation.STORED or (basis is None and operation is not Operation.PLANES):
        frame = planes.compress_bytes(target, level=1 if element.width_bytes > 1 else 3)
        return Coded(Operation.STORED, (frame if len(frame) < len(target) else bytes(target),))
    if operation is Operation.DICTIONARY:
        return Coded(operation, (planes.compress_bytes(target, dictionary=basis),))
    words = np.frombuffer(target, dtype=element.words)
    if operation is Operation.PLANES:
        turned = elements.rotate_sign_last(element, words) if element.is_float else words
        return Coded(operation, tuple(planes.pack(element, turned)))
    base = np.frombuffer(basis or b"", dtype=element.words)
    return Coded(operation, tuple(planes.pack(element, _changes(operation, element, words, base))))


def _changes(operation: Operation, element: Element, words: Words, base: Words) -> Words:
    if operation is Operation.XOR:
        return words ^ base
    gaps = elements.difference(element, words, base)
    return Groups(elements.exponents(element, base)).gather(gaps) if element.is_float else gaps


def _sample(
    element: Element, target: bytearray, basis: bytearray | None
) -> tuple[bytearray, bytearray | None]:
    """Return a stretch from the middle of both; the whole base where it is only an example."""
    size = _SAMPLE_ELEMENTS * element.width_bytes
    if len(target) <= size:
        return target, basis
    start = (len(target) - size) // 2 // element.width_bytes * element.width_bytes
    cut = slice(start, start + size)
    if basis is None or len(basis) != len(target):
        return target[cut], basis
    return target[cut], basis[cut]


def _open_bytes(length: int, payload: Sequence[memoryview], basis: bytearray | None) -> memoryview:
    if len(payload) != 1:
        raise Corrupted(f"a piece has {len(payload)} parts: expected one; fetch the blocks instead")
    if basis is None and len(payload[0]) == length:
        return payload[0]
    return memoryview(planes.expand_bytes(payload[0], length, basis))


def _bytes(words: Words) -> memoryview:
    return np.ascontiguousarray(words).data.cast("B")

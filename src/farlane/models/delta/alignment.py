"""Which bytes of a base correspond to which of a target: by tensor name, by length, by likeness at the ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from farlane.models.delta.elements import BYTES, Element
from farlane.models.delta.pieces import PIECE_BYTES
from farlane.models.delta.spans import Span, SpannedFile

_EXAMPLE_MARGIN_BYTES = 1 << 20
"""How far something may have moved in a file without tensors and still be found."""
_JOINED_BYTES = 128 << 10
"""Small tensors share a piece up to this size; larger ones stay apart, so that what is equal costs nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes of a base: its number among the bases, offset and length."""

    base: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive bytes of a target of one element type, and where in the bases their like may be.

    Each place is as long as the stretch, or an example that is searched for repetitions.
    """

    offset: int
    length: int
    element: Element
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    base: int
    span: Span


def pieces_of(target: Sequence[Span], bases: Sequence[SpannedFile]) -> Iterator[Stretch]:
    """Yield the pieces of a target in order, each at most PIECE_BYTES long, with the places worth trying.

    Small neighbouring tensors that lie side by side in the base as well share a piece.
    """
    waiting: Stretch | None = None
    for stretch in _stretches(target, bases):
        for piece in _cut(stretch):
            joined = waiting and _joined(waiting, piece)
            if waiting and not joined:
                yield waiting
            waiting = joined or piece
    if waiting:
        yield waiting


def _stretches(target: Sequence[Span], bases: Sequence[SpannedFile]) -> Iterator[Stretch]:
    counterparts = _counterparts(target, bases)
    for span in target:
        found = counterparts.get(span.offset, ())
        alike = [one for one in found if one.span.element == span.element]
        if any(one.span.length != span.length for one in alike) or (found and not alike):
            yield from _unequal(span, alike or found)
        else:
            places = tuple(Place(one.base, one.span.offset, span.length) for one in alike)
            yield Stretch(span.offset, span.length, span.element, places)


def _counterparts(target: Sequence[Span], bases: Sequence[SpannedFile]) -> dict[int, tuple[_Found, ...]]:
    """Return for each target span, by its offset, the base span of its name; else the next unused of its length."""
    named: dict[tuple[str, int], _Found] = {}
    unused: dict[tuple[int, Element], list[_Found]] = defaultdict(list)
    for number, base in enumerate(bases):
        for found, place in zip(
            (_Found(number, span) for span in base.spans), _ordinals(base.spans), strict=True
        ):
            named.setdefault((found.span.name, place), found)
    wanted = {(span.name, place) for span, place in zip(target, _ordinals(target), strict=True)}
    for key, found in named.items():
        if key not in wanted:
            unused[found.span.length, found.span.element].append(found)
    counterparts: dict[int, tuple[_Found, ...]] = {}
    for span, place in zip(target, _ordinals(target), strict=True):
        if match := named.get((span.name, place)):
            counterparts[span.offset] = (match,)
        elif like := unused.get((span.length, span.element)):
            counterparts[span.offset] = (like.pop(0),)
    return counterparts


def _ordinals(spans: Sequence[Span]) -> Iterator[int]:
    """Yield how many spans of the same name came before: the gaps of a file all have one name."""
    seen: dict[str, int] = defaultdict(int)
    for span in spans:
        yield seen[span.name]
        seen[span.name] += 1


def _unequal(span: Span, found: Sequence[_Found]) -> Iterator[Stretch]:
    """Yield the pieces of a span whose counterpart is shorter or longer: rows were added or removed.

    Each piece has two places, one counted from the first row and one from the last; bytes have an example.
    """
    for start, end in _borders(span, found):
        places: list[Place] = []
        for one in found:
            if span.element == BYTES:
                places.append(_example(one, start, end - start))
                continue
            for shift in (0, one.span.length - span.length):
                place = Place(one.base, one.span.offset + start + shift, end - start)
                inside = one.span.offset <= place.offset and place.offset + place.length <= one.span.end
                if inside and one.span.element == span.element and place not in places:
                    places.append(place)
        yield Stretch(span.offset + start, end - start, span.element, tuple(places))


def _borders(span: Span, found: Sequence[_Found]) -> Iterator[tuple[int, int]]:
    """Yield the pieces of a span: a border also where its counterpart ends, or begins when counted from the end."""
    borders = {0, span.length, *range(0, span.length, PIECE_BYTES)}
    if span.element != BYTES:
        for one in found:
            borders |= {min(one.span.length, span.length), max(span.length - one.span.length, 0)}
    ordered = sorted(borders)
    yield from pairwise(ordered)


def _example(found: _Found, start: int, length: int) -> Place:
    first = max(0, min(start - _EXAMPLE_MARGIN_BYTES, found.span.length - length - 2 * _EXAMPLE_MARGIN_BYTES))
    last = min(found.span.length, max(start + length, first + length) + _EXAMPLE_MARGIN_BYTES)
    return Place(found.base, found.span.offset + first, last - first)


def _cut(stretch: Stretch) -> Iterator[Stretch]:
    for start in range(0, stretch.length, PIECE_BYTES):
        length = min(PIECE_BYTES, stretch.length - start)
        places = stretch.places
        if stretch.length > PIECE_BYTES:  # examples come in pieces already
            places = tuple(Place(place.base, place.offset + start, length) for place in places)
        yield Stretch(stretch.offset + start, length, stretch.element, places)


def _joined(one: Stretch, other: Stretch) -> Stretch | None:
    """Return two neighbours as one piece, if their places are neighbours too."""
    length = one.length + other.length
    if one.element != other.element or length > _JOINED_BYTES or len(one.places) != len(other.places):
        return None
    places = []
    for first, second in zip(one.places, other.places, strict=True):
        exact = first.length == one.length and second.length == other.length
        if not exact or first.base != second.base or second.offset != first.offset + one.length:
            return None
        places.append(Place(first.base, first.offset, length))
    return Stretch(one.offset, length, one.element, tuple(places))

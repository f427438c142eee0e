"""Alignment: pieces cover the target once, and each is compared with what corresponds to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import Corrupted, InvalidInput
from farlane.models.delta.alignment import Place, Stretch, pieces_of
from farlane.models.delta.elements import BYTES, Element, element_of
from farlane.models.delta.pieces import PIECE_BYTES
from farlane.models.delta.spans import Span, SpannedFile, covering

BF16 = element_of("BF16")
MIB = 1 << 20


class Shape:
    """Spans without a file behind them."""

    def __init__(self, *spans: Span) -> None:
        self.spans = covering(max((span.end for span in spans), default=0), spans)


def aligned(target: Shape, *bases: Shape) -> list[Stretch]:
    return list(pieces_of(target.spans, bases))  # type: ignore[arg-type]


def side_by_side(*tensors: tuple[str, int], start: int = 100, element: Element = BF16) -> Shape:
    spans = []
    for name, length in tensors:
        spans.append(Span(name, start, length, element))
        start += length
    return Shape(*spans)


def test_tensors_of_the_same_name_are_compared_wherever_they_lie() -> None:
    base, target = side_by_side(("a", 1000), ("b", 600)), side_by_side(("b", 600), ("a", 1000), start=130)
    header, *rest = aligned(target, base)
    assert (header.element, header.length, header.places) == (BYTES, 130, (Place(0, 0, 100),))
    assert rest == [
        Stretch(130, 600, BF16, (Place(0, 1100, 600),)),
        Stretch(730, 1000, BF16, (Place(0, 100, 1000),)),
    ]


def test_neighbours_in_both_files_share_a_piece() -> None:
    base, target = side_by_side(("a", 1000), ("b", 600)), side_by_side(("a", 1000), ("b", 600), start=130)
    assert aligned(target, base)[1:] == [Stretch(130, 1600, BF16, (Place(0, 100, 1600),))]


def test_a_renamed_tensor_is_compared_with_an_unused_one_of_its_length() -> None:
    base, target = side_by_side(("a", 1000), ("b", 600)), side_by_side(("a", 1000), ("model.b", 600))
    assert aligned(target, base)[-1].places == (Place(0, 100, 1600),)


def test_added_rows_leave_the_others_compared_from_both_ends() -> None:
    base, target = side_by_side(("a", 1000)), side_by_side(("a", 1200))
    first, middle, last = aligned(target, base)[1:]
    assert (first.offset, first.length, first.places) == (100, 200, (Place(0, 100, 200),))
    assert (middle.length, middle.places) == (800, (Place(0, 300, 800), Place(0, 100, 800)))
    assert (last.length, last.places) == (200, (Place(0, 900, 200),))


def test_removed_rows_too() -> None:
    base, target = side_by_side(("a", 1200)), side_by_side(("a", 1000))
    assert aligned(target, base)[1:] == [Stretch(100, 1000, BF16, (Place(0, 100, 1000), Place(0, 300, 1000)))]


def test_a_tensor_of_another_type_has_no_counterpart() -> None:
    base, target = side_by_side(("a", 1000), element=element_of("F32")), side_by_side(("a", 1000))
    assert aligned(target, base)[1:] == [Stretch(100, 1000, BF16, ())]


def test_long_tensors_come_in_pieces() -> None:
    shape = side_by_side(("a", 2 * PIECE_BYTES + 10), start=0)
    assert [(one.length, one.places) for one in aligned(shape, shape)] == [
        (PIECE_BYTES, (Place(0, 0, PIECE_BYTES),)),
        (PIECE_BYTES, (Place(0, PIECE_BYTES, PIECE_BYTES),)),
        (10, (Place(0, 2 * PIECE_BYTES, 10),)),
    ]


def test_files_without_tensors_have_an_example_around_the_same_place() -> None:
    base, target = Shape(Span("", 0, 20 * MIB)), Shape(Span("", 0, 20 * MIB + 7))
    found = aligned(target, base)
    assert found[0].places == (Place(0, 0, PIECE_BYTES + MIB),)
    assert found[1].places == (Place(0, PIECE_BYTES - MIB, PIECE_BYTES + 2 * MIB),)
    assert all(place.offset + place.length <= 20 * MIB for one in found for place in one.places)


TENSORS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(1, 3 * PIECE_BYTES // 2).map(lambda size: 2 * size)),
    max_size=6,
    unique_by=lambda tensor: tensor[0],
)


@given(TENSORS, st.lists(TENSORS, max_size=2))
def test_pieces_cover_the_target_once_and_stay_inside_the_bases(
    target: Sequence[tuple[str, int]], bases: Sequence[Sequence[tuple[str, int]]]
) -> None:
    shapes = [side_by_side(*base) for base in bases]
    wanted, at = side_by_side(*target), 0
    for piece in aligned(wanted, *shapes):
        assert piece.offset == at
        assert 0 < piece.length <= PIECE_BYTES
        at += piece.length
        for place in piece.places:
            assert 0 <= place.offset <= place.offset + place.length <= shapes[place.base].spans[-1].end
            assert piece.element == BYTES or place.length == piece.length
    assert at == (wanted.spans[-1].end if wanted.spans else 0)


def test_tensors_that_overlap_or_reach_beyond_the_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'b' at bytes 5 to 15 overlaps"):
        covering(20, [Span("a", 0, 10), Span("b", 5, 10)])
    path = tmp_path / "short"
    path.write_bytes(bytes(10))
    with pytest.raises(InvalidInput, match="end of the file at 10"):
        SpannedFile(path, [Span("a", 0, 11)])


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with SpannedFile(path) as file:
        path.write_bytes(bytes(50))
        with pytest.raises(Corrupted, match="ends at 50 bytes"):
            file.read(0, 100)

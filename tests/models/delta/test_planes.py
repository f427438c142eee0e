"""Byte planes and frames: what was packed opens again, and nothing opens to more than it says."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard

from farlane.errors import Corrupted
from farlane.models.delta import planes
from farlane.models.delta.elements import ELEMENTS, Element, element_of

F32 = element_of("F32")


@pytest.mark.parametrize("element", ELEMENTS, ids=lambda element: element.name)
def test_what_was_packed_opens_again(element: Element) -> None:
    drawn = np.random.default_rng(3).integers(0, 50, 10_000).astype(element.words)
    packed = planes.pack(element, drawn)
    assert len(packed) == element.width_bytes
    assert sum(map(len, packed)) < drawn.nbytes
    assert np.array_equal(planes.unpack(element, len(drawn), packed), drawn)


def test_planes_of_zeros_take_nothing_and_noise_is_stored_as_it_is() -> None:
    noise = np.random.default_rng(4).integers(0, 1 << 16, 5000).astype("<u4")
    assert [len(plane) for plane in planes.pack(F32, noise)] == [5000, 5000, 0, 0]


def test_another_number_of_planes_is_refused() -> None:
    with pytest.raises(Corrupted, match="3 byte planes: expected 4"):
        planes.unpack(F32, 10, [b""] * 3)


def test_a_frame_that_would_open_to_more_is_refused_before_it_is_opened() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    assert len(bomb) < 10_000
    with pytest.raises(Corrupted, match="states 67108864 bytes"):
        planes.expand_bytes(bomb, 1000)


def test_a_frame_that_does_not_state_its_size_is_refused() -> None:
    unstated = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 100)
    with pytest.raises(Corrupted, match="does not open to 300 bytes"):
        planes.expand_bytes(unstated, 300)


def test_a_frame_with_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=True)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = writer.compress(b"abc" * 100) + writer.flush()
    with pytest.raises(Corrupted, match="does not open"):
        planes.expand_bytes(frame, 300)


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "noise"])
def test_damaged_frames_are_refused(damage: str) -> None:
    frame = bytearray(planes.compress_bytes(b"some text that repeats, " * 100))
    if damage == "cut":
        del frame[-3:]
    elif damage == "flipped":
        frame[0] ^= 1
    elif damage == "longer":
        frame += b"more"
    else:
        frame = bytearray(b"\x00" * 20)
    with pytest.raises(Corrupted):
        planes.expand_bytes(frame, 2400)


def test_a_dictionary_makes_what_resembles_it_tiny() -> None:
    example = np.random.default_rng(5).bytes(300_000)
    changed = example[:1000] + b"new" + example[1000:]
    frame = planes.compress_bytes(changed, dictionary=example)
    assert len(frame) < 2000
    assert planes.expand_bytes(frame, len(changed), example) == changed

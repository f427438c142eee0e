"""Bit patterns: differences that lead back whatever the patterns, and that are small where values are close."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.models.delta.elements import (
    BYTES,
    ELEMENTS,
    Element,
    add_difference,
    difference,
    element_of,
    exponents,
    number_of,
    rotate_sign_first,
    rotate_sign_last,
)

BF16 = element_of("BF16")


def words(element: Element, data: bytes) -> np.ndarray:
    return np.frombuffer(data[: len(data) // element.width_bytes * element.width_bytes], dtype=element.words)


@given(st.sampled_from(ELEMENTS), st.binary(min_size=16, max_size=64), st.data())
def test_every_pattern_has_a_way_back(element: Element, target: bytes, data: st.DataObject) -> None:
    basis = data.draw(st.binary(min_size=len(target), max_size=len(target)))
    one, other = words(element, target), words(element, basis)
    assert np.array_equal(add_difference(element, difference(element, one, other), other), one)
    assert np.array_equal(rotate_sign_first(element, rotate_sign_last(element, one)), one)


@pytest.mark.parametrize(("value", "close"), [(1.0, -1.0), (2.0**-126, 0.0), (0.5, 0.498046875)])
def test_neighbours_differ_by_little_across_powers_of_two(value: float, close: float) -> None:
    one, other = (np.array([number], dtype=ml_dtypes.bfloat16).view("<u2") for number in (value, close))
    below = np.array([one[0] - 1], dtype="<u2")
    assert difference(BF16, one, below)[0] == 2  # +1, folded
    assert difference(BF16, below, one)[0] == 1  # -1, folded
    assert difference(BF16, one, one)[0] == 0
    assert difference(BF16, one, other)[0] > 0


def test_zero_lies_between_the_smallest_numbers_of_both_signs() -> None:
    zero, smallest, negative = (np.array([bits], dtype="<u2") for bits in (0, 1, 0x8001))
    assert difference(BF16, smallest, zero)[0] == 2
    assert difference(BF16, negative, zero)[0] in (1, 3)  # minus zero lies between


def test_exponents_are_those_of_the_values() -> None:
    values = np.array([1.0, 1.5, 2.0, -2.0, 0.0], dtype=np.float32)
    assert exponents(element_of("F32"), values.view("<u4")).tolist() == [127, 127, 128, 128, 0]
    assert exponents(element_of("F64"), values.astype(np.float64).view("<u8")).dtype == np.uint16


def test_types_are_known_by_their_names_and_numbers_are_fixed() -> None:
    assert element_of("Q4_K") is BYTES
    assert element_of("bf16") is BF16
    assert [element.name for element in ELEMENTS] == [
        "bytes", "word16", "word32", "word64", "bf16", "f16", "f32", "f64", "f8_e4m3", "f8_e5m2",
    ]  # fmt: skip
    assert [number_of(element) for element in ELEMENTS] == list(range(10))

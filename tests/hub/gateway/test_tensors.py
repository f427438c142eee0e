"""Tensors of strangers: every length, shape and number is checked before anything is made of it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.inference import Datatype, Tensor
from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.hub.gateway.tensors import (
    MAX_ELEMENTS,
    element_count,
    listed_tensor,
    listed_values,
    pack_values,
    raw_tensor,
)


def packed(*texts: bytes) -> bytes:
    """Return the bytes of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(one)) + one for one in texts)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((-1,), InvalidInput), ((2, -3), InvalidInput), ((1,) * 33, InvalidInput),
        ((1 << 62, 1 << 62), TooLarge), ((0, 1 << 62), TooLarge), ((1 << 16, 1 << 16), TooLarge),
    ],
)  # fmt: skip
def test_shapes_that_no_request_can_have(shape: tuple[int, ...], kind: type[FarlaneError]) -> None:
    with pytest.raises(kind):
        element_count("x", shape)


def test_names_have_some_characters() -> None:
    for name in ("", "x" * 257):
        with pytest.raises(InvalidInput, match="name"):
            element_count(name, (1,))


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        (Datatype.FP32, (3,), b"\0" * 11),
        (Datatype.FP32, (3,), b"\0" * 16),
        (Datatype.BOOL, (2,), b"\1\2"),
        (Datatype.BF16, (2,), b"\0"),
        (Datatype.BYTES, (2,), packed(b"a")),
        (Datatype.BYTES, (1,), packed(b"a", b"b")),
        (Datatype.BYTES, (1,), b"\xff\xff\xff\xffa"),
        (Datatype.BYTES, (1,), b"\1\0\0"),
        (Datatype.BYTES, (0,), b"\0\0\0\0"),
    ],
)  # fmt: skip
def test_bytes_that_are_not_what_the_shape_says(
    datatype: Datatype, shape: tuple[int, ...], data: bytes
) -> None:
    with pytest.raises(InvalidInput):
        raw_tensor("x", datatype, shape, data)


def test_texts_may_be_empty_and_of_any_bytes() -> None:
    data = packed(b"", b"\xff\0")
    assert raw_tensor("x", Datatype.BYTES, (2, 1), data) == Tensor("x", Datatype.BYTES, (2, 1), data)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        (Datatype.INT8, [128]), (Datatype.UINT8, [-1]), (Datatype.INT64, [1 << 63]), (Datatype.FP16, [1e6]),
        (Datatype.FP32, [1e39]), (Datatype.FP64, [10**400]), (Datatype.INT32, [1.5]), (Datatype.INT32, [True]),
        (Datatype.FP32, ["1"]), (Datatype.BOOL, [1]), (Datatype.BYTES, [1]), (Datatype.BF16, [1.0]),
        (Datatype.FP32, [None]),
        (Datatype.FP32, [{}]),
    ],
)  # fmt: skip
def test_values_beyond_their_datatype(datatype: Datatype, values: list[object]) -> None:
    with pytest.raises(InvalidInput):
        listed_tensor("x", datatype, (1,), values)


def test_values_may_nest_as_the_shape_does_or_lie_flat() -> None:
    nested = listed_tensor("x", Datatype.INT16, (2, 2), [[1, 2], [3, 4]])
    assert nested == listed_tensor("x", Datatype.INT16, (2, 2), [1, 2, 3, 4])
    assert nested.data == struct.pack("<4h", 1, 2, 3, 4)
    deep: list[object] = [1]
    for _ in range(40):
        deep = [deep]
    wrong: list[list[object]] = [[[1, 2], 3, 4], [1, 2, 3], [[1, 2], [3, 4], [5]], [[], []], deep]
    for values in wrong:
        with pytest.raises(InvalidInput):
            listed_tensor("x", Datatype.INT16, (2, 2), values)


def test_what_json_cannot_carry_is_said_rather_than_bent() -> None:
    nan = Tensor("y", Datatype.FP32, (1,), struct.pack("<f", float("nan")))
    for tensor in (
        nan,
        Tensor("y", Datatype.BF16, (1,), b"\0\0"),
        Tensor("y", Datatype.BYTES, (1,), packed(b"\xff")),
    ):
        with pytest.raises(InvalidInput, match="binary_data"):
            listed_values(tensor)


@given(st.sampled_from([Datatype.INT8, Datatype.UINT32, Datatype.INT64]), st.lists(st.integers(0, 127)))
def test_numbers_come_back(datatype: Datatype, values: list[int]) -> None:
    tensor = listed_tensor("x", datatype, (len(values),), values)
    assert listed_values(tensor) == values
    assert raw_tensor("x", datatype, (len(values),), tensor.data) == tensor


@given(st.lists(st.text()))
def test_texts_come_back(values: list[str]) -> None:
    data = pack_values("x", Datatype.BYTES, values)
    assert listed_values(raw_tensor("x", Datatype.BYTES, (len(values),), data)) == values


@given(st.binary(max_size=64), st.integers(0, 8))
def test_no_bytes_break_the_reader_of_texts(data: bytes, count: int) -> None:
    try:
        found = raw_tensor("x", Datatype.BYTES, (count,), data)
    except InvalidInput:
        return
    assert len(found.data) == len(data) <= MAX_ELEMENTS

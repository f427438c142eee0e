"""Pieces: each way of coding leads back, and the shortest is taken."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import Corrupted
from farlane.models.delta.elements import BYTES, ELEMENTS, Element, element_of
from farlane.models.delta.pieces import Operation, decode, encode, estimate
from farlane.testing.tensor_files import moved, weights


def back(coded_for: Element, target: bytearray, basis: bytearray | None) -> Operation:
    coded = encode(coded_for, target, basis)
    payload = [memoryview(part) for part in coded.payload]
    used = basis if coded.operation not in (Operation.STORED, Operation.PLANES) else None
    assert bytes(decode(coded.operation, coded_for, len(target), payload, used)) == bytes(target)
    assert coded.size_bytes <= len(target)
    return coded.operation


@given(st.sampled_from(ELEMENTS), st.binary(max_size=200), st.binary(max_size=400), st.booleans())
def test_whatever_the_bytes_they_come_back(element: Element, one: bytes, other: bytes, based: bool) -> None:
    target = bytearray((one * 8)[: len(one) // 8 * 8 + 8] or bytes(8))
    basis = bytearray((other or b"x") * len(target))[: len(target)]
    back(element, target, basis if based else None)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_fine_tuned_weights_are_differences(dtype: type) -> None:
    base = weights(600, dtype=dtype)
    target, basis = bytearray(moved(base).tobytes()), bytearray(base.tobytes())
    element = element_of({"bfloat16": "BF16", "float16": "F16"}.get(str(base.dtype), "F32"))
    assert back(element, target, basis) is Operation.DIFFERENCE
    coded = encode(element, target, basis).size_bytes
    alone = encode(element, target, None).size_bytes
    assert coded < 0.85 * alone
    assert abs(estimate(element, target, basis) - coded) < 0.1 * coded


def test_a_difference_of_bfloat16_is_a_quarter_smaller_than_its_xor() -> None:
    base = weights(2000)
    target = moved(base)
    element = element_of("BF16")
    coded = encode(element, bytearray(target.tobytes()), bytearray(base.tobytes())).size_bytes
    xor = target.view(np.uint16) ^ base.view(np.uint16)
    from farlane.models.delta.planes import pack

    assert coded < 0.8 * sum(map(len, pack(element, xor)))


def test_the_same_bytes_are_a_copy_and_new_ones_ignore_the_base() -> None:
    base, fresh = bytearray(weights(600).tobytes()), bytearray(weights(600, seed=9).tobytes())
    assert back(element_of("BF16"), base, bytearray(base)) is Operation.COPY
    assert back(element_of("BF16"), fresh, base) is Operation.PLANES
    assert encode(element_of("BF16"), fresh, base).size_bytes < 0.7 * len(fresh)


def test_noise_is_stored_and_quantised_blocks_are_compared_byte_by_byte() -> None:
    noise = bytearray(np.random.default_rng(1).bytes(100_000))
    assert back(BYTES, noise, None) is Operation.STORED
    changed = bytearray(noise)
    for place in range(0, len(changed), 50):
        changed[place] ^= 3
    assert back(BYTES, changed, noise) in (Operation.XOR, Operation.DIFFERENCE)
    assert encode(BYTES, changed, noise).size_bytes < 0.1 * len(noise)


def test_text_with_something_inserted_refers_to_the_old_text() -> None:
    old = bytearray(np.random.default_rng(2).bytes(50_000).hex().encode())
    new = old[:1000] + b"inserted" + old[1000:]
    assert back(BYTES, new, old) is Operation.DICTIONARY
    assert encode(BYTES, new, old).size_bytes < 500


@pytest.mark.parametrize(
    ("operation", "parts", "basis"),
    [
        (Operation.XOR, [b"", b""], None),
        (Operation.DIFFERENCE, [b"", b""], bytearray(6)),
        (Operation.PLANES, [b""], None),
        (Operation.STORED, [], None),
        (Operation.STORED, [b"no frame"], None),
        (Operation.DICTIONARY, [b"no frame"], bytearray(8)),
        (Operation.COPY, [], None),
    ],
)
def test_pieces_that_do_not_fit_are_refused(
    operation: Operation, parts: list[bytes], basis: bytearray | None
) -> None:
    with pytest.raises(Corrupted):
        decode(operation, element_of("BF16"), 16, [memoryview(part) for part in parts], basis)

"""Groups: the order is that of one stable sort, however many stretches it is made from."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.models.delta.grouping import Groups


@pytest.mark.parametrize("count", [0, 1, 1000, (1 << 16), (1 << 16) + 1, 200_000])
@pytest.mark.parametrize(
    ("kinds", "dtype"), [(1, np.uint8), (20, np.uint8), (256, np.uint8), (2047, np.uint16)]
)
def test_the_order_is_that_of_a_stable_sort(count: int, kinds: int, dtype: type) -> None:
    generator = np.random.default_rng(count + kinds)
    keys = generator.integers(0, kinds, count).astype(dtype)
    values = np.arange(count, dtype=np.uint32)
    groups = Groups(keys)
    grouped = groups.gather(values)
    assert np.array_equal(grouped, np.argsort(keys, kind="stable"))
    assert np.array_equal(groups.scatter(grouped), values)

"""A stable order of elements by a small key, made from sorted stretches that fit into a core's cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from farlane.models.delta.elements import Words

_STRETCH = 1 << 16
"""Elements sorted at once: sorting 2^21 at once takes four times as long, and the order is the same."""


class Groups:
    """Elements of one key together, smaller keys first, otherwise in their old order.

    Args:
        keys: (elements,) uint8 or uint16.
    """

    def __init__(self, keys: npt.NDArray[Any]) -> None:
        self._orders: list[npt.NDArray[np.intp]] = []
        counts = []
        kinds = int(keys.max()) + 1 if len(keys) else 1
        for start in range(0, len(keys), _STRETCH):
            stretch = keys[start : start + _STRETCH]
            self._orders.append(np.argsort(stretch, kind="stable"))  # by radix, in linear time
            counts.append(np.bincount(stretch, minlength=kinds))
        self._runs = _runs(np.array(counts, dtype=np.int64).reshape(-1, kinds))

    def gather(self, words: Words) -> Words:
        """Return (elements,) words in the order of the groups."""
        grouped = np.empty_like(words)
        for number, order in enumerate(self._orders):
            start = number * _STRETCH
            ordered = words[start : start + _STRETCH][order]
            for at, place, count in self._runs[number]:
                grouped[place : place + count] = ordered[at : at + count]
        return grouped

    def scatter(self, grouped: Words) -> Words:
        """Undo `gather`."""
        words = np.empty_like(grouped)
        for number, order in enumerate(self._orders):
            ordered = np.empty(len(order), dtype=grouped.dtype)
            for at, place, count in self._runs[number]:
                ordered[at : at + count] = grouped[place : place + count]
            start = number * _STRETCH
            words[start : start + len(order)][order] = ordered
        return words


def _runs(counts: npt.NDArray[np.int64]) -> list[list[tuple[int, int, int]]]:
    """Return for each stretch its runs of one key: (place in the stretch, place among all, length).

    Args:
        counts: (stretches, keys), how often each key comes in each stretch.
    """
    before_keys = np.concatenate(([0], np.cumsum(counts.sum(axis=0))[:-1]))
    places = before_keys + np.cumsum(counts, axis=0) - counts
    starts = np.cumsum(counts, axis=1) - counts
    return [
        [
            (int(starts[stretch, key]), int(places[stretch, key]), int(counts[stretch, key]))
            for key in np.flatnonzero(counts[stretch])
        ]
        for stretch in range(len(counts))
    ]

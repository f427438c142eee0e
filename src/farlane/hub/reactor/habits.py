"""What the hub has seen of run times, by kind of task, by who publishes them and by how long they may take.

Kept in memory alone: after a restart the profiles' means, which are stored, stand for what is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np

from farlane.domain.jobs import JobSpec
from farlane.scheduler import habits

MOST = 1 << 16
"""Habits that are kept; beyond it the one that was longest of no use is forgotten."""
Key = tuple[str, str | int]


class RunHabits:
    """Habits by what they are of."""

    def __init__(self) -> None:
        self._rows: OrderedDict[Key, int] = OrderedDict()
        self._table = np.zeros((64, 3))

    def __len__(self) -> int:
        return len(self._rows)

    def learn(self, spec: JobSpec, run_s: float) -> None:
        """Take in how long tasks of a job took that ended well together; they count as one run."""
        for key in keys_of(spec):
            row = self._row(key)  # may grow the table
            habits.fold(self._table, row, run_s)

    def of(self, key: Key) -> tuple[float, float, float] | None:
        """Return how many runs were seen, and log10 of usual and quick seconds; None where none was."""
        row = self._rows.get(key)
        if row is None:
            return None
        return (
            float(self._table[row, habits.SEEN]),
            habits.usual(self._table, row),
            habits.quick(self._table, row),
        )

    def _row(self, key: Key) -> int:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
            return row
        if len(self._rows) >= MOST:
            _, row = self._rows.popitem(last=False)
        else:
            row = len(self._rows)
        if row >= len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._table[row] = 0.0
        self._rows[key] = row
        return row


def keys_of(spec: JobSpec) -> Iterable[Key]:
    """Return which habits a job's runs show: its profile's, its publisher's, and that of its time limit."""
    if spec.profile:
        yield "profile", spec.profile
    yield "owner", spec.publisher
    yield "asked", spec.timeout_ms

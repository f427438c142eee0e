"""What replicas have served, by attempt: counted at the hub's end of their streams, and stated in their leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from farlane.domain.ids import TaskId, task_id
from farlane.domain.jobs import JobSpec
from farlane.domain.records import LeasesMetered
from farlane.domain.served import Served
from farlane.hub.books.leaves import Bookable
from farlane.hub.reactor.state import Lease
from farlane.hub.store.port import Store
from farlane.ledger.leaf import unpack
from farlane.ledger.leaf_maker import model_digest
from farlane.ledger.statement import Statement, pack_statement, unpack_statement

LastStated = Callable[[TaskId, int], Served]
"""Returns what the newest leaf of an attempt states, nothing where there is none."""


class ServedCounts:
    """Sums over each attempt of a replica from its first request to its end.

    Args:
        last_stated: asked once for each attempt: a hub that starts anew goes on from there.
    """

    def __init__(self, last_stated: LastStated = lambda task, attempt: Served()) -> None:
        self._last_stated = last_stated
        self._sums: dict[tuple[TaskId, int], Served] = {}

    def add(self, task: TaskId, attempt: int, served: Served) -> None:
        """Count requests of an attempt whose lease is in force."""
        key = task, attempt
        known = self._sums.get(key)
        self._sums[key] = (self._last_stated(task, attempt) if known is None else known).plus(served)

    def count(self, task: TaskId, attempt: int) -> Served:
        """Return what was counted of an attempt, nothing where it was never asked."""
        return self._sums.get((task, attempt), Served())

    def statements(self, record: Bookable, spec: JobSpec, leases: Sequence[Lease]) -> dict[int, bytes]:
        """Return the packed statement of each row of which anything was served; ended attempts are forgotten."""
        if spec.serve is None:
            return {}
        model, until_ms = model_digest(spec), int(record.at * 1000)
        stated = {}
        for row, (index, attempt, lease) in enumerate(
            zip(record.indices, record.attempts, leases, strict=True)
        ):
            key = task_id(record.job, index), attempt
            if key not in self._sums and lease.part:
                self.add(*key, Served())
            served = self._sums.get(key)
            if not isinstance(record, LeasesMetered):
                self._sums.pop(key, None)
            if served is not None:
                stated[row] = pack_statement(Statement(model, int(lease.at * 1000), until_ms, served))
        return stated


def last_stated_in(store: Store) -> LastStated:
    """Return what looks up a store's newest statements."""

    def find(task: TaskId, attempt: int) -> Served:
        for book, index in reversed(store.leaf_places(task)):
            (leaf,) = store.leaves(book, index, 1)
            if unpack(leaf).attempt == attempt:
                raw = store.statements(book, index, 1).get(index)
                return Served() if raw is None else unpack_statement(raw).served
        return Served()

    return find

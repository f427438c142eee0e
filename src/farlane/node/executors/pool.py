"""Idle workers kept warm: one is only ever given back to the same publisher, environment and devices."""

from __future__ import annotations

from collections import OrderedDict

from farlane.node.executors.worker_link import WorkerKey, WorkerLink


class IdleWorkers:
    """Workers without work, the least recently used first.

    Args:
        capacity: how many are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._workers: OrderedDict[int, WorkerLink] = OrderedDict()

    def __len__(self) -> int:
        return len(self._workers)

    def put(self, worker: WorkerLink, now_s: float) -> list[WorkerLink]:
        """Keep a worker; returns those for which there is no room any longer."""
        worker.idle_since_s = now_s
        self._workers[worker.number] = worker
        return [self.pop_oldest() for _ in range(len(self._workers) - self._capacity)]

    def take(self, key: WorkerKey) -> WorkerLink | None:
        """Return the warmest worker for a key, which is not idle any longer."""
        for worker in reversed(self._workers.values()):
            if worker.key == key:
                return self._workers.pop(worker.number)
        return None

    def discard(self, worker: WorkerLink) -> None:
        """Forget a worker that is gone."""
        self._workers.pop(worker.number, None)

    def pop_oldest(self) -> WorkerLink:
        """Take out the least recently used worker; there must be one."""
        return self._workers.popitem(last=False)[1]

    def expired(self, before_s: float) -> list[WorkerLink]:
        """Take out the workers that are idle since before a moment."""
        found = []
        while self._workers and next(iter(self._workers.values())).idle_since_s < before_s:
            found.append(self.pop_oldest())
        return found

    def oldest_s(self) -> float | None:
        """Return since when the least recently used worker is idle."""
        return next(iter(self._workers.values())).idle_since_s if self._workers else None

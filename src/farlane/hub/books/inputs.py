"""Input digests: the SHA-256 of each leased task's payload, from the moment the lease is sent until it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.records import Column
from farlane.errors import FarlaneError
from farlane.ledger.leaf import NONE
from farlane.ledger.leaf_maker import payload_digest

PickPayloads = Callable[[JobId, list[int]], Column]


class InputDigests:
    """Remembers digests of tasks that are out on a lease; after a restart it asks for the payloads again.

    Args:
        pick: returns payloads of some tasks of a job, in the order asked for.
    """

    def __init__(self, pick: PickPayloads) -> None:
        self._pick = pick
        self._known: dict[TaskId, bytes] = {}

    def note(self, tasks: Sequence[TaskId], payloads: Column) -> None:
        """Remember tasks whose payloads are about to be sent."""
        blobs = payloads.blobs
        for row, (task, inline) in enumerate(zip(tasks, payloads.inline, strict=True)):
            self._known[task] = payload_digest(inline, blobs.get(row))

    def look(self, job: JobId, indices: Sequence[int]) -> list[bytes]:
        """Return the digests of tasks whose attempts go on; NONE where a payload is lost."""
        found = self.take(job, indices)
        for index, digest in zip(indices, found, strict=True):
            if digest != NONE:
                self._known[task_id(job, index)] = digest
        return found

    def take(self, job: JobId, indices: Sequence[int]) -> list[bytes]:
        """Return the digests of tasks whose attempts have ended, and forget them; NONE where a payload is lost."""
        found = [self._known.pop(task_id(job, index), b"") for index in indices]
        missing = [row for row, digest in enumerate(found) if not digest]
        if missing:
            for row, digest in zip(missing, self._asked(job, [indices[row] for row in missing]), strict=True):
                found[row] = digest
        return found

    def _asked(self, job: JobId, indices: list[int]) -> list[bytes]:
        try:
            payloads = self._pick(job, indices)
        except FarlaneError:
            return [NONE] * len(indices)
        return [payload_digest(inline, payloads.blobs.get(row)) for row, inline in enumerate(payloads.inline)]

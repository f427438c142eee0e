"""A watch: one job's ended tasks as they arrive, each exactly once, under the client's own credits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from farlane.domain.ids import JobId
from farlane.domain.records import Column, TasksEnded
from farlane.errors import FarlaneError
from farlane.sdk.values import JobStatus, job_status_from_wire
from farlane.wire.results import tasks_ended_from_wire
from farlane.wire.v1 import client_pb2

log = logging.getLogger(__name__)


class WatchSink(Protocol):
    """Who is told; all calls come on the session's loop."""

    def on_rows(self, ended: TasksEnded) -> None:
        """Take rows that come right after those before."""

    def on_end(self, status: JobStatus) -> None:
        """Learn that the job has ended and every row was delivered."""

    def on_error(self, error: FarlaneError) -> None:
        """Learn that nothing more will come."""


class Watch:
    """The cursor and the credits of one watched job.

    Args:
        job: the job.
        cursor: result cursor already seen.
        window: rows the hub may send ahead of what was consumed.
        sink: is told.
        send: puts a message on the stream.
        drop: forgets this watch.
    """

    def __init__(
        self,
        job: JobId,
        cursor: int,
        window: int,
        sink: WatchSink,
        send: Callable[[client_pb2.ClientMessage], None],
        drop: Callable[[Watch], None],
    ) -> None:
        self.job = job
        self.cursor = cursor
        self._window = window
        self._sink = sink
        self._send = send
        self._drop = drop
        self._outstanding = 0
        self._returned = 0
        self._ended: JobStatus | None = None

    def resume(self) -> client_pb2.Watch:
        """Return the message that starts this watch on a new stream, from the last cursor seen."""
        self._returned = 0
        return client_pb2.Watch(
            job=self.job, after=self.cursor, credit=max(1, self._window - self._outstanding)
        )

    def on_results(self, message: client_pb2.Results) -> bool:
        """Take a batch; what is known already is dropped.

        Returns:
            False if rows between the last cursor and this batch are missing.
        """
        ended = tasks_ended_from_wire(message)
        if ended.seq > self.cursor:
            log.warning("results of job %d skip from cursor %d to %d", self.job, self.cursor, ended.seq)
            return False
        if ended.seq < self.cursor:
            ended = without_first(ended, self.cursor - ended.seq)
        rows = len(ended.indices)
        if rows:
            self.cursor += rows
            self._outstanding += rows
            self._sink.on_rows(ended)
        self._finish()
        return True

    def on_ended(self, message: client_pb2.JobStatus) -> None:
        """Take the job's end; it counts once every row has arrived."""
        self._ended = job_status_from_wire(message)
        self._finish()

    def consumed(self, rows: int) -> None:
        """Let the hub send as many rows more."""
        self._outstanding -= rows
        self._returned += rows
        if self._returned * 2 >= self._window:
            more = client_pb2.Credit(job=self.job, more=self._returned)
            self._returned = 0
            self._send(client_pb2.ClientMessage(credit=more))

    def failed(self, error: FarlaneError) -> None:
        """Tell the sink that nothing more will come."""
        self._drop(self)
        self._sink.on_error(error)

    def close(self) -> None:
        """Stop watching; the sink hears nothing more."""
        self._drop(self)
        self._send(client_pb2.ClientMessage(unwatch=client_pb2.Unwatch(job=self.job)))

    def _finish(self) -> None:
        ended = self._ended
        # The end may overtake rows that wait for credit.
        if ended is not None and self.cursor >= ended.done + ended.failed + ended.stopped:
            self._drop(self)
            self._sink.on_end(ended)


def without_first(ended: TasksEnded, count: int) -> TasksEnded:
    """Return a batch without its first `count` rows."""
    blobs = {row - count: ref for row, ref in ended.results.blobs.items() if row >= count}
    return TasksEnded(
        job=ended.job,
        seq=ended.seq + min(count, len(ended.indices)),
        node=ended.node,
        at=ended.at,
        indices=ended.indices[count:],
        attempts=ended.attempts[count:],
        states=ended.states[count:],
        results=Column(ended.results.inline[count:], blobs),
        failures={row - count: failure for row, failure in ended.failures.items() if row >= count},
        outputs={row - count: files for row, files in ended.outputs.items() if row >= count},
        lease_ms=ended.lease_ms[count:],
        cpu_us=ended.cpu_us[count:],
        peak_bytes=ended.peak_bytes[count:],
        amounts=ended.amounts[count:],
    )

"""The machine: one event in, the commands that follow from it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from farlane.domain.ids import JobId, TaskId
from farlane.domain.nodes import NodeSpec
from farlane.domain.resources import GpuKind
from farlane.node.machine import events, interim, leases, leaving, running
from farlane.node.machine.attempts import HeldAttempt, Phase, RunningBundle
from farlane.node.machine.backlog import ResultBatch
from farlane.node.machine.commands import Command, ReportResults
from farlane.node.machine.events import BatchAccepted, DrainExpired, DrainRequested, Event, Ticked
from farlane.node.machine.state import Limits, NodeState, new_state


class HeldColumns(NamedTuple):
    """Attempts a hello names: parallel columns, all of one epoch."""

    epoch: int
    tasks: list[TaskId]
    attempts: list[int]
    copies: list[int]


class InProgress(NamedTuple):
    """One slot in use: what it executes (the next to come, where nothing has started), on which GPUs, how long yet."""

    job: JobId
    task: TaskId
    attempt: int
    devices: tuple[int, ...]
    elapsed_ms: int


class Gauges(NamedTuple):
    """How the machine stands, for metrics. The first four count attempts; cpu_us is metered CPU so far."""

    fetching: int
    ready: int
    running: int
    unacknowledged: int
    bundles: int
    backlog_bytes: int
    cpu_us: int


class Machine:
    """A node's decisions, without its world: no clock, socket, disk or asyncio.

    Args:
        node: what this node says of itself.
        devices: its GPUs: device index and kind, as counted in `node.capacity`.
        limits: how much it takes upon itself.
    """

    def __init__(
        self, node: NodeSpec, devices: Sequence[tuple[int, GpuKind]] = (), limits: Limits | None = None
    ) -> None:
        self._state = new_state(node, devices, limits or Limits())

    def handle(self, event: Event) -> list[Command]:
        """Take one event; returns what is to be done, in order."""
        state = self._state
        out: list[Command] = []
        _HANDLERS[type(event)](state, out, event)
        running.start_ready(state, out, event.now)
        if state.connected and state.backlog.waiting:
            out.append(ReportResults())
        leaving.leave_when_done(state, out)
        return out

    def next_batch(self) -> ResultBatch | None:
        """Return the next results to send on the present stream, None when all are sent."""
        return self._state.backlog.next_batch()

    def held(self) -> HeldColumns:
        """Return every attempt this node runs or has ended without an acknowledgement."""
        rows = self._state.held.values()
        return HeldColumns(
            self._state.epoch,
            [row.task for row in rows],
            [row.attempt for row in rows],
            [row.copy for row in rows],
        )

    def attempt(self, ticket: int) -> HeldAttempt | None:
        """Return the attempt behind a ticket, None when it has ended or was dropped."""
        found = self._state.tickets.get(ticket)
        return None if found is None or found.phase is Phase.DROPPED else found

    def in_progress(self, now: float) -> list[InProgress]:
        """Return the present execution of every slot in use."""
        return [_in_progress(bundle, now) for bundle in self._state.running]

    def gauges(self) -> Gauges:
        """Count what is held."""
        state = self._state
        active = sum(bundle.left for bundle in state.running)
        unacknowledged = state.backlog.rows
        ready = state.queue.count
        fetching = sum(attempt.phase is Phase.FETCHING for attempt in state.tickets.values())
        backlog_bytes = state.backlog.size_bytes
        return Gauges(
            fetching, ready, active, unacknowledged, len(state.running), backlog_bytes, state.cpu_us
        )

    @property
    def epoch(self) -> int:
        """Return the epoch of the hub's store, 0 before the first hub."""
        return self._state.epoch

    @property
    def draining(self) -> bool:
        """Tell whether the node takes nothing new."""
        return self._state.draining

    @property
    def ended(self) -> dict[str, int]:
        """Return how many attempts ended so far, by kind: `done` or the kind of failure."""
        return dict(self._state.ended)


def _accept(state: NodeState, out: list[Command], event: BatchAccepted) -> None:
    for row in state.backlog.accept(event.batch):
        # A newer attempt of the same task may have taken its place.
        if state.held.get(row.key) is row:
            del state.held[row.key]


def _in_progress(bundle: RunningBundle, now: float) -> InProgress:
    row = bundle.current() or bundle.attempts[0]
    return InProgress(row.job.id, row.task, row.attempt, bundle.devices, bundle.elapsed_ms(now))


def _tick(state: NodeState, out: list[Command], event: Ticked) -> None:
    running.recall_stalled(state, out, event)
    interim.report_running(state, out, event.now)


def _drain(state: NodeState, out: list[Command], event: DrainRequested) -> None:
    leaving.drain(state, out, event.hand_back)


def _expire(state: NodeState, out: list[Command], event: DrainExpired) -> None:
    leaving.expire(state, out)


_HANDLERS: dict[type, Callable[[NodeState, list[Command], Any], None]] = {
    events.HubJoined: leases.join_hub,
    events.HubLost: leases.lose_hub,
    events.LeasesGranted: leases.grant,
    events.LeasesRevoked: leases.revoke,
    events.BatchAccepted: _accept,
    events.JobPrepared: leases.take_files,
    events.JobUnprepared: leases.miss_files,
    events.PayloadFetched: leases.take_payload,
    events.PayloadLost: leases.miss_payload,
    events.Executed: running.execute,
    events.Uploaded: running.store,
    events.UploadFailed: running.fail_to_store,
    events.DrainRequested: _drain,
    events.DrainExpired: _expire,
    events.CreditChanged: leases.change_credit,
    events.Ticked: _tick,
}

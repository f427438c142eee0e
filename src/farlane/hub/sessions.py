"""Sessions: the streams that are open now, and how outputs of the reactor become messages on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from farlane.domain.ids import JobId, NodeId, task_id
from farlane.domain.records import Column, TasksEnded
from farlane.errors import FarlaneError
from farlane.hub.books.feed import BookFeed
from farlane.hub.books.inputs import InputDigests
from farlane.hub.payloads import PayloadCache
from farlane.hub.reactor.commands import (
    AcceptEnded,
    Deliver,
    FinishJob,
    GrantLeases,
    Output,
    RequestDrain,
    RevokeLeases,
)
from farlane.hub.reactor.state import HubState
from farlane.hub.watches import Watch
from farlane.wire.columns import column_to_wire
from farlane.wire.jobs import job_spec_to_wire
from farlane.wire.nodes import gpu_to_wire
from farlane.wire.outbox import Outbox
from farlane.wire.v1 import node_pb2

MESSAGE_ROWS = 1024
MESSAGE_BYTES = 1 << 20
"""Caps of one column batch on a stream; a message with its envelope stays far below the 4 MiB limit."""
MOST_SERVED = 10_000
"""Jobs a node's stream remembers to have worked for."""


@dataclass(slots=True)
class NodeSession:
    """One node's open stream.

    introduced: jobs whose specification it has been sent; served: the last jobs it was given work of, ended ones
    too, since what a task prints may come after its result.
    """

    node: NodeId
    number: int
    outbox: Outbox[node_pb2.NodeCommand]
    feed: BookFeed
    introduced: set[JobId] = field(default_factory=set)
    served: dict[JobId, None] = field(default_factory=dict)

    def serve(self, job: JobId) -> None:
        """Remember that it works for a job."""
        self.served.pop(job, None)
        self.served[job] = None
        if len(self.served) > MOST_SERVED:
            del self.served[next(iter(self.served))]


class Sessions:
    """All open streams of a hub, and the one place that turns outputs into messages.

    Args:
        state: the reactor's state, for looking up, never changed here.
        payloads: where a lease's payload comes from.
        job_finished: called after a finished job's watchers were told.
        payloads_lost: called with leases that cannot be sent because their payloads cannot be read.
        inputs: remembers digests of the payloads that are sent.
    """

    def __init__(
        self,
        state: HubState,
        payloads: PayloadCache,
        job_finished: Callable[[JobId], None],
        payloads_lost: Callable[[GrantLeases, FarlaneError], None],
        inputs: InputDigests,
    ) -> None:
        self.nodes: dict[NodeId, NodeSession] = {}
        self.watches: dict[JobId, set[Watch]] = {}
        self.clients: set[Callable[[], None]] = set()
        self._state, self._payloads = state, payloads
        self._job_finished, self._payloads_lost = job_finished, payloads_lost
        self._inputs = inputs
        self.visible: dict[JobId, int] = {}

    def perform(self, output: Output) -> None:
        """Carry out one output of the reactor."""
        match output:
            case GrantLeases():
                self._grant(output)
            case Deliver():
                self._deliver(output.record)
            case AcceptEnded():
                self._accept(output)
            case RevokeLeases():
                self._revoke(output)
            case RequestDrain():
                drain = node_pb2.DrainRequest(hand_back=output.hand_back)
                self._send(output.node, node_pb2.NodeCommand(drain=drain))
            case FinishJob():
                self._finish(output.job)

    def watch(self, watch: Watch) -> None:
        """Start handing a job's records to a watch."""
        self.watches.setdefault(watch.job, set()).add(watch)

    def unwatch(self, watch: Watch) -> None:
        """Stop it."""
        watching = self.watches.get(watch.job)
        if watching is not None:
            watching.discard(watch)
            if not watching:
                del self.watches[watch.job]

    def close_all(self) -> None:
        """End every stream: their peers reconnect and say what they hold."""
        for session in self.nodes.values():
            session.outbox.close()
        for close in list(self.clients):
            close()

    def _grant(self, output: GrantLeases) -> None:
        session = self.nodes.get(output.node)
        job = self._state.jobs.get(output.job)
        if session is None or job is None:
            return
        leases = self._state.nodes[output.node].leases
        tasks = [task_id(output.job, index) for index in output.indices]
        # A lease may have been taken back while it waited for its record.
        current = [
            i for i, task in enumerate(tasks) if task in leases and leases[task].attempt == output.attempts[i]
        ]
        indices = [output.indices[i] for i in current]
        if not indices:
            return
        session.serve(output.job)
        attempts = [output.attempts[i] for i in current]
        try:
            payloads = self._payloads.pick(output.job, indices)
        except FarlaneError as error:
            self._payloads_lost(replace(output, indices=indices, attempts=attempts), error)
            return
        self._inputs.note([tasks[i] for i in current], payloads)
        for start, stop in message_cuts(payloads):
            cut = [task_id(output.job, index) for index in indices[start:stop]]
            message = node_pb2.Leases(
                epoch=self._state.epoch, job=output.job, tasks=cut, attempts=attempts[start:stop],
                copies=[0] * len(cut), payloads=column_to_wire(payloads.cut(start, stop)),
            )  # fmt: skip
            if output.gpu is not None:
                wanted = job.spec.resources.gpu
                message.gpu.CopyFrom(gpu_to_wire(output.gpu, wanted.count if wanted is not None else 0))
            if output.job not in session.introduced:
                session.introduced.add(output.job)
                message.spec.CopyFrom(job_spec_to_wire(job.spec))
            session.outbox.put(node_pb2.NodeCommand(leases=message))

    def _deliver(self, record: TasksEnded) -> None:
        self.visible[record.job] = record.seq + len(record.indices)
        for watch in self.watches.get(record.job, ()):
            watch.deliver(record)

    def _accept(self, output: AcceptEnded) -> None:
        session = self.nodes.get(output.node)
        # A node that has come back meanwhile counts its batches anew: it sends this one again if it still has it.
        if session is not None and session.number == output.session:
            accepted = node_pb2.AttemptsAccepted(batch=output.batch)
            session.outbox.put(node_pb2.NodeCommand(accepted=accepted))

    def _revoke(self, output: RevokeLeases) -> None:
        attempts = node_pb2.AttemptColumns(
            tasks=output.tasks,
            attempts=output.attempts,
            copies=[0] * len(output.tasks),
            epoch=self._state.epoch,
        )
        revoke = node_pb2.Revoke(attempts=attempts, reason=output.reason)
        self._send(output.node, node_pb2.NodeCommand(revoke=revoke))

    def _send(self, node: NodeId, command: node_pb2.NodeCommand) -> None:
        session = self.nodes.get(node)
        if session is not None:
            session.outbox.put(command)

    def _finish(self, job: JobId) -> None:
        known = self._state.jobs.get(job)
        if known is not None and not known.state.final:
            return  # it was retried while its end became durable
        self._payloads.drop(job)
        for session in self.nodes.values():
            session.introduced.discard(job)
        self._job_finished(job)


def message_cuts(column: Column) -> Iterator[tuple[int, int]]:
    """Yield row ranges that each fit one message."""
    start = size = 0
    for row, data in enumerate(column.inline):
        if row > start and (row - start >= MESSAGE_ROWS or size + len(data) > MESSAGE_BYTES):
            yield start, row
            start, size = row, 0
        size += len(data)
    if start < len(column.inline):
        yield start, len(column.inline)

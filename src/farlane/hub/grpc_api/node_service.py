"""NodeService: one stream per node, from its hello to its farewell."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc

from farlane.domain.ids import TaskId, job_of
from farlane.domain.jobs import TaskState
from farlane.errors import ConnectionLost, FarlaneError, InvalidInput
from farlane.hub.books.feed import BookFeed
from farlane.hub.hub import Hub
from farlane.hub.log_store import LogChunk
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.interim import RunningBatch
from farlane.hub.sessions import NodeSession
from farlane.kit.tasks import TaskSupervisor
from farlane.wire import limits
from farlane.wire.books import account_from_wire, credit_from_wire, head_from_wire, marks_from_wire
from farlane.wire.columns import column_from_wire
from farlane.wire.nodes import node_spec_from_wire, versions_held_from_wire
from farlane.wire.outbox import Outbox
from farlane.wire.results import below, clipped, failures_from_wire, outputs_from_wire
from farlane.wire.serving import current_identity
from farlane.wire.status import abort
from farlane.wire.stream import pump, received
from farlane.wire.tokens import secret_digest
from farlane.wire.v1 import node_pb2, node_pb2_grpc
from farlane.wire.versions import check_peer, this_version

log = logging.getLogger(__name__)
MAX_BATCH_ROWS = 4096
MIN_SECRET_BYTES = 16
MAX_RTT_S = 10.0
"""A node that claims more is not believed: queue-ahead grows with the round trip."""
MAX_LOG_BYTES = 1 << 20
MAX_REASON_CHARS = 200
HELLO_S = 15.0
"""How long a node may take to say hello."""
DOING = "serving a node"
BATCH = "a batch of ended attempts"
RUNNING = "a report of running attempts"

HubSource = Callable[[], Hub]
Requests = AsyncIterator[node_pb2.NodeMessage]
Context = grpc.aio.ServicerContext[node_pb2.NodeMessage, node_pb2.NodeCommand]


class NodeService(node_pb2_grpc.NodeServiceServicer):
    """Serves nodes' streams. `hub` returns the hub in force, which changes after a store failure."""

    def __init__(self, hub: HubSource) -> None:
        self._hub = hub

    async def Link(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request_iterator: Requests, context: Context
    ) -> None:
        """Run one node's stream."""
        try:
            await self._serve(self._hub(), request_iterator, context)
        except ConnectionLost as error:
            log.info("%s", error.message)  # nobody is left to be told
        except FarlaneError as error:
            await abort(context, error)

    async def _serve(self, hub: Hub, requests: Requests, context: Context) -> None:
        hub.engine.check()
        session = self._join(hub, await _hello(requests))
        reader = _Reader(hub, session)
        try:
            async with TaskSupervisor("node stream") as tasks:
                tasks.start(reader.run(requests), "node stream reader")
                tasks.start(session.feed.run(hub.store), "node stream books")
                await pump(session.outbox, context, iter, doing=DOING)
        finally:
            self._leave(hub, session, reader.farewell)
        if reader.error is not None:
            raise reader.error
        hub.engine.check()

    def _join(self, hub: Hub, hello: node_pb2.NodeHello) -> NodeSession:
        check_peer(hello.version)
        identity = current_identity()
        if len(hello.secret) < MIN_SECRET_BYTES:
            raise InvalidInput(
                f"the node's secret has {len(hello.secret)} bytes; expected at least {MIN_SECRET_BYTES}"
            )
        spec = replace(node_spec_from_wire(hello.spec), organisation=identity.organisation)
        held = _held(hello.held)
        account, marks = account_from_wire(hello), marks_from_wire(hello)
        digest = secret_digest(hello.secret.hex())
        previous = hub.sessions.nodes.get(spec.node)
        node = hub.engine.run(
            lambda reactor, now: reactor.join_node(now, spec, digest, hello.held.epoch, held)
        )
        if previous is not None:
            previous.outbox.close()
        outbox: Outbox[node_pb2.NodeCommand] = Outbox()
        session = NodeSession(spec.node, node.session, outbox, BookFeed(outbox, marks))
        for job in {job_of(task) for task in node.leases}:
            session.serve(job)
        hub.sessions.nodes[spec.node] = session
        settings = hub.settings
        welcome = node_pb2.NodeWelcome(
            version=this_version(), network=hub.store.network, epoch=hub.store.epoch,
            heartbeat_s=settings.heartbeat_s, lease_s=settings.lease_s, interim_s=settings.interim_s,
        )  # fmt: skip
        session.outbox.put(node_pb2.NodeCommand(welcome=welcome))
        hub.presence.note(hub.engine.now(), spec.node, online=True)
        hub.bookkeeper.introduce(session, account)
        log.info("node %s joined (%s), holding %d tasks", spec.name, spec.node, len(held))
        return session

    def _leave(self, hub: Hub, session: NodeSession, reason: str) -> None:
        if hub.sessions.nodes.get(session.node) is session:
            del hub.sessions.nodes[session.node]
            hub.presence.note(hub.engine.now(), session.node, online=False)
        if hub.engine.failure is None:
            hub.engine.run(lambda reactor, now: reactor.leave_node(now, session.node, session.number, reason))
        log.info("node %s: stream ended%s", session.node, f" ({reason})" if reason else "")


async def _hello(requests: Requests) -> node_pb2.NodeHello:
    async for message in received(requests, doing=DOING, silence_s=HELLO_S):
        if message.WhichOneof("kind") == "hello":
            return message.hello
        break
    raise InvalidInput("the first message of a node's stream must be its hello; upgrade the node")


def _held(columns: node_pb2.AttemptColumns) -> dict[TaskId, int]:
    limits.same_length("a node's hello", len(columns.tasks), attempts=len(columns.attempts))
    return dict(zip(map(TaskId, columns.tasks), columns.attempts, strict=True))


class _Reader:
    """Reads one node's messages until its stream ends. farewell: why it left, if it said so."""

    def __init__(self, hub: Hub, session: NodeSession) -> None:
        self.farewell = ""
        self.error: FarlaneError | None = None
        self._hub, self._session = hub, session

    async def run(self, requests: Requests) -> None:
        try:
            async for message in received(requests, doing=DOING):
                if self._hub.sessions.nodes.get(self._session.node) is not self._session:
                    return  # the node has opened another stream, on which it says again what still matters
                self._handle(message)
        except FarlaneError as error:
            self.error = error
        finally:
            self._session.outbox.close()

    def _handle(self, message: node_pb2.NodeMessage) -> None:
        engine, node = self._hub.engine, self._session.node
        kind = message.WhichOneof("kind")
        if kind == "ended":
            batch = _ended_batch(message.ended)
            engine.run(lambda reactor, now: reactor.end_attempts(now, node, batch))
        elif kind == "running":
            running = _running_batch(message.running)
            engine.run(lambda reactor, now: reactor.meter_attempts(now, node, running))
        elif kind == "log":
            self._keep_log(message.log)
        elif kind == "heartbeat":
            rtt_s = message.heartbeat.rtt_s
            sane = rtt_s if 0.0 <= rtt_s <= MAX_RTT_S else None
            engine.run(lambda reactor, now: reactor.hear_node(now, node, sane))
            reply = node_pb2.HeartbeatReply(sequence=message.heartbeat.sequence)
            self._session.outbox.put(node_pb2.NodeCommand(heartbeat=reply))
        elif kind == "head":
            self._hub.bookkeeper.head_signed(engine, self._session, head_from_wire(message.head))
        elif kind == "credit":
            credit = credit_from_wire(message.credit)
            engine.run(
                lambda reactor, _: reactor.set_credit(
                    node, credit.organisation, credit.reason if credit.stopped else None
                )
            )
        elif kind == "held_versions":
            versions = versions_held_from_wire(message.held_versions)
            engine.run(lambda reactor, _: reactor.set_held_versions(node, versions))
        elif kind == "draining":
            engine.run(lambda reactor, now: reactor.mark_draining(node))
        elif kind == "farewell":
            self.farewell = clipped(message.farewell.reason, MAX_REASON_CHARS) or "drained"

    def _keep_log(self, chunk: node_pb2.LogChunk) -> None:
        if len(chunk.data) > MAX_LOG_BYTES or chunk.stream not in ("stdout", "stderr"):
            raise InvalidInput(
                f"a piece of log of {len(chunk.data)} bytes from {chunk.stream[:20]!r}; expected at most "
                f"{MAX_LOG_BYTES} bytes from stdout or stderr"
            )
        task = TaskId(chunk.task)
        if job_of(task) in self._session.served:
            self._hub.logs.append(LogChunk(task, chunk.attempt, chunk.stream, chunk.data))
        else:
            self._hub.logs.dropped_bytes += len(chunk.data)


def _ended_batch(message: node_pb2.AttemptsEnded) -> EndedBatch:
    """Check and convert a node's report.

    Raises:
        InvalidInput: columns disagree in length or hold what cannot be.
        TooLarge: too many rows, or a result beyond its cap.
    """
    count = len(message.tasks)
    if count > MAX_BATCH_ROWS:
        raise limits.too_many_rows(BATCH, count, MAX_BATCH_ROWS)
    limits.same_length(
        BATCH, count, attempts=len(message.attempts), states=len(message.states),
        results=len(message.results.inline), lease_ms=len(message.lease_ms), cpu_us=len(message.cpu_us),
        peak_bytes=len(message.peak_bytes),
    )  # fmt: skip
    failures = failures_from_wire(message.failure_rows, message.failures, count)
    outputs = outputs_from_wire(message.output_rows, message.outputs, count)
    done, failed = TaskState.DONE, TaskState.FAILED
    # The state follows from the failure, so that the two can never disagree.
    states = (
        bytes(failed if row in failures else done for row in range(count))
        if failures
        else bytes([done]) * count
    )
    return EndedBatch(
        message.batch, message.epoch, message.tasks, message.attempts, states,
        column_from_wire(message.results, MAX_BATCH_ROWS), failures, outputs,
        below("lease_ms", list(message.lease_ms)), below("cpu_us", list(message.cpu_us)),
        below("peak_bytes", list(message.peak_bytes)),
    )  # fmt: skip


def _running_batch(message: node_pb2.AttemptsRunning) -> RunningBatch:
    """Check and convert what a node says of attempts that go on.

    Raises:
        InvalidInput: columns disagree in length.
        TooLarge: too many rows.
    """
    count = len(message.tasks)
    if count > MAX_BATCH_ROWS:
        raise limits.too_many_rows(RUNNING, count, MAX_BATCH_ROWS)
    limits.same_length(RUNNING, count, attempts=len(message.attempts), lease_ms=len(message.lease_ms))
    lease_ms = below("lease_ms", list(message.lease_ms))
    return RunningBatch(message.epoch, list(message.tasks), list(message.attempts), lease_ms)

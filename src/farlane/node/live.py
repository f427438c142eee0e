"""The live node: machine, executor, cache and link put together for as long as an agent serves."""

from __future__ import annotations

import logging
from random import Random

from farlane.domain.ids import task_text
from farlane.domain.nodes import NodeSpec
from farlane.kit.backoff import Backoff
from farlane.kit.clock import Clock
from farlane.kit.files import free_bytes
from farlane.kit.tasks import TaskSupervisor
from farlane.models.store_disk import DiskStore
from farlane.node.books.bookkeeping import Bookkeeping
from farlane.node.books.opening import OpenedBooks
from farlane.node.cache import BlobCache
from farlane.node.executors.environment import EnvironmentCache
from farlane.node.executors.port import Answered, Event, Executor, Output
from farlane.node.hub_blobs import HubBlobs
from farlane.node.identity import NodeIdentity
from farlane.node.link import Due, HubLink
from farlane.node.log_buffer import LogBuffer
from farlane.node.machine import events
from farlane.node.machine.backlog import ResultBatch
from farlane.node.machine.commands import ReportRunning
from farlane.node.machine.machine import InProgress, Machine
from farlane.node.machine.state import Limits
from farlane.node.messages import (
    batch_to_wire,
    hello_to_wire,
    leases_from_wire,
    revoke_from_wire,
    running_to_wire,
)
from farlane.node.metering import Reading
from farlane.node.offer import Devices, size_of
from farlane.node.preparation import JobPreparer
from farlane.node.settings import NodeSettings
from farlane.node.shell import MachineShell
from farlane.wire.nodes import versions_held_to_wire
from farlane.wire.tokens import Token
from farlane.wire.v1 import node_pb2

log = logging.getLogger(__name__)

INCOMING = "incoming"
"""Directory of blobs that are on their way."""
_LOGGED_FAILURES = 20
"""Failures of one batch that are logged one by one."""


class LiveNode:
    """Stands between link, machine, executor and books, and passes on what each has to say.

    It is their LinkOwner, Outlet and KeeperOwner.

    Args:
        settings: the node's.
        url: where the hub is.
        token: the node's join token.
        identity: who the node is.
        spec: what it says of itself.
        devices: its GPUs by index.
        executor: runs the bundles, already started.
        books: what the node's directory has of its books; closed by whoever opened them.
        tasks: owns what waits.
        clock: the machine's.
    """

    def __init__(
        self,
        settings: NodeSettings,
        url: str,
        token: Token,
        *,
        identity: NodeIdentity,
        spec: NodeSpec,
        devices: Devices,
        executor: Executor,
        books: OpenedBooks,
        tasks: TaskSupervisor,
        clock: Clock,
    ) -> None:
        cache_bytes = size_of("cache", settings.cache)
        limits = Limits(blob_bytes=cache_bytes, backlog_bytes=size_of("backlog", settings.backlog))
        self._directory, self._identity, self._spec = settings.directory, identity, spec
        self._machine = Machine(spec, devices, limits)
        self._logs = LogBuffer(size_of("log_buffer", settings.log_buffer))
        self.link = HubLink(url, token, self, self._logs, clock=clock)
        self._blobs = HubBlobs(self.link)
        self._store = DiskStore(self._directory / "blobs", max_bytes=cache_bytes)
        self._cache = BlobCache(self._store, self._blobs.fetch, self._directory / INCOMING)
        environments = EnvironmentCache(self._directory / "environments")
        preparer = JobPreparer(self._cache, environments)
        self._shell = MachineShell(
            self._machine, executor, preparer, self._cache, self._blobs, self, tasks, clock
        )
        self._books = Bookkeeping(books, spec, devices, token.spki_sha256, self, clock)
        self._tasks, self._settings = tasks, settings
        tasks.start_restarting(
            lambda: self._books.claim(settings), "claims", backoff=Backoff(1.0, 60.0), random=Random()
        )
        self._payload_bytes = self._result_bytes = 0
        self._held_versions: tuple[str, ...] = ()

    def close(self) -> None:
        """Let nothing more happen."""
        self._shell.close()
        self._books.close()

    async def claim_last(self) -> None:
        """Claim what is owed before the node leaves; bounded in time, and nothing is raised."""
        await self._books.claim_last(self._settings)

    def hold_versions(self, versions: tuple[str, ...]) -> None:
        """Say which versions of models are here whole, those used last first; on later streams, too."""
        if versions != self._held_versions:
            self._held_versions = versions
            self._tell_versions()

    def tick(self) -> None:
        """Let machine and books look at the clock."""
        self._shell.handle(events.Ticked(self._shell.now()))
        self._books.tick(self.link.heard_s)

    def drain(self) -> None:
        """Take nothing new, hand back what has not started, finish what runs, then leave."""
        self._shell.handle(events.DrainRequested(self._shell.now(), hand_back=True))

    def expire_drain(self) -> None:
        """Hand back what still runs."""
        self._shell.handle(events.DrainExpired(self._shell.now()))

    def on_events(self, reports: list[Event]) -> None:
        """Hear from the executor."""
        rest = [report for report in reports if not isinstance(report, Output | Answered)]
        if len(rest) < len(reports):
            self._take_output(reports)
        if rest:
            self._shell.handle(events.Executed(self._shell.now(), rest))

    def hello(self) -> node_pb2.NodeMessage:
        """Return the message that opens a stream."""
        keeper = self._books.keeper
        return hello_to_wire(
            self._spec, self._identity.secret, self._machine.held(), keeper.account(), keeper.marks()
        )

    def free_bytes(self) -> int:
        """Return the free space on the disk of the node's directory."""
        return free_bytes(self._directory)

    def on_joined(self, welcome: node_pb2.NodeWelcome) -> None:
        """Hear that the hub took the node in."""
        log.info("joined network %s", welcome.network, extra={"node": self._spec.node})
        # First, so that the hub hears whose work is not taken before it hears of anything handed back.
        self._books.joined(welcome, self._tasks)
        if self._held_versions:
            self._tell_versions()
        self._shell.handle(events.HubJoined(self._shell.now(), welcome.epoch, welcome.interim_s))

    def on_lost(self) -> None:
        """Hear that the stream has ended."""
        self._books.lost(self.link.heard_s)
        self._shell.handle(events.HubLost(self._shell.now()))

    def on_command(self, command: node_pb2.NodeCommand) -> None:
        """Hear a command of the hub; one that this version does not know changes nothing.

        Raises:
            InvalidInput: it makes no sense.
            TooLarge: it is beyond what a hub may send.
        """
        now = self._shell.now()
        kind = command.WhichOneof("kind")
        if kind == "leases":
            granted = leases_from_wire(command.leases, now)
            self._payload_bytes += sum(map(len, granted.payloads.inline))
            if granted.epoch == self._machine.epoch:
                self._books.granted(granted)
            self._shell.handle(granted)
        elif kind == "accepted":
            self._books.accepted(command.accepted.batch)
            self._shell.handle(events.BatchAccepted(now, command.accepted.batch))
        elif kind == "revoke":
            revoked = revoke_from_wire(command.revoke, now)
            log.info("%d leases revoked: %s", len(revoked.tasks), command.revoke.reason)
            self._books.revoked(revoked)
            self._shell.handle(revoked)
        elif kind == "drain":
            log.info("the hub asks this node to drain")
            self._shell.handle(events.DrainRequested(now, command.drain.hand_back))
        else:
            self._books.take(kind, command)

    def next_results(self) -> node_pb2.NodeMessage | None:
        """Return the next batch of results to send."""
        batch = self._machine.next_batch()
        if batch is None:
            return None
        self._result_bytes += sum(map(len, batch.rows.results.inline))
        self._books.reporting(batch)
        _log_failures(batch, self._machine.epoch)
        return batch_to_wire(batch, self._machine.epoch)

    def report_results(self) -> None:
        """Have results sent."""
        self.link.look_for(Due.RESULTS)

    def report_running(self, command: ReportRunning) -> None:
        """Say what runs on."""
        self.link.send(running_to_wire(command, self._machine.epoch))

    def announce_drain(self) -> None:
        """Say that this node takes nothing new."""
        self.link.send(node_pb2.NodeMessage(draining=node_pb2.Draining()))

    def leave(self) -> None:
        """Say farewell and go."""
        log.info("drained; leaving")
        self.link.leave("drained")

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Say something of the books to the hub."""
        self.link.send(message)

    def credit_changed(self, organisation: str, reason: str) -> None:
        """Take no more work of an organisation, or take it again."""
        self._shell.handle(events.CreditChanged(self._shell.now(), organisation, reason))

    def in_progress(self) -> list[InProgress]:
        """Return the present execution of every slot in use."""
        return self._machine.in_progress(self._shell.now())

    def reconnect(self, reason: str) -> None:
        """End the stream and open another."""
        self.link.reconnect(reason)

    def read(self) -> Reading:
        """Return all figures."""
        return Reading(
            gauges=self._machine.gauges(),
            ended=self._machine.ended,
            connected=self.link.connected,
            draining=self._machine.draining,
            streams=self.link.streams,
            rtt_s=self.link.rtt_s,
            payload_bytes=self._payload_bytes,
            result_bytes=self._result_bytes,
            fetched_bytes=self._cache.fetched_bytes,
            stored_bytes=self._blobs.stored_bytes,
            log_dropped_bytes=self._logs.dropped_bytes,
            cache_bytes=self._store.total_bytes,
            free_disk_bytes=self.free_bytes(),
            books=self._books.read(),
        )

    def _tell_versions(self) -> None:
        held = versions_held_to_wire(self._held_versions)
        self.link.send(node_pb2.NodeMessage(held_versions=held))

    def _take_output(self, reports: list[Event]) -> None:
        for report in reports:
            if not isinstance(report, Output | Answered):
                continue
            attempt = self._machine.attempt(report.ticket)
            if attempt is not None and isinstance(report, Output):
                self._logs.append(attempt.task, attempt.attempt, report.stream, report.data)
            elif attempt is not None and isinstance(report, Answered):
                self._books.answered(attempt.task, attempt.attempt, report.served)
        self.link.look_for(Due.LOGS)


def _log_failures(batch: ResultBatch, epoch: int) -> None:
    for row, failure in list(batch.rows.failures.items())[:_LOGGED_FAILURES]:
        held = batch.rows.held[row]
        lease = f"{epoch}.{held.copy}.{held.attempt}"
        extra = {"task": task_text(held.task), "lease": lease}
        log.info("attempt failed: %s: %s", failure.kind.value, failure.message, extra=extra)

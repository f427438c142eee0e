"""Bookkeeping of one node without its stream: what it says is kept, time is virtual, its file is real."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import JobSpec
from farlane.domain.records import Column
from farlane.domain.resources import GIB, Resources
from farlane.kit.clock import ManualClock
from farlane.ledger.accounts import PrivateKey
from farlane.node.books.bookkeeping import Bookkeeping
from farlane.node.books.disputes import Disputes
from farlane.node.books.opening import OpenedBooks, Rhythm
from farlane.node.books.signing import HeadKey
from farlane.node.books.store import BookStore
from farlane.node.machine.attempts import HeldAttempt, HeldJob
from farlane.node.machine.backlog import EndedColumns, ResultBatch
from farlane.node.machine.events import LeasesGranted
from farlane.node.machine.machine import InProgress
from farlane.testing.builders import RATES, a_job, a_node
from farlane.testing.scripted_book import NETWORK, a_leaf
from farlane.wire.v1 import node_pb2

JOB = JobId(3)
SPEC = a_job(resources=Resources(1000, GIB, 0), timeout_ms=10**8)
HOUR_MS = 3_600_000
KEY = PrivateKey.generate()
HUB_KEY = b"k" * 32
HEAD_S = 5.0


class KeptBooks:
    """Bookkeeping below a directory, joined to a hub.

    Args:
        directory: where the file is; the same one again is the same node after a restart.
        rhythm: when heads are signed, and the credit.
        max_bytes: room for the file.
    """

    def __init__(self, directory: Path, rhythm: Rhythm | None = None, max_bytes: int | None = None) -> None:
        self.clock = ManualClock()
        self.store = BookStore.open(directory / "books.db", max_bytes)
        self.evidence = directory / "evidence"
        stored = replace(self.store.load(), prices=(RATES,))
        key = HeadKey(directory / "keys", KEY.address, key=KEY)
        opened = OpenedBooks(self.store, stored, key, Disputes(self.evidence), rhythm or Rhythm(1000, HEAD_S))
        self.sent: list[node_pb2.NodeMessage] = []
        self.stopped: dict[str, str] = {}
        self.reconnects: list[str] = []
        self.running: list[InProgress] = []
        self.books = Bookkeeping(opened, a_node(), (), HUB_KEY, self, self.clock)
        self._batches = 0

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Keep what is said to the hub."""
        self.sent.append(message)

    def credit_changed(self, organisation: str, reason: str) -> None:
        """Keep whose work is not taken."""
        self.stopped[organisation] = reason

    def in_progress(self) -> Iterable[InProgress]:
        """Return what a test says is running."""
        return self.running

    def reconnect(self, reason: str) -> None:
        """Keep that another stream is asked for."""
        self.reconnects.append(reason)

    def join(self, network: str = NETWORK) -> None:
        """Hear that a hub of a network took the node in."""
        self.books.keeper.on_joined(network)

    def lose(self) -> None:
        """Hear that the stream ended."""
        self.books.lost(self.clock.monotonic())

    def hear(self, **command: object) -> None:
        """Hear one command of the hub: `hear(terms=...)`."""
        message = node_pb2.NodeCommand(**command)  # type: ignore[arg-type]
        self.books.take(message.WhichOneof("kind"), message)

    def work(self, *indices: int, spec: JobSpec = SPEC) -> list[bytes]:
        """Do tasks of an hour each and report them; returns the leaves an honest hub writes."""
        tasks = [task_id(JOB, index) for index in indices]
        ones, payloads = [1] * len(tasks), Column([b"in"] * len(tasks))
        self.books.granted(LeasesGranted(0.0, 1, JOB, spec, tasks, ones, ones, payloads))
        held = [HeldAttempt(1, 1, HeldJob(JOB, spec), task, 1, 0, None) for task in tasks]
        for attempt in held:
            attempt.lease_ms = HOUR_MS
        rows = EndedColumns(held, bytearray(len(held)), Column([b"out"] * len(held)))
        self._batches += 1
        self.books.reporting(ResultBatch(self._batches, rows))
        return [leaf_of(task, spec) for task in tasks]

    async def settle(self) -> None:
        """Wait until everything queued is durable, and what follows from it too."""
        for _ in range(2):
            self.store.load()  # what was queued before it is in the file, and the loop was told
            await asyncio.sleep(0)

    async def head(self) -> node_pb2.HeadSigned:
        """Let the time pass after which a head is due; return it."""
        await self.settle()
        self.clock.advance(HEAD_S)
        self.books.keeper.tick()
        await self.settle()
        return self.heads()[-1]

    def heads(self) -> list[node_pb2.HeadSigned]:
        """Return the heads that were sent."""
        return [message.head for message in self.sent if message.WhichOneof("kind") == "head"]

    def credits(self) -> list[tuple[str, bool]]:
        """Return what the hub was told of whose work is not taken."""
        told = [message.credit for message in self.sent if message.WhichOneof("kind") == "credit"]
        return [(state.organisation, state.stopped) for state in told]


def leaf_of(task: TaskId, spec: JobSpec = SPEC) -> bytes:
    """Return what an honest hub writes of a task of an hour."""
    return a_leaf(task, spec, RATES, payload=b"in", result=b"out", lease_ms=HOUR_MS)

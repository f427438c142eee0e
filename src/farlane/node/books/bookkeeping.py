"""Bookkeeping: everything the live node tells its memory and its keeper, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from farlane.domain.ids import TaskId
from farlane.domain.nodes import NodeSpec
from farlane.domain.served import Served
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.node.books.keeper import BookKeeper, KeeperOwner
from farlane.node.books.memory import Memory
from farlane.node.books.opening import OpenedBooks
from farlane.node.books.reading import BooksReading
from farlane.node.machine.backlog import ResultBatch
from farlane.node.machine.events import LeasesGranted, LeasesRevoked
from farlane.node.offer import Devices
from farlane.node.settings import NodeSettings
from farlane.wire.v1 import node_pb2

if TYPE_CHECKING:
    from farlane.node.books.claiming import BookClaims

SILENT_LEASES = 0.5
"""A hub that was not heard for this part of a lease may have taken leases back that the node still held."""


class Bookkeeping:
    """The books of a live node.

    Args:
        opened: what the node's directory has of them.
        spec: what the node says of itself.
        devices: its GPUs by index.
        hub_key: SHA-256 of the hub's TLS key.
        owner: the live node.
        clock: the machine's.
    """

    def __init__(
        self,
        opened: OpenedBooks,
        spec: NodeSpec,
        devices: Devices,
        hub_key: bytes,
        owner: KeeperOwner,
        clock: Clock,
    ) -> None:
        self._memory = Memory(spec.rates, devices)
        self.keeper = BookKeeper(
            opened, self._memory, organisation=spec.organisation, hub_key=hub_key, owner=owner, clock=clock
        )
        self._key, self._store, self._clock = opened.key, opened.store, clock
        self._claiming: BookClaims | None = None
        self._lease_s, self._silent = 0.0, False
        keeper = self.keeper
        self._take: dict[str, Callable[[Any], None]] = {
            "terms": keeper.on_terms, "leaves": keeper.on_leaves, "voucher": keeper.on_voucher,
        }  # fmt: skip

    def joined(self, welcome: node_pb2.NodeWelcome, tasks: TaskSupervisor) -> None:
        """Hear that a hub took the node in: the key is opened now, when nothing waits for it."""
        self._lease_s = welcome.lease_s
        self._memory.join(welcome.epoch)
        self.keeper.on_joined(welcome.network)
        tasks.start(self._key.unlock(), "open the node's key")

    async def claim(self, settings: NodeSettings) -> None:
        """Look at the chain, and claim what is owed, until cancelled, where the settings name a chain."""
        claims = self._claims(settings)
        if claims is not None:
            self.keeper.covered_units = claims.vouchers.covered_units
            await claims.run()

    async def claim_last(self, settings: NodeSettings) -> None:
        """Claim before the node leaves; bounded in time, and nothing is raised."""
        claims = self._claims(settings)
        if claims is not None:
            await claims.finish()

    def _claims(self, settings: NodeSettings) -> BookClaims | None:
        if settings.rpc is None or self._claiming is not None:
            return self._claiming
        # Late: a node without a chain needs none of Ethereum's libraries.
        from farlane.node.books.claiming import BookClaims

        keeper = self.keeper
        self._claiming = BookClaims(settings, self._key, keeper.shelf.books, self._store, keeper.claimed)
        return self._claiming

    def lost(self, heard_s: float) -> None:
        """Hear that the stream ended; the hub was last heard at `heard_s`, monotonic seconds."""
        self._memory.interrupt(heard_s)
        self.keeper.on_lost()

    def granted(self, event: LeasesGranted) -> None:
        """Hear of new leases."""
        self._memory.grant(
            event.now, event.job, event.spec, event.tasks, event.attempts, event.payloads, event.gpu
        )

    def revoked(self, event: LeasesRevoked) -> None:
        """Hear of leases taken back."""
        self._memory.revoke(event.now, event.tasks, event.attempts)

    def answered(self, task: TaskId, attempt: int, served: Served) -> None:
        """Hear of requests that a replica has answered."""
        self._memory.answer(task, attempt, served)

    def reporting(self, batch: ResultBatch) -> None:
        """Hear what is being reported."""
        self._memory.end(batch)

    def accepted(self, batch: int) -> None:
        """Hear that reports arrived."""
        self._memory.accept(batch)

    def take(self, kind: str | None, command: node_pb2.NodeCommand) -> None:
        """Take what the hub says of books; other commands are passed over.

        Raises:
            InvalidInput, TooLarge: it makes no sense.
        """
        taken = self._take.get(kind or "")
        if taken is not None:
            taken(getattr(command, str(kind)))

    def tick(self, heard_s: float) -> None:
        """Look at the clock; the hub was last heard at `heard_s`, monotonic seconds."""
        silent = self._lease_s > 0 and self._clock.monotonic() - heard_s > SILENT_LEASES * self._lease_s
        if silent and not self._silent:
            self._memory.interrupt(heard_s, new_stream=False)
        self._silent = silent
        self.keeper.tick()

    def read(self) -> BooksReading:
        """Return all figures."""
        return self.keeper.read()

    def close(self) -> None:
        """Let nothing more happen; what waits is made durable when the store is closed."""
        self.keeper.close()

"""The counter of direct calls: orders become work, work becomes leaves, vouchers pay for them; one payer at a time."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field

from farlane.errors import Conflict, Unavailable
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.books import Boundary
from farlane.ledger.direct_leaf import direct_leaf
from farlane.ledger.port import Ledger
from farlane.ledger.vouchers import Channel, TreeHead, sign_head
from farlane.node.books.signing import HeadKey
from farlane.node.direct.book_store import DirectBook, DirectBookStore, DoneTask
from farlane.node.direct.ordering import OrderDesk, TakenOrder
from farlane.node.direct.running import DirectRunner, Prints, RunFacts
from farlane.node.direct.share import Share
from farlane.wire.compute import TaskResult, VoucherFields, result_to_wire


@dataclass(slots=True)
class Work:
    """One order that runs: what it prints, and its end."""

    taken: TakenOrder
    prints: Prints = field(default_factory=Prints)
    end: asyncio.Future[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Counter:
    """Keeps what runs, and the books of what has run.

    Everything that decides over a payer's exposure happens under that payer's lock, so that two orders that come at
    once cannot both take the last of its credit. What runs, runs outside of it.

    Args:
        key: signs tree heads.
        desk: judges orders.
        store: the books.
        ledger: the chain.
        runner: runs tasks.
        share: what of the machine they may use.
    """

    def __init__(
        self,
        key: HeadKey,
        desk: OrderDesk,
        store: DirectBookStore,
        ledger: Ledger,
        runner: DirectRunner,
        share: Share,
    ) -> None:
        self._key, self._desk, self._store = key, desk, store
        self._ledger, self._runner, self._share = ledger, runner, share
        self._locks: defaultdict[Address, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._works: dict[tuple[bytes, int], Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def take(self, taken: TakenOrder) -> Work | bytes:
        """Take an order; returns its work, started now or before, or the result it had already.

        Raises:
            Unavailable: the node stops.
            FarlaneError: see `OrderDesk`.
        """
        found = await self._known(taken)
        if found is not None:
            return found
        # Asked before the lock is taken: a slow chain holds up nobody's results.
        state = await self._ledger.channel(taken.channel.id)
        async with self._locks[taken.channel.payer]:
            found = await self._find(taken)
            if found is not None:
                return found
            self._check_ready(taken.order.spec.timeout_ms / 1000)
            book = await asyncio.to_thread(self._store.find, taken.channel)
            others = await asyncio.to_thread(self._store.of_payer, taken.channel.payer)
            running = [
                one.taken for one in self._works.values() if one.taken.channel.payer == taken.channel.payer
            ]
            self._desk.check_order(taken, book, running, others)
            self._desk.check_funds(taken, book, running, state)
            return self._start(taken)

    async def pay(self, channel: Channel, fields: VoucherFields) -> int:
        """Take a voucher; returns how many of the channel's tasks are paid then.

        Raises:
            InvalidSignature, Conflict: see `OrderDesk.read_voucher`.
        """
        async with self._locks[channel.payer]:
            return await asyncio.to_thread(self._pay, channel, fields)

    async def finish(self, within_s: float) -> None:
        """Start nothing more, and wait a while for what runs, so that it is booked."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    async def ended(self) -> None:
        """Wait for what was running when the runner was closed."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _known(self, taken: TakenOrder) -> Work | bytes | None:
        async with self._locks[taken.channel.payer]:
            return await self._find(taken)

    async def _find(self, taken: TakenOrder) -> Work | bytes | None:
        work = self._works.get(taken.number)
        if work is not None and work.taken.task == taken.task:
            return work
        done = await asyncio.to_thread(self._store.done, *taken.number)
        if done is None and work is not None:  # another order at a place that runs
            done = DoneTask(taken.order.place, work.taken.task, b"", Boundary(0, b"", 0), None)
        return None if done is None else self._desk.check_repeat(taken, done)

    def _check_ready(self, timeout_s: float) -> None:
        """Refuse what this node may not be able to sign for at its end."""
        if self._closing:
            raise Unavailable("the node is stopping and takes no more orders: try another, or later")
        signed = self._key.delegation
        if signed is not None and signed.delegation.expires <= time.time() + timeout_s:
            raise Conflict(
                "the delegation by which this node signs ends before the task could: ask for less time, or its owner "
                "for a new delegation"
            )

    def _signing_key(self) -> PrivateKey:
        key = self._key.signing_key(time.time())
        if key is None:  # the clock was set forward while the task ran
            raise Unavailable("the node cannot sign any more: its owner must renew the delegation of its key")
        return key

    def _start(self, taken: TakenOrder) -> Work:
        gpus = self._share.take(taken.order.spec.resources, taken.tariff.gpu)
        work = self._works[taken.number] = Work(taken)
        work.end.add_done_callback(_read)
        # In a task of its own: a publisher that hangs up owes what it ordered all the same.
        task = asyncio.ensure_future(self._work(work, gpus))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return work

    async def _work(self, work: Work, gpus: tuple[int, ...]) -> None:
        taken = work.taken
        try:
            try:
                facts = await self._runner.run(taken.channel.payer, taken.order, gpus, work.prints)
            finally:
                self._share.give_back(taken.order.spec.resources, gpus)
            async with self._locks[taken.channel.payer]:
                result = await asyncio.to_thread(self._keep, taken, facts)
                del self._works[taken.number]
            work.end.set_result(result)
        except BaseException as error:
            self._works.pop(taken.number, None)
            work.end.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _keep(self, taken: TakenOrder, facts: RunFacts) -> bytes:
        """Append the leaf of a task that has run and keep its result; blocks."""
        order, book = taken.order, self._store.find(taken.channel)
        leaf = direct_leaf(
            taken.tariff, order.spec, order.payload, order.place, facts.lease_ms, facts.produced, facts.failure,
            int(time.time() * 1000),
        )  # fmt: skip
        # The siblings of a tree's last leaf are the peaks of the tree before it, nearest first.
        proof = tuple(reversed(book.frontier.peaks))
        after = book.open()
        boundary = after.append([leaf])
        tree = TreeHead(taken.channel.id, boundary.size, boundary.root)
        head = sign_head(self._ledger.domain, self._signing_key(), tree)
        result = TaskResult(
            leaf, proof, boundary.root, head.signature, boundary.size, facts.failure, facts.produced.files,
            facts.stdout, facts.stderr, facts.produced.value,
        )  # fmt: skip
        raw = result_to_wire(result).SerializeToString()
        self._store.append(book, after, DoneTask(order.place, taken.task, leaf, boundary, raw))
        return raw

    def _pay(self, channel: Channel, fields: VoucherFields) -> int:
        book = self._store.find(channel)

        def boundary_at(size: int) -> Boundary | None:
            done = self._store.at_size(channel.id, size)
            return None if done is None else done.boundary

        signed = self._desk.read_voucher(book, fields, boundary_at)
        after: DirectBook = book if signed is None else self._store.take_voucher(book, signed)
        return after.paid_tasks


def _read(end: asyncio.Future[bytes]) -> None:
    """Look at an end that nobody may wait for, so that it is no warning."""
    if not end.cancelled():
        end.exception()

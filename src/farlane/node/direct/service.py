"""Compute: the gRPC service of a node that is called directly."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import grpc

from farlane.errors import ConnectionLost, FarlaneError, InvalidInput
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.direct_leaf import direct_leaf
from farlane.ledger.port import Ledger
from farlane.ledger.vouchers import TreeHead, sign_head
from farlane.node.direct.book_store import DirectBook, DirectBookStore
from farlane.node.direct.ordering import OrderDesk, TakenOrder
from farlane.node.direct.running import DirectRunner, RunFacts, Share
from farlane.wire.compute import (
    NodeTerms,
    TaskResult,
    order_from_wire,
    result_to_wire,
    terms_to_wire,
    voucher_from_wire,
)
from farlane.wire.status import abort
from farlane.wire.v1 import compute_pb2, compute_pb2_grpc

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
SILENCE_S = 30.0
"""How long a publisher may take to send its order, and later its voucher."""


class ComputeService(compute_pb2_grpc.ComputeServicer):
    """Serves direct calls: one task at a time for each channel.

    Args:
        terms: what the node says of itself.
        key: its key, which signs tree heads and is paid.
        desk: judges orders.
        store: the books.
        ledger: the chain.
        runner: runs commands.
        share: what of the machine it may use.
    """

    def __init__(
        self,
        terms: NodeTerms,
        key: PrivateKey,
        desk: OrderDesk,
        store: DirectBookStore,
        ledger: Ledger,
        runner: DirectRunner,
        share: Share,
    ) -> None:
        self._terms, self._key, self._desk, self._store = terms, key, desk, store
        self._ledger, self._runner, self._share = ledger, runner, share
        self._locks: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: set[asyncio.Task[DirectBook]] = set()

    async def Describe(self, request: compute_pb2.DescribeRequest, context: Context) -> compute_pb2.NodeTerms:  # noqa: N802  # the protocol's name
        """Say what the node asks and offers."""
        return terms_to_wire(self._terms)

    async def ExecuteTask(  # noqa: N802  # the protocol's name
        self, request_iterator: AsyncIterator[compute_pb2.TaskRequest], context: Context
    ) -> AsyncIterator[compute_pb2.TaskReply]:
        """Take an order, do it, hand out its result, take the voucher for it."""
        try:
            async for reply in self._execute(aiter(request_iterator)):
                yield reply
        except FarlaneError as error:
            await abort(context, error)

    async def _execute(
        self, requests: AsyncIterator[compute_pb2.TaskRequest]
    ) -> AsyncIterator[compute_pb2.TaskReply]:
        first = await _next(requests, "order")
        taken = self._desk.read(order_from_wire(first.order))
        async with self._locks[taken.channel.id]:
            book = await asyncio.to_thread(self._store.find, taken.channel)
            if taken.order.voucher is not None:
                book = await self._take_voucher(book, taken.order.voucher)
            if not self._desk.is_repeat(taken, book):
                self._desk.check_funds(taken, book, await self._ledger.channel(taken.channel.id))
                self._share.take(taken.order.spec.resources)
                # In a task of its own: a publisher that hangs up owes what it ordered all the same.
                work = asyncio.ensure_future(self._work(taken, book))
                self._running.add(work)
                work.add_done_callback(self._running.discard)
                yield compute_pb2.TaskReply(
                    accepted=compute_pb2.TaskAccepted(reserve_nano=taken.reserve_nano)
                )
                book = await _unbroken(work)
            assert book.last_result is not None  # a repeat, or what was just done
            yield compute_pb2.TaskReply(result=compute_pb2.TaskResult.FromString(book.last_result))
            answer = await _next(requests, "voucher")
            book = await self._take_voucher(book, voucher_from_wire(answer.voucher))
            yield compute_pb2.TaskReply(paid=compute_pb2.TaskPaid(tasks=book.paid_tasks))

    async def _take_voucher(self, book: DirectBook, fields: Any) -> DirectBook:
        signed = self._desk.read_voucher(book, fields)
        if signed is None:
            return book
        return await asyncio.to_thread(self._store.take_voucher, book, signed)

    async def _work(self, taken: TakenOrder, book: DirectBook) -> DirectBook:
        order = taken.order
        try:
            facts = await self._runner.run(taken.channel.payer, order.spec, order.inputs)
        finally:
            self._share.give_back(order.spec.resources)
        return await asyncio.to_thread(self._keep, taken, book, facts)

    def _keep(self, taken: TakenOrder, book: DirectBook, facts: RunFacts) -> DirectBook:
        spec, place = taken.order.spec, book.frontier.size
        leaf = direct_leaf(
            self._terms.spec.rates, spec, place, facts.lease_ms, facts.outputs, facts.failure,
            int(time.time() * 1000),
        )  # fmt: skip
        # The siblings of a tree's last leaf are the peaks of the tree before it, nearest first.
        proof = tuple(reversed(book.frontier.peaks))
        after = book.open()
        root = after.append([leaf]).root
        head = sign_head(self._ledger.domain, self._key, TreeHead(taken.channel.id, place + 1, root))
        result = TaskResult(
            leaf, proof, root, head.signature, facts.failure, facts.outputs, facts.stdout, facts.stderr
        )
        raw = result_to_wire(result).SerializeToString()
        return self._store.append(book, after, leaf, taken.task, raw)

    async def finish(self) -> None:
        """Wait for what runs, so that it is booked."""
        await asyncio.gather(*self._running, return_exceptions=True)


async def _unbroken(work: asyncio.Task[DirectBook]) -> DirectBook:
    """Wait for work that goes on where the caller hangs up; the channel stays locked until it is booked."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _next(requests: AsyncIterator[compute_pb2.TaskRequest], kind: str) -> compute_pb2.TaskRequest:
    try:
        async with asyncio.timeout(SILENCE_S):
            found = await anext(requests)
    except StopAsyncIteration:
        raise ConnectionLost(f"the call ended before its {kind}") from None
    except TimeoutError:
        raise ConnectionLost(f"no {kind} came within {SILENCE_S:g} s") from None
    if found.WhichOneof("kind") != kind:
        raise InvalidInput(f"the call says {found.WhichOneof('kind')}; expected its {kind} at this point")
    return found

"""Compute: the gRPC service of a node that is called directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from farlane.errors import ConnectionLost, FarlaneError, InvalidInput
from farlane.node.direct.counter import Counter, Work
from farlane.node.direct.ordering import OrderDesk
from farlane.wire.compute import NodeTerms, order_from_wire, terms_to_wire, voucher_from_wire
from farlane.wire.status import abort
from farlane.wire.v1 import compute_pb2, compute_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
SILENCE_S = 30.0
"""How long a publisher may take to send its order, and later its voucher."""


class ComputeService(compute_pb2_grpc.ComputeServicer):
    """Serves direct calls.

    Args:
        terms: what the node says of itself.
        desk: judges orders.
        counter: takes them.
        silence_s: how long a publisher may be silent where it is its turn.
    """

    def __init__(
        self, terms: NodeTerms, desk: OrderDesk, counter: Counter, silence_s: float = SILENCE_S
    ) -> None:
        self._terms, self._desk, self._counter, self._silence_s = terms, desk, counter, silence_s

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
        first = await self._next(requests, "order")
        taken = self._desk.read(order_from_wire(first.order))
        if taken.order.voucher is not None:
            await self._counter.pay(taken.channel, taken.order.voucher)
        found = await self._counter.take(taken)
        if isinstance(found, Work):
            yield compute_pb2.TaskReply(accepted=compute_pb2.TaskAccepted(reserve_nano=taken.reserve_nano))
            async for stream, data in found.prints.follow():
                yield compute_pb2.TaskReply(output=compute_pb2.TaskOutput(stream=stream, data=data))
            found = await asyncio.shield(found.end)
        yield compute_pb2.TaskReply(result=compute_pb2.TaskResult.FromString(found))
        answer = await self._next(requests, "voucher")
        paid = await self._counter.pay(taken.channel, voucher_from_wire(answer.voucher))
        yield compute_pb2.TaskReply(paid=compute_pb2.TaskPaid(tasks=paid))

    async def _next(
        self, requests: AsyncIterator[compute_pb2.TaskRequest], kind: str
    ) -> compute_pb2.TaskRequest:
        try:
            async with asyncio.timeout(self._silence_s):
                found = await anext(requests)
        except StopAsyncIteration:
            raise ConnectionLost(f"the call ended before its {kind}") from None
        except TimeoutError:
            raise ConnectionLost(f"no {kind} came within {self._silence_s:g} s") from None
        if found.WhichOneof("kind") != kind:
            raise InvalidInput(f"the call says {found.WhichOneof('kind')}; expected its {kind} at this point")
        return found

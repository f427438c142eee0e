"""Pumping outboxes through real streams: order, load, stalls, and why a stream ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import pytest

from farlane.errors import ConnectionLost, FarlaneError, NotFound, TooLarge
from farlane.wire.outbox import Outbox
from farlane.wire.status import abort
from farlane.wire.stream import pump, received
from farlane.wire.v1 import client_pb2, client_pb2_grpc

Serving = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Context = grpc.aio.ServicerContext[Any, Any]
Message = client_pb2.ClientMessage
Session = Callable[[AsyncIterator[Message], Context], Any]


class Service(client_pb2_grpc.ClientServiceServicer):
    """A session whose server side the test writes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def Session(self, requests: AsyncIterator[Message], context: Context) -> None:  # noqa: N802
        await self._session(requests, context)


@contextlib.asynccontextmanager
async def session(serving: Serving, handle: Session) -> AsyncIterator[Any]:
    """Open a client's call to a session that `handle` serves."""

    def add(server: grpc.aio.Server) -> None:
        client_pb2_grpc.add_ClientServiceServicer_to_server(Service(handle), server)

    async with serving(add) as server, server.channel() as channel:
        call = client_pb2_grpc.ClientServiceStub(channel).Session(timeout=60)
        try:
            yield call
        finally:
            call.cancel()


def adds(batch: list[int]) -> Iterable[Message]:
    """One column message for all that waited."""
    yield Message(add=client_pb2.AddTasks(payloads={"inline": [str(item).encode() for item in batch]}))


async def echo(requests: AsyncIterator[Message], context: Context) -> None:
    outbox: Outbox[bytes] = Outbox()

    def results(batch: list[bytes]) -> Iterable[client_pb2.ClientReply]:
        yield client_pb2.ClientReply(results=client_pb2.Results(results={"inline": batch}))

    writing = asyncio.create_task(pump(outbox, context, results, doing="answering"))
    async for message in received(requests, doing="hearing a client"):
        for payload in message.add.payloads.inline:
            outbox.put(payload)
    outbox.close()
    await writing


async def test_both_ways_keep_order_and_end_in_good_order(serving: Serving) -> None:
    async with session(serving, echo) as call:
        outbox: Outbox[int] = Outbox()
        writing = asyncio.create_task(pump(outbox, call, adds, doing="sending tasks"))
        got: list[bytes] = []

        async def read() -> None:
            async for reply in received(call, doing="reading results"):
                got.extend(reply.results.results.inline)

        reading = asyncio.create_task(read())
        for item in range(5000):
            outbox.put(item)
            if item % 500 == 0:
                await asyncio.sleep(0.001)
        outbox.close()
        await writing
        await reading
        assert got == [str(item).encode() for item in range(5000)]
        assert await call.code() is grpc.StatusCode.OK


async def test_a_closed_outbox_ends_the_pump_and_not_the_call(serving: Serving) -> None:
    async def last_word(requests: AsyncIterator[Message], context: Context) -> None:
        async for _ in requests:
            pass
        await context.write(client_pb2.ClientReply(request=9))

    async with session(serving, last_word) as call:
        outbox: Outbox[int] = Outbox()
        outbox.put(1)
        outbox.close()
        await pump(outbox, call, adds, doing="sending")
        assert [reply.request async for reply in received(call, doing="reading")] == [9]


async def test_a_peer_that_does_not_read_is_given_up(serving: Serving) -> None:
    ended = asyncio.Event()

    async def deaf(requests: AsyncIterator[Message], context: Context) -> None:
        await ended.wait()

    def megabytes(batch: list[int]) -> Iterable[Message]:
        return (Message(add=client_pb2.AddTasks(payloads={"inline": [bytes(1 << 20)]})) for _ in batch)

    async with session(serving, deaf) as call:
        outbox: Outbox[int] = Outbox()
        for item in range(64):
            outbox.put(item)
        with pytest.raises(ConnectionLost, match=r"sending: the peer has read nothing for 0\.3 s"):
            await pump(outbox, call, megabytes, doing="sending", stall_s=0.3)
        assert outbox.closed
        assert call.cancelled()
        ended.set()


async def test_a_slow_reader_is_not_given_up(serving: Serving) -> None:
    total = asyncio.get_running_loop().create_future()

    async def slow(requests: AsyncIterator[Message], context: Context) -> None:
        size = 0
        async for message in requests:
            size += len(message.add.payloads.inline[0])
            await asyncio.sleep(0.03)
        total.set_result(size)

    def megabytes(batch: list[int]) -> Iterable[Message]:
        return (Message(add=client_pb2.AddTasks(payloads={"inline": [bytes(1 << 20)]})) for _ in batch)

    async with session(serving, slow) as call:
        outbox: Outbox[int] = Outbox()
        for item in range(60):  # 1.8 s in all, each message well within the limit of 1 s
            outbox.put(item)
        outbox.close()
        await pump(outbox, call, megabytes, doing="sending", stall_s=1.0)
        assert await total == 60 << 20


async def test_silence_beyond_the_limit_is_a_lost_connection(serving: Serving) -> None:
    async def one_word(requests: AsyncIterator[Message], context: Context) -> None:
        await context.write(client_pb2.ClientReply(request=1))
        await asyncio.Event().wait()

    async with session(serving, one_word) as call:
        replies = received(call, doing="waiting for results", silence_s=0.2)
        assert (await anext(replies)).request == 1
        with pytest.raises(ConnectionLost, match=r"said nothing for 0\.2 s, heartbeats included"):
            await anext(replies)


async def test_a_server_notices_a_client_that_falls_silent(serving: Serving) -> None:
    seen: asyncio.Future[FarlaneError] = asyncio.get_running_loop().create_future()

    async def listen(requests: AsyncIterator[Message], context: Context) -> None:
        try:
            async for _ in received(requests, doing="hearing a node", silence_s=0.2):
                pass
        except FarlaneError as error:
            seen.set_result(error)
            await abort(context, error)

    async with session(serving, listen) as call:
        await call.write(Message(request=1))
        with pytest.raises(ConnectionLost, match="hearing a node: the peer said nothing"):
            await anext(received(call, doing="reading"))
        assert isinstance(await seen, ConnectionLost)


async def test_the_reason_for_which_the_server_ended_reaches_reader_and_writer(serving: Serving) -> None:
    async def refuse(requests: AsyncIterator[Message], context: Context) -> None:
        await abort(context, NotFound("no job j9", job=9))

    async with session(serving, refuse) as call:
        with pytest.raises(NotFound, match="no job j9") as caught:
            await anext(received(call, doing="reading"))
        assert caught.value.facts == {"job": "9"}
        outbox: Outbox[int] = Outbox()
        outbox.put(1)
        with pytest.raises(NotFound, match="no job j9"):
            await pump(outbox, call, adds, doing="sending")
        assert outbox.closed


async def test_a_server_that_ends_in_good_order_with_more_to_send_is_a_lost_connection(
    serving: Serving,
) -> None:
    async def goodbye(requests: AsyncIterator[Message], context: Context) -> None:
        return

    async with session(serving, goodbye) as call:
        assert [reply async for reply in received(call, doing="reading")] == []
        outbox: Outbox[int] = Outbox()
        outbox.put(1)
        with pytest.raises(ConnectionLost, match="ended the stream while there was more to send"):
            await pump(outbox, call, adds, doing="sending")


async def test_a_server_that_dies_is_a_lost_connection(serving: Serving) -> None:
    async def forever(requests: AsyncIterator[Message], context: Context) -> None:
        async for _ in requests:
            await context.write(client_pb2.ClientReply(request=1))

    async with contextlib.AsyncExitStack() as stack:
        call = await stack.enter_async_context(session(serving, forever))
        replies = received(call, doing="reading results")
        await call.write(Message())
        assert (await anext(replies)).request == 1
        waiting = asyncio.create_task(anext(replies))
        await asyncio.sleep(0)
        # A proxy between would do the same: the connection breaks under the call.
        call_ended = asyncio.create_task(stack.aclose())
        with pytest.raises(ConnectionLost, match="reading results: "):
            await waiting
        await call_ended


async def test_a_call_that_is_cancelled_on_this_side_is_a_lost_connection(serving: Serving) -> None:
    async with session(serving, echo) as call:
        await call.write(next(iter(adds([1]))))
        replies = received(call, doing="reading")
        assert (await anext(replies)).results.results.inline == [b"1"]
        waiting = asyncio.create_task(anext(replies))
        await asyncio.sleep(0)  # it reads now
        call.cancel()
        with pytest.raises(ConnectionLost, match="ended on this side"):
            await waiting
        outbox: Outbox[int] = Outbox()
        outbox.put(1)
        with pytest.raises(ConnectionLost):
            await pump(outbox, call, adds, doing="sending")


async def test_a_cancelled_reader_or_writer_is_cancelled_and_nothing_else(serving: Serving) -> None:
    async with session(serving, echo) as call:
        outbox: Outbox[int] = Outbox()
        outbox.put(1)
        writing = asyncio.create_task(pump(outbox, call, adds, doing="sending"))
        replies = received(call, doing="reading", silence_s=30)
        assert (await anext(replies)).results.results.inline == [b"1"]
        reading = asyncio.create_task(anext(replies))
        await asyncio.sleep(0)  # both wait now
        for task in (writing, reading):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert outbox.closed


async def test_a_message_above_the_cap_is_refused_before_it_costs_the_stream(serving: Serving) -> None:
    def huge(batch: list[int]) -> Iterable[Message]:
        yield Message(add=client_pb2.AddTasks(payloads={"inline": [bytes(5 << 20)]}))

    async with session(serving, echo) as call:
        outbox: Outbox[int] = Outbox()
        outbox.put(1)
        with pytest.raises(
            TooLarge, match=r"sending: a message of 5242[0-9]+ bytes; expected at most 4194304"
        ):
            await pump(outbox, call, huge, doing="sending")
        assert not call.done()


async def test_a_server_that_writes_to_a_client_that_left_gets_an_error_of_the_tree(serving: Serving) -> None:
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def talk(requests: AsyncIterator[Message], context: Context) -> None:
        outbox: Outbox[int] = Outbox()

        def replies(batch: list[int]) -> Iterable[client_pb2.ClientReply]:
            outbox.put(1)  # for ever
            yield client_pb2.ClientReply(request=1)

        outbox.put(1)
        writing = asyncio.create_task(pump(outbox, context, replies, doing="answering"))
        writing.add_done_callback(lambda task: ended.set_result(task.exception()))
        await asyncio.wait([writing])

    async with session(serving, talk) as call:
        assert (await anext(received(call, doing="reading"))).request == 1
        call.cancel()
        assert isinstance(await asyncio.wait_for(ended, 10), ConnectionLost)


async def test_a_write_that_meets_the_end_of_its_call_does_not_hide_the_peers_word(serving: Serving) -> None:
    async def refuse(requests: AsyncIterator[Message], context: Context) -> None:
        await abort(context, NotFound("no such thing"))

    async with session(serving, refuse) as call:
        replies = received(call, doing="reading")
        reading = asyncio.create_task(anext(replies))
        await asyncio.sleep(0)  # it reads now
        call.add_done_callback(
            lambda ended: ended._cython_call.set_internal_error("as grpc.aio's write does")
        )
        with pytest.raises(NotFound, match="no such thing"):
            await reading
        assert (await call.code()) is grpc.StatusCode.INTERNAL

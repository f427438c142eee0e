"""Sessions: what the reactor asks for goes to the stream it belongs to, or nowhere."""

from __future__ import annotations

from farlane.domain.ids import NodeId
from farlane.hub.books.feed import BookFeed
from farlane.hub.books.inputs import InputDigests
from farlane.hub.payloads import PayloadCache
from farlane.hub.reactor.commands import AcceptEnded
from farlane.hub.reactor.state import HubState
from farlane.hub.sessions import NodeSession, Sessions
from farlane.hub.store.memory import MemoryStore
from farlane.wire.outbox import Outbox
from farlane.wire.v1 import node_pb2

NODE = NodeId("n")


def sessions_with(number: int) -> tuple[Sessions, NodeSession]:
    cache = PayloadCache(MemoryStore(manual=True), 1000)
    inputs = InputDigests(cache.pick)
    sessions = Sessions(HubState(1, 10.0), cache, lambda job: None, lambda grant, error: None, inputs)
    outbox: Outbox[node_pb2.NodeCommand] = Outbox()
    session = sessions.nodes[NODE] = NodeSession(NODE, number, outbox, BookFeed(outbox, {}))
    return sessions, session


async def test_an_acceptance_reaches_the_stream_its_batch_came_by() -> None:
    sessions, session = sessions_with(2)
    sessions.perform(AcceptEnded(NODE, 2, 7, relaxed=False))
    (command,) = await session.outbox.drain()
    assert command.accepted.batch == 7


def test_an_acceptance_of_an_earlier_stream_is_not_mistaken_for_one_of_this() -> None:
    sessions, session = sessions_with(3)
    sessions.perform(AcceptEnded(NODE, 2, 7, relaxed=False))
    assert len(session.outbox) == 0

"""The node's stream against a scripted hub on real TLS: joining, refusals, reconnection and what is sent again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import grpc
import pytest

from farlane.domain.ids import TaskId
from farlane.domain.records import Column
from farlane.errors import (
    FarlaneError,
    InvalidInput,
    PermissionRefused,
    Unauthenticated,
    Unavailable,
    UnsupportedVersion,
    WrongHub,
)
from farlane.kit.backoff import Backoff
from farlane.kit.clock import SystemClock
from farlane.node import link as link_module
from farlane.node.link import BATCHES_A_ROUND, Due, HubLink
from farlane.node.log_buffer import LogBuffer
from farlane.node.machine import events as ev
from farlane.node.messages import batch_to_wire, hello_to_wire
from farlane.testing.machine_driver import JOB, NODE, DrivenNode, job_spec, tickets
from farlane.testing.scripted_hub import ScriptedHub, scripted_hub
from farlane.wire.v1 import node_pb2, types_pb2
from farlane.wire.versions import PROTOCOL_MAJOR, PROTOCOL_MINOR

QUICK = Backoff(first_s=0.02, cap_s=0.1)


class Owner:
    """A driven machine behind a link."""

    def __init__(self) -> None:
        self.node = DrivenNode()
        self.joined: asyncio.Queue[int] = asyncio.Queue()
        self.lost: asyncio.Queue[None] = asyncio.Queue()
        self.commands: asyncio.Queue[node_pb2.NodeCommand] = asyncio.Queue()
        self.raises: FarlaneError | None = None
        self.results: list[node_pb2.NodeMessage] = []

    def hello(self) -> node_pb2.NodeMessage:
        return hello_to_wire(NODE, b"s" * 32, self.node.machine.held())

    def free_bytes(self) -> int:
        return 12345

    def on_joined(self, welcome: node_pb2.NodeWelcome) -> None:
        self.node.machine.handle(ev.HubJoined(0.0, 3))
        self.joined.put_nowait(welcome.epoch)

    def on_command(self, command: node_pb2.NodeCommand) -> None:
        if self.raises is not None:
            raise self.raises
        self.commands.put_nowait(command)

    def on_lost(self) -> None:
        self.node.machine.handle(ev.HubLost(0.0))
        self.lost.put_nowait(None)

    def next_results(self) -> node_pb2.NodeMessage | None:
        if self.results:
            return self.results.pop(0)
        batch = self.node.machine.next_batch()
        return None if batch is None else batch_to_wire(batch, 3)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def owner() -> Owner:
    return Owner()


def new_link(hub: ScriptedHub, owner: Owner, logs: LogBuffer | None = None, **token: object) -> HubLink:
    return HubLink(
        hub.url,
        hub.token(**token),  # type: ignore[arg-type]
        owner,
        logs or LogBuffer(),
        clock=SystemClock(),
        backoff=QUICK,
        random=Random(1),
    )


@contextlib.asynccontextmanager
async def kept(link: HubLink) -> AsyncIterator[asyncio.Task[None]]:
    work = asyncio.create_task(link.run())
    try:
        yield work
    finally:
        work.cancel()
        await asyncio.wait([work])


async def refused(link: HubLink) -> None:
    async with asyncio.timeout(20):
        await link.run()


async def test_the_hello_says_who_the_node_is_and_what_it_holds(hub: ScriptedHub, owner: Owner) -> None:
    owner.node.run(1, 2)
    link = new_link(hub, owner)
    async with kept(link):
        stream = await hub.joined()
        hello = (await stream.receive("hello")).hello
        assert (hello.spec.node, hello.secret, list(hello.held.attempts)) == ("n1", b"s" * 32, [1, 1])
        assert await owner.joined.get() == 1
        assert link.connected
        assert await link.channel() is not None
        heartbeat = (await stream.receive("heartbeat")).heartbeat
        assert (heartbeat.sequence, heartbeat.free_bytes) == (1, 12345)
        await stream.receive("heartbeat")
        await until(lambda: 0 < link.rtt_s < 5)


async def test_commands_reach_the_owner_in_order(hub: ScriptedHub, owner: Owner) -> None:
    async with kept(new_link(hub, owner)):
        stream = await hub.joined()
        await stream.lease(7, job_spec(), [b"a", b"b"])
        await stream.send(drain=node_pb2.DrainRequest(hand_back=True))
        assert (await owner.commands.get()).leases.payloads.inline == [b"a", b"b"]
        assert (await owner.commands.get()).drain.hand_back


async def test_a_farewell_ends_the_link_after_all_that_was_said_before(
    hub: ScriptedHub, owner: Owner
) -> None:
    link = new_link(hub, owner)
    async with kept(link) as work:
        stream = await hub.joined()
        await owner.joined.get()
        link.send(node_pb2.NodeMessage(draining=node_pb2.Draining()))
        link.leave("drained")
        await stream.receive("draining")
        assert (await stream.receive("farewell")).farewell.reason == "drained"
        async with asyncio.timeout(10):
            await work
    assert not link.connected


async def test_leaving_without_a_hub_ends_at_once(hub: ScriptedHub, owner: Owner) -> None:
    await hub.stop()
    link = HubLink(hub.url, hub.token(), owner, LogBuffer(), clock=SystemClock(), backoff=Backoff(60, 60))
    async with kept(link) as work:
        await asyncio.sleep(0)
        link.send(node_pb2.NodeMessage())  # nobody to send it to
        link.look_for(Due.RESULTS)
        link.leave("drained")
        async with asyncio.timeout(10):
            await work


async def test_a_wrong_token_ends_the_link(hub: ScriptedHub, owner: Owner) -> None:
    with pytest.raises(Unauthenticated, match="does not know the token"):
        await refused(new_link(hub, owner, secret="x" * 40))


async def test_another_hubs_key_ends_the_link_before_anything_is_said(hub: ScriptedHub, owner: Owner) -> None:
    with pytest.raises(WrongHub, match="not the one the token was made for"):
        await refused(new_link(hub, owner, spki=b"k" * 32))


@pytest.mark.parametrize(
    "refusal",
    [
        UnsupportedVersion("the peer speaks protocol 0.3, which is too old: upgrade farlane on the peer"),
        PermissionRefused("this node id belongs to another secret"),
        InvalidInput("the node's name is empty"),
    ],
)
async def test_a_refused_hello_ends_the_link_with_the_hubs_words(
    hub: ScriptedHub, owner: Owner, refusal: FarlaneError
) -> None:
    hub.refusal = refusal
    with pytest.raises(type(refusal), match=refusal.message):
        await refused(new_link(hub, owner))


async def test_a_hub_of_another_major_version_ends_the_link(hub: ScriptedHub, owner: Owner) -> None:
    hub.version = types_pb2.Version(major=PROTOCOL_MAJOR + 1, minor=0)
    with pytest.raises(UnsupportedVersion, match="upgrade farlane on this side"):
        await refused(new_link(hub, owner))


async def test_a_hub_one_minor_version_older_is_spoken_to(hub: ScriptedHub, owner: Owner) -> None:
    hub.version = types_pb2.Version(major=PROTOCOL_MAJOR, minor=PROTOCOL_MINOR - 1)
    async with kept(new_link(hub, owner)):
        assert await owner.joined.get() == 1


async def test_a_temporary_refusal_is_tried_again(hub: ScriptedHub, owner: Owner) -> None:
    hub.refusal = Unavailable("the store is being restored")
    async with kept(new_link(hub, owner)) as work:
        await hub.opened()
        await hub.opened()
        assert not work.done()
        hub.refusal = None
        await hub.joined()


async def test_a_first_command_that_is_no_welcome_ends_the_link(hub: ScriptedHub, owner: Owner) -> None:
    hub.silent = True
    async with kept(new_link(hub, owner)) as work:
        stream = await hub.opened()
        await stream.send(drain=node_pb2.DrainRequest())
        with pytest.raises(UnsupportedVersion, match="expected a welcome"):
            await work


@pytest.mark.parametrize("welcomed", [True, False])
async def test_a_refusal_on_the_stream_is_obeyed(hub: ScriptedHub, owner: Owner, welcomed: bool) -> None:
    hub.silent = not welcomed
    async with kept(new_link(hub, owner)) as work:
        stream = await (hub.joined() if welcomed else hub.opened())
        await stream.send(
            refusal=types_pb2.Error(name="PermissionRefused", message="the token was withdrawn")
        )
        with pytest.raises(PermissionRefused, match="withdrawn"):
            await work


async def test_unaccepted_results_are_sent_again_on_the_next_stream(hub: ScriptedHub, owner: Owner) -> None:
    hub.auto_accept = False
    link = new_link(hub, owner)
    first, second = owner.node.run(0, 1)
    async with kept(link):
        stream = await hub.joined()
        await owner.joined.get()
        owner.node.finish(tickets(first)[0])
        link.look_for(Due.RESULTS)
        before = (await stream.receive("ended")).ended
        await hub.stop()
        await owner.lost.get()
        owner.node.finish(tickets(second)[0])
        await hub.start()
        stream = await hub.joined()
        hello = (await stream.receive("hello")).hello
        assert sorted(hello.held.tasks) == sorted([JOB << 24, JOB << 24 | 1])
        await owner.joined.get()
        link.look_for(Due.RESULTS)
        assert (await stream.receive("ended")).ended == before
        after = (await stream.receive("ended")).ended
        assert (after.batch, list(after.tasks)) == (2, [JOB << 24 | 1])
    assert link.streams == 2


async def test_a_hub_that_comes_late_is_waited_for(
    hub: ScriptedHub, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.stop()
    async with kept(new_link(hub, owner)) as work:
        await until(lambda: caplog.text.count("no hub yet") > 2)
        assert not work.done()
        await hub.start()
        await hub.joined()


async def test_a_hub_that_ends_the_stream_is_joined_again(hub: ScriptedHub, owner: Owner) -> None:
    async with kept(new_link(hub, owner)):
        stream = await hub.joined()
        stream.close.set()
        await owner.lost.get()
        await hub.joined()


async def test_a_hub_that_ends_the_stream_without_a_welcome_is_tried_again(
    hub: ScriptedHub, owner: Owner
) -> None:
    hub.silent = True
    async with kept(new_link(hub, owner)):
        stream = await hub.opened()
        hub.silent = False
        stream.close.set()
        await owner.joined.get()
    assert owner.lost.qsize() == 1  # only the stream that was welcomed


async def test_a_hub_that_says_nothing_is_given_up(
    hub: ScriptedHub, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "WELCOME_S", 0.2)
    hub.silent = True
    async with kept(new_link(hub, owner)):
        await hub.opened()
        await hub.opened()
        hub.silent, hub.heartbeat_s = False, 0.05
        stream = await hub.joined()
        stream.deaf = True
        await owner.lost.get()


async def test_a_command_that_makes_no_sense_costs_the_stream_not_the_node(
    hub: ScriptedHub, owner: Owner
) -> None:
    owner.raises = InvalidInput("columns of other lengths")
    async with kept(new_link(hub, owner)):
        stream = await hub.joined()
        await stream.send(drain=node_pb2.DrainRequest())
        await owner.lost.get()
        owner.raises = None
        await hub.joined()


async def test_an_oversized_command_costs_the_stream_not_the_node(hub: ScriptedHub, owner: Owner) -> None:
    await hub.stop()
    hub.max_send_bytes = -1
    await hub.start()
    async with kept(new_link(hub, owner)):
        stream = await hub.joined()
        with contextlib.suppress(grpc.aio.BaseError):  # it may hear of it while it still writes
            await stream.lease(7, job_spec(), Column([b"x" * 60_000] * 100))
        await owner.lost.get()
        await hub.joined()
    assert owner.commands.empty()


async def test_an_oversized_result_is_never_sent(hub: ScriptedHub, owner: Owner) -> None:
    link = new_link(hub, owner)
    async with kept(link):
        stream = await hub.joined()
        await owner.joined.get()
        owner.results = [node_pb2.NodeMessage(log=node_pb2.LogChunk(data=b"x" * (5 << 20)))]
        link.look_for(Due.RESULTS)
        await owner.lost.get()
        await stream.ended.wait()
        await hub.joined()
    assert stream.log == {}


async def test_a_broken_promise_inside_the_writer_is_not_silent(hub: ScriptedHub, owner: Owner) -> None:
    link = new_link(hub, owner)
    async with kept(link):
        await hub.joined()
        await owner.joined.get()
        owner.results = [None]  # type: ignore[list-item]
        owner.next_results = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        link.look_for(Due.RESULTS)
        await owner.lost.get()
        del owner.next_results  # type: ignore[method-assign]
        await hub.joined()


async def test_heartbeats_go_between_many_results(hub: ScriptedHub, owner: Owner) -> None:
    hub.auto_accept = False
    owner.results = [
        node_pb2.NodeMessage(ended=node_pb2.AttemptsEnded(batch=number))
        for number in range(BATCHES_A_ROUND + 3)
    ]
    link = new_link(hub, owner)
    async with kept(link):
        stream = await hub.joined()
        await owner.joined.get()
        link.look_for(Due.RESULTS)
        link.look_for(Due.RESULTS)
        link.send(node_pb2.NodeMessage(draining=node_pb2.Draining()))
        kinds = [await stream.next_kind() for _ in range(BATCHES_A_ROUND + 5)]
    told = [kind for kind in kinds if kind != "heartbeat"]
    assert told.index("draining") == 1 + BATCHES_A_ROUND  # after the hello and one round of results
    assert told.count("ended") >= BATCHES_A_ROUND + 2


async def test_logs_are_sent_in_order_and_those_from_before_the_stream_too(
    hub: ScriptedHub, owner: Owner
) -> None:
    logs = LogBuffer()
    logs.append(TaskId(5), 1, "stdout", b"early ")
    link = new_link(hub, owner, logs)
    async with kept(link):
        stream = await hub.joined()
        await owner.joined.get()
        for _ in range(20):
            logs.append(TaskId(5), 1, "stdout", b"x" * 60_000)
        link.look_for(Due.LOGS)
        await until(lambda: len(stream.log.get((5, "stdout"), b"")) == 20 * 60_000 + 6)
        assert stream.log[5, "stdout"].startswith(b"early x")


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)

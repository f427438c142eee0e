"""Replicas that lie: what a node may say on the stream of a replica, and what it costs whom."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    FinishReason,
    GeneratePiece,
    InferenceKind,
    ModelDescription,
    Tensor,
    TensorSpec,
    TensorsReply,
)
from farlane.domain.nodes import SERVES
from farlane.errors import (
    ConnectionLost,
    DeadlineExceeded,
    FarlaneError,
    InvalidInput,
    PermissionRefused,
    StaleFence,
    Unauthenticated,
)
from farlane.hub.deployments.exchanges import HELD_BYTES, WINDOW_BYTES
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip import inference_pb2_grpc
from farlane.testing.builders import a_node
from farlane.testing.scripted_node import Leased, ScriptedNode
from farlane.testing.scripted_replica import ScriptedReplica, replica_hello, scripted_replica
from farlane.testing.serving_world import ID, ServingWorld
from farlane.testing.waiting import until
from farlane.wire.inference import PIECE_BYTES, encode_reply, pieces
from farlane.wire.status import error_to_wire
from farlane.wire.v1 import serving_pb2

LAST = GeneratePiece("fine", FinishReason.STOP, 1, 1)


@dataclass(slots=True)
class Stage:
    """A hub that serves `chat`, and a node that holds the lease of its only replica."""

    world: ServingWorld
    node: ScriptedNode
    lease: Leased

    @contextlib.asynccontextmanager
    async def replica(
        self, *messages: serving_pb2.ReplicaMessage | bytes, **changes: int
    ) -> AsyncIterator[ScriptedReplica]:
        """Open a stream with a good hello, but for the changes, and then some messages."""
        hello = replica_hello(self.node, self.lease, **changes)
        async with self.stream(hello, *messages) as replica:
            yield replica

    def stream(
        self, *messages: serving_pb2.ReplicaMessage | bytes
    ) -> contextlib.AbstractAsyncContextManager[ScriptedReplica]:
        """Open a stream with any messages."""
        return scripted_replica(self.world.hub, self.world.hub.token("node", "", "lab"), *messages)

    def asks(self, timeout_s: float = 30.0) -> asyncio.Task[list[GeneratePiece]]:
        """Begin a request."""
        return asyncio.create_task(self.world.ask(timeout_s=timeout_s))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = ServingWorld(tmp_path)
    async with world.hub:
        spec = a_node(labels=((SERVES, "yes"),))
        async with ScriptedNode(world.hub.url, world.hub.token("node", "", "lab"), spec) as node:
            world.deploy(cold_start_s=10.0)
            [lease] = await node.take()
            yield Stage(world, node, lease)


async def why(replica: ScriptedReplica) -> FarlaneError | None:
    """Return why the hub ends a stream."""
    async with asyncio.timeout(10):
        return await replica.ended


async def test_a_replica_that_keeps_to_the_rules_answers(stage: Stage) -> None:
    async with stage.replica() as replica:
        asking = stage.asks()
        number = await replica.asked()
        await replica.reply(number, LAST)
        await replica.end(number)
        assert await asking == [LAST]


@pytest.mark.parametrize("changes", [{"epoch": 99}, {"attempt": 7}, {"task": 1 << 40}])
async def test_a_fence_that_is_stale_is_refused(stage: Stage, changes: dict[str, int]) -> None:
    async with stage.replica(**changes) as replica:
        assert isinstance(await why(replica), StaleFence)
    assert not stage.world.desk.route(ID).sessions


async def test_a_node_that_cannot_prove_who_it_is_is_refused(stage: Stage) -> None:
    async with stage.stream(replica_hello(stage.node, stage.lease, secret=b"guessed" * 4)) as replica:
        assert isinstance(await why(replica), PermissionRefused)
    token = stage.world.hub.token("node", "", "other")
    async with scripted_replica(stage.world.hub, token, replica_hello(stage.node, stage.lease)) as replica:
        assert isinstance(await why(replica), PermissionRefused)


@pytest.mark.parametrize("first", [b"\xff\xff nonsense", b"", b"\x12\x02\x08\x01"])
async def test_a_stream_that_does_not_begin_with_a_hello_is_ended(stage: Stage, first: bytes) -> None:
    async with stage.stream(first) as replica:
        assert isinstance(await why(replica), FarlaneError)


@pytest.mark.parametrize(
    "arrays",
    [
        (TensorSpec("x", Datatype.FP32, (-7,)),),
        (TensorSpec("x", Datatype.FP32, (1 << 50,)),),
        (TensorSpec("x" * 1000, Datatype.FP32, (1,)),),
        (TensorSpec("x", Datatype.FP32, (1,)),) * 2000,
    ],
)
async def test_a_model_that_cannot_be_is_not_believed(stage: Stage, arrays: tuple[TensorSpec, ...]) -> None:
    lie = ModelDescription(runtime="x", kinds=(InferenceKind.TENSORS,), inputs=arrays)
    async with stage.stream(replica_hello(stage.node, stage.lease, description=lie)) as replica:
        assert isinstance(await why(replica), InvalidInput)


@pytest.mark.parametrize(
    "garbage", [b"\xff\xff nonsense", b"\x12\x08\x08\x01\x12\x02\xff\xff\x18\x01"], ids=["message", "reply"]
)
async def test_bytes_that_are_no_message_end_the_stream_and_fail_no_request(
    stage: Stage, garbage: bytes
) -> None:
    async with stage.replica() as replica:
        asking = stage.asks()
        assert await replica.asked() == 1
        await replica.say(garbage)
        await why(replica)
    async with stage.replica() as replica:
        number = await replica.asked()
        await replica.reply(number, LAST)
        await replica.end(number)
        assert await asking == [LAST]


async def test_a_second_hello_ends_the_stream(stage: Stage) -> None:
    async with stage.replica(replica_hello(stage.node, stage.lease)) as replica:
        error = await why(replica)
    assert isinstance(error, InvalidInput)
    assert "twice" in error.message


async def test_a_second_stream_of_one_replica_takes_the_place_of_the_first(stage: Stage) -> None:
    async with stage.replica() as first:
        await first.command("welcome")
        async with stage.replica() as second:
            await second.command("welcome")
            await why(first)
            asking = stage.asks()
            number = await second.asked()
            await second.reply(number, LAST)
            await second.end(number)
            assert await asking == [LAST]
            assert len(stage.world.desk.route(ID).sessions) == 1


async def test_what_nobody_asked_or_waits_for_any_more_is_passed_over(stage: Stage) -> None:
    async with stage.replica() as replica:
        await replica.command("welcome")
        await replica.reply(77, LAST)
        await replica.end(78)
        for _ in range(2):
            asking = stage.asks()
            number = await replica.asked()
            await replica.reply(number, LAST)
            await replica.end(number)
            assert await asking == [LAST]
            await replica.reply(number, LAST)
            await replica.end(number)


async def test_more_than_there_is_credit_for_ends_the_stream(stage: Stage) -> None:
    flood = GeneratePiece("x" * PIECE_BYTES)
    async with stage.replica() as replica:
        answer = stage.world.router().infer(*stage.world.question("word"), request_id="r", timeout_s=30.0)
        first = asyncio.ensure_future(anext(answer))
        number = await replica.asked()
        await replica.reply(number, flood)
        await first
        for _ in range(2 + WINDOW_BYTES // PIECE_BYTES):
            await replica.reply(number, flood)
        error = await why(replica)
        assert isinstance(error, InvalidInput)
        assert "credit" in error.message
        with pytest.raises(ConnectionLost, match="in the middle"):
            async for _ in answer:
                pass


async def test_large_replies_side_by_side_wait_for_the_oldest_and_all_arrive(stage: Stage) -> None:
    size = HELD_BYTES // 2
    async with stage.replica() as replica:
        asking = [stage.asks() for _ in range(4)]
        numbers = [await replica.asked() for _ in asking]
        sent = dict.fromkeys(numbers, 0)

        async def send(number: int) -> None:
            for data, last in pieces(encode_reply(GeneratePiece("x" * size, FinishReason.STOP, 1, 1))):
                await until(lambda: sent[number] - replica.credit.get(number, 0) < WINDOW_BYTES)
                part = serving_pb2.ReplyPart(request=number, data=data, last=last)
                await replica.say(serving_pb2.ReplicaMessage(reply=part))
                sent[number] += len(data)
            await replica.end(number)

        [session] = stage.world.desk.route(ID).sessions.values()
        held = []
        sending = [asyncio.create_task(send(number)) for number in numbers]
        while not all(one.done() for one in sending):
            held.append(session.held)
            await asyncio.sleep(0)
        assert [len((await one)[0].text) for one in asking] == [size] * 4
        assert HELD_BYTES < max(held) <= HELD_BYTES + size + 4 * (WINDOW_BYTES + PIECE_BYTES)
        assert session.held == 0


@pytest.mark.parametrize(
    "reply",
    [
        TensorsReply((Tensor("x", Datatype.FP32, (4,), bytes(15)),)),
        EmbedReply(bytes(12), 5, 1),
    ],
)
async def test_a_reply_that_is_not_what_it_says_ends_the_stream(
    stage: Stage, reply: TensorsReply | EmbedReply
) -> None:
    async with stage.replica() as replica:
        asking = stage.asks(timeout_s=1.0)
        await replica.reply(await replica.asked(), reply)
        assert isinstance(await why(replica), InvalidInput)
        with pytest.raises(FarlaneError):
            await asking


async def test_a_request_that_is_never_answered_ends_by_its_deadline_and_is_cancelled(stage: Stage) -> None:
    async with stage.replica() as replica:
        asking = stage.asks(timeout_s=0.3)
        number = await replica.asked()
        with pytest.raises(DeadlineExceeded):
            await asking
        assert (await replica.command("cancel")).cancel.request == number
        assert stage.world.desk.route(ID).counts.failed == 1


async def test_an_error_of_a_replica_says_nothing_of_its_clients_token(stage: Stage) -> None:
    async with (
        stage.replica() as replica,
        stage.world.gateway() as gateway,
        aiohttp.ClientSession(
            gateway.url, headers={"Authorization": f"Bearer {gateway.token('client', 'lab')}"}
        ) as http,
    ):
        posting = asyncio.ensure_future(http.post("/v1/completions", json={"model": "chat", "prompt": "x"}))
        number = await replica.asked()
        lie = error_to_wire(Unauthenticated("your token was withdrawn: send it to me"))
        await replica.say(
            serving_pb2.ReplicaMessage(ended=serving_pb2.RequestEnded(request=number, error=lie))
        )
        async with await posting as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (500, "server_error")


async def test_tokens_that_no_text_can_have_are_not_counted(stage: Stage) -> None:
    async with (
        stage.replica() as replica,
        stage.world.gateway() as gateway,
        aiohttp.ClientSession(
            gateway.url, headers={"Authorization": f"Bearer {gateway.token('client', 'lab')}"}
        ) as http,
    ):
        posting = asyncio.ensure_future(http.post("/v1/completions", json={"model": "chat", "prompt": "x"}))
        number = await replica.asked()
        await replica.reply(number, GeneratePiece("fine", FinishReason.STOP, 1 << 30, 1 << 30))
        await replica.end(number)
        async with await posting as answer:
            assert answer.status == 200
        await until(lambda: bool(gateway.usage.all))
        assert gateway.usage.all[0].prompt_tokens < 1000
        assert gateway.usage.all[0].completion_tokens < 1000


async def test_a_client_of_grpc_that_hangs_up_cancels_its_request_at_the_replica(stage: Stage) -> None:
    arrays = ModelDescription(runtime="x", kinds=(InferenceKind.TENSORS,))
    hello = replica_hello(stage.node, stage.lease, description=arrays)
    async with (
        stage.stream(hello) as replica,
        stage.world.gateway() as gateway,
        grpc.aio.insecure_channel(gateway.grpc) as channel,
    ):
        await replica.command("welcome")
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        array = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])
        asked = pb.ModelInferRequest(model_name="chat", inputs=[array], raw_input_contents=[bytes(4)])
        mine = (("authorization", f"Bearer {gateway.token('client', 'lab')}"),)
        call = stub.ModelInfer(asked, metadata=mine)
        number = await replica.asked()
        call.cancel()
        assert (await replica.command("cancel")).cancel.request == number
        await until(lambda: bool(gateway.usage.all))
        assert gateway.usage.all[0].outcome == "cancelled"
        assert stage.world.desk.route(ID).counts.failed == 0

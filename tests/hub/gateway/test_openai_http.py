"""OpenAI's API over HTTP, as any client without a library sees it."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from farlane.domain.inference import GenerateRequest, InferenceKind, Message
from farlane.errors import ConnectionLost, Unavailable
from farlane.kit.clock import ManualClock
from farlane.testing.fake_router import FakeRouter
from farlane.testing.running_gateway import RunningGateway, running_gateway
from farlane.testing.waiting import until

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello wide world"}]}


async def post(
    gateway: RunningGateway, path: str, body: object, headers: dict[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    """Return status, document and headers of one answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = gateway.headers() if headers is None else headers
    async with (
        aiohttp.ClientSession(headers=sent) as session,
        session.post(gateway.url + path, data=data) as got,
    ):
        return got.status, await got.json(), got.headers


async def events(gateway: RunningGateway, body: object) -> list[Any]:
    """Return every event of a stream, the last mark as text."""
    async with (
        aiohttp.ClientSession(headers=gateway.headers()) as session,
        session.post(f"{gateway.url}/v1/chat/completions", json=body) as got,
    ):
        assert got.status == 200
        assert got.content_type == "text/event-stream"
        lines = [line.removeprefix("data: ") for line in (await got.text()).split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_models_are_listed_and_shown() -> None:
    async with running_gateway() as gateway, aiohttp.ClientSession(headers=gateway.headers()) as session:
        async with session.get(f"{gateway.url}/v1/models") as got:
            listed = await got.json()
        async with session.get(f"{gateway.url}/v1/models/echo") as got:
            one = await got.json()
        async with session.get(f"{gateway.url}/v1/models/no/such") as got:
            missing = got.status, (await got.json())["error"]["code"]
    assert [each["id"] for each in listed["data"]] == ["digest", "echo", "mirror"]
    assert one == {"id": "echo", "object": "model", "created": 1_700_000_000, "owned_by": "acme"}
    assert missing == (404, "model_not_found")


async def test_a_chat_is_answered_and_booked() -> None:
    router = FakeRouter()
    async with running_gateway(router) as gateway:
        status, answer, headers = await post(gateway, "/v1/chat/completions", CHAT)
        booked = gateway.usage.all[0]
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "hello wide world"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert answer["id"] == f"chatcmpl-{headers['X-Request-Id']}"
    assert router.asked[0].request == GenerateRequest((Message("user", "hello wide world"),))
    assert (booked.outcome, booked.prompt_tokens, booked.completion_tokens) == ("ok", 3, 3)
    assert (booked.caller.organisation, booked.kind) == ("acme", InferenceKind.GENERATION)
    assert booked.request_bytes == len(json.dumps(CHAT))
    assert booked.reply_bytes == int(headers["Content-Length"])


async def test_a_stream_ends_with_its_counts_and_the_mark() -> None:
    async with running_gateway() as gateway:
        found = await events(gateway, CHAT | {"stream": True, "stream_options": {"include_usage": True}})
    *pieces, last, counts, mark = found
    assert mark == "[DONE]"
    assert pieces[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(one["choices"][0]["delta"]["content"] for one in pieces) == "hello wide world"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (counts["choices"], counts["usage"]["total_tokens"]) == ([], 6)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_version_that_answered_is_told_and_booked(stream: bool) -> None:
    router = FakeRouter()
    router.answering = "canary"
    async with running_gateway(router) as gateway:
        if stream:
            answer = (await events(gateway, CHAT | {"stream": True}))[0]
        else:
            _, answer, _ = await post(gateway, "/v1/chat/completions", CHAT)
        assert answer["system_fingerprint"] == "canary"
        assert gateway.usage.all[0].version == "canary"


async def test_a_stream_that_breaks_says_so_in_an_event() -> None:
    router = FakeRouter()
    router.failure, router.fail_after = ConnectionLost("the replica went away"), 2
    async with running_gateway(router) as gateway:
        found = await events(gateway, CHAT | {"stream": True})
        booked = gateway.usage.all[0]
    assert found[-2]["error"]["message"] == "the replica went away"
    assert (booked.outcome, booked.completion_tokens) == ("ConnectionLost", 2)


async def test_what_fails_before_the_first_piece_has_a_status() -> None:
    router = FakeRouter()
    router.failure = Unavailable("no replica is up", retry_after_s=6.2)
    async with running_gateway(router) as gateway:
        status, answer, headers = await post(gateway, "/v1/chat/completions", CHAT | {"stream": True})
    assert (status, headers["Retry-After"], answer["error"]["type"]) == (503, "7", "server_error")


async def test_a_client_that_goes_away_cancels_its_request() -> None:
    router = FakeRouter(paused=True)
    async with running_gateway(router) as gateway:
        async with aiohttp.ClientSession(headers=gateway.headers()) as session:
            router.step()
            got = await session.post(f"{gateway.url}/v1/chat/completions", json=CHAT | {"stream": True})
            assert b"hello" in await got.content.readline()
            assert router.running == 1
            got.close()
        await until(lambda: bool(gateway.usage.all))
    assert router.running == 0
    assert len(router.cancelled) == 1
    assert (gateway.usage.all[0].outcome, gateway.usage.all[0].completion_tokens) == ("cancelled", 1)
    assert gateway.gateway.concurrency.running == {}


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    router = FakeRouter()
    long = {"model": "echo", "messages": [{"role": "user", "content": "word" * 8000 + " " + "a b " * 60_000}]}
    async with running_gateway(router, write_timeout_s=0.2) as gateway:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(gateway.url.rpartition(":")[2]), limit=1
        )
        body = json.dumps(long | {"stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: {gateway.headers()['Authorization']}\r\n\r\n"
        writer.write(head.encode() + body)
        await until(lambda: bool(gateway.usage.all))
        writer.close()
        assert not reader.at_eof()
    assert gateway.usage.all[0].outcome == "cancelled"
    assert router.running == 0


async def test_a_model_that_takes_too_long_is_given_up() -> None:
    router = FakeRouter(paused=True)
    async with running_gateway(router, timeout_s=0.05) as gateway:
        status, answer, _ = await post(gateway, "/v1/chat/completions", CHAT)
    assert (status, answer["error"]["type"]) == (504, "server_error")
    assert router.running == 0


async def test_prompts_are_completed() -> None:
    async with running_gateway() as gateway:
        body = {"model": "echo", "prompt": ["a b c"], "max_tokens": 2, "stop": "c"}
        status, answer, _ = await post(gateway, "/v1/completions", body)
    assert (status, answer["choices"][0]["text"], answer["object"]) == (200, "a b", "text_completion")


async def test_embeddings_come_as_numbers_and_as_base64() -> None:
    async with running_gateway() as gateway:
        body = {"model": "digest", "input": ["one", "two words"]}
        _, plain, _ = await post(gateway, "/v1/embeddings", body)
        _, packed, _ = await post(gateway, "/v1/embeddings", body | {"encoding_format": "base64"})
        _, cut, _ = await post(gateway, "/v1/embeddings", body | {"dimensions": 3})
    vectors = [one["embedding"] for one in plain["data"]]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert [
        list(struct.unpack("<8f", base64.b64decode(one["embedding"]))) for one in packed["data"]
    ] == vectors
    assert [len(one["embedding"]) for one in cut["data"]] == [3, 3]


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 401, "authentication_error"),
        ({"Authorization": "Basic eDp5"}, 401, "authentication_error"),
        ({"Authorization": "Bearer fl1.aaaa"}, 401, "authentication_error"),
        ({"Authorization": "Bearer " + "x" * 40}, 401, "authentication_error"),
    ],
)
async def test_nobody_gets_in_without_a_token(headers: dict[str, str], status: int, kind: str) -> None:
    async with running_gateway() as gateway:
        found, answer, sent = await post(gateway, "/v1/chat/completions", CHAT, headers)
    assert (found, answer["error"]["type"], sent["WWW-Authenticate"]) == (status, kind, "Bearer")


async def test_tokens_of_nodes_and_withdrawn_ones_are_refused() -> None:
    async with running_gateway() as gateway:
        node = {"Authorization": f"Bearer {gateway.token('node')}"}
        client = gateway.headers()
        assert (await post(gateway, "/v1/chat/completions", CHAT, node))[0] == 403
        assert (await post(gateway, "/v1/chat/completions", CHAT, client))[0] == 200
        gateway.known.clear()
        assert (await post(gateway, "/v1/chat/completions", CHAT, client))[0] == 401


async def test_rates_hold_and_are_told() -> None:
    clock = ManualClock()
    async with running_gateway(clock=clock, requests_per_minute=2, tokens_per_minute=1000) as gateway:
        _, _, headers = await post(gateway, "/v1/chat/completions", CHAT)
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert headers["x-ratelimit-remaining-tokens"] == "994"
        await post(gateway, "/v1/chat/completions", CHAT)
        status, answer, headers = await post(gateway, "/v1/chat/completions", CHAT)
        assert (status, answer["error"]["code"], headers["Retry-After"]) == (429, "rate_limit_exceeded", "30")
        clock.advance(30)
        assert (await post(gateway, "/v1/chat/completions", CHAT))[0] == 200


async def test_models_of_one_name_have_rates_of_their_own_in_each_organisation() -> None:
    router = FakeRouter()
    async with running_gateway(router, ManualClock(), model_requests_per_minute=1) as gateway:
        assert (await post(gateway, "/v1/chat/completions", CHAT))[0] == 200
        assert (await post(gateway, "/v1/chat/completions", CHAT))[0] == 429
        router.served["echo"] = replace(router.served["echo"], owner="other")
        assert (await post(gateway, "/v1/chat/completions", CHAT))[0] == 200


async def test_bodies_are_capped() -> None:
    async with running_gateway(body_bytes=1000) as gateway:
        status, answer, _ = await post(gateway, "/v1/chat/completions", b"x" * 1001)
        assert (status, answer["error"]["code"]) == (413, "request_too_large")
        assert gateway.gateway.bodies.held == 0


async def test_a_model_is_asked_by_the_route_of_its_kind() -> None:
    async with running_gateway() as gateway:
        status, answer, _ = await post(gateway, "/v1/embeddings", {"model": "echo", "input": "x"})
        missing, found, _ = await post(gateway, "/v1/chat/completions", CHAT | {"model": "nobody"})
    assert (status, answer["error"]["param"]) == (400, "model")
    assert (missing, found["error"]["code"]) == (404, "model_not_found")


async def test_health_is_open_and_metrics_are_the_owners() -> None:
    async with running_gateway() as gateway, aiohttp.ClientSession() as session:
        await post(gateway, "/v1/chat/completions", CHAT)
        for path in ("/health", "/ready", "/v2/health/live", "/v2/health/ready"):
            async with session.get(gateway.url + path) as got:
                assert got.status == 200
        async with session.get(f"{gateway.url}/metrics", headers=gateway.headers()) as got:
            assert got.status == 403
        async with session.get(f"{gateway.url}/metrics", headers=gateway.headers(owner=True)) as got:
            text = await got.text()
    assert 'farlane_gateway_requests_total{kind="generation",model="echo",outcome="ok"} 1.0' in text
    assert 'farlane_gateway_tokens_total{direction="completion",model="echo"} 3.0' in text
    assert 'farlane_gateway_request_seconds_count{model="echo"} 1.0' in text
    assert 'farlane_gateway_errors_total{protocol="http",status="403"} 1.0' in text


async def test_unknown_paths_and_methods_are_told_in_the_same_shape() -> None:
    async with running_gateway() as gateway, aiohttp.ClientSession() as session:
        async with session.get(f"{gateway.url}/v1/nothing") as got:
            assert (got.status, (await got.json())["error"]["type"]) == (404, "invalid_request_error")
        async with session.get(f"{gateway.url}/v1/embeddings") as got:
            assert (got.status, got.headers["Allow"]) == (405, "POST")

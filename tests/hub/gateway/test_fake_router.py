"""The fake router keeps the promises of its port."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from farlane.domain.inference import FinishReason, GeneratePiece, GenerateRequest, Message, Sampling
from farlane.errors import NotFound, PermissionRefused, Unavailable
from farlane.hub.gateway.port import Caller, ModelState, NoModels
from farlane.testing.fake_router import OLD_VERSION, FakeRouter

CALLER = Caller("acme", "vision", "0123456789ab")
HELLO = GenerateRequest((Message("user", "hello wide world"),))


async def test_generation_echoes_word_by_word_and_counts_at_the_end() -> None:
    router = FakeRouter()
    stream = router.infer(CALLER, "echo", None, HELLO, request_id="r1", timeout_s=5)
    pieces = [one async for one in stream if isinstance(one, GeneratePiece)]
    assert "".join(one.text for one in pieces) == "hello wide world"
    assert pieces[-1] == GeneratePiece("", FinishReason.STOP, 3, 3)
    assert router.cancelled == []


async def test_generation_is_cut_at_its_cap() -> None:
    request = GenerateRequest(prompt="a b c", sampling=Sampling(max_tokens=2))
    stream = FakeRouter().infer(CALLER, "echo", None, request, request_id="r1", timeout_s=5)
    pieces = [one async for one in stream if isinstance(one, GeneratePiece)]
    assert pieces[-1] == GeneratePiece("", FinishReason.LENGTH, 3, 2)


async def test_closing_the_stream_cancels_the_request() -> None:
    router = FakeRouter()
    async with aclosing(router.infer(CALLER, "echo", None, HELLO, request_id="r7", timeout_s=5)) as stream:
        await anext(stream)
        assert router.running == 1
    assert (router.cancelled, router.running) == (["r7"], 0)


async def test_unloaded_models_say_when_to_come_back() -> None:
    router, admin = FakeRouter(), Caller("acme", "vision", "", admin=True)
    with pytest.raises(PermissionRefused):
        await router.unload(CALLER, "echo")
    await router.unload(admin, "echo")
    assert (await router.describe(CALLER, "echo", None)).state is ModelState.UNAVAILABLE
    with pytest.raises(Unavailable) as caught:
        await anext(router.infer(CALLER, "echo", None, HELLO, request_id="r", timeout_s=5))
    assert caught.value.facts == {"retry_after_s": 3}
    await router.load(admin, "echo")
    assert (await router.describe(CALLER, "echo", OLD_VERSION)).version == OLD_VERSION


async def test_unknown_names_and_versions_are_not_found() -> None:
    with pytest.raises(NotFound, match="version 'v9' of model 'echo'"):
        await FakeRouter().describe(CALLER, "echo", "v9")
    none = NoModels()
    assert await none.models(CALLER) == []
    with pytest.raises(NotFound, match="model 'echo'"):
        await anext(none.infer(CALLER, "echo", None, HELLO, request_id="r", timeout_s=5))

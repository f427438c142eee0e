"""The real `openai` and `tritonclient` packages against the real listeners, each in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from farlane.errors import ConnectionLost
from farlane.testing.fake_router import FakeRouter
from farlane.testing.running_gateway import running_gateway
from farlane.testing.waiting import until

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-clients/bin/python"
SCRIPTS = Path(__file__).parent / "clients"


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not PYTHON.exists():
        missing = "the real clients openai and tritonclient are not installed: run `make clients`"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)


async def seen_by(script: str, *arguments: str) -> dict[str, Any]:
    """Return what a client's script prints."""
    process = await asyncio.create_subprocess_exec(
        PYTHON, SCRIPTS / script, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    found: dict[str, Any] = json.loads(output)
    return found


async def test_openai() -> None:
    router = FakeRouter()
    async with running_gateway(router) as gateway:
        seen = await seen_by("openai_client.py", gateway.url, gateway.token())
        await until(lambda: router.running == 0)
    assert seen == {
        "models": ["digest", "echo", "mirror"], "model": "acme", "chat": ["hello wide", "length", 5],
        "stream": "hello wide world", "stream usage": 3, "completion": "a b", "prompt stream": "a b c",
        "embeddings agree": True, "dimensions": 3,
        "unknown model": ["NotFoundError", 404, "model_not_found", None],
        "two choices": ["BadRequestError", 400, "unsupported_value", "n"],
        "tools": ["BadRequestError", 400, "unsupported_value", "tools"],
        "wrong key": ["AuthenticationError", 401, "invalid_api_key", None],
    }  # fmt: skip


async def test_an_openai_client_that_leaves_a_stream_cancels_it() -> None:
    router = FakeRouter(paused=True)
    script = (
        "import sys, openai\n"
        "client = openai.OpenAI(base_url=sys.argv[1] + '/v1', api_key=sys.argv[2], max_retries=0)\n"
        "turns = [{'role': 'user', 'content': 'hello wide world'}]\n"
        "with client.chat.completions.create(model='echo', messages=turns, stream=True) as stream:\n"
        "    print(next(iter(stream)).choices[0].delta.content)\n"
    )
    async with running_gateway(router) as gateway:
        router.step()
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", script, gateway.url, gateway.token(), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        await until(lambda: bool(router.cancelled))
    assert output == b"hello\n"
    assert [one.outcome for one in gateway.usage.all] == ["cancelled"]


async def test_an_openai_client_whose_stream_breaks_is_told_why() -> None:
    router = FakeRouter()
    router.failure, router.fail_after = ConnectionLost("the replica went away in the middle of its answer"), 2
    script = (
        "import sys, openai\n"
        "client = openai.OpenAI(base_url=sys.argv[1] + '/v1', api_key=sys.argv[2], max_retries=0)\n"
        "turns = [{'role': 'user', 'content': 'hello wide world'}]\n"
        "try:\n"
        "    for piece in client.chat.completions.create(model='echo', messages=turns, stream=True):\n"
        "        print(piece.choices[0].delta.content.strip())\n"
        "except openai.APIError as error:\n"
        "    print(type(error).__name__, error.message)\n"
    )
    async with running_gateway(router) as gateway:
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", script, gateway.url, gateway.token(), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert output.decode().splitlines() == [
        "hello", "wide", "APIError the replica went away in the middle of its answer"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_triton(kind: str) -> None:
    async with running_gateway() as gateway:
        address = gateway.grpc if kind == "grpc" else gateway.url.removeprefix("http://")
        seen = await seen_by("triton_client.py", kind, address, gateway.token(admin=True))
    own = {
        "http": {
            "as json": [[0, 1, 2], [3, 4, 5]], "packed": [[0, 1, 2], [3, 4, 5]],
        },
        "grpc": {},
    }  # fmt: skip
    codes = {"http": ("404", "401", "400"), "grpc": ("NOT_FOUND", "UNAUTHENTICATED", "INVALID_ARGUMENT")}
    for name, code in zip(("unknown model", "no token", "config"), codes[kind], strict=True):
        status, message = seen.pop(name)
        assert status.removeprefix("StatusCode.") == code
        assert message
    if kind == "grpc":
        (first, nothing), (none, complaint) = seen.pop("stream")
        assert (first, nothing, none) == ("first", None, None)
        assert "nobody" in complaint
    assert seen == own[kind] | {
        "live": [True, True], "model ready": True, "server": "farlane", "inputs": [["x", "FP32"]],
        "numbers come back": True, "texts": ["one", "two words"], "id": "mine",
        "INT8": True, "UINT64": True, "FP16": True, "BOOL": True, "unloaded": False, "loaded": True,
        "index": {"digest": "READY", "echo": "READY", "mirror": "UNAVAILABLE"},
    }  # fmt: skip

"""A child that speaks OpenAI's HTTP, and the client that asks it: against llama.cpp's own server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from farlane.demo.novelist import NOVELIST, shipped_model
from farlane.domain.inference import FinishReason, GeneratePiece, GenerateRequest, Message, Sampling
from farlane.errors import InvalidInput, NotFound, Unavailable
from farlane.models.serving.runtime import RuntimeOptions, open_runtime
from farlane.models.serving.runtimes.model_server import ModelServer
from farlane.models.serving.runtimes.openai_client import OpenAIClient
from farlane.models.serving.runtimes.openai_server import pieces, question
from farlane.testing.llama_server import llama_command

LIKELIEST = Sampling(max_tokens=24, temperature=0.0, seed=1)


@pytest.fixture(scope="module")
def llama() -> Iterator[ModelServer]:
    model = shipped_model("novelist") / NOVELIST
    server = ModelServer("llama.cpp", lambda path, key: llama_command(model, path, key), start_timeout_s=60)
    yield server
    server.close()


def answer(
    server: ModelServer, request: GenerateRequest, over: threading.Event | None = None
) -> Iterator[GeneratePiece]:
    cancelled = (over or threading.Event()).is_set
    path = "/v1/chat/completions" if request.messages else "/v1/completions"
    return pieces(server.client.stream(path, question(request), cancelled), cancelled, "llama.cpp")


def written(server: ModelServer, prompt: str = "Mr. Darcy", **sampling: Any) -> tuple[str, GeneratePiece]:
    drawn = Sampling(**({"max_tokens": 24, "seed": 1} | sampling))
    *texts, last = answer(server, GenerateRequest(prompt=prompt, sampling=drawn))
    return "".join(piece.text for piece in texts), last


def test_it_streams_what_the_same_model_writes_in_process(llama: ModelServer) -> None:
    here = open_runtime(shipped_model("novelist"), RuntimeOptions())
    for request in (
        GenerateRequest(prompt="Mr. Darcy", sampling=LIKELIEST),
        GenerateRequest(messages=(Message("user", "Elizabeth smiled."),), sampling=LIKELIEST),
    ):
        streamed = list(answer(llama, request))
        told = list(here.generate(request, lambda: False))
        assert "".join(piece.text for piece in streamed) == "".join(piece.text for piece in told)
        assert streamed[-1] == told[-1]
        assert len(streamed) > 5


def test_the_counts_are_the_servers(llama: ModelServer) -> None:
    _, last = written(llama, temperature=0.0)
    assert (last.finish, last.completion_tokens) == (FinishReason.LENGTH, 24)
    assert last.prompt_tokens > 2


def test_seeds_stops_and_penalties_reach_the_server(llama: ModelServer) -> None:
    whole, _ = written(llama, temperature=0.0)
    stop = whole.split()[3]
    cut, last = written(llama, temperature=0.0, stop=(stop,))
    assert (cut, last.finish) == (whole[: whole.index(stop)], FinishReason.STOP)
    assert written(llama, temperature=0.0, presence_penalty=2.0, frequency_penalty=2.0)[0] != whole
    assert written(llama, seed=7)[0] != written(llama, seed=8)[0]


def test_what_the_server_refuses_is_said_in_its_words(llama: ModelServer) -> None:
    with pytest.raises(InvalidInput, match=r"llama\.cpp refused the request: .*available context size"):
        written(llama, "word " * 400)
    with pytest.raises(NotFound, match=r"llama\.cpp does not know"):
        llama.client.call("GET", "/v1/nothing")
    stranger = OpenAIClient(llama.client.path, "llama.cpp", "another key")
    with pytest.raises(Unavailable, match="Invalid API Key"):
        stranger.call("GET", "/v1/models")


def test_a_cancelled_answer_ends_without_a_last_piece_and_the_next_comes(llama: ModelServer) -> None:
    over, seen = threading.Event(), []
    request = GenerateRequest(prompt="Elizabeth", sampling=Sampling(max_tokens=200, seed=3))
    for piece in answer(llama, request, over):
        seen.append(piece)
        if len(seen) == 2:
            over.set()
    assert [piece.finish for piece in seen] == [None, None]
    left = answer(llama, request)
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert written(llama)[1].completion_tokens == 24

"""OpenAI's requests are read strictly: what cannot be honoured is refused by its name."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.inference import EmbedRequest, GenerateRequest, Message, Sampling
from farlane.errors import InvalidInput
from farlane.hub.gateway.openai_requests import chat_request, completion_request, embedding_request

TURN = {"role": "user", "content": "hi"}


def chat(**fields: object) -> bytes:
    """Return a chat's body."""
    return json.dumps({"model": "m", "messages": [TURN], **fields}).encode()


def test_a_chat_with_everything_that_is_known() -> None:
    found = chat_request(
        chat(
            messages=[
                {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
                {"role": "user", "content": "hi", "name": "ann"},
            ],
            max_completion_tokens=7, temperature=0, top_p=0.5, seed=-3, stop=["x", "y"], presence_penalty=1,
            frequency_penalty=-1.5, n=1, stream=True, stream_options={"include_usage": True}, user="u", store=False,
            logprobs=False, tools=[], tool_choice="none", response_format={"type": "text"}, metadata={"a": "b"},
        )
    )  # fmt: skip
    sampling = Sampling(
        max_tokens=7,
        temperature=0.0,
        top_p=0.5,
        seed=-3,
        stop=("x", "y"),
        frequency_penalty=-1.5,
        presence_penalty=1.0,
    )
    assert found.request == GenerateRequest(
        (Message("system", "be brief"), Message("user", "hi")), "", sampling
    )
    assert (found.stream, found.usage_in_stream) == (True, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"seed": 1 << 63}, "seed"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [TURN, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"temprature": 1}, "temprature"),
        ({"model": ""}, "model"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        chat_request(chat(**fields))
    assert caught.value.facts["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 200_000, b'{"messages":' + b"[" * 200_000,
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 100_000 + b"}",
    ],
)  # fmt: skip
def test_no_body_breaks_the_reader(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        chat_request(body)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(
    st.sampled_from(["model", "messages", "role", "content", "stop", "type", "text"]) | st.text(), one)))  # fmt: skip
def test_any_document_is_read_or_refused(document: object) -> None:
    for read in (chat_request, completion_request, embedding_request):
        with contextlib.suppress(InvalidInput):
            assert read(json.dumps(document).encode()).model


def test_a_prompt_has_sixteen_tokens_by_default() -> None:
    found = completion_request(b'{"model":"m","prompt":"hi"}')
    assert found.request == GenerateRequest(prompt="hi", sampling=Sampling(max_tokens=16))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"), ({"prompt": [1, 2]}, "prompt"), ({"prompt": []}, "prompt"),
        ({"echo": True}, "echo"), ({"suffix": "x"}, "suffix"), ({"best_of": 2}, "best_of"),
    ],
)  # fmt: skip
def test_what_a_prompt_cannot_have(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        completion_request(json.dumps({"model": "m", "prompt": "x"} | fields).encode())
    assert caught.value.facts["param"] == param


def test_texts_to_embed() -> None:
    found = embedding_request(b'{"model":"m","input":["a","b"],"dimensions":2,"encoding_format":"base64"}')
    assert (found.request, found.base64) == (EmbedRequest(("a", "b"), 2), True)
    for wrong in (b"[[1,2]]", b"[1,2]", b'""', b'["a",""]', b"[]", b"3"):
        with pytest.raises(InvalidInput):
            embedding_request(b'{"model":"m","input":' + wrong + b"}")

"""What the real `openai` client sees; run by the environment of the clients: URL TOKEN."""

from __future__ import annotations

import json
import sys

import openai

url, token = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=30)
TURNS = [{"role": "user", "content": "hello wide world"}]
seen: dict[str, object] = {}

seen["models"] = [one.id for one in client.models.list()]
seen["model"] = client.models.retrieve("echo").owned_by
chat = client.chat.completions.create(
    model="echo", messages=TURNS, max_completion_tokens=2, seed=1, temperature=0
)
seen["chat"] = [chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage.total_tokens]
stream = client.chat.completions.create(
    model="echo", messages=TURNS, stream=True, stream_options={"include_usage": True}
)
pieces = list(stream)
seen["stream"] = "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)
seen["stream usage"] = pieces[-1].usage.completion_tokens
seen["completion"] = client.completions.create(model="echo", prompt="a b c", stop=["c"]).choices[0].text
seen["prompt stream"] = "".join(
    one.choices[0].text for one in client.completions.create(model="echo", prompt="a b c", stream=True)
)
packed = client.embeddings.create(
    model="digest", input=["one", "two"]
)  # this client asks for base64 by itself
plain = client.embeddings.create(model="digest", input=["one", "two"], encoding_format="float")
both = [zip(x.embedding, y.embedding, strict=True) for x, y in zip(packed.data, plain.data, strict=True)]
seen["embeddings agree"] = max(abs(a - b) for pairs in both for a, b in pairs) < 1e-6
seen["dimensions"] = len(client.embeddings.create(model="digest", input="x", dimensions=3).data[0].embedding)


def refused(name: str, call: object) -> None:
    """Note which error a call ends with."""
    try:
        call()  # type: ignore[operator]
    except openai.APIStatusError as error:
        seen[name] = [type(error).__name__, error.status_code, error.code, error.param]


refused("unknown model", lambda: client.chat.completions.create(model="nobody", messages=TURNS))
refused("two choices", lambda: client.chat.completions.create(model="echo", messages=TURNS, n=2))
refused("tools", lambda: client.chat.completions.create(
    model="echo", messages=TURNS, tools=[{"type": "function", "function": {"name": "f"}}]))  # fmt: skip
refused("wrong key", client.with_options(api_key="x" * 40).models.list)

with client.chat.completions.create(model="echo", messages=TURNS, stream=True) as left:
    next(iter(left))
print(json.dumps(seen))

"""The Open Inference Protocol over HTTP: JSON and binary tensors, repositories, and what liars send."""

from __future__ import annotations

import gzip
import json
import struct
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.inference import Datatype, TensorsReply
from farlane.errors import FarlaneError, InvalidInput
from farlane.hub.gateway.oip_json import infer_reply, infer_request
from farlane.testing.fake_router import OLD_VERSION, VERSION, FakeRouter
from farlane.testing.running_gateway import RunningGateway, running_gateway

NUMBERS = struct.pack("<3f", 1, 2, 3)
PLAIN = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2.5, -3]}
BINARY = {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}


def body_of(*inputs: object, data: bytes = b"", **rest: object) -> tuple[bytes, str]:
    """Return a body and the length of its JSON."""
    head = json.dumps({"inputs": inputs, **rest}).encode()
    return head + data, str(len(head))


async def answered(
    gateway: RunningGateway,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers of one answer, their names in lower case."""
    sent = gateway.headers(admin=True) | (headers or {})
    async with (
        aiohttp.ClientSession(headers=sent) as session,
        session.request(method, gateway.url + path, data=body) as got,
    ):
        return got.status, await got.read(), {name.lower(): value for name, value in got.headers.items()}


async def test_arrays_as_json() -> None:
    router = FakeRouter()
    async with running_gateway(router) as gateway:
        body, _ = body_of(PLAIN, id="mine", parameters={"priority": 3})
        status, data, _ = await answered(gateway, f"/v2/models/mirror/versions/{OLD_VERSION}/infer", body)
    output = {"name": "out_x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2.5, -3]}
    assert status == 200
    assert json.loads(data) == {
        "model_name": "mirror", "model_version": OLD_VERSION, "id": "mine", "outputs": [output],
    }  # fmt: skip
    assert router.asked[0].version == OLD_VERSION


async def test_arrays_as_bytes_in_a_packed_body() -> None:
    async with running_gateway() as gateway:
        body, length = body_of(BINARY, data=NUMBERS, parameters={"binary_data_output": True})
        sent = {"Inference-Header-Content-Length": length, "Content-Encoding": "gzip"}
        status, data, headers = await answered(gateway, "/v2/models/mirror/infer", gzip.compress(body), sent)
        booked = gateway.usage.all[0]
    cut = int(headers["inference-header-content-length"])
    assert status == 200
    assert json.loads(data[:cut])["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert data[cut:] == NUMBERS
    assert (booked.request_bytes, booked.reply_bytes) == (len(gzip.compress(body)), len(data))


async def test_models_are_described() -> None:
    async with running_gateway() as gateway:
        _, data, _ = await answered(gateway, "/v2/models/mirror", method="GET")
        assert json.loads(data) == {
            "name": "mirror", "versions": [OLD_VERSION, VERSION], "platform": "fake",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [{"name": "out_x", "datatype": "FP32", "shape": [-1, 3]}],
        }  # fmt: skip
        _, data, _ = await answered(gateway, "/v2", method="GET")
        assert json.loads(data)["extensions"] == ["binary_tensor_data", "model_repository"]
        assert (await answered(gateway, "/v2/models/mirror/versions/v9", method="GET"))[0] == 404
        status, data, _ = await answered(gateway, "/v2/models/nobody/ready", method="GET")
        assert (status, "nobody" in json.loads(data)["error"]) == (404, True)


async def test_models_are_loaded_and_unloaded() -> None:
    async with running_gateway() as gateway:
        assert (await answered(gateway, "/v2/repository/models/mirror/unload", b"{}"))[0] == 200
        assert (await answered(gateway, "/v2/models/mirror/ready", method="GET"))[0] == 503
        body, _ = body_of(PLAIN)
        assert (await answered(gateway, "/v2/models/mirror/infer", body))[0] == 503
        _, data, _ = await answered(gateway, "/v2/repository/index")
        states = {one["name"]: one["state"] for one in json.loads(data)}
        assert states == {"digest": "READY", "echo": "READY", "mirror": "UNAVAILABLE"}
        _, data, _ = await answered(gateway, "/v2/repository/index", b'{"ready":true}')
        assert [one["name"] for one in json.loads(data)] == ["digest", "echo"]
        refused = await answered(
            gateway, "/v2/repository/models/mirror/load", b'{"parameters":{"config":"{}"}}'
        )
        assert refused[0] == 400
        assert (await answered(gateway, "/v2/repository/models/mirror/load"))[0] == 200
        assert (await answered(gateway, "/v2/models/mirror/ready", method="GET"))[0] == 200


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None), (b"{", None), (b"[" * 100_000, None), (*body_of()[:1], None),
        (body_of(PLAIN)[0], "99999999"), (body_of(PLAIN)[0], "-1"), (body_of(PLAIN)[0], "+5"),
        (body_of(PLAIN)[0], "1_0"),
        (body_of(PLAIN)[0], "\u0661"), (body_of(PLAIN)[0], "9" * 5000), (body_of(PLAIN)[0], ""),
        body_of(PLAIN, data=b"more"), body_of(BINARY, data=NUMBERS[:-1]), body_of(BINARY, data=NUMBERS + b"x"),
        body_of(BINARY, PLAIN, data=NUMBERS), (body_of(BINARY)[0], None),
        body_of(BINARY | {"data": [1, 2, 3]}, data=NUMBERS),
        body_of(BINARY | {"parameters": {"binary_data_size": -12}}, data=NUMBERS),
        body_of(BINARY | {"parameters": {"binary_data_size": True}}, data=b"x"),
        body_of(BINARY | {"parameters": {"binary_data_size": "12"}}, data=NUMBERS),
        body_of(BINARY | {"parameters": {"binary_data_size": 1 << 40}}, data=NUMBERS),
        body_of(BINARY | {"parameters": {"shared_memory_region": "r"}}),
        body_of(BINARY | {"shape": [-1, 3]}, data=NUMBERS),
        body_of(BINARY | {"shape": [1 << 40, 1 << 40]}, data=NUMBERS),
        body_of(BINARY | {"datatype": "FP8"}, data=NUMBERS), body_of(PLAIN | {"shape": ["3"]}),
        body_of(PLAIN | {"extra": 1}),
        body_of({"name": "x", "datatype": "FP32", "shape": [3]}),
        body_of(PLAIN, outputs=[{"name": "a"}, {"name": "a"}]),
        body_of(PLAIN, outputs=[{"name": "a", "parameters": {"classification": 3}}]),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[NaN]}]}', None),
    ],
)  # fmt: skip
def test_bodies_that_lie(body: bytes, length: str | None) -> None:
    with pytest.raises(FarlaneError) as caught:
        infer_request(body, length)
    assert caught.value.http_status in (400, 413)


@given(st.binary(max_size=200), st.text(max_size=4) | st.none())
def test_no_body_breaks_the_reader(body: bytes, length: str | None) -> None:
    with pytest.raises(InvalidInput):
        infer_request(body, length)


async def test_two_lengths_are_refused() -> None:
    body, length = body_of(BINARY, data=NUMBERS)
    async with running_gateway() as gateway:
        headers = [("Inference-Header-Content-Length", length), ("Inference-Header-Content-Length", "5")]
        headers += list(gateway.headers().items())
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/v2/models/mirror/infer", data=body, headers=headers) as got,
        ):
            answer: Any = await got.json()
            assert (got.status, "2 headers" in answer["error"]) == (400, True)


async def test_each_output_may_be_asked_for_in_its_own_way() -> None:
    second = PLAIN | {"name": "y", "datatype": "INT32", "data": [4, 5, 6]}
    wanted = [{"name": "out_y", "parameters": {"binary_data": True}}, {"name": "out_x"}]
    body, _ = body_of(PLAIN, second, outputs=wanted)
    asked = infer_request(body, None)
    assert (asked.request.outputs, asked.binary, asked.binary_default) == (
        ("out_y", "out_x"),
        {"out_y": True},
        False,
    )
    served = await FakeRouter().describe(None, "mirror", None)  # type: ignore[arg-type]  # it asks nobody
    outputs = tuple(one for one in asked.request.inputs)
    data, cut = infer_reply(served, asked, TensorsReply(outputs))
    assert cut is None
    assert [one["name"] for one in json.loads(data)["outputs"]] == ["x", "y"]
    assert outputs[1].datatype is Datatype.INT32

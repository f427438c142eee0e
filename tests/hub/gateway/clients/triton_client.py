"""What the real `tritonclient` sees; run by the environment of the clients: http|grpc ADDRESS TOKEN."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
from tritonclient.utils import InferenceServerException

kind, address, token = sys.argv[1:]
module = importlib.import_module(f"tritonclient.{kind}")
client = module.InferenceServerClient(address)
seen: dict[str, object] = {}


def who() -> dict[str, dict[str, str]]:
    """Return the proof of who calls; new for each call, since the client writes headers of its own into it."""
    return {"headers": {"authorization": f"Bearer {token}"}}


def named(answer: object, field: str) -> object:
    """Return a field of a document or a message."""
    return answer[field] if isinstance(answer, dict) else getattr(answer, field)


def tensor(name: str, values: np.ndarray, datatype: str, **options: bool) -> object:
    """Return an input."""
    made = module.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, **options)
    return made


seen["live"] = [client.is_server_live(), client.is_server_ready()]
seen["model ready"] = client.is_model_ready("mirror", **who())
seen["server"] = named(client.get_server_metadata(**who()), "name")
metadata = client.get_model_metadata("mirror", **who())
seen["inputs"] = [[named(one, "name"), named(one, "datatype")] for one in named(metadata, "inputs")]

numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
texts = np.array([["one", "two words"]], dtype=object)
inputs = [tensor("x", numbers, "FP32"), tensor("t", texts, "BYTES")]
answer = client.infer("mirror", inputs, request_id="mine", **who())
seen["numbers come back"] = bool((answer.as_numpy("out_x") == numbers).all())
seen["texts"] = [one.decode() for one in answer.as_numpy("out_t").ravel()]
seen["id"] = named(answer.get_response(), "id")
for dtype, name in ((np.int8, "INT8"), (np.uint64, "UINT64"), (np.float16, "FP16"), (np.bool_, "BOOL")):
    values = np.array([[1, 0, 1]], dtype=dtype)
    found = client.infer("mirror", [tensor("x", values, name)], **who()).as_numpy("out_x")
    seen[name] = bool((found == values).all() and found.dtype == values.dtype)
if kind == "http":
    output = module.InferRequestedOutput("out_x", binary_data=False)
    plain = client.infer(
        "mirror", [tensor("x", numbers, "FP32", binary_data=False)], outputs=[output], **who()
    )
    packed = client.infer(
        "mirror",
        inputs,
        request_compression_algorithm="gzip",
        response_compression_algorithm="deflate",
        **who(),
    )
    seen["as json"] = plain.as_numpy("out_x").tolist()
    seen["packed"] = packed.as_numpy("out_x").tolist()
else:
    answers = []
    client.start_stream(lambda result, error: answers.append((result, error)), **who())
    client.async_stream_infer("mirror", inputs, request_id="first")
    client.async_stream_infer("nobody", inputs, request_id="second")
    client.stop_stream()
    seen["stream"] = [
        [result.get_response().id if result else None, error and error.message()] for result, error in answers
    ]

client.unload_model("mirror", **who())
seen["unloaded"] = client.is_model_ready("mirror", **who())
index = client.get_model_repository_index(**who())
rows = index if isinstance(index, list) else index.models
seen["index"] = {str(named(one, "name")): named(one, "state") for one in rows}
client.load_model("mirror", **who())
seen["loaded"] = client.is_model_ready("mirror", **who())


def refused(name: str, call: object) -> None:
    """Note which error a call ends with."""
    try:
        call()  # type: ignore[operator]
    except InferenceServerException as error:
        seen[name] = [error.status(), error.message()]


refused("unknown model", lambda: client.infer("nobody", inputs, **who()))
refused("no token", lambda: client.infer("mirror", inputs))
refused("config", lambda: client.load_model("mirror", config='{"backend": "python"}', **who()))
client.close()
print(json.dumps(seen))

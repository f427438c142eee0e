"""`farlane up` starts the gateway and says where; its tokens are those of the network."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from farlane.wire.tokens import parse_token

Shell = Any  # the class is in conftest.py

ONE = ("--port", "0", "--node", "name=ash,cpu=1,memory=256MB")


def fetched(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_models_are_listed_where_up_says_for_clients_of_the_network_alone(shell: Shell) -> None:
    running = shell.json("up", *ONE)
    client = json.loads((shell.directory / "client.json").read_text())["token"]
    assert fetched(f"{running['gateway']}/v1/models", client) == {"object": "list", "data": []}
    assert running["gateway_grpc"].startswith("127.0.0.1:")
    assert parse_token(running["join_token"]).role == "node"
    for token, status in ((running["join_token"], 403), ("nobody's", 401)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetched(f"{running['gateway']}/v1/models", token)
        caught.value.close()
        assert caught.value.code == status
    assert f"  models      {running['gateway']}/v1 (OpenAI)" in shell("up").stdout


def test_a_gateway_that_is_not_wanted_is_not_there(shell: Shell) -> None:
    running = shell.json("up", *ONE, "--set", "hub.gateway_port=-1", "--set", "hub.gateway_grpc_port=-1")
    assert (running["gateway"], running["gateway_grpc"]) == ("", "")
    assert "models" not in shell("up").stdout

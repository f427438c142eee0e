"""Listeners with TLS, and ports that are taken."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import aiohttp
import grpc
import pytest

from farlane.errors import InvalidSetting
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.listeners import listening
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip import inference_pb2_grpc
from farlane.hub.gateway.port import NoModels, NoUsage
from farlane.hub.gateway.settings import GatewaySettings, gateway_settings
from farlane.hub.settings import HubSettings
from farlane.kit.clock import SystemClock
from farlane.kit.keys import server_certificate


def gateway(settings: GatewaySettings) -> Gateway:
    return Gateway(NoModels(), NoUsage(), SystemClock(), settings)


def nobody() -> Access:
    return Access(lambda digest: None)


async def test_both_listeners_use_the_certificate(tmp_path: Path) -> None:
    made = server_certificate(tmp_path / "tls", ["127.0.0.1"])
    files = made.certificate_path, made.key_path
    async with listening(gateway(GatewaySettings()), nobody(), files) as ports:
        trust = ssl.create_default_context(cadata=made.certificate_pem.decode())
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://127.0.0.1:{ports.http}/health", ssl=trust) as got,
        ):
            assert (got.status, await got.text()) == (200, "ok\n")
        credentials = grpc.ssl_channel_credentials(made.certificate_pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{ports.grpc}", credentials) as channel:
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ServerLive(pb.ServerLiveRequest())).live


@pytest.mark.parametrize("field", ["port", "grpc_port"])
async def test_a_port_that_is_taken_is_named(field: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = GatewaySettings(**{"port": -1, "grpc_port": -1, field: taken.getsockname()[1]})
        with pytest.raises(InvalidSetting, match=f"hub.gateway_{field}"):
            async with listening(gateway(settings), nobody(), None):
                raise AssertionError("it must not listen")


async def test_minus_one_is_no_listener() -> None:
    async with listening(gateway(GatewaySettings(port=-1, grpc_port=-1)), nobody(), None) as ports:
        assert (ports.http, ports.grpc) == (0, 0)


def test_every_setting_comes_from_the_hubs() -> None:
    assert gateway_settings(HubSettings()) == GatewaySettings()
    assert gateway_settings(HubSettings(gateway_concurrent=3, gateway_timeout_s=1.5)) == GatewaySettings(
        concurrent=3, timeout_s=1.5
    )

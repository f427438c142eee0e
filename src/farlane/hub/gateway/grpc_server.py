"""The gateway's gRPC listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from farlane.errors import InvalidSetting
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.grpc_access import GatewayAuthenticator
from farlane.hub.gateway.oip import inference_pb2_grpc
from farlane.hub.gateway.oip_service import OipService
from farlane.wire.channel import SERVER_OPTIONS, server_credentials

log = logging.getLogger(__name__)
STOP_GRACE_S = 5.0
_FRAME_BYTES = 64 << 10
"""Room for what a message has besides its tensors."""


@asynccontextmanager
async def serve_grpc(
    gateway: Gateway, access: Access, certificate: tuple[Path, Path] | None
) -> AsyncIterator[int]:
    """Serve during a block; yields the port.

    Args:
        gateway: answers.
        access: knows the callers.
        certificate: files of the certificate and its key, PEM; None: without TLS, for loopback alone.

    Raises:
        InvalidSetting: the address cannot be listened on.
    """
    settings = gateway.settings
    limit = settings.body_bytes + _FRAME_BYTES
    options = dict(SERVER_OPTIONS) | {
        "grpc.max_receive_message_length": limit, "grpc.max_send_message_length": -1,
        "grpc.max_concurrent_streams": settings.concurrent_each, "grpc.server_handshake_timeout_ms": 15_000,
        "grpc.max_connection_idle_ms": int(settings.idle_timeout_s * 1000),
    }  # fmt: skip
    server = grpc.aio.server(
        interceptors=[GatewayAuthenticator(access, gateway.metrics)],
        options=tuple(options.items()),
        maximum_concurrent_rpcs=2 * settings.concurrent,
    )
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(OipService(gateway), server)
    address = f"{settings.host}:{settings.grpc_port}"
    try:
        port = _bound(server, address, certificate)
    except RuntimeError as error:
        raise InvalidSetting(
            f"the gateway cannot listen on {address}: choose another hub.gateway_grpc_port, 0 for any or -1 for none"
        ) from error
    await server.start()
    log.info("the gateway listens for gRPC on %s:%d", settings.host, port)
    try:
        yield port
    finally:
        await asyncio.shield(server.stop(STOP_GRACE_S))


def _bound(server: grpc.aio.Server, address: str, certificate: tuple[Path, Path] | None) -> int:
    if certificate is None:
        return server.add_insecure_port(address)
    public, key = (path.read_bytes() for path in certificate)
    return server.add_secure_port(address, server_credentials(public, key))

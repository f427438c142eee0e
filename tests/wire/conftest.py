"""A real hub-side TLS server on loopback for the tests of the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
import pytest

from farlane.kit.keys import ServerCertificate, random_secret, server_certificate
from farlane.wire.channel import SERVER_OPTIONS, open_channel, server_credentials
from farlane.wire.serving import Identity, TokenAuthenticator
from farlane.wire.tokens import Role, Token, secret_digest


@dataclass
class TlsServer:
    """A listening server and the tokens it knows."""

    certificate: ServerCertificate
    port: int = 0
    identities: dict[bytes, Identity] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self, role: Role = "client", publisher: str = "anna") -> Token:
        """Return a token that lets its holder in."""
        token = Token(role, "lab", publisher, self.certificate.spki_sha256, random_secret())
        self.identities[secret_digest(token.secret)] = Identity(role, "lab", publisher)
        return token

    @contextlib.asynccontextmanager
    async def channel(self, token: Token | None = None) -> AsyncIterator[grpc.aio.Channel]:
        channel = await open_channel(self.url, token or self.token())
        try:
            yield channel
        finally:
            await channel.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return server_certificate(tmp_path_factory.mktemp("keys") / "hub", ["localhost", "127.0.0.1"])


@pytest.fixture
def serving(
    certificate: ServerCertificate,
) -> Callable[..., contextlib.AbstractAsyncContextManager[TlsServer]]:
    """Start a server in a block: `async with serving(add_services) as server`."""

    @contextlib.asynccontextmanager
    async def start(
        *add: Callable[[grpc.aio.Server], None], port: int = 0, min_ping_ms: int | None = None
    ) -> AsyncIterator[TlsServer]:
        hub = TlsServer(certificate)
        options = dict(SERVER_OPTIONS)
        if min_ping_ms is not None:
            options["grpc.http2.min_ping_interval_without_data_ms"] = min_ping_ms
        server = grpc.aio.server(
            interceptors=[TokenAuthenticator(hub.identities.get)],
            options=tuple(options.items()),
        )
        for service in add:
            service(server)
        credentials = server_credentials(certificate.certificate_pem, certificate.key_pem)
        hub.port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await server.start()
        try:
            yield hub
        finally:
            await server.stop(0)

    return start

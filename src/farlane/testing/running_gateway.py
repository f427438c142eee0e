"""A running gateway: the real listeners on loopback over the fake router, with tokens of two organisations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.listeners import listening
from farlane.hub.gateway.port import Router, Usage
from farlane.hub.gateway.settings import GatewaySettings
from farlane.kit.clock import Clock, SystemClock
from farlane.testing.fake_router import FakeRouter
from farlane.wire.serving import Identity
from farlane.wire.tokens import Role, Token, secret_digest


class KeptUsage:
    """Keeps what is booked."""

    def __init__(self) -> None:
        self.all: list[Usage] = []

    def record(self, usage: Usage) -> None:
        """See `UsageSink.record`."""
        self.all.append(usage)


@dataclass(slots=True)
class RunningGateway:
    """Where it listens, and whom it knows."""

    gateway: Gateway
    usage: KeptUsage
    url: str
    grpc: str
    """Host and port."""
    known: dict[bytes, Identity]

    def token(
        self, role: Role = "client", organisation: str = "acme", *, admin: bool = False, owner: bool = False
    ) -> str:
        """Return a new token's text."""
        secret = f"secret-{len(self.known):04d}-of-{role}"
        self.known[secret_digest(secret)] = Identity(role, organisation, "vision", admin, owner)
        return Token(role, organisation, "vision", bytes(32), secret).text()

    def headers(self, *, admin: bool = False, owner: bool = False) -> dict[str, str]:
        """Return the headers of a new client."""
        return {"Authorization": f"Bearer {self.token(admin=admin, owner=owner)}"}


@asynccontextmanager
async def running_gateway(
    router: Router | None = None, clock: Clock | None = None, **settings: float
) -> AsyncIterator[RunningGateway]:
    """Serve during a block.

    Args:
        router: a fake one by default.
        clock: the machine's by default.
        **settings: changes to `GatewaySettings`.
    """
    known: dict[bytes, Identity] = {}
    usage, access = KeptUsage(), Access(known.get)
    chosen = replace(GatewaySettings(), **settings)  # type: ignore[arg-type]  # numbers all of them
    gateway = Gateway(router or FakeRouter(), usage, clock or SystemClock(), chosen)
    async with listening(gateway, access, None) as ports:
        yield RunningGateway(
            gateway, usage, f"http://127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}", known
        )

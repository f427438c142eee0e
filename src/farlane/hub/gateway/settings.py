"""What a gateway lets through, and for how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, fields

from farlane.hub.settings import HubSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Limits of one gateway: each is the hub's setting of the same name after `gateway_`."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """TCP port for HTTP; 0 for a free one, -1 for none."""
    grpc_port: int = 0
    """TCP port for gRPC; 0 for a free one, -1 for none."""
    requests_per_minute: int = 0
    """Of each organisation; 0 is without limit."""
    tokens_per_minute: int = 0
    """Of each organisation, prompts and completions together; 0 is without limit."""
    model_requests_per_minute: int = 0
    """To each model, whoever asks; 0 is without limit."""
    model_tokens_per_minute: int = 0
    """Of each model, whoever asks; 0 is without limit."""
    concurrent: int = 512
    """Requests that run at the same time."""
    timeout_s: float = 600.0
    """How long one request may take, in seconds."""
    body_bytes: int = 64 << 20
    """Largest body of a request, before and after it is unpacked, in bytes."""
    concurrent_each: int = 256
    """Requests of one organisation that run at the same time."""
    buffer_bytes: int = 512 << 20
    """Bodies of all requests held at the same time, in bytes."""
    read_timeout_s: float = 60.0
    """How long a body may take to arrive, in seconds."""
    connections: int = 1000
    """HTTP connections at the same time; 1 or more."""
    idle_timeout_s: float = 75.0
    """How long a connection may take to send the headers of its next request, silence included, in seconds."""
    write_timeout_s: float = 30.0
    """How long a client may leave a piece of a stream unread before it is cut off, in seconds."""


def gateway_settings(hub: HubSettings) -> GatewaySettings:
    """Return what a hub's settings say about its gateway."""
    return GatewaySettings(
        **{one.name: getattr(hub, f"gateway_{one.name}") for one in fields(GatewaySettings)}
    )

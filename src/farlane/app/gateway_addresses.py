"""Where clients reach the gateway of a hub that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farlane.app.addresses import bracketed, is_loopback, outward_host
from farlane.hub.settings import HubSettings


def gateway_addresses(hub: HubSettings, ready: Mapping[str, Any]) -> tuple[str, str]:
    """Return the base URL for HTTP and host:port for gRPC, each empty where there is none.

    Args:
        hub: the settings that the hub was started with.
        ready: what it said when it was ready.
    """
    host = bracketed(outward_host(hub.gateway_host))
    scheme = "http" if is_loopback(hub.gateway_host) else "https"
    # A hub of an older version, still running, has no gateway.
    http, grpc = ready.get("gateway_port", 0), ready.get("gateway_grpc_port", 0)
    return f"{scheme}://{host}:{http}" if http else "", f"{host}:{grpc}" if grpc else ""

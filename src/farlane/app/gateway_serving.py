"""The hub's gateway: put together from the hub's settings, tokens, certificate and deployments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from farlane.app.addresses import bracketed, certificate_names, is_loopback
from farlane.app.layout import Layout
from farlane.hub.credentials import Credentials
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.listeners import Ports, listening
from farlane.hub.gateway.port import NoModels
from farlane.hub.gateway.settings import gateway_settings
from farlane.hub.service import HubService
from farlane.hub.settings import HubSettings
from farlane.kit.clock import Clock
from farlane.kit.keys import ServerCertificate


def gateway_of(service: HubService, settings: HubSettings, clock: Clock) -> Gateway:
    """Return the gateway of a hub; one that deploys no models lists none."""
    router = NoModels() if service.deployments is None else DeploymentRouter(service.deployments, clock)
    chosen = gateway_settings(settings)
    return Gateway(router, service.model_usage, clock, replace(chosen, host=bracketed(chosen.host)))


@asynccontextmanager
async def gateway_listening(
    gateway: Gateway, layout: Layout, certificate: ServerCertificate
) -> AsyncIterator[Ports]:
    """Serve a gateway during a block, with TLS unless only this machine can reach it.

    Raises:
        InvalidSetting: an address cannot be listened on.
    """
    files = None
    if not is_loopback(gateway.settings.host):
        files = certificate.certificate_path, certificate.key_path
    async with listening(gateway, Access(Credentials(layout.credentials).lookup), files) as ports:
        yield ports


def names_of(settings: HubSettings) -> list[str]:
    """Return the names and addresses that a hub and its gateway answer to, for their certificate."""
    return list(dict.fromkeys([*certificate_names(settings.host), *certificate_names(settings.gateway_host)]))

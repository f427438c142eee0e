"""The hub's process: chooses store, blobs and policy, and serves until it is told to stop."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from dataclasses import replace

from farlane.app.addresses import bracketed
from farlane.app.admitting import hub_admission
from farlane.app.configuration import Configuration
from farlane.app.daemon import run_daemon, stop_signal
from farlane.app.gateway_serving import gateway_listening, gateway_of, names_of
from farlane.app.layout import Layout
from farlane.app.settling import network_of, settlement_of
from farlane.app.shared_models import deploying
from farlane.hub.credentials import Credentials
from farlane.hub.deciding.desk import Desk
from farlane.hub.deciding.opening import policy_of
from farlane.hub.deciding.promoted import with_promoted
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.service import HubService
from farlane.hub.settings import HubSettings
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.kit.clock import SystemClock
from farlane.kit.files import atomic_write
from farlane.kit.keys import server_certificate
from farlane.models.store_disk import DiskStore

OPEN_FILES = 65_536


def main(arguments: list[str] | None = None) -> int:
    """Run a hub on a network directory."""
    return run_daemon("hub", _serve, arguments)


async def _serve(options: argparse.Namespace, given: Configuration) -> None:
    layout = Layout(options.dir)
    await serve(layout, replace(given.hub, directory=layout.hub, host=bracketed(given.hub.host)))


async def serve(layout: Layout, settings: HubSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    _allow_open_files()
    certificate = server_certificate(layout.tls, names_of(settings))
    store = SqliteStore(layout.store, network=network_of(settings))
    blobs = DiskStore(layout.blobs, max_bytes=settings.blob_bytes, evict=False)
    clock = SystemClock()
    settlement, keys = settlement_of(settings, store.network, clock, lambda: service.hub)
    service = HubService(
        settings, store, blobs, policy_of(with_promoted(settings)), clock,
        (certificate.certificate_pem, certificate.key_pem), Credentials(layout.credentials).lookup, settlement, keys,
        hub_admission(settings, certificate.spki_sha256, clock),
    )  # fmt: skip
    with deploying(service, settings, layout.root, clock):
        gateway = gateway_of(service, settings, clock)
        if settings.metrics_port:
            _serve_metrics(service, gateway, settings.metrics_port)
        async with service.running(), gateway_listening(gateway, layout, certificate) as ports:
            ready = {
                "port": service.port, "pid": os.getpid(), "network": store.network,
                "gateway_port": ports.http, "gateway_grpc_port": ports.grpc,
            }  # fmt: skip
            atomic_write(layout.ready, json.dumps(ready).encode(), mode=0o600)
            await stop_signal()


def _allow_open_files() -> None:
    """Let the hub have as many connections as the machine's owner allows; shells often say 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_metrics(service: HubService, gateway: Gateway, port: int) -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    from farlane.hub.deciding.metrics import DecidingCollector
    from farlane.hub.metrics import HubCollector

    registry = CollectorRegistry()
    registry.register(HubCollector(lambda: service.hub))
    registry.register(gateway.metrics)
    if isinstance(service.policy, Desk):
        registry.register(DecidingCollector(service.policy))
    start_http_server(port, addr="127.0.0.1", registry=registry)


if __name__ == "__main__":
    sys.exit(main())

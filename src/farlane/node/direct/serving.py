"""Serving: one node's server for direct calls, from its TLS key to its last claim."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc

from farlane.domain.nodes import NodeSpec
from farlane.errors import Unavailable
from farlane.kit.backoff import Backoff
from farlane.kit.file_lock import FileLock
from farlane.kit.files import private_directory
from farlane.kit.keys import ServerCertificate
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.ethereum import EthereumLedger
from farlane.node.direct.book_store import DirectBookStore
from farlane.node.direct.claiming import Claimer
from farlane.node.direct.ordering import OrderDesk
from farlane.node.direct.running import DirectRunner, Share
from farlane.node.direct.service import ComputeService
from farlane.node.direct.settings import DirectSettings
from farlane.wire.channel import SERVER_OPTIONS, server_credentials
from farlane.wire.compute import OPTIONS, NodeTerms
from farlane.wire.v1 import compute_pb2_grpc

log = logging.getLogger(__name__)
STOP_GRACE_S = 5.0
BOOKS_FILE = "direct.db"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens."""

    host: str
    port: int


class DirectNode:
    """A node that is called directly.

    Args:
        directory: where it keeps its books and working directories.
        settings: who may call.
        spec: what it offers and asks.
        key: its key on the ledger.
        ledger: the chain.
        certificate: its TLS key.
    """

    def __init__(
        self,
        directory: Path,
        settings: DirectSettings,
        spec: NodeSpec,
        key: PrivateKey,
        ledger: EthereumLedger,
        certificate: ServerCertificate,
    ) -> None:
        self._directory, self._settings, self._spec = directory, settings, spec
        self._key, self._ledger, self._certificate = key, ledger, certificate

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[Listening]:
        """Serve while the block runs; what runs at its end is finished, and what is owed is claimed.

        Raises:
            Unavailable: the port cannot be had, or nothing can run here.
            Conflict: another process uses the directory.
        """
        root = private_directory(self._directory)
        with FileLock(root / "direct.lock"), contextlib.closing(DirectBookStore(root / BOOKS_FILE)) as store:
            runner = DirectRunner(root / "direct")
            await runner.start()
            claimer = Claimer(self._settings, self._ledger, self._key, store)
            try:
                service = self._service(store, runner)
                server, listening = self._server(service, host, port)
                await server.start()
                log.info("direct calls are served on %s:%d", listening.host, listening.port)
                try:
                    async with TaskSupervisor("direct node") as tasks:
                        tasks.start_restarting(
                            claimer.run, "claims", backoff=Backoff(1.0, 60.0), random=Random()
                        )
                        yield listening
                finally:
                    await server.stop(STOP_GRACE_S)
                    await service.finish()
                    await claimer.finish()
            finally:
                await runner.close()

    def _service(self, store: DirectBookStore, runner: DirectRunner) -> ComputeService:
        ledger, rates = self._ledger, self._spec.rates
        desk = OrderDesk(self._settings, ledger.domain, self._key.address, rates, ledger.units_per_credit)
        terms = NodeTerms(ledger.domain.network, self._key.address, self._spec)
        return ComputeService(terms, self._key, desk, store, ledger, runner, Share(self._spec.capacity))

    def _server(self, service: ComputeService, host: str, port: int) -> tuple[grpc.aio.Server, Listening]:
        chosen = {name for name, _ in OPTIONS}
        options = (*OPTIONS, *(one for one in SERVER_OPTIONS if one[0] not in chosen))
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=self._settings.max_calls)
        compute_pb2_grpc.add_ComputeServicer_to_server(service, server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = server_credentials(self._certificate.certificate_pem, self._certificate.key_pem)
        try:
            found = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise _no_port(address) from error
        if not found:
            raise _no_port(address)
        return server, Listening(host, found)


def _no_port(address: str) -> Unavailable:
    return Unavailable(f"cannot listen on {address}: is something else there? Choose another port")

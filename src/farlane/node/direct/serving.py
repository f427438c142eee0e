"""Serving: one node's server for direct calls, from its TLS key to its last claim."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
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
from farlane.node.books.signing import HeadKey
from farlane.node.direct.book_store import BOOKS_FILE, DirectBookStore
from farlane.node.direct.claiming import Claimer
from farlane.node.direct.counter import Counter
from farlane.node.direct.ordering import OrderDesk
from farlane.node.direct.running import DirectRunner
from farlane.node.direct.service import SILENCE_S, ComputeService
from farlane.node.direct.settings import DirectSettings
from farlane.node.direct.share import Share
from farlane.wire.channel import SERVER_OPTIONS, server_credentials
from farlane.wire.compute import OPTIONS, NodeTerms
from farlane.wire.v1 import compute_pb2_grpc

log = logging.getLogger(__name__)
STOP_GRACE_S = 5.0
HURRY_S = 5.0
"""How long the last claim may take where the node was told to end at once."""


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
        spec: what it says of itself and asks.
        share: what of the machine direct calls get.
        key: its key on the ledger, open, and who is paid.
        ledger: the chain.
        certificate: its TLS key.
        silence_s: how long a publisher may be silent where it is its turn.
        claims: whether it claims what it is owed; False where whoever owns the key's outbox does.
    """

    def __init__(
        self,
        directory: Path,
        settings: DirectSettings,
        spec: NodeSpec,
        share: Share,
        key: HeadKey,
        ledger: EthereumLedger,
        certificate: ServerCertificate,
        silence_s: float = SILENCE_S,
        claims: bool = True,
    ) -> None:
        self._claims = claims
        self._directory, self._settings, self._share = directory, settings, share
        self._spec, self._silence_s = replace(spec, capacity=share.capacity), silence_s
        self._key, self._ledger, self._certificate = key, ledger, certificate

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[Listening]:
        """Serve while the block runs; what runs at its end is finished, unless that is a cancellation; then claim.

        Raises:
            Unavailable: the port cannot be had, or nothing can run here.
            Conflict: another process uses the directory.
        """
        root = private_directory(self._directory)
        with FileLock(root / "direct.lock"), contextlib.closing(DirectBookStore(root / BOOKS_FILE)) as store:
            runner = DirectRunner(root / "direct")
            await runner.start()
            claimer = Claimer(self._settings, self._ledger, self._open_key(), store) if self._claims else None
            desk = self._desk()
            counter = Counter(self._key, desk, store, self._ledger, runner, self._share)
            try:
                server, listening = self._server(self._service(desk, counter), host, port)
                await server.start()
                log.info("direct calls are served on %s:%d", listening.host, listening.port)
                grace_s = self._settings.finish_s
                try:
                    async with TaskSupervisor("direct node") as tasks:
                        if claimer is not None:
                            tasks.start_restarting(
                                claimer.run, "claims", backoff=Backoff(1.0, 60.0), random=Random()
                            )
                        yield listening
                except asyncio.CancelledError:
                    grace_s = 0.0  # told to end at once
                    raise
                finally:
                    # Those who wait for what runs keep their calls, so that they get it and pay.
                    await counter.finish(grace_s)
                    await server.stop(min(grace_s, STOP_GRACE_S))
                    await runner.close()
                    await counter.ended()
                    if claimer is not None:
                        await _claim_last(claimer, HURRY_S if grace_s == 0.0 else None)
            finally:
                await runner.close()

    def _open_key(self) -> PrivateKey:
        if self._key.key is None:
            raise Unavailable("the node's key is not open: nothing could be signed or claimed")
        return self._key.key

    def _desk(self) -> OrderDesk:
        ledger, spec = self._ledger, self._spec
        return OrderDesk(
            self._settings,
            ledger.domain,
            self._key.provider,
            spec.rates,
            spec.capacity,
            ledger.units_per_credit,
        )

    def _service(self, desk: OrderDesk, counter: Counter) -> ComputeService:
        settings = self._settings
        terms = NodeTerms(
            self._ledger.domain.network, self._spec, self._key.account, settings.tasks, settings.credit_nano
        )
        return ComputeService(terms, desk, counter, self._silence_s)

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


async def _claim_last(claimer: Claimer, within_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await claimer.finish()


def _no_port(address: str) -> Unavailable:
    return Unavailable(f"cannot listen on {address}: is something else there? Choose another port")

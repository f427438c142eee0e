"""The hub as a service: its gRPC server, its housekeeping, and starting over from the store when that failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from farlane.errors import InvalidSetting, Unavailable
from farlane.hub.admission import Admission
from farlane.hub.alert_outbox import AlertOutbox
from farlane.hub.alert_sender import AlertSender
from farlane.hub.books.books import Accounts
from farlane.hub.deciding.desk import Desk
from farlane.hub.deployments.desk import Deployments
from farlane.hub.deployments.versions import Versions
from farlane.hub.grpc_api.admission_service import AdmissionService
from farlane.hub.grpc_api.blob_service import BlobService
from farlane.hub.grpc_api.block_service import BlockService
from farlane.hub.grpc_api.client_service import ClientService
from farlane.hub.grpc_api.deployment_service import DeploymentService
from farlane.hub.grpc_api.ledger_service import LedgerService
from farlane.hub.grpc_api.model_service import ModelService
from farlane.hub.grpc_api.node_service import NodeService
from farlane.hub.grpc_api.record_service import RecordService
from farlane.hub.grpc_api.replica_service import ReplicaService
from farlane.hub.grpc_api.swarm_service import SwarmService
from farlane.hub.hub import ALERTS, Hub
from farlane.hub.model_usage import ModelUsageBook
from farlane.hub.models.access import ModelAccess
from farlane.hub.models.sizes import facts_of
from farlane.hub.models.swarms import Swarms
from farlane.hub.models.ticket_office import TicketOffice
from farlane.hub.retention import forget_old
from farlane.hub.settings import HubSettings
from farlane.hub.settlement.reading import SettlementReader
from farlane.hub.settlement.service import Settlement
from farlane.hub.store.port import Store
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.models.repository import Repository
from farlane.models.store import ContentStore
from farlane.scheduler.policy import Policy
from farlane.wire.channel import SERVER_OPTIONS, server_credentials
from farlane.wire.serving import Identity, TokenAuthenticator
from farlane.wire.v1 import (
    admission_pb2_grpc,
    blob_pb2_grpc,
    client_pb2_grpc,
    deployment_pb2_grpc,
    ledger_pb2_grpc,
    models_pb2_grpc,
    node_pb2_grpc,
    record_pb2_grpc,
    serving_pb2_grpc,
)

log = logging.getLogger(__name__)
RESUME_TRY_S = 1.0
STOP_GRACE_S = 1.0
SWARM_TICK_S = 0.5


class HubService:
    """Serves one network until it is told to stop.

    Args:
        settings: addresses, waits and policy name.
        store: opened store; `resume` is tried after a failed write.
        blobs: content store.
        policy: where ready tasks go, or the desk that finds out.
        clock: wall time.
        certificate: TLS certificate and private key, PEM.
        lookup: finds who a token's secret belongs to, by its digest.
        settlement: brings the books to a chain; None: they stay here.
        accounts: who pays; None: nobody, and nothing is signed.
        admission: lets keys of the network's registry in without a token; None: nobody.
    """

    def __init__(
        self,
        settings: HubSettings,
        store: Store,
        blobs: ContentStore,
        policy: Policy | Desk,
        clock: Clock,
        certificate: tuple[bytes, bytes],
        lookup: Callable[[bytes], Identity | None],
        settlement: Settlement | None = None,
        accounts: Accounts | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._settings, self._store, self._blobs = settings, store, blobs
        self.policy, self._clock = policy, clock
        self._certificate, self._tokens, self._admission = certificate, lookup, admission
        self.settlement, self._accounts = settlement, accounts
        self.alerts = AlertOutbox(settings.directory / ALERTS, queue=bool(settings.alert_url))
        self._sender = AlertSender(self.alerts, settings.alert_url) if settings.alert_url else None
        self._failed = asyncio.Event()
        self._health = health.aio.HealthServicer()
        self._hub: Hub | None = None
        self.port = 0
        self.deployments: Deployments | None = None
        self.model_usage = ModelUsageBook(lambda: self.hub)
        """Takes what the gateway's requests use; all of it is written when the hub ends."""
        self._repository: Repository | None = None
        self.swarms = Swarms(clock)

    @property
    def hub(self) -> Hub:
        """The hub in force.

        Raises:
            Unavailable: the store is being reopened.
        """
        if self._hub is None:
            raise Unavailable("the hub is starting; try again in a moment")
        return self._hub

    def serve_models(self, versions: Versions, repository: Repository | None = None) -> Deployments:
        """Deploy models too, from the next start on.

        Args:
            versions: says which version a name means.
            repository: whose versions are published to this hub and fetched from it; None: nobody publishes here.

        Raises:
            Corrupted: the file of the deployments is not one of ours.
        """
        self._repository = repository
        self.deployments = Deployments(lambda: self.hub, versions, self._settings.directory, self._clock)
        return self.deployments

    def _lookup(self, digest: bytes) -> Identity | None:
        found = self._tokens(digest)
        return self._admission.lookup(digest) if found is None and self._admission is not None else found

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve inside the block; `port` is set from its start."""
        if isinstance(self.policy, Desk):
            self.policy.open()
        self._hub = self._new_hub()
        try:
            if self.deployments is not None:
                self.deployments.adopt()
            server = self._server()
            await self._tell_health(serving=True)
            await server.start()
            log.info("hub listens on %s:%d", self._settings.host, self.port)
            try:
                async with TaskSupervisor("hub") as tasks:
                    tasks.start(self._keep_alive(), "store watchdog")
                    tasks.start(self._tick(), "clock tick")
                    tasks.start(self.alerts.keep(), "alerts told")
                    if self._sender is not None:
                        tasks.start(self._sender.run(), "alert webhook")
                    tasks.start(forget_old(lambda: self.hub), "result retention")
                    tasks.start(self.model_usage.run(), "usage of models")
                    if self._admission is not None:
                        tasks.start(self._admission.run(), "admission")
                    if self.settlement is not None:
                        tasks.start(self.settlement.run(), "settlement")
                    if self.deployments is not None:
                        tasks.start(self.deployments.run(), "deployments")
                    if self._repository is not None:
                        tasks.start(self._tick_swarms(), "swarms")
                    yield
            finally:
                await self.model_usage.close()
                await self._stop(server)
        finally:
            if isinstance(self.policy, Desk):
                self.policy.close()
            self._store.close()

    async def _stop(self, server: grpc.aio.Server) -> None:
        """Take no new calls, end the streams in good order, then cut off what is left."""
        stopping = asyncio.ensure_future(server.stop(STOP_GRACE_S))
        await asyncio.sleep(0)  # let it close its port first: peers that lose their stream come back at once
        if self.deployments is not None:
            self.deployments.close()
        self.swarms.close()
        self.hub.close()
        await stopping

    def _new_hub(self) -> Hub:
        hub = Hub(
            self._settings,
            self._store,
            self._blobs,
            self.policy,
            self._clock,
            self._on_failure,
            self._accounts,
            self.alerts,
        )
        if self.settlement is not None:
            self.settlement.apply_signing(hub)
        if self._repository is not None:
            hub.know_models(partial(facts_of, self._repository))
        return hub

    def _server(self) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=[TokenAuthenticator(self._lookup)], options=SERVER_OPTIONS)
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeService(lambda: self.hub), server)
        if self.settlement is not None:
            reader = SettlementReader(self.settlement)
            ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                LedgerService(reader, lambda: self.hub), server
            )
        record_pb2_grpc.add_RecordServiceServicer_to_server(RecordService(lambda: self.hub), server)
        client_pb2_grpc.add_ClientServiceServicer_to_server(ClientService(lambda: self.hub), server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(lambda: self._blobs), server)
        if self._admission is not None:
            admission_pb2_grpc.add_AdmissionServiceServicer_to_server(
                AdmissionService(self._admission), server
            )
        if self.deployments is not None:
            serving_pb2_grpc.add_ReplicaServiceServicer_to_server(
                ReplicaService(lambda: self.hub, self.deployments), server
            )
            deployment_pb2_grpc.add_DeploymentServiceServicer_to_server(
                DeploymentService(lambda: self.hub, self.deployments, self._clock), server
            )
        if self._repository is not None and self.deployments is not None:
            access = ModelAccess(self._repository, lambda: self.hub)
            models_pb2_grpc.add_BlockServiceServicer_to_server(BlockService(self._repository, access), server)
            office = TicketOffice(self._settings.directory, self._clock)
            swarm_service = SwarmService(lambda: self.hub, self._repository, access, self.swarms, office)
            models_pb2_grpc.add_SwarmServiceServicer_to_server(swarm_service, server)
            models_pb2_grpc.add_ModelServiceServicer_to_server(
                ModelService(self._repository, access, self.deployments, self._settings.models_bytes), server
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        certificate, key = self._certificate
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            self.port = server.add_secure_port(address, server_credentials(certificate, key))
        except RuntimeError as error:
            raise _no_port(address) from error
        if self.port == 0:
            raise _no_port(address)
        return server

    async def _tick_swarms(self) -> None:
        while True:
            await asyncio.sleep(SWARM_TICK_S)
            self.swarms.tick()

    async def _tick(self) -> None:
        while True:
            await self.hub.engine.tick_once()
            if self._hub is not None:
                self._hub.tell_alerts()

    def _on_failure(self, error: Exception) -> None:
        self._failed.set()

    async def _keep_alive(self) -> None:
        """After a failed write: end all streams, wait until the store can write, start over from it."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            await self._tell_health(serving=False)
            self.hub.close()
            await self._until_it_can_write()
            self._hub = self._new_hub()
            await self._tell_health(serving=True)
            log.warning("the store can write again; the hub has started over from it")

    async def _tell_health(self, *, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        await self._health.set("", states.SERVING if serving else states.NOT_SERVING)

    async def _until_it_can_write(self) -> None:
        loop = asyncio.get_running_loop()
        # Polling is all there is: nobody tells when a disk has room again.
        while not await loop.run_in_executor(None, _try_resume, self._store):  # noqa: ASYNC110
            await asyncio.sleep(RESUME_TRY_S)


def _try_resume(store: Store) -> bool:
    try:
        store.resume()
    except Exception as error:
        log.debug("the store cannot resume yet: %s", error)
        return False
    return True


def _no_port(address: str) -> InvalidSetting:
    return InvalidSetting(
        f"cannot listen on {address}: is another hub running there? Choose another port with --port, or 0 for any"
    )

"""The desk of deployments: it observes jobs, streams and aliases, and carries out what the controller decides."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

from farlane.domain.deployments import CANARY_ALIAS, Deployment, ReplicaState, check_deployment
from farlane.domain.ids import JobId
from farlane.domain.jobs import JobSpec
from farlane.domain.records import Column
from farlane.errors import ConnectionLost, FarlaneError, NotFound, PermissionRefused
from farlane.hub.deployments import events, file
from farlane.hub.deployments.controller import Controller
from farlane.hub.deployments.pending import explain_pending
from farlane.hub.deployments.replica_jobs import last_failure, own_fault, replica_job, require_reader
from farlane.hub.deployments.replica_session import ReplicaSession
from farlane.hub.deployments.route import Route
from farlane.hub.deployments.state import Record, Replica
from farlane.hub.deployments.versions import Versions
from farlane.hub.hub import Hub
from farlane.kit.clock import Clock

FILE = "deployments.json"
OBSERVE_S = 0.25
DRAIN_S, LAST_DRAIN_S = 300.0, 3.0
"""A replica that drains is stopped after so long, whatever it still answers; the second where its node leaves and no
other is there: then the network goes down, and the node itself lets it answer a little longer."""
log = logging.getLogger(__name__)


class Deployments:
    """Everything a hub serves. It outlives a hub that starts over from its store.

    Args:
        hub: returns the hub in force.
        versions: the catalog.
        directory: of the hub; the deployments are kept in `deployments.json` there.
        clock: wall time.

    Raises:
        Corrupted: that file is not one of ours.
    """

    def __init__(
        self,
        hub: Callable[[], Hub],
        versions: Versions,
        directory: Path,
        clock: Clock,
        random: Random | None = None,
    ) -> None:
        self._hub, self._versions, self._clock = hub, versions, clock
        self._path = directory / FILE
        self._kept = file.load(self._path)
        self._controller = Controller()
        self._routes: dict[str, Route] = {}
        self._random = random or Random()
        self._wake = asyncio.Event()
        self._adopted = False

    async def run(self) -> None:
        """Observe and act until cancelled."""
        while True:
            try:
                await self.observe()
            except FarlaneError as error:
                log.warning("deployments wait: %s", error.message)
            try:
                async with asyncio.timeout(OBSERVE_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    def records(self) -> Iterable[Record]:
        """Return every deployment."""
        return [record for record in self._controller.records.values() if not record.removed]

    def trouble(self) -> str:
        """Return why no request can be routed at this moment, in a sentence; empty while they can."""
        if not self._adopted:
            return "the hub has not taken up its deployments yet"
        try:
            self._hub().engine.check()
        except FarlaneError as error:
            return error.message
        return ""

    def record(self, deployment: str) -> Record:
        """Return one deployment by its id.

        Raises:
            NotFound: there is none.
        """
        record = self._controller.records.get(deployment)
        if record is None or record.removed:
            name = deployment.partition("/")[2]
            raise NotFound(f"nothing is deployed as {name!r}; `farlane deployments` lists what is", name=name)
        return record

    def route(self, deployment: str) -> Route:
        """Return where a deployment's requests go."""
        route = self._routes.get(deployment)
        if route is None:
            route = self._routes[deployment] = Route(
                deployment.partition("/")[2], self._random, lambda: self._trouble(deployment)
            )
        return route

    def wake(self) -> None:
        """Look at the load now rather than at the next tick."""
        self._wake.set()

    def version_of(self, deployment: Deployment) -> str:
        """Return the CID of the version that a deployment's model names now.

        Raises:
            PermissionRefused: it is private, and no node can read it.
            NotFound, InvalidInput: as `Versions.version_of`.
        """
        version = self._versions.version_of(deployment.model, deployment.organisation)
        self._require_reader(deployment, version)
        return version

    def replica_job(self, deployment: Deployment, version: str) -> JobSpec:
        """Return the job of one replica of a version; raises as `Versions.readers_of` and `runtime_of`."""
        readers = self._versions.readers_of(version)
        return replica_job(self._with_runtime(deployment, version), version, readers)

    def set(self, deployment: Deployment) -> Record:
        """Deploy, or change what is deployed.

        Raises:
            InvalidInput: it could never work, or no runtime can load the model.
            NotFound: its model has no such version.
            PermissionRefused: it is somebody else's, or private and no node can read it.
            DiskFull: it cannot be kept; nothing changes.
        """
        check_deployment(deployment)
        version = self.version_of(deployment)
        self._with_runtime(deployment, version)
        known = self._controller.records.get(deployment.id)
        if known is not None and not known.removed and known.deployment.publisher != deployment.publisher:
            raise PermissionRefused(
                f"{deployment.name!r} is deployed by {known.deployment.publisher}: choose another name"
            )
        now = self._clock.now()
        self._save_with(deployment, now)
        self._tell(events.DeploymentSet(now, deployment))
        self._tell(events.VersionNamed(now, deployment.id, version))
        self.wake()
        return self._controller.records[deployment.id]

    def remove(self, deployment: str) -> Record:
        """End a deployment: its replicas answer what they have, then stop.

        Raises:
            NotFound: there is none.
            DiskFull: it cannot be kept; nothing changes.
        """
        record = self.record(deployment)
        others = [each for each in self.records() if each is not record]
        file.save(self._path, others)
        self._tell(events.DeploymentRemoved(self._clock.now(), deployment))
        return record

    async def resume(self, deployment: str, *, served: bool) -> None:
        """Serve a deployment again, and wait until it answers; or no longer, and wait until nothing is asked of it."""
        record = self.record(deployment)
        if record.deployment.paused == served:
            self.set(replace(record.deployment, paused=not served))
        if served:
            loop = asyncio.get_running_loop()
            until = loop.time() + record.deployment.scale.cold_start_s
            await self.route(deployment).acquire(None, (), until, record.deployment.scale.cold_start_s)

    def connect(self, session: ReplicaSession) -> bool:
        """Take in a replica's stream; False where nobody wants that replica."""
        replica = self._controller.replica(session.job)
        if replica is None or replica.stopping:
            return False
        route = self.route(session.deployment)
        known = route.sessions.get(session.job)
        if known is not None:
            known.close(ConnectionLost("the replica opened another stream"))
        if replica.state is ReplicaState.DRAINING:
            session.draining = True
        route.add(session)
        self._tell(events.ReplicaPlaced(self._clock.now(), session.job, session.node))
        self._tell(events.ReplicaReady(self._clock.now(), session.job))
        log.info("replica %s of %s answers on %s", session.version, session.deployment, session.node)
        return True

    def disconnect(self, session: ReplicaSession) -> None:
        """Hear that a replica's stream has ended."""
        session.close(ConnectionLost(f"the replica on {session.node} went away"))
        route = self.route(session.deployment)
        if route.sessions.get(session.job) is session:
            route.remove(session)
            self._tell(events.ReplicaUnready(self._clock.now(), session.job))

    def close(self) -> None:
        """End every replica's stream: they come back to whoever serves next."""
        for route in self._routes.values():
            for session in list(route.sessions.values()):
                session.close(ConnectionLost("the hub ends the stream; connect again"))

    async def observe(self) -> None:
        """Tell the controller what has changed since the last time."""
        hub, now = self._hub(), self._clock.now()
        for record in list(self._controller.records.values()):
            self._name_versions(record, now)
            for replica in list(record.replicas.values()):
                await self._look_at(hub, replica, now)
            self._observe_load(record, now)
            explain_pending(hub, record, now)
        self._tell(events.Ticked(now))

    def adopt(self) -> None:
        """Take up what was deployed before, and the replicas that are jobs already; once, before `run`."""
        now = self._clock.now()
        for kept in self._kept:
            self._tell(
                events.DeploymentSet(
                    now, kept.deployment, kept.created, kept.serving, kept.previous, kept.refused
                )
            )
        for job in self._hub().reactor.state.jobs.values():
            serve = job.spec.serve
            if serve is None or job.state.final:
                continue
            record = self._controller.records.get(serve.deployment)
            if record is not None and record.deployment.organisation == job.spec.organisation:
                self._tell(events.ReplicaSubmitted(now, serve.deployment, job.id, serve.version))
            else:
                self._stop(job.id, job.spec.publisher, "its deployment was removed")
        self._adopted = True

    def _name_versions(self, record: Record, now: float) -> None:
        deployment = record.deployment
        try:
            version = self._versions.version_of(deployment.model, deployment.organisation)
            if version != record.target:
                self._tell(events.VersionNamed(now, deployment.id, version))
            self._require_reader(deployment, version)
        except FarlaneError as error:
            record.trouble = record.trouble or error.message
            return
        if not deployment.update.canary_percent:
            return
        try:
            canary = self._versions.version_of(deployment.model, deployment.organisation, CANARY_ALIAS)
        except FarlaneError:
            canary = ""
        if canary != record.canary:
            self._tell(events.VersionNamed(now, deployment.id, canary, canary=True))

    async def _look_at(self, hub: Hub, replica: Replica, now: float) -> None:
        job = hub.reactor.state.jobs.get(replica.job)
        if job is None:
            failure = await asyncio.to_thread(last_failure, hub.store, replica.job)
            reason = failure.message if failure is not None else "its job ended"
            if not replica.stopping:
                log.warning("a replica of %s ended: %s", replica.deployment, reason)
            self._tell(events.ReplicaEnded(now, replica.job, reason, own_fault(failure)))
            return
        if job.state.final:
            return
        node = next((each for each, tally in job.running.items() if tally.count), None)
        if (node or "") != replica.node:
            self._close_elsewhere(replica, node or "")
            self._tell(events.ReplicaPlaced(now, replica.job, node or ""))
        if node is not None and hub.reactor.state.nodes[node].draining:
            nowhere = not any(
                each.connected and not each.draining for each in hub.reactor.state.nodes.values()
            )
            if not replica.leaving or nowhere != replica.nowhere:
                self._tell(events.ReplicaLeaving(now, replica.job, nowhere))
        if replica.state is ReplicaState.DRAINING and not replica.stopping:
            session = self.route(replica.deployment).sessions.get(replica.job)
            longest_s = LAST_DRAIN_S if replica.nowhere else DRAIN_S
            if session is None or not session.in_flight or now - replica.since > longest_s:
                self._tell(events.ReplicaDrained(now, replica.job))

    def _close_elsewhere(self, replica: Replica, node: str) -> None:
        """End the stream of a node that has lost the lease: another will answer."""
        session = self.route(replica.deployment).sessions.get(replica.job)
        if session is not None and session.node != node:
            self.disconnect(session)

    def _observe_load(self, record: Record, now: float) -> None:
        route = self.route(record.deployment.id)
        observed = events.LoadObserved(
            now, record.deployment.id, route.waiting, route.in_flight, route.p95_s(self._clock.monotonic()),
            route.last_request_at,
        )  # fmt: skip
        self._tell(observed)

    def _tell(self, event: events.Event) -> None:
        for command in self._controller.handle(event):
            self._obey(command)

    def _obey(self, command: events.Command) -> None:
        match command:
            case events.SubmitReplica():
                self._submit(command)
            case events.DrainReplica():
                replica = self._controller.replica(command.job)
                session = self.route(replica.deployment).sessions.get(command.job) if replica else None
                if session is not None:
                    session.drain()
                    self.route(session.deployment).changed()
            case events.StopReplica():
                replica = self._controller.replica(command.job)
                if replica is not None:
                    publisher = self._controller.records[replica.deployment].deployment.publisher
                    self._stop(command.job, publisher, command.reason)
            case events.SetWeights():
                route = self.route(command.id)
                route.canary, route.percent = command.canary, command.percent
            case events.KeepProgress():
                self._keep()
            case events.Forget():
                self._routes.pop(command.id, None)

    def _submit(self, command: events.SubmitReplica) -> None:
        hub, now = self._hub(), self._clock.now()
        deployment = self._controller.records[command.id].deployment
        try:
            spec = self.replica_job(deployment, command.version)
            job, _, _ = hub.open_job(f"serve/{secrets.token_hex(12)}", spec, 1)
            hub.add_tasks(job, 0, Column([b""]), spec.publisher, seal=True)
        except FarlaneError as error:
            log.warning("no replica of %s can be submitted: %s", command.id, error.message)
            self._tell(events.SubmissionRefused(now, command.id, command.version, error.message))
        else:
            self._tell(events.ReplicaSubmitted(now, command.id, job, command.version))

    def _stop(self, job: JobId, publisher: str, reason: str) -> None:
        try:
            self._hub().stop_job(job, publisher, reason)
        except FarlaneError as error:
            log.warning("a replica cannot be stopped now: %s", error.message)
            replica = self._controller.replica(job)
            if replica is not None:
                replica.stopping = False

    def _keep(self) -> None:
        try:
            file.save(self._path, self.records())
        except FarlaneError as error:
            log.warning("how far updates have come cannot be kept: %s", error.message)

    def _save_with(self, deployment: Deployment, now: float) -> None:
        """Keep a deployment before anything is done about it."""
        known = {record.deployment.id: record for record in self.records()}
        found = known.get(deployment.id)
        known[deployment.id] = (
            replace(found, deployment=deployment) if found else Record(deployment, now, now)
        )
        file.save(self._path, known.values())

    def _with_runtime(self, deployment: Deployment, version: str) -> Deployment:
        if deployment.runtime:
            return deployment
        return replace(deployment, runtime=self._versions.runtime_of(version))

    def _require_reader(self, deployment: Deployment, version: str) -> None:
        nodes = (node.spec for node in self._hub().reactor.state.nodes.values())
        require_reader(deployment, self._versions.readers_of(version), nodes)

    def _trouble(self, deployment: str) -> str:
        record = self._controller.records.get(deployment)
        return "" if record is None else record.reason()

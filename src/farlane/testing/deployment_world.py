"""A world of replicas that a test turns by hand: it carries out the controller's commands and checks each of them."""

from __future__ import annotations

from dataclasses import replace

from farlane.domain.deployments import Deployment, ReplicaState, ScalePolicy, UpdatePolicy
from farlane.domain.ids import JobId
from farlane.hub.deployments import events
from farlane.hub.deployments.controller import Controller
from farlane.hub.deployments.rollout import trials_wanted
from farlane.hub.deployments.state import Record

ID = "lab/chat"


class DeploymentWorld:
    """One deployment, `lab/chat`, whose replicas do as the test says."""

    def __init__(self, *, update: UpdatePolicy | None = None, scale: ScalePolicy | None = None) -> None:
        self.controller = Controller()
        self.now = 1000.0
        self.deployment = Deployment(
            name="chat",
            model="chat@stable",
            organisation="lab",
            publisher="lab/ada",
            update=update or UpdatePolicy(),
            scale=scale or ScalePolicy(),
        )
        self.commands: list[events.Command] = []
        self.submissions: list[str] = []
        self.draining: set[JobId] = set()
        self.stopping: set[JobId] = set()
        self.next_job = 1
        self.forgotten = False
        self.kept = 0
        self.weights = ("", 0)
        self.tell(events.DeploymentSet(self.now, self.deployment))

    @property
    def record(self) -> Record:
        """The deployment as the controller knows it."""
        return self.controller.records[ID]

    def tell(self, event: events.Event) -> None:
        """Let something happen, check what is decided and take it up."""
        before = {each.job for each in self.record.ready()} if ID in self.controller.records else set()
        commands = self.controller.handle(event)
        self.commands += commands
        if not isinstance(event, events.ReplicaUnready | events.ReplicaEnded | events.ReplicaPlaced):
            self._check_swap(before, commands)
        for command in commands:
            self._take(command)
        if ID in self.controller.records:
            self._check_size(commands)

    def _check_swap(self, before: set[JobId], commands: list[events.Command]) -> None:
        drained = {each.job for each in commands if isinstance(each, events.DrainReplica)}
        gone = {job for job in drained if self._abandoned(job)}  # their node goes, whatever answers
        drained, before = drained - gone, before - gone
        if not drained or ID not in self.controller.records:
            return
        record = self.record
        if record.removed or record.failed or not record.wanted:
            return
        after = {each.job for each in record.ready()}
        assert after, "the last replica that answered was taken away"
        floor = record.wanted - record.deployment.update.max_unavailable
        canaries = {each.job for each in record.ready() if each.version == record.trial}
        assert len(after) >= min(len(before), floor) - len(canaries)

    def _abandoned(self, job: JobId) -> bool:
        replica = self.controller.replica(job)
        return replica is not None and replica.abandoned(self.now)

    def _check_size(self, commands: list[events.Command]) -> None:
        record = self.record
        submitted = [each for each in commands if isinstance(each, events.SubmitReplica)]
        if submitted and record.ready():
            live = [
                each
                for each in record.replicas.values()
                if each.state is not ReplicaState.DRAINING and not each.stopping
            ]
            most = record.wanted + trials_wanted(record) + record.deployment.update.max_surge
            assert len(live) + sum(record.submitting.values()) <= most
        assert record.wanted <= record.deployment.scale.max_replicas
        if not (record.removed or record.failed):
            assert record.wanted >= record.deployment.scale.min_replicas

    def _take(self, command: events.Command) -> None:
        match command:
            case events.SubmitReplica():
                self.submissions.append(command.version)
            case events.DrainReplica():
                assert command.job not in self.draining, "drained twice"
                self.draining.add(command.job)
            case events.StopReplica():
                assert command.job not in self.stopping, "stopped twice"
                self.stopping.add(command.job)
            case events.SetWeights():
                self.weights = (command.canary, command.percent)
            case events.KeepProgress():
                self.kept += 1
            case events.Forget():
                self.forgotten = True

    def submit_next(self) -> JobId:
        """Let the hub admit the oldest submission."""
        version, job = self.submissions.pop(0), JobId(self.next_job)
        self.next_job += 1
        self.tell(events.ReplicaSubmitted(self.now, ID, job, version))
        return job

    def jobs(self, state: ReplicaState, version: str | None = None) -> list[JobId]:
        """Return jobs in a state, oldest first."""
        if ID not in self.controller.records:
            return []
        return sorted(
            each.job
            for each in self.record.replicas.values()
            if each.state is state and version in (None, each.version) and not each.stopping
        )

    def name(self, version: str, *, canary: bool = False) -> None:
        """Let an alias name a version."""
        self.tell(events.VersionNamed(self.now, ID, version, canary))

    def load(self, queued: int, in_flight: int, p95_s: float = 0.0) -> None:
        """Let the deployment be so busy."""
        last = self.now if queued or in_flight else 0.0
        self.tell(events.LoadObserved(self.now, ID, queued, in_flight, p95_s, last))

    def end(self, job: JobId, *, own_fault: bool = True, reason: str = "exit code 1") -> None:
        """Let a replica's job end."""
        self.draining.discard(job)
        self.stopping.discard(job)
        self.tell(events.ReplicaEnded(self.now, job, reason, own_fault))

    def start(self, job: JobId) -> None:
        """Let a node take a replica, which then answers."""
        self.tell(events.ReplicaPlaced(self.now, job, "n1"))
        self.tell(events.ReplicaReady(self.now, job))

    def turn(self, *, broken: frozenset[str] = frozenset()) -> None:
        """Let everything that waits happen once: jobs are admitted, start (or fail, if broken), drain and end."""
        while self.submissions:
            self.submit_next()
        for state in (ReplicaState.PENDING, ReplicaState.LOADING):
            for job in self.jobs(state):
                replica = self.controller.replica(job)
                assert replica is not None
                self.end(job) if replica.version in broken else self.start(job)
        for job in sorted(self.draining):
            self.tell(events.ReplicaDrained(self.now, job))
        for job in sorted(self.stopping):
            self.end(job, own_fault=False, reason="stopped")
        self.wait(1.0)

    def settle(self, *, broken: frozenset[str] = frozenset(), turns: int = 40) -> None:
        """Turn until nothing more is to be expected."""
        for _ in range(turns):
            self.turn(broken=broken)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.tell(events.Ticked(self.now))

    def scale(self, **changes: object) -> None:
        """Change how the deployment scales."""
        self.deployment = replace(
            self.deployment,
            scale=replace(self.deployment.scale, **changes),  # type: ignore[arg-type]
        )
        self.tell(events.DeploymentSet(self.now, self.deployment))

"""Status: jobs and nodes as messages for people and programs."""

from __future__ import annotations

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobState
from farlane.hub.reactor.capped import why_capped
from farlane.hub.reactor.state import HubState, Job, Node
from farlane.hub.store.port import JobSummary
from farlane.wire.nodes import node_spec_to_wire
from farlane.wire.v1 import client_pb2

LARGEST = 2**63 - 1


def clip(amount: int | None) -> int:
    """Return an amount as a message can carry it; None is 0."""
    return min(amount or 0, LARGEST)


def open_status(job: Job, quoted: int = 0) -> client_pb2.JobStatus:
    """Return the status of a job the reactor knows."""
    running = job.leased
    state = JobState.RUNNING if running and not job.state.final else job.state
    if state is JobState.RUNNING and not running and job.ended < job.total:
        state = JobState.PENDING
    return client_pb2.JobStatus(
        job=job.id, name=job.spec.name, state=state, total=job.total, queued=job.ready, running=running,
        done=job.done, failed=job.failed, stopped=job.stopped, sealed=job.sealed, priority=job.spec.priority,
        opened_at=job.opened_at, ended_at=job.ended_at, spent=clip(job.spent), reserved=clip(job.reserved),
        budget=job.spec.budget, lease_ms=job.lease_ms, retries=job.retried, reason=job.reason,
        publisher=job.spec.publisher, quoted=quoted, first_lease_at=job.first_lease_at, project=job.spec.project,
    )  # fmt: skip


def tell_capped(state: HubState, status: client_pb2.JobStatus) -> client_pb2.JobStatus:
    """Add which budget or quota the waiting tasks of an open job wait for, if it is one."""
    job = state.jobs.get(JobId(status.job))
    why = why_capped(state, job) if job is not None and status.queued else None
    status.capped = why[0] if why is not None else ""
    return status


def ended_status(summary: JobSummary) -> client_pb2.JobStatus:
    """Return the status of a job that only the store knows."""
    return client_pb2.JobStatus(
        job=summary.job, name=summary.spec.name, state=summary.state, total=summary.total, done=summary.done,
        failed=summary.failed, stopped=summary.stopped, sealed=True, priority=summary.spec.priority,
        opened_at=summary.opened_at, ended_at=summary.ended_at, spent=clip(summary.spent), budget=summary.spec.budget,
        lease_ms=summary.lease_ms, retries=summary.retries, reason=summary.reason,
        publisher=summary.spec.publisher, first_lease_at=summary.first_lease_at, project=summary.spec.project,
    )  # fmt: skip


def node_state(node: Node, now: float) -> str:
    """Return one word for how a node stands."""
    if not node.connected:
        return "lost" if node.leases else "offline"
    if node.draining:
        return "draining"
    if node.suspended_until > now:
        return "suspended"
    return "online"


def node_status(node: Node, used: list[int], now: float) -> client_pb2.NodeStatus:
    """Return a node's status; used: milli-cores, bytes, bytes, then GPUs per kind."""
    return client_pb2.NodeStatus(
        spec=node_spec_to_wire(node.spec), state=node_state(node, now), used_cpu_milli=max(0, used[0]),
        used_memory_bytes=max(0, used[1]), used_disk_bytes=max(0, used[2]), used_gpus=sum(used[3:]),
        leases=len(node.leases), tasks_done=node.done, tasks_failed=node.failed, attempts_lost=node.lost,
        earned=clip(node.earned), busy_ms=node.busy_ms, last_seen=node.last_seen, joined_at=node.joined_at,
    )  # fmt: skip

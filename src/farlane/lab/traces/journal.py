"""The journal: what a hub's own store and presence log tell of its past, as a history that can be replayed.

Work that was stopped, or never ran, has no run time of its own: its tasks run, in a replay, as long as the others of
their job or profile did, or until they are stopped again at the same moment; they are not among those compared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, NodeId, job_text
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import (
    AttemptsFailed,
    JobEnded,
    JobOpened,
    TasksAdded,
    TasksEnded,
    TasksLeased,
    TasksRequeued,
    WorkRecord,
)
from farlane.errors import FarlaneError, InvalidInput
from farlane.hub.deciding.decision_log import read_decisions
from farlane.hub.deciding.opening import LOG
from farlane.hub.presence import EVERYBODY, FILE, Presence, read_presence
from farlane.hub.store.sqlite.past import Past, read_past
from farlane.lab.history import Change, History, PastJob

SHORT_ABSENCE_S = 15.0
"""A node that is back so soon has kept its work: its absence is left out."""
LEAST_RUN_S = 1e-4
_GONE = frozenset({FailureKind.NODE_LOST, FailureKind.HANDED_BACK})
"""Failures that tell of a node that went."""


@dataclass(slots=True)
class _Tasks:
    """What is known so far of one job's tasks."""

    opened: JobOpened
    batches: list[tuple[float, int]] = field(default_factory=list)
    run_s: dict[int, float] = field(default_factory=dict)
    started: dict[int, tuple[float, NodeId]] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    mishaps: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    stopped_at: float | None = None
    requeued: bool = False

    @property
    def count(self) -> int:
        return sum(count for _, count in self.batches)


def read_journal(store: Path) -> History:
    """Read the history of the hub whose store this is; raises as `read_past`, and InvalidInput where nothing ran.

    Its notes say who decided then, as far as the decision log beside the store tells.
    """
    found = history_of(read_past(store), read_presence(store.with_name(FILE)))
    return replace(found, notes=(*found.notes, *_who_decided(store.with_name(LOG))))


def _who_decided(log: Path) -> tuple[str, ...]:
    if not log.is_dir():
        return ()
    try:
        counts = Counter(f"{each.policy or each.who} ({each.who})" for each in read_decisions(log))
    except FarlaneError as error:
        return (f"the decision log cannot be read: {error.message}",)
    if not counts:
        return ()
    told = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return (f"who decided then, by rounds in the decision log: {told}",)


def history_of(past: Past, presence: Iterable[Presence] = ()) -> History:
    """Make a history of what a store keeps.

    Raises:
        InvalidInput: no job of it has tasks, or no node was ever there.
    """
    jobs: dict[JobId, _Tasks] = {}
    gone: list[tuple[float, NodeId]] = []
    for record in past.records:
        _fold(jobs, gone, record)
    known = [job for job in jobs.values() if job.count]
    if not known or not past.nodes:
        raise InvalidInput(
            "the hub's store has no jobs and nodes to replay yet; run some work on the network first"
            + _forgotten(past)
        )
    nodes = {record.spec.node: row for row, record in enumerate(past.nodes)}
    specs = tuple(record.spec for record in past.nodes)
    since = {record.spec.node: record.at for record in past.nodes}
    watched = [each for each in presence if each.node == EVERYBODY or each.node in nodes]
    changes = _changes(nodes, since, known, gone, watched)
    means = _means(known)
    found = tuple(_past_job(job, nodes, means) for job in sorted(known, key=lambda job: job.opened.at))
    return History(specs, changes, found, _notes(past, known, watched))


def _fold(jobs: dict[JobId, _Tasks], gone: list[tuple[float, NodeId]], record: WorkRecord) -> None:
    if isinstance(record, JobOpened):
        jobs[record.job] = _Tasks(record)
        return
    job = jobs.get(getattr(record, "job", JobId(0)))
    if job is None:
        return
    if isinstance(record, TasksAdded):
        job.batches.append((record.at, len(record.payloads.inline)))
    elif isinstance(record, TasksLeased):
        for index in record.indices:
            job.started[index] = (record.at, record.node)
    elif isinstance(record, TasksEnded):
        _end(job, record)
    elif isinstance(record, AttemptsFailed):
        _fail(job, gone, record)
    elif isinstance(record, TasksRequeued):
        job.requeued, job.stopped_at = True, None
    elif isinstance(record, JobEnded) and record.state is JobState.STOPPED:
        job.stopped_at = record.at


def _fail(job: _Tasks, gone: list[tuple[float, NodeId]], record: AttemptsFailed) -> None:
    for index, failure, ms in zip(record.indices, record.failures, record.lease_ms, strict=True):
        if failure.rule.again == "free":
            gone.append((record.at, record.node))
        elif failure.rule.again == "counted":  # else the hub wanted the room: nobody failed
            job.mishaps[index].append(ms / 1000)


def _end(job: _Tasks, record: TasksEnded) -> None:
    rows = zip(record.indices, record.states, record.lease_ms, record.cpu_us, strict=True)
    for index, state, lease_ms, cpu_us in rows:
        if record.node and state in (TaskState.DONE, TaskState.FAILED):
            # Leases are whole milliseconds; below that the CPU time tells more.
            run_s = lease_ms / 1000 if lease_ms > 1 else min(1e-3, max(LEAST_RUN_S, cpu_us / 1e6))
            job.run_s[index] = run_s
        job.ended[index] = record.at


def _means(jobs: Sequence[_Tasks]) -> dict[str, float]:
    """Return the mean run time by profile."""
    times: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if job.opened.spec.profile:
            times[job.opened.spec.profile] += job.run_s.values()
    return {profile: float(np.mean(found)) for profile, found in times.items() if found}


def _past_job(job: _Tasks, nodes: dict[NodeId, int], means: dict[str, float]) -> PastJob:
    spec, count = job.opened.spec, job.count
    if job.run_s:
        unknown = float(np.mean(list(job.run_s.values())))
    else:
        declared = spec.estimate_ms if spec.estimate_ms is not None else spec.timeout_ms
        unknown = means.get(spec.profile, declared / 1000)
    if spec.serve is not None:
        unknown = np.inf
    started = [job.started.get(index, (np.nan, NodeId(""))) for index in range(count)]
    return PastJob(
        spec, job.opened.at, tuple(job.batches),
        np.array([job.run_s.get(index, unknown) for index in range(count)]), job.stopped_at,
        {index: tuple(times) for index, times in job.mishaps.items()},
        tuple(index in job.run_s for index in range(count)),
        np.array([at for at, _ in started]), np.array([job.ended.get(index, np.nan) for index in range(count)]),
        np.array([nodes.get(node, -1) for _, node in started], np.int64), job_text(job.opened.job),
    )  # fmt: skip


def _changes(
    nodes: dict[NodeId, int],
    since: dict[NodeId, float],
    jobs: Sequence[_Tasks],
    gone: list[tuple[float, NodeId]],
    presence: Sequence[Presence],
) -> tuple[Change, ...]:
    """Return comings and goings: as they were watched, else as leases and their loss tell."""
    leases: dict[NodeId, list[float]] = defaultdict(list)
    for job in jobs:
        for at, node in job.started.values():
            leases[node].append(at)
    watched: dict[NodeId, list[tuple[float, bool]]] = defaultdict(list)
    for each in presence:
        for node in nodes if each.node == EVERYBODY else (each.node,):
            watched[node].append((each.at, each.online))
    found: list[Change] = []
    for node, row in nodes.items():
        first = min([since[node], *leases[node]])
        told = [(at, False) for at, name in gone if name == node] + [(at, True) for at in leases[node]]
        before = min((at for at, _ in watched[node]), default=np.inf)
        events = [(first, True), *(each for each in told if each[0] < before), *watched[node]]
        found += [Change(at, row, online) for at, online in _settled(sorted(events))]
    return tuple(sorted(found, key=lambda change: (change.at, change.node)))


def _settled(events: Sequence[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """Leave out what changes nothing, and absences that were over soon."""
    found: list[tuple[float, bool]] = []
    for at, online in events:
        if found and found[-1][1] == online:
            continue
        if online and found and at - found[-1][0] < SHORT_ABSENCE_S:
            found.pop()
            continue
        if online or found:
            found.append((at, online))
    return found


def _notes(past: Past, jobs: Sequence[_Tasks], presence: Sequence[Presence]) -> tuple[str, ...]:
    notes = []
    if past.forgotten:
        notes.append(f"the tasks of {past.forgotten} older jobs are forgotten and left out")
    if not presence:
        notes.append("nobody watched when nodes came and went: told from leases and their loss")
    open_tasks = sum(job.count - len(job.run_s) for job in jobs)
    if open_tasks:
        notes.append(
            f"{open_tasks} tasks never ended by themselves; they run as others did, and are not compared"
        )
    again = sum(job.requeued for job in jobs)
    if again:
        notes.append(f"{again} jobs were run again by hand: their tasks count once, as they last ran")
    return tuple(notes)


def _forgotten(past: Past) -> str:
    return (
        f" ({past.forgotten} jobs are forgotten: see the setting `hub.keep_results_s`)"
        if past.forgotten
        else ""
    )

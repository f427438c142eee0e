"""Rollout: which replicas are submitted, drained and stopped so that the right number of the right version answers.

One rule stands above all: a replica that answers is not taken away before another that answers is there in its place.
The only exception is one whose node leaves while no other node can take it.
"""

from __future__ import annotations

from farlane.domain.deployments import ReplicaState
from farlane.hub.deployments.events import (
    Command,
    DrainReplica,
    KeepProgress,
    SetWeights,
    StopReplica,
    SubmitReplica,
)
from farlane.hub.deployments.state import Record, Replica

READY, DRAINING = ReplicaState.READY, ReplicaState.DRAINING


def reconcile(record: Record, out: list[Command], now: float) -> None:
    """Bring a deployment one step nearer to what is wanted."""
    if record.removed or record.failed:
        _stop_all(record, out, now)
        return
    if not record.goal:
        return  # nobody has said yet what it serves: what runs from before goes on
    _promote(record, out)
    _submit(record, out, now)
    _stop_unready(record, out, now)
    _retire(record, out, now)
    _share(record, out)


def drain(replica: Replica, out: list[Command], now: float) -> None:
    """Send a replica nothing more."""
    replica.state, replica.since = DRAINING, now
    out.append(DrainReplica(replica.job))


def stop(replica: Replica, out: list[Command], reason: str) -> None:
    """Stop a replica's job; its end is told later."""
    if not replica.stopping:
        replica.stopping = True
        out.append(StopReplica(replica.job, reason))


def keeps(record: Record, replica: Replica, now: float) -> bool:
    """Tell whether a replica is of those that should go on."""
    right = replica.version in (record.goal, record.trial)
    return right and not replica.leaving and not replica.expiring(now)


def trials_wanted(record: Record) -> int:
    """Return how many replicas of the canary's version there should be."""
    if not record.trial or not record.wanted:
        return 0
    return max(1, record.wanted * record.deployment.update.canary_percent // 100)


def _stop_all(record: Record, out: list[Command], now: float) -> None:
    for replica in record.replicas.values():
        if replica.state is READY:
            drain(replica, out, now)
        elif replica.state is not DRAINING:
            stop(replica, out, "its deployment was removed" if record.removed else record.failed)


def _promote(record: Record, out: list[Command]) -> None:
    """Let the new version count as the one that serves once it answers in full and nothing else does."""
    goal = record.goal
    if goal == record.serving or not record.wanted:
        return
    good = [each for each in record.of(goal) if each.state is READY]
    others = [each for each in record.ready() if each.version not in (goal, record.trial)]
    if len(good) >= record.wanted and not others:
        record.previous, record.serving = record.serving, goal
        out.append(KeepProgress(record.deployment.id))


def _submit(record: Record, out: list[Command], now: float) -> None:
    wanted = {record.goal: record.wanted}
    if record.trial:
        wanted[record.trial] = trials_wanted(record)
    room = record.wanted + trials_wanted(record) + record.deployment.update.max_surge - _live(record)
    for version, count in wanted.items():
        kept = [each for each in record.of(version) if keeps(record, each, now)]
        missing = count - len(kept) - record.submitting.get(version, 0)
        if missing <= 0 or now < record.not_before.get(version, 0.0):
            continue
        # Where nothing answers at all there is nothing that a surge could harm.
        for _ in range(min(missing, room if record.ready() else missing)):
            record.submitting[version] = record.submitting.get(version, 0) + 1
            room -= 1
            out.append(SubmitReplica(record.deployment.id, version))


def _live(record: Record) -> int:
    there = [each for each in record.replicas.values() if each.state is not DRAINING and not each.stopping]
    return len(there) + sum(record.submitting.values())


def _stop_unready(record: Record, out: list[Command], now: float) -> None:
    """Stop what does not answer yet and is not needed: another version's, or more than wanted."""
    wanted = {record.trial: trials_wanted(record), record.goal: record.wanted}
    for version in sorted({each.version for each in record.replicas.values()}):
        mine = record.of(version)
        unready = [each for each in reversed(mine) if each.state is not READY]
        kept = [each for each in mine if keeps(record, each, now)]
        spare = max(0, len(kept) - wanted.get(version, 0))
        for replica in [each for each in unready if each not in kept] + [
            each for each in unready if each in kept
        ][:spare]:
            stop(replica, out, "no longer needed")


def _retire(record: Record, out: list[Command], now: float) -> None:
    """Drain what answers and should not go on, as far as enough others answer."""
    _retire_main(record, out, now)
    _retire_trials(record, out, now)
    _let_go(record, out, now)


def _retire_main(record: Record, out: list[Command], now: float) -> None:
    main = [each for each in record.ready() if each.version != record.trial]
    good = [each for each in main if keeps(record, each, now)]
    bad = [each for each in main if not keeps(record, each, now)]
    floor = max(record.wanted - record.deployment.update.max_unavailable, min(1, record.wanted))
    spare = len(main) - floor
    # The last that answers goes only when one that stays answers, too. Those whose node leaves go first: they are let
    # go of in any case.
    bad.sort(key=lambda each: (not each.leaving, each.version == record.goal, each.job))
    for replica in bad:
        if spare <= 0 or (record.wanted and not good and len(main) == 1):
            return
        drain(replica, out, now)
        main.remove(replica)
        spare -= 1
    surplus = len(good) - record.wanted
    for replica in sorted(good, key=lambda each: -each.job)[: max(0, surplus)]:
        drain(replica, out, now)


def _retire_trials(record: Record, out: list[Command], now: float) -> None:
    """Drain canaries beyond their number; while no other replica answers they are what serves."""
    if not record.trial:
        return
    trials = [each for each in record.of(record.trial) if each.state is READY]
    spare = len(trials) - trials_wanted(record)
    trials.sort(key=lambda each: (keeps(record, each, now), -each.job))
    for replica in trials[: max(0, spare)]:
        drain(replica, out, now)


def _let_go(record: Record, out: list[Command], now: float) -> None:
    """Drain what answers on nodes that leave, where no other can take its place: they are not held up for it."""
    loading = any(
        each.state is ReplicaState.LOADING and keeps(record, each, now) for each in record.replicas.values()
    )
    for replica in record.ready():
        if replica.abandoned(now) and (replica.nowhere or not loading):
            drain(replica, out, now)


def _share(record: Record, out: list[Command]) -> None:
    answering = any(each.version == record.trial for each in record.ready()) if record.trial else False
    weights = (record.trial, record.deployment.update.canary_percent) if answering else ("", 0)
    if weights != record.weights:
        record.weights = weights
        out.append(SetWeights(record.deployment.id, *weights))

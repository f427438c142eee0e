"""Recording: rounds become lines of the decision log, in a thread of its own that the hub never waits for."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from farlane.hub.deciding.decision_log import Chosen, DecisionWriter, LoggedDecision, Sent
from farlane.hub.deciding.guard import Why
from farlane.hub.deciding.shadowing import Round
from farlane.hub.deciding.tally import Tally
from farlane.scheduler.assessment import Assessment
from farlane.scheduler.sharing import prices
from farlane.scheduler.view import CPU, MEMORY, Group, Placement, View

log = logging.getLogger(__name__)

MOST_QUEUED = 256
"""Rounds that may wait for the disk; more are dropped and counted."""
MOST_ROWS = 512
"""Placements of one decision that are written; the rest is counted."""
PLAIN_NAMES = (
    "priority", "waited_s", "tasks", "run_time_s", "timeout_s", "cpu_milli", "memory_bytes", "free_cpu_share",
    "free_memory_share", "price_nano_s",
)  # fmt: skip
"""Features of what was chosen, where the policy tells none of its own; -1 for a run time that nobody knows."""


class Recorder:
    """Writes rounds to the decision log.

    Args:
        folder: of the log.
        max_bytes: of all its files.
        policy: the name of the policy, or of the rule.
        tally: counts what was written and what was not.
    """

    def __init__(self, folder: Path, max_bytes: int, policy: str, tally: Tally) -> None:
        self._policy, self._tally = policy, tally
        self._folder, self._max_bytes = folder, max_bytes
        self._queue: queue.SimpleQueue[Round | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failing = False

    def keep(self, done: Round) -> None:
        """Write a round soon, if it had anything to decide."""
        if not done.view.groups:
            return
        if self._queue.qsize() >= MOST_QUEUED:
            self._tally.log_dropped += 1
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
            self._thread.start()
        self._queue.put(done)

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        writer: DecisionWriter | None = None
        while (done := self._queue.get()) is not None:
            try:
                writer = writer or DecisionWriter(self._folder, self._max_bytes)
                writer.write(logged(done, self._policy))
            except Exception as error:
                self._tally.log_dropped += 1
                if not self._failing:
                    log.warning("decisions cannot be logged: %s; more of this is only counted", error)
                self._failing = True
            else:
                self._tally.logged += 1
                self._failing = False


def logged(done: Round, policy: str) -> LoggedDecision:
    """Return a round as the log keeps it."""
    view, answer = done.view, done.answer
    by_policy = done.verdict.why is Why.POLICY
    names = answer.names if answer is not None and len(answer.features) else PLAIN_NAMES
    rows = done.decision.placements
    chosen = _rows(view, rows[:MOST_ROWS], answer if by_policy else None)
    proposed: tuple[Chosen, ...] = ()
    if answer is not None and not by_policy:
        proposed = _rows(done.asked or view, answer.decision.placements[:MOST_ROWS], answer)
    return LoggedDecision(
        time=view.now, view=digest(view), who="policy" if by_policy else "rule", why=done.verdict.why.value,
        policy=policy, nodes=len(view.nodes.ids), groups=len(view.groups),
        waiting=sum(group.count for group in view.groups), names=names if by_policy else PLAIN_NAMES,
        chosen=chosen, proposed_names=names if proposed else (), proposed=proposed,
        shadows={name: _sent(done.asked or view, placed) for name, placed in done.shadows.items()},
        drift=0.0 if answer is None else answer.drift, disagreement=0.0 if answer is None else answer.disagreement,
        more=max(0, len(rows) - MOST_ROWS),
    )  # fmt: skip


def digest(view: View) -> str:
    """Return a short digest of all that a decision may hang on; equal views have equal ones."""
    found = hashlib.blake2b(digest_size=12)
    found.update(repr((view.now, view.nodes.ids, view.nodes.gpu_kinds, view.limits)).encode())
    for column in (
        view.nodes.capacity,
        view.nodes.free,
        view.nodes.online,
        view.running.node,
        view.running.ends_at,
    ):
        found.update(np.ascontiguousarray(column).tobytes())
    for group in view.groups:
        facts = (
            group.job, group.count, group.priority, group.since, group.deadline_at, group.run_time_s, group.timeout_s,
            group.affordable, group.uses,
        )  # fmt: skip
        found.update(repr(facts).encode())
        found.update(group.demands.tobytes())
        found.update(group.eligible.tobytes())
    return found.hexdigest()


def _rows(view: View, placements: Sequence[Placement], answer: Assessment | None) -> tuple[Chosen, ...]:
    """Return placements with what the policy thought of each, where it made them."""
    groups = {group.key: group for group in view.groups}
    weighed: dict[tuple[int, int, int], int] = {}
    if answer is not None:
        for at, each in enumerate(answer.decision.placements):
            weighed.setdefault((each.group, each.node, each.demand), at)
    found = []
    for each in placements:
        group = groups.get(each.group)
        if group is None:
            continue
        row = weighed.get((each.group, each.node, each.demand))
        score, propensity, features = 0.0, 1.0, plain_features(view, group, each)
        if answer is not None and row is not None:
            score, propensity = float(answer.scores[row]), float(answer.propensities[row])
            if len(answer.features):
                features = tuple(answer.features[row].tolist())
        node = view.nodes.ids[each.node]
        found.append(Chosen(group.job, node, each.count, each.demand, score, propensity, features))
    return tuple(found)


def plain_features(view: View, group: Group, placed: Placement) -> tuple[float, ...]:
    """Return what any policy may look at of a placement, as `PLAIN_NAMES` names it."""
    demand = group.demands[placed.demand].tolist()
    capacity, free = view.nodes.capacity[placed.node], view.nodes.free[placed.node]
    price = prices(view.nodes, demand, np.array([placed.node]))
    return (
        float(group.priority), round(max(0.0, view.now - group.since), 3), float(group.count),
        -1.0 if group.run_time_s is None else group.run_time_s, group.timeout_s, float(demand[CPU]),
        float(demand[MEMORY]), float(free[CPU] / max(1, capacity[CPU])),
        float(free[MEMORY] / max(1, capacity[MEMORY])), float(price[0]),
    )  # fmt: skip


def _sent(view: View, placements: Sequence[Placement]) -> tuple[Sent, ...]:
    jobs = {group.key: group.job for group in view.groups}
    return tuple(
        Sent(jobs[each.group], view.nodes.ids[each.node], each.count, each.demand)
        for each in placements[:MOST_ROWS]
        if each.group in jobs
    )

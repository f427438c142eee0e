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
    view, answer, asked = done.view, done.answer, done.asked or done.view
    by_policy = done.verdict.why is Why.POLICY
    rows = done.decision.placements
    weighed = None if answer is None else Weighed(asked, answer)
    return LoggedDecision(
        time=view.now, view=digest(view), who="policy" if by_policy else "rule", why=done.verdict.why.value,
        policy=policy, nodes=len(view.nodes.ids), groups=len(view.groups),
        waiting=sum(group.count for group in view.groups), chosen=_rows(view, rows, weighed if by_policy else None),
        proposed=() if answer is None or by_policy else _rows(asked, answer.decision.placements, weighed),
        shadows={name: _sent(asked, placed) for name, placed in done.shadows.items()},
        names=() if answer is None or not len(answer.features) else answer.names,
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


class Weighed:
    """What a policy thought of each of its placements, by job, node row and demand: keys of groups differ by view."""

    def __init__(self, view: View, answer: Assessment) -> None:
        self._answer = answer
        jobs = {group.key: group.job for group in view.groups}
        self._rows: dict[tuple[int | None, int, int], int] = {}
        for at, each in enumerate(answer.decision.placements):
            self._rows.setdefault((jobs.get(each.group), each.node, each.demand), at)

    def of(self, job: int, placed: Placement) -> tuple[float, float, tuple[float, ...]]:
        """Return score, propensity and the policy's own features of a placement."""
        row = self._rows.get((job, placed.node, placed.demand))
        if row is None:
            return 0.0, 1.0, ()
        answer = self._answer
        own = (
            tuple(np.round(answer.features[row].astype(np.float64), 6).tolist())
            if len(answer.features)
            else ()
        )
        return float(answer.scores[row]), float(answer.propensities[row]), own


def _rows(view: View, placements: Sequence[Placement], weighed: Weighed | None) -> tuple[Chosen, ...]:
    """Return placements with what the policy thought of each, where it made them."""
    groups = {group.key: group for group in view.groups}
    found = []
    for each in placements[:MOST_ROWS]:
        group = groups.get(each.group)
        if (
            group is not None
            and 0 <= each.node < len(view.nodes.ids)
            and 0 <= each.demand < len(group.demands)
        ):
            told = (0.0, 1.0, ()) if weighed is None else weighed.of(group.job, each)
            where = view.nodes.ids[each.node]
            found.append(
                Chosen(group.job, where, each.count, each.demand, features(view, group, each), *told)
            )
    return tuple(found)


def features(view: View, group: Group, placed: Placement) -> tuple[float, ...]:
    """Return what any policy may look at of a placement, as `FEATURES` names it."""
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
    groups = {group.key: group for group in view.groups}
    return tuple(
        Sent(group.job, view.nodes.ids[each.node], each.count, each.demand, features(view, group, each))
        for each in placements[:MOST_ROWS]
        if (group := groups.get(each.group)) is not None
    )

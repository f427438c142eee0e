"""Whether a policy may replace another: both replay one history, and only an interval without a loss says yes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.evaluation.statistics import Interval, Measure, paired_interval
from farlane.lab.history import History
from farlane.lab.replay import Outcome, replay
from farlane.lab.replay_report import arrivals, compared, windows
from farlane.scheduler.policy import Policy
from farlane.scheduler.sim.world import Bools, Floats, Ints

LEAST_WINDOWS = 8
"""Fewer say nothing: an interval of a handful of pairs is a guess."""
SHORT_S = 10.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What two replays of one history say; ours is the candidate.

    completion: ratio of the sums of completion times, below 1 where ours is better; wait_s, slowdown: mean differences
    by window, above 0 where ours is worse; lost, theirs_lost: tasks that ended without a result; windows, jobs, tasks:
    that were compared; reasons: why not, empty where it may replace the other.
    """

    candidate: str
    against: str
    completion: Interval
    wait_s: Interval
    slowdown: Interval
    lost: int
    theirs_lost: int
    windows: int
    jobs: int
    tasks: int
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may replace the other."""
        return not self.reasons


def judge(
    history: History,
    candidate: tuple[str, Policy],
    against: tuple[str, Policy],
    progress: Callable[[str], Callable[[int, int], None]] = lambda _name: lambda _done, _tasks: None,
) -> Evidence:
    """Replay a history under both, and compare them by windows (paired bootstrap, 95 %).

    Args:
        history: what happened.
        candidate: name and policy that would decide.
        against: those of what decides now.
        progress: told how far each replay is.

    Raises:
        InvalidInput: the history is too short to tell anything; the message says how many jobs are missing.
    """
    _check_length(history)
    outcomes = {
        name: replay(history, policy, progress=progress(name)) for name, policy in (candidate, against)
    }
    if candidate[0] == against[0]:
        raise InvalidInput(f"{candidate[0]} is what decides already; there is nothing to compare")
    return weigh(history, outcomes, candidate[0], against[0])


def weigh(history: History, outcomes: Mapping[str, Outcome], candidate: str, against: str) -> Evidence:
    """Return what two outcomes of one history say of each other; raises as `judge`."""
    ours, theirs = outcomes[candidate], outcomes[against]
    kept = compared(history, outcomes)
    window, arrived = windows(history)[kept], arrivals(history)[kept]
    if len(np.unique(window)) < LEAST_WINDOWS:
        raise InvalidInput(
            f"only {len(np.unique(window))} windows of the history have work that ended under both; at least "
            f"{LEAST_WINDOWS} are needed: run more work on the network first"
        )
    pairs = [_costs(outcome, kept, arrived, window) for outcome in (ours, theirs)]
    completion = paired_interval(pairs[0][0], pairs[1][0], Measure.RATIO_OF_MEANS)
    wait = paired_interval(pairs[0][1], pairs[1][1], Measure.DIFFERENCE)
    slowdown = paired_interval(pairs[0][2], pairs[1][2], Measure.DIFFERENCE)
    counted = np.concatenate([np.array(job.counted, np.bool_) for job in history.jobs])
    lost, theirs_lost = (int((counted & (each.done == 0)).sum()) for each in (ours, theirs))
    jobs = len(history.jobs)
    reasons = _reasons(completion, wait, slowdown, lost - theirs_lost, jobs)
    return Evidence(
        candidate, against, completion, wait, slowdown, lost, theirs_lost, len(np.unique(window)), jobs,
        int(kept.sum()), reasons,
    )  # fmt: skip


def _check_length(history: History) -> None:
    found = len(np.unique(windows(history)))
    if found < LEAST_WINDOWS:
        per_window = max(1, ceil(len(history.jobs) / found))
        missing = per_window * (LEAST_WINDOWS - found)
        raise InvalidInput(
            f"the history has {len(history.jobs)} jobs in {found} windows; at least {LEAST_WINDOWS} windows are needed "
            f"to tell anything: some {missing} more jobs"
        )


def _costs(outcome: Outcome, kept: Bools, arrived: Floats, window: Ints) -> tuple[Floats, Floats, Floats]:
    """Return by window: the sum of completion times, the mean wait, the mean bounded slowdown."""
    started, ended = outcome.started[kept], outcome.ended[kept]
    wait, run = started - arrived, ended - started
    slow = np.maximum(1.0, (wait + run) / np.maximum(run, SHORT_S))
    counts = np.bincount(window)
    there = counts > 0
    totals, waits, slows = (
        np.bincount(window, weights=values)[there].astype(np.float64)
        for values in (ended - arrived, wait, slow)
    )
    return totals, waits / counts[there], slows / counts[there]


def _reasons(
    completion: Interval, wait: Interval, slowdown: Interval, more_lost: int, jobs: int
) -> tuple[str, ...]:
    found = []
    if completion.low > 1.0:
        found.append(f"completion times are {completion.low:.3f} times as long, at the least")
    elif completion.value >= 1.0:
        found.append("completion times are no shorter")
    elif completion.high > 1.0:
        gain, doubt = 1.0 - completion.value, completion.high - completion.value
        more = max(1, ceil(jobs * ((doubt / gain) ** 2 - 1.0)))
        found.append(
            f"the interval of completion times reaches beyond 1, so that a loss is not excluded: some {more} more jobs "
            "would settle it if the gain stays what it is"
        )
    if wait.low > 0.0:
        found.append(f"tasks wait longer, by {wait.low:.3g} s at the least")
    if slowdown.low > 0.0:
        found.append(f"slowdowns are higher, by {slowdown.low:.3g} at the least")
    if more_lost > 0:
        found.append(f"{more_lost} more tasks end without a result")
    return tuple(found)

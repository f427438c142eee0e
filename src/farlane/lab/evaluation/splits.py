"""Who may see what: which jobs of a trace and which orders of arrival are for training, for choosing, for judging.

The one home of this for training and for evaluation. A log of a batch system, J jobs in the order of their arrival:

    long (J >= 30,000)    test 0..10,000 | gap | train ................ | gap | validation 5,000 | gap | test, last 30 %
    short                 train 25 % | gap | validation | gap | test, the rest
    nobody trained on it  test, all of it

The first 10,000 jobs are those of the published tables. In a short log that protocol reaches into the training range:
whoever quotes it for weights that saw the log has to say so. Gaps keep the users' histories of one range out of the
next. Of Alibaba's lists only `default` is for training, in orders of its own; all other lists are held out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.published import SEQUENCE_JOBS, TABLE_JOBS
from farlane.scheduler.sim.world import Ints

LONG_JOBS = 30_000
GAP_JOBS = 1_024
SHORT_GAP_JOBS = 512
VALIDATION_JOBS = 5_000
TAIL_SHARE, TAIL_JOBS = 0.3, 45_000
"""The tail of a long log that is for judging: this share of it, at most so many jobs."""
SEQUENCES = 40
"""Sequences of a trace on which policies are judged, at least."""
TRAINING_LIST = "default"
TEST_SEEDS = range(1_000)
VALIDATION_SEEDS = range(1_000, 10_000)
TRAINING_SEEDS = range(10_000, 1 << 62)
"""Seeds of orders of arrival and of generated worlds, by their use."""

Range = tuple[int, int]
"""First row, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a log by their use; ranges are apart, and in rising order within each use."""

    train: tuple[Range, ...]
    validation: tuple[Range, ...]
    test: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Stretches of a log on which policies run.

    starts: (s,) first rows, rising; length: jobs of each; block: how many neighbours share jobs, 1 where none do:
    intervals have to resample so many at once.
    """

    starts: Ints
    length: int
    block: int


def split_jobs(jobs: int, *, unseen: bool = False) -> Split:
    """Return the ranges of a log.

    Args:
        jobs: of the log.
        unseen: that nothing of it was trained on: all of it is for judging.

    Raises:
        InvalidInput: it is too short for three ranges.
    """
    if unseen:
        return Split((), (), ((0, jobs),))
    if jobs >= LONG_JOBS:
        tail = jobs - min(int(TAIL_SHARE * jobs), TAIL_JOBS)
        chosen = tail - GAP_JOBS - VALIDATION_JOBS
        return Split(
            ((TABLE_JOBS + GAP_JOBS, chosen - GAP_JOBS),),
            ((chosen, chosen + VALIDATION_JOBS),),
            ((0, TABLE_JOBS), (tail, jobs)),
        )
    trained, chosen = jobs // 4, SEQUENCE_JOBS + 64
    judged = trained + chosen + 2 * SHORT_GAP_JOBS
    if jobs - judged < 2 * SEQUENCE_JOBS:
        raise InvalidInput(
            f"a log of {jobs} jobs is too short to train, choose and judge on; expected at least 6,000"
        )
    first = trained + SHORT_GAP_JOBS
    return Split(((0, trained),), ((first, first + chosen),), ((judged, jobs),))


def draw_sequences(
    ranges: tuple[Range, ...], seed: int = 0, *, count: int = SEQUENCES, length: int = SEQUENCE_JOBS
) -> Sequences:
    """Return sequences within ranges: apart and at random where there is room, else evenly spread and overlapping.

    Raises:
        InvalidInput: a sequence fits into none of the ranges.
    """
    rooms = [(first, last) for first, last in ranges if last - first >= length]
    if not rooms or count < 1:
        raise InvalidInput(f"no range of {ranges} has the {length} jobs of one sequence")
    if sum((last - first) // length for first, last in rooms) >= count:
        return Sequences(_apart(rooms, seed, count, length), length, 1)
    starts, block = _spread(rooms, count, length)
    return Sequences(starts, length, block)


def validation_sequences(split: Split, *, count: int = 8, length: int = SEQUENCE_JOBS) -> Sequences:
    """Return the sequences on which rules and checkpoints are chosen."""
    return draw_sequences(split.validation, count=count, length=length)


def _apart(rooms: list[Range], seed: int, count: int, length: int) -> Ints:
    """Return starts of sequences that share no job, uniform over all such choices within each range."""
    random = np.random.default_rng(seed)
    capacity = np.array([(last - first) // length for first, last in rooms])
    places = np.repeat(np.arange(len(rooms)), capacity)
    kept = np.bincount(random.choice(places, count, replace=False), minlength=len(rooms))
    starts = []
    for (first, last), here in zip(rooms, kept.tolist(), strict=True):
        slack = last - first - here * length
        offsets = np.sort(random.integers(0, slack + 1, here))
        starts.append(first + offsets + length * np.arange(here))
    return np.concatenate(starts).astype(np.int64)


def _spread(rooms: list[Range], count: int, length: int) -> tuple[Ints, int]:
    """Return evenly spread starts, and how many neighbours share jobs."""
    free = np.array([last - first - length + 1 for first, last in rooms])
    edges = np.concatenate([[0], np.cumsum(free)])
    points = np.unique(np.round(np.linspace(0, edges[-1] - 1, count)).astype(np.int64))
    room = np.searchsorted(edges, points, side="right") - 1
    starts = np.array([first for first, _ in rooms])[room] + points - edges[room]
    stride = max(1, int(np.median(np.diff(points)))) if len(points) > 1 else length
    return starts.astype(np.int64), -(-length // stride)

"""Filling: tasks onto the places that score highest, a block at a time, with new scores for what each block changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.sharing import level
from farlane.scheduler.view import Floats, Ints

PASSES = 8
"""Into how many blocks a group is parted at most: up to so many tasks, each is placed by scores of its own moment."""
WIDEST = 64
"""A block goes to at most so many places, or to four times as many as would hold it."""
_HALVINGS = 40

Score = Callable[[Ints, Ints], NDArray[np.floating]]
"""Scores of places, given their indices (q,) and how many tasks each has got by now (q,): (q,), higher is better."""


def fill(score: Score, room: Ints, count: int, passes: int = PASSES) -> Ints:
    """Share `count` tasks over the places by score.

    The tasks are parted into at most `passes` blocks. In a block, a place's score is taken to change evenly from
    its next task to the last it could get, so that scores that fall with use spread tasks and those that rise
    pack them, as if each task had been placed by scores of its own. Only places that a block changed are scored again:
    a group costs one look at all places and some at few of them, however many tasks it has.

    Args:
        score: rates places.
        room: (p,) int64, at least 1 each; its sum is at least `count`.
        count: tasks, at least 1.
        passes: blocks at most, at least 1.

    Returns:
        (p,) int64 between 0 and `room`, summing to `count`.
    """
    given = np.zeros_like(room)
    now = np.array(score(np.arange(len(room)), given), np.float64)
    left = count
    for remaining in range(min(passes, count), 0, -1):
        block = -(-left // remaining)
        if block == 1:
            changed, counts = np.array([int(np.argmax(now))]), np.ones(1, np.int64)
        else:
            changed, counts = _block(score, now, room, given, block)
        given[changed] += counts
        left -= block
        if not left:
            break
        full = given[changed] >= room[changed]
        now[changed[full]] = -np.inf
        again = changed[~full]
        if len(again):
            now[again] = score(again, given[again])
    return given


def _block(score: Score, now: Floats, room: Ints, given: Ints, count: int) -> tuple[Ints, Ints]:
    """Return the places that get something of a block, and how many tasks each."""
    places = _best(now, np.flatnonzero(room > given), count)
    most = np.minimum(room[places] - given[places], count)
    holding = int(np.searchsorted(np.cumsum(most), count)) + 1
    places, most = places[: max(WIDEST, 4 * holding)], most[: max(WIDEST, 4 * holding)]
    first = now[places]
    last = first.copy()
    several = most > 1
    if several.any():
        there = places[several]
        last[several] = score(there, given[there] + most[several] - 1)
    fall = np.maximum(first - last, 0.0) / np.maximum(most - 1, 1)
    even = several & (first == last)
    counts = _bids(first, fall, even, most, count)
    got = counts > 0
    return places[got], counts[got]


def _best(now: Floats, places: Ints, count: int) -> Ints:
    """Return the places by score, the highest first; no more than as many as there are tasks, and their equals."""
    if count < len(places):
        least = np.partition(now[places], len(places) - count)[len(places) - count]
        places = places[now[places] >= least]
    return places[np.argsort(-now[places], kind="stable")]


def _bids(first: Floats, fall: Floats, even: NDArray[np.bool_], most: Ints, count: int) -> Ints:
    """Share a block: the k-th task of a place bids `first - k fall`; the highest bids win, in order among equals.

    Args:
        first: (q,) falling.
        fall: (q,) at least 0, by how much each task lowers the next one's bid.
        even: (q,) where tasks change nothing: equals of these are levelled.
        most: (q,) tasks at most.
        count: to share, at most the sum of `most`.
    """
    if (fall > 0).any():
        low, high = _limits(first, fall, most, count)
        above, reached = _bidding(first, fall, most, high), _bidding(first, fall, most, low)
        if int(above.sum()) > count:
            above = np.zeros_like(most)
    else:
        limit = first[int(np.searchsorted(np.cumsum(most), count))]
        above, reached = np.where(first > limit, most, 0), np.where(first >= limit, most, 0)
    rest = count - int(above.sum())
    tied = np.flatnonzero(reached > above)
    room = (reached - above)[tied]
    if even[tied].all() and int(room.sum()) > rest:
        above[tied] += level(room, room, rest)
    else:
        above[tied] += np.clip(rest - (np.cumsum(room) - room), 0, room)
    return above


def _limits(first: Floats, fall: Floats, most: Ints, count: int) -> tuple[float, float]:
    """Return two bids close together: at least `count` tasks bid the lower one or more, and fewer the higher one."""
    low, high = float((first - fall * (most - 1)).min()), float(first.max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if int(_bidding(first, fall, most, middle).sum()) >= count:
            low = middle
        else:
            high = middle
    return low, high


def _bidding(first: Floats, fall: Floats, most: Ints, limit: float) -> Ints:
    """Return how many tasks of each place bid at least the limit."""
    lead = first - limit
    steps = np.floor(np.divide(lead, fall, out=np.full(len(lead), np.inf), where=fall > 0))
    return np.where(lead >= 0, np.minimum(steps, most - 1) + 1, 0).astype(np.int64)

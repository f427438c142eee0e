"""Queues: which jobs have tasks ready, oldest first among jobs of one priority, requirement and project."""

from __future__ import annotations

from collections import OrderedDict

from farlane.hub.reactor.state import HubState, Job, QueueKey

WINDOW = 64
"""Jobs of one queue that one scheduling round looks at; like jobs behind them, in the same accounts, fit no better."""


def queue_of(job: Job) -> QueueKey:
    """Return which queue a job waits in."""
    return job.spec.priority, job.requirement, job.spec.project


def enqueue(state: HubState, job: Job) -> None:
    """Make sure a job with ready tasks is waiting in its queue."""
    if job.ready and not job.state.final:
        state.waiting.setdefault(queue_of(job), OrderedDict()).setdefault(job.id, job)


def enqueue_again(state: HubState, job: Job) -> None:
    """Put a job whose tasks came back before the younger ones that passed it meanwhile."""
    enqueue(state, job)
    state.waiting[queue_of(job)].move_to_end(job.id, last=False)


def leave(state: HubState, job: Job) -> None:
    """Take a job out of its queue, if it is there."""
    key = queue_of(job)
    queue = state.waiting.get(key)
    if queue is not None:
        queue.pop(job.id, None)
        if not queue:
            del state.waiting[key]

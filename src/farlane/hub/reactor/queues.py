"""Queues: which jobs have tasks ready, oldest first among jobs of one priority and requirement."""

from __future__ import annotations

from collections import OrderedDict

from farlane.hub.reactor.state import HubState, Job

WINDOW = 64
"""Jobs of one priority and requirement that one scheduling round looks at; like jobs behind them fit no better."""


def enqueue(state: HubState, job: Job) -> None:
    """Make sure a job with ready tasks is waiting in its queue."""
    if job.ready and not job.state.final:
        state.waiting.setdefault((job.spec.priority, job.requirement), OrderedDict()).setdefault(job.id, job)


def enqueue_again(state: HubState, job: Job) -> None:
    """Put a job whose tasks came back before the younger ones that passed it meanwhile."""
    enqueue(state, job)
    state.waiting[job.spec.priority, job.requirement].move_to_end(job.id, last=False)


def leave(state: HubState, job: Job) -> None:
    """Take a job out of its queue, if it is there."""
    key = (job.spec.priority, job.requirement)
    queue = state.waiting.get(key)
    if queue is not None:
        queue.pop(job.id, None)
        if not queue:
            del state.waiting[key]

"""Locality: how much of a model each node would have to fetch before it could serve it; pure."""

from __future__ import annotations

import numpy as np

from farlane.domain.model_facts import ModelFacts
from farlane.hub.reactor.state import HubState, Job
from farlane.scheduler.view import Ints

MAX_MODELS = 1024
"""Versions of which something is remembered; those that were told last."""
RELATIVE = 2
"""A node with another version of the model is taken to lack one part in so many: versions share most of their blocks,
but only fetching tells how many."""
_UNKNOWN = ModelFacts(1)


def know_model(state: HubState, version: str, facts: ModelFacts) -> None:
    """Remember how large a version is, and its relatives."""
    state.models.pop(version, None)
    state.models[version] = facts
    if len(state.models) > MAX_MODELS:
        del state.models[next(iter(state.models))]


def missing_bytes(state: HubState, job: Job) -> Ints | None:
    """Return what each node lacks of the model a job serves, (n,) int64 bytes; None where it serves none.

    Also where all lack the same: whoever places a replica then goes by price, so that the next version, which goes
    where this one is, does not find that node too dear.
    """
    serve = job.spec.serve
    if serve is None:
        return None
    facts = state.models.get(serve.version, _UNKNOWN)
    part = max(1, facts.size_bytes // RELATIVE)
    missing = np.full(len(state.table.ids), max(1, facts.size_bytes), np.int64)
    for row, node in enumerate(state.table.ids):
        held = state.nodes[node].held_versions
        if serve.version in held:
            missing[row] = 0
        elif not facts.relatives.isdisjoint(held):
            missing[row] = part
    return missing if len(missing) else None


def alike_there(state: HubState, job: Job) -> Ints | None:
    """Return how many replicas of a job's deployment and version each node has, (n,) int64; None where none has any.

    Those of another version do not count: an update best goes where the version that it replaces is, and with it most
    of its blocks.
    """
    serve = job.spec.serve
    if serve is None:
        return None
    there = np.zeros(len(state.table.ids), np.int64)
    for other in state.active.values():
        if other.spec.serve is None or other.spec.serve.deployment != serve.deployment:
            continue
        if other.spec.serve.version == serve.version:
            for node, tally in other.running.items():
                there[state.table.rows[node]] += tally.count
    return there if there.any() else None

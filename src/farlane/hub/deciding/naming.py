"""Naming: policies that settings can name: the scheduler's, and ones of your own as `package.module:NAME`."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

import numpy as np

from farlane.domain.ids import JobId, NodeId
from farlane.errors import InvalidSetting
from farlane.hub.deciding.promoted import PREFIX
from farlane.scheduler.assessment import assess
from farlane.scheduler.learned.ensemble import Ensemble, load
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.policy import Policy, policy_named
from farlane.scheduler.view import FIRST_GPU, Group, NodeColumns, RunningColumns, View


def is_foreign(name: str) -> bool:
    """Tell whether a policy is not the scheduler's own: such a one is only ever loaded in the worker."""
    return ":" in name and not name.startswith(PREFIX)


def warmed(policy: Policy) -> Policy:
    """Return a policy that has decided once, on a view of next to nothing: weights are read before they are waited for.

    What goes wrong is not told: it will again, where somebody hears of it.
    """
    one = np.ones((1, FIRST_GPU), np.int64)
    prices, masks = np.zeros(1, np.int64), np.ones(1, np.bool_)
    nodes = NodeColumns(
        (NodeId("warm"),),
        (),
        one,
        one,
        masks,
        prices,
        prices,
        np.zeros((1, 0), np.int64),
        np.zeros(1),
        np.zeros(1),
    )
    running = RunningColumns(np.zeros(0, np.int64), np.zeros((0, FIRST_GPU), np.int64), np.zeros(0))
    with contextlib.suppress(Exception):
        assess(
            policy,
            View(
                1.0, nodes, running, (Group(0, JobId(1), 1, one, masks, None, 50, 0.0, None, None, 1.0, 1),)
            ),
        )
    return policy


def load_policy(name: str) -> Policy:
    """Return a policy by name, importing it if it is foreign, or reading it from the checkpoint that is promoted.

    Raises:
        InvalidSetting: there is none of that name.
    """
    if name.startswith(PREFIX):
        return LearnedPolicy(Ensemble(load(Path(name.removeprefix(PREFIX)).read_bytes())))
    if not is_foreign(name):
        return policy_named(name)
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        policy: Policy = found() if isinstance(found, type) else found
    except Exception as error:
        raise InvalidSetting(
            f"policy {name!r} cannot be loaded: {type(error).__name__}: {error}; expected package.module:NAME of "
            "an object with `name` and `decide(view)`",
            setting="policy",
        ) from error
    return policy

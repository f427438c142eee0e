"""Naming: policies that settings can name: the scheduler's, and ones of your own as `package.module:NAME`."""

from __future__ import annotations

import importlib

from farlane.errors import InvalidSetting
from farlane.scheduler.policy import Policy, policy_named


def is_foreign(name: str) -> bool:
    """Tell whether a policy is not the scheduler's own: such a one is only ever loaded in the worker."""
    return ":" in name


def load_policy(name: str) -> Policy:
    """Return a policy by name, importing it if it is foreign.

    Raises:
        InvalidSetting: there is none of that name.
    """
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

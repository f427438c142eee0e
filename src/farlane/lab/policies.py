"""Policies by what people call them: a rule, the learned policy, or a checkpoint's file."""

from __future__ import annotations

from pathlib import Path

from farlane.errors import NotFound
from farlane.kit.suggestions import hint
from farlane.scheduler.policy import POLICIES, Policy, policy_named

CHECKPOINT = ".npz"


def policy_of(name: str) -> Policy:
    """Return a policy by its name, or read it from a checkpoint.

    Raises:
        InvalidSetting: no policy has that name; the message names the nearest.
        NotFound: there is no such checkpoint.
        FarlaneError: it is none; see `farlane.scheduler.learned.checkpoint`.
    """
    if not name.endswith(CHECKPOINT):
        return policy_named(name)
    return checkpoint_policy(Path(name))


def checkpoint_policy(path: Path) -> Policy:
    """Return the policy of a checkpoint; raises as `policy_of`."""
    from farlane.scheduler.learned.ensemble import Ensemble, load
    from farlane.scheduler.learned.policy import LearnedPolicy

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise NotFound(
            f"there is no checkpoint {path}: {error.strerror}; name a policy ({hint(str(path), POLICIES)}) or the file "
            "that `farlane scheduler train` or `export` has written"
        ) from error
    return LearnedPolicy(Ensemble(load(raw)))

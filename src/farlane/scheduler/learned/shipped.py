"""Shipped weights: checkpoints that come with the package, as constant as its code."""

from __future__ import annotations

from functools import cache
from importlib import resources

from farlane.errors import NotFound
from farlane.scheduler.learned.ensemble import Ensemble, load

DEFAULT = "default"
"""The weights that `hub.policy=learned` runs."""


def shipped_names() -> list[str]:
    """Return the names of the checkpoints in the package."""
    folder = resources.files("farlane.scheduler.learned").joinpath("weights")
    return sorted(
        entry.name.removesuffix(".npz") for entry in folder.iterdir() if entry.name.endswith(".npz")
    )


def shipped_bytes(name: str = DEFAULT) -> bytes:
    """Return a shipped checkpoint.

    Raises:
        NotFound: none of that name is shipped.
    """
    if name not in shipped_names():
        raise NotFound(
            f"no weights {name!r} are shipped; expected one of {', '.join(shipped_names())}", name=name
        )
    return resources.files("farlane.scheduler.learned").joinpath("weights", f"{name}.npz").read_bytes()


@cache
def shipped_ensemble(name: str = DEFAULT) -> Ensemble:
    """Return a shipped checkpoint's networks, read once.

    Raises:
        FarlaneError: as `shipped_bytes` and `load` do.
    """
    return Ensemble(load(shipped_bytes(name)))

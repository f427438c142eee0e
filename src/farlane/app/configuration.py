"""Configuration: every settings group of farlane, read once from file, environment and flags."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farlane.errors import InvalidSetting
from farlane.hub.settings import HubSettings
from farlane.kit.settings import read
from farlane.node.settings import NodeSettings

OTHER_VARIABLES = (
    "FARLANE_DIR",
    "FARLANE_URL",
    "FARLANE_TOKEN",
    "FARLANE_JOIN_TOKEN",
    "FARLANE_JOB",
    "FARLANE_TASK_INDEX",
    "FARLANE_EXECUTOR",
    "FARLANE_KEYS",
    "FARLANE_KEY_PASSWORD_FILE",
    "FARLANE_UNSAFE_KEY",
    "FARLANE_IPFS_API",
    "FARLANE_IPFS_SECRET",
)
"""FARLANE_ variables that are read or set elsewhere."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All groups; `[hub]` and `[node]` in a configuration file."""

    hub: HubSettings = field(default_factory=HubSettings)
    node: NodeSettings = field(default_factory=NodeSettings)


def configuration(file: Path | None, flags: Mapping[str, object]) -> Configuration:
    """Read the configuration: defaults < file < environment < flags (`group.field`).

    Raises:
        InvalidSetting: an unknown key or a value that cannot be read.
    """
    return read(
        Configuration, file=file, environment=os.environ, flags=flags, other_variables=OTHER_VARIABLES
    )


def assignments(pairs: Iterable[str]) -> dict[str, str]:
    """Read `group.field=value` texts from a command line.

    Raises:
        InvalidSetting: one without `=`.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidSetting(
                f"--set {pair!r} sets nothing; expected NAME=VALUE, such as hub.policy=spread"
            )
        found[name.strip()] = value
    return found


def by_group(values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split `group.field` settings into those of the hub and those of nodes, without their group.

    Raises:
        InvalidSetting: another group, or none.
    """
    groups: dict[str, dict[str, str]] = {"hub": {}, "node": {}}
    for name, value in values.items():
        group, _, key = name.partition(".")
        if group not in groups or not key:
            raise InvalidSetting(f"unknown setting {name!r}; expected hub.FIELD or node.FIELD", setting=name)
        groups[group][key] = value
    return groups["hub"], groups["node"]

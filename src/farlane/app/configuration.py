"""Configuration: every settings group of farlane, read once from file, environment and flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
)
"""FARLANE_ variables that are read elsewhere."""


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


def assignments(pairs: list[str]) -> dict[str, str]:
    """Read `group.field=value` texts from a command line."""
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

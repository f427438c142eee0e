"""The deployments of a hub, kept in one private file: replicas are jobs and are found again in the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from farlane.domain.deployments import Deployment, ScalePolicy, UpdatePolicy, check_deployment
from farlane.domain.resources import GpuRequest, Resources
from farlane.errors import Corrupted, FarlaneError
from farlane.hub.deployments.state import Record
from farlane.kit.files import atomic_write

VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A deployment as it is kept, with how far it had come."""

    deployment: Deployment
    created: float
    serving: str = ""
    previous: str = ""
    refused: tuple[tuple[str, str], ...] = field(default=())


def load(path: Path) -> list[Kept]:
    """Return every deployment kept in a file; none where there is no file.

    Raises:
        Corrupted: it is not one of ours.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        found = json.loads(content)
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']}")
        return [_kept(row) for row in found["deployments"]]
    except (ValueError, KeyError, TypeError, FarlaneError) as error:
        raise Corrupted(
            f"{path} does not hold the hub's deployments ({error}); restore it from a backup, or move it away and "
            "serve the models again with `farlane serve`",
            path=str(path),
        ) from error


def save(path: Path, records: Iterable[Record]) -> None:
    """Keep deployments in place of those there were, durably.

    Raises:
        DiskFull: no room; the old ones stay.
    """
    rows = [
        {
            "deployment": asdict(record.deployment),
            "created": record.created,
            "serving": record.serving,
            "previous": record.previous,
            "refused": sorted(record.refused.items()),
        }
        for record in records
        if not record.removed
    ]
    content = json.dumps({"version": VERSION, "deployments": rows}, indent=1, sort_keys=True)
    atomic_write(path, content.encode(), mode=0o600)


def _kept(row: dict[str, Any]) -> Kept:
    deployment = _deployment(row["deployment"])
    check_deployment(deployment)
    refused = tuple((str(version), str(reason)) for version, reason in row["refused"])
    return Kept(deployment, float(row["created"]), str(row["serving"]), str(row["previous"]), refused)


def _deployment(fields: dict[str, Any]) -> Deployment:
    resources = dict(fields.pop("resources"))
    gpu = resources.pop("gpu")
    return Deployment(
        resources=Resources(**resources, gpu=None if gpu is None else GpuRequest(**gpu)),
        update=UpdatePolicy(**fields.pop("update")),
        scale=ScalePolicy(**fields.pop("scale")),
        shared_with=tuple(map(str, fields.pop("shared_with"))),
        options=_pairs(fields.pop("options")),
        labels=_pairs(fields.pop("labels")),
        **fields,
    )


def _pairs(found: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), str(value)) for key, value in found)

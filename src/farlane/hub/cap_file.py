"""The caps of organisations and projects, kept in one private file of the hub."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farlane.domain.caps import LEASES, Cap
from farlane.errors import Corrupted, FarlaneError
from farlane.kit.files import atomic_write

VERSION = 2
Key = tuple[str, str, bool]
"""Organisation, project, and whether it is a ceiling."""


class CapFile:
    """Every cap in force.

    Args:
        path: a JSON file, made with the first cap.

    Raises:
        Corrupted: it is not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._caps: dict[Key, Cap] = {}
        if path.exists():
            self._load()

    @property
    def caps(self) -> list[Cap]:
        """All of them, by organisation and project, ceilings after what is set below them."""
        return [cap for _, cap in sorted(self._caps.items())]

    def put(self, cap: Cap) -> None:
        """Keep a cap in place of the one there was, durably; an empty one is dropped.

        Raises:
            DiskFull: no room; the old ones stay.
        """
        wanted = {**self._caps, _key(cap): cap}
        if cap.empty:
            del wanted[_key(cap)]
        rows = [asdict(each) for _, each in sorted(wanted.items())]
        atomic_write(
            self._path, json.dumps({"version": VERSION, "caps": rows}, indent=1).encode(), mode=0o600
        )
        self._caps = wanted

    def _load(self) -> None:
        try:
            found = json.loads(self._path.read_bytes())
            if found["version"] not in (1, VERSION):
                raise ValueError(f"version {found['version']}")
            caps = [_cap(row) for row in found["caps"]]
        except (ValueError, KeyError, TypeError, FarlaneError) as error:
            raise Corrupted(
                f"{self._path} does not hold the hub's caps ({error}); restore it from a backup, or delete it and set "
                "them again with `farlane budget set`"
            ) from error
        self._caps = {_key(cap): cap for cap in caps}


def _key(cap: Cap) -> Key:
    return cap.organisation, cap.project, cap.ceiling


def _cap(row: dict[str, Any]) -> Cap:
    # Version 1 knew one quota, on leases.
    leases = row.pop("max_leases", None)
    quotas = row.pop("quotas", {} if leases is None else {LEASES: leases})
    return Cap(**{**row, "quotas": quotas, "alerts": tuple(row["alerts"])})

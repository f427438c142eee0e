"""The caps of organisations and projects, kept in one private file of the hub."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from farlane.domain.caps import Cap
from farlane.errors import Corrupted, FarlaneError
from farlane.kit.files import atomic_write


class CapFile:
    """Every cap in force.

    Args:
        path: a JSON file, made with the first cap.

    Raises:
        Corrupted: it is not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._caps: dict[tuple[str, str], Cap] = {}
        if path.exists():
            self._load()

    @property
    def caps(self) -> list[Cap]:
        """All of them, by organisation and project."""
        return [cap for _, cap in sorted(self._caps.items())]

    def put(self, cap: Cap) -> None:
        """Keep a cap in place of the one there was, durably; an empty one is dropped.

        Raises:
            DiskFull: no room; the old ones stay.
        """
        wanted = {**self._caps, (cap.organisation, cap.project): cap}
        if cap.empty:
            del wanted[cap.organisation, cap.project]
        rows = [asdict(each) for _, each in sorted(wanted.items())]
        atomic_write(self._path, json.dumps({"version": 1, "caps": rows}, indent=1).encode(), mode=0o600)
        self._caps = wanted

    def _load(self) -> None:
        try:
            found = json.loads(self._path.read_bytes())
            if found["version"] != 1:
                raise ValueError(f"version {found['version']}")
            caps = [Cap(**{**row, "alerts": tuple(row["alerts"])}) for row in found["caps"]]
        except (ValueError, KeyError, TypeError, FarlaneError) as error:
            raise Corrupted(
                f"{self._path} does not hold the hub's caps ({error}); restore it from a backup, or delete it and set "
                "them again with `farlane budget set`"
            ) from error
        self._caps = {(cap.organisation, cap.project): cap for cap in caps}

"""Presence: when nodes came and went, as lines of a file beside the store; for replays, and bounded."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farlane.domain.ids import NodeId

FILE = "presence.jsonl"
MAX_BYTES = 4 << 20
"""Then the file becomes the older of two, and what that held is forgotten: some 80,000 comings and goings."""
EVERYBODY = NodeId("")
"""Stands for all nodes, which are gone when a hub begins."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Presence:
    """A node came, or went; at: unix seconds."""

    at: float
    node: NodeId
    online: bool


class PresenceLog:
    """Keeps comings and goings. Nothing depends on it: what cannot be written is lost, and said once.

    Args:
        path: the file; its directory must exist by the time of the first line.
        max_bytes: of each of the two files.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._failed = False

    def note(self, at: float, node: NodeId, *, online: bool) -> None:
        """Write down that a node came or went."""
        line = json.dumps({"at": at, "node": node, "online": online}) + "\n"
        try:
            if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
                self._path.replace(older(self._path))
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(line)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("cannot keep when nodes come and go: %s", error)
            self._failed = True


def older(path: Path) -> Path:
    """Return where what no longer fits into a file is kept."""
    return path.with_name(f"{path.name}.1")


def read_presence(path: Path) -> Iterator[Presence]:
    """Yield comings and goings, oldest first; lines that are none, such as one a crash has cut, are left out."""
    for each in (older(path), path):
        if each.is_file():
            with each.open(encoding="utf-8", errors="replace") as stream:
                yield from filter(None, map(_presence, stream))


def _presence(line: str) -> Presence | None:
    try:
        found = json.loads(line)
        return Presence(float(found["at"]), NodeId(str(found["node"])), bool(found["online"]))
    except (ValueError, KeyError, TypeError):
        return None

"""Alerts on their way out: which were told, and which a webhook has still to take, kept in one private file."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from hashlib import sha256
from pathlib import Path
from typing import Any

from farlane.domain.caps import Alert, Budget, Cap
from farlane.domain.units import credits_text
from farlane.errors import Corrupted, FarlaneError
from farlane.kit.files import atomic_write

MAX_WAITING = 1000
"""Alerts that wait for a webhook that does not take them; beyond it the oldest are dropped."""
SAVE_AGAIN_S = 5.0
VERSION = 1
Payload = dict[str, Any]
Key = tuple[str, str, bool, str]
log = logging.getLogger(__name__)


class AlertOutbox:
    """What was told of each budget, and what waits. A crash before it is saved only has the alert raised again.

    Args:
        path: a JSON file, made with the first cap.
        queue: whether somebody takes what waits; without it nothing does.

    Raises:
        Corrupted: it is not one of ours.
    """

    def __init__(self, path: Path, *, queue: bool = False) -> None:
        self._path, self._queue = path, queue
        self.waiting: deque[Payload] = deque()
        self.delivered = self.failures = self.dropped = 0
        self.changed, self.arrived = asyncio.Event(), asyncio.Event()
        self._told: dict[Key, tuple[str, int]] = {}
        if path.exists():
            self._load()

    def told(self, cap: Cap, month: str) -> dict[Budget, int]:
        """Return at which percent each budget of a cap was told last, of those that are known."""
        found = {budget: self._told.get(_key(cap, budget)) for budget in Budget}
        return {
            budget: entry[1] if entry[0] == _period(budget, month) else 0
            for budget, entry in found.items()
            if entry is not None
        }

    def note(self, cap: Cap, month: str, told: dict[Budget, int]) -> None:
        """Remember at which percent each budget of a cap was told last; forget what it does not say."""
        for budget in Budget:
            self._told.pop(_key(cap, budget), None)
        self._told |= {
            _key(cap, budget): (_period(budget, month), percent) for budget, percent in told.items()
        }
        self.changed.set()

    def add(self, alert: Alert, network: str, at: float) -> None:
        """Remember that an alert is told, and have it delivered if somebody takes it."""
        self._told[_key(alert.cap, alert.budget)] = alert.month, alert.percent
        if self._queue:
            self.waiting.append(_payload(alert, network, at))
            self.arrived.set()
        if len(self.waiting) > MAX_WAITING:
            self.waiting.popleft()
            self.dropped += 1
        self.changed.set()

    def taken(self, payload: Payload) -> None:
        """Forget an alert that was delivered."""
        self.delivered += 1
        if self.waiting and self.waiting[0] is payload:
            self.waiting.popleft()
        self.changed.set()

    async def keep(self) -> None:
        """Save what changes, in a thread, until cancelled."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._save, self._document())
            except (FarlaneError, OSError) as error:
                log.warning("which alerts were told cannot be kept, trying again: %s", error)
                await asyncio.sleep(SAVE_AGAIN_S)
                self.changed.set()

    def _document(self) -> bytes:
        told = [[*key, *entry] for key, entry in sorted(self._told.items())]
        return json.dumps(
            {"version": VERSION, "told": told, "waiting": list(self.waiting)}, indent=1
        ).encode()

    def _save(self, document: bytes) -> None:
        atomic_write(self._path, document, mode=0o600)

    def _load(self) -> None:
        try:
            found = json.loads(self._path.read_bytes())
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']}")
            self._told = {
                (organisation, project, ceiling, budget): (period, percent)
                for organisation, project, ceiling, budget, period, percent in found["told"]
            }
            waiting = found["waiting"] if self._queue else []
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(
                f"{self._path} does not hold the hub's alerts ({error}); restore it from a backup, or delete it: "
                "budgets are then told from where they stand"
            ) from error
        self.waiting.extend(waiting)


def _key(cap: Cap, budget: Budget) -> Key:
    return cap.organisation, cap.project, cap.ceiling, budget.value


def _period(budget: Budget, month: str) -> str:
    return month if budget is Budget.MONTH else ""


def _payload(alert: Alert, network: str, at: float) -> Payload:
    cap, most = alert.cap, alert.cap.budget(alert.budget) or 0
    names: Payload = {
        "network": network,
        "organisation": cap.organisation,
        "project": cap.project,
        "budget": alert.budget.value,
        "month": alert.month,
        "ceiling": cap.ceiling,
        "percent": alert.percent,
        "credits": credits_text(most),
    }
    digest = sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()[:32]
    return {
        "version": 1, "id": digest, **names, "spent": credits_text(alert.spent), "at": at, "text": alert.text(),
    }  # fmt: skip

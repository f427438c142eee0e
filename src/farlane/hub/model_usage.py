"""What served models were asked: summed as requests end, written to the store a batch at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from farlane.domain.usage import ModelUsage, day_of
from farlane.errors import FarlaneError
from farlane.hub.gateway.port import Usage
from farlane.hub.hub import Hub

WRITE_S = 1.0
"""How often sums are written: what a hub that is killed loses of them."""
_NO_FAILURE = ("ok", "cancelled")
log = logging.getLogger(__name__)


class ModelUsageBook:
    """Implements the gateway's `UsageSink` over the hub's store.

    Args:
        hub: returns the hub in force.
    """

    def __init__(self, hub: Callable[[], Hub]) -> None:
        self._hub = hub
        self._waiting: dict[tuple[str, ...], ModelUsage] = {}

    def record(self, usage: Usage) -> None:
        """See `UsageSink.record`."""
        row = _row_of(usage)
        known = self._waiting.get(row.key)
        self._waiting[row.key] = row if known is None else known.plus(row)

    async def run(self) -> None:
        """Write what has come, again and again, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_S)
            self.write()

    def write(self) -> None:
        """Hand what has come to the store; while that cannot write, it is kept for the next time."""
        if not self._waiting:
            return
        try:
            engine = self._hub().engine
            engine.check()
        except FarlaneError as error:
            log.debug("usage of models waits: %s", error.message)
            return
        waiting, self._waiting = self._waiting, {}
        for row in waiting.values():
            engine.append(row, _nothing)

    async def close(self) -> None:
        """Write what is left, durably where the store can."""
        try:
            self.write()
            await self._hub().engine.durable()
        except FarlaneError as error:
            log.warning("the last usage of models is not in the store: %s", error.message)


def _row_of(usage: Usage) -> ModelUsage:
    return ModelUsage(
        day_of(usage.started + usage.duration_s), usage.caller.organisation, usage.project,
        usage.deployment or usage.model, usage.version, 1, int(usage.outcome not in _NO_FAILURE),
        usage.prompt_tokens, usage.completion_tokens, usage.request_bytes, usage.reply_bytes,
    )  # fmt: skip


def _nothing() -> None:
    """Nobody waits for usage to be durable."""

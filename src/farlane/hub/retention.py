"""Retention: results, blobs and logs of jobs that ended long ago are forgotten; what anything open may need stays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from farlane.errors import FarlaneError
from farlane.hub.hub import Hub

PERIOD_S = 600.0
MARGIN_S = 86_400.0
"""A blob is put a little before its job is opened: this much before counts as belonging to it."""
MOST_SUMMARIES = 100_000

log = logging.getLogger(__name__)


async def forget_old(hub: Callable[[], Hub]) -> None:
    """Forget what is older than the settings say, every ten minutes, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        open_since = [job.opened_at for job in hub().reactor.state.jobs.values()]
        try:
            await loop.run_in_executor(None, forget_once, hub(), open_since, hub().engine.now())
        except FarlaneError as error:
            log.warning("what ended long ago could not be forgotten: %s", error)
        await asyncio.sleep(PERIOD_S)


def forget_once(hub: Hub, open_since: list[float], now: float) -> None:
    """Forget results first, then the blobs and logs that nothing refers to any more.

    Args:
        hub: whose.
        open_since: when each open job was opened, unix seconds.
        now: unix seconds.

    Raises:
        FarlaneError: the store or the blobs cannot be changed.
    """
    before = now - hub.settings.keep_results_s
    forgotten = hub.store.forget(before)
    kept = [job.opened_at for job in hub.store.ended_jobs(None, MOST_SUMMARIES) if job.ended_at >= before]
    oldest = min([*open_since, *kept, before])
    # A blob that nothing has touched since before the oldest job that counts can belong to none of them.
    collected = hub.blobs.collect(lambda cid: False, older_than_s=now - oldest + MARGIN_S)
    logs = hub.logs.forget(before)
    if forgotten or collected.blobs or logs:
        log.info("forgot %d jobs' results, %d blobs, %d logs", forgotten, collected.blobs, logs)

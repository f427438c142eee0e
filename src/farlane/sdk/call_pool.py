"""The call pool: which job a single call goes to, the function's open one or one that is just being opened."""

from __future__ import annotations

from functools import partial

from farlane.sdk.call_jobs import CallJob, PendingCall
from farlane.sdk.client import AsyncClient
from farlane.sdk.map_run import SpecSource

IDLE_S = 60.0
"""An open job without calls is sealed after this long."""


class CallPool:
    """Puts the calls of one function into jobs.

    Calls of `remote` go to one open job, so that a call costs one message and not a new job. Calls of `spawn` that
    come while their job is being opened go together into it; then it is sealed. A lone spawn so has its own job.

    Args:
        client: an open client.
        spec: makes the specification, its blobs on the hub.
        shared: false where a budget or a deadline belongs to each submission, so that no job may stay open.
        idle_s: how long an open job may have no calls.
    """

    def __init__(
        self, client: AsyncClient, spec: SpecSource, *, shared: bool, idle_s: float = IDLE_S
    ) -> None:
        self._client = client
        self._spec = spec
        self._shared_allowed = shared
        self._idle_s = idle_s
        self._open: dict[bool, CallJob] = {}
        client.before_closing(self.close)

    def submit(self, call: PendingCall, shared: bool) -> None:
        """Send a call; runs on the client's loop."""
        keep_open = shared and self._shared_allowed
        job = self._open.get(keep_open)
        if job is None or job.closed:
            job = self._open[keep_open] = CallJob(
                self._client, partial(self.submit, shared=shared), keep_open=keep_open, idle_s=self._idle_s
            )
            job.begin(self._spec)
        job.submit(call)

    async def close(self) -> None:
        """Seal open jobs: what was submitted goes on, and they end when it has ended."""
        for job in self._open.values():
            await job.close()

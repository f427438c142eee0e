"""Interim reports: the hub hears of what runs long while it runs, so that it can book a part of it."""

from __future__ import annotations

from farlane.node.machine.attempts import HeldAttempt
from farlane.node.machine.backlog import MAX_BATCH_ROWS
from farlane.node.machine.commands import Command, ReportRunning
from farlane.node.machine.state import NodeState


def report_running(state: NodeState, out: list[Command], now: float) -> None:
    """Report every attempt that has run for another `interim_s` since it was last reported."""
    least_ms = state.interim_s * 1000
    if not least_ms or not state.connected:
        return
    due: list[HeldAttempt] = []
    for bundle in state.running:
        elapsed_ms = bundle.elapsed_ms(now)
        if elapsed_ms < least_ms:
            continue
        attempt = bundle.current()
        if attempt is not None and elapsed_ms - attempt.reported_ms >= least_ms:
            attempt.reported_ms = elapsed_ms
            due.append(attempt)
    for start in range(0, len(due), MAX_BATCH_ROWS):
        part = due[start : start + MAX_BATCH_ROWS]
        out.append(
            ReportRunning(
                [row.task for row in part], [row.attempt for row in part], [row.reported_ms for row in part]
            )
        )

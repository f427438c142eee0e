"""Leaving: the node finishes or hands back what it holds, and goes when the hub has it all."""

from __future__ import annotations

from farlane.domain.failures import Failure, FailureKind
from farlane.node.machine.attempts import HeldAttempt, Phase
from farlane.node.machine.commands import AnnounceDrain, Cancel, Command, Leave
from farlane.node.machine.leases import return_unstarted
from farlane.node.machine.state import NodeState

_NOT_STARTED = Failure(
    FailureKind.HANDED_BACK, "the node is draining and handed the task back before it started"
)


def drain(state: NodeState, out: list[Command], hand_back: bool) -> None:
    """Take nothing new; with `hand_back`, also give back what has not started."""
    if not state.draining and state.connected:
        out.append(AnnounceDrain())
    state.draining = True
    if hand_back:
        for attempt in list(state.held.values()):
            if attempt.phase in (Phase.FETCHING, Phase.READY):
                return_unstarted(state, out, attempt, _NOT_STARTED)
            elif attempt.phase is Phase.RUNNING and not attempt.started:
                _stop(out, attempt)


def expire(state: NodeState, out: list[Command]) -> None:
    """Give back what runs, too: the time to finish it is over."""
    drain(state, out, hand_back=True)
    for attempt in state.held.values():
        if attempt.phase is Phase.RUNNING:
            _stop(out, attempt)


def leave_when_done(state: NodeState, out: list[Command]) -> None:
    """Say Leave, once, when nothing is held any more."""
    if state.draining and not state.left and not state.held and not state.running:
        state.left = True
        out.append(Leave())


def _stop(out: list[Command], attempt: HeldAttempt) -> None:
    if not attempt.handing_back:
        attempt.handing_back = True
        out.append(Cancel(attempt.ticket))

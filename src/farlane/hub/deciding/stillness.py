"""Stillness: a policy that placed nothing is not asked again while there is nothing new to see; pure."""

from __future__ import annotations

from farlane.scheduler.view import View

STILL_S = 1.0
"""Time alone makes a difference too (ageing, ends that come near): it is asked again after this long."""

Seen = tuple[bytes, bytes, tuple[tuple[int, int, int], ...], tuple[int, ...]]


class Stillness:
    """Remembers the view on which nothing was placed."""

    def __init__(self) -> None:
        self._seen: Seen | None = None
        self._at = 0.0

    def decided(self, view: View, placed: int) -> None:
        """Hear how many tasks were placed on a view."""
        self._seen, self._at = (_seen(view), view.now) if not placed else (None, 0.0)

    def holds(self, view: View) -> bool:
        """Tell whether nothing has changed since a decision that placed nothing, and that was a moment ago."""
        return self._seen is not None and 0.0 <= view.now - self._at < STILL_S and _seen(view) == self._seen


def _seen(view: View) -> Seen:
    groups = tuple((group.job, group.count, group.affordable) for group in view.groups)
    return view.nodes.free.tobytes(), view.nodes.online.tobytes(), groups, view.limits

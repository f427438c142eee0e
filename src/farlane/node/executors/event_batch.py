"""Events on their way to the executor's owner: gathered, and handed over once per turn of the loop."""

from __future__ import annotations

import asyncio

from farlane.node.executors.port import Event, OnEvents


class EventBatch:
    """Calls `on_events` soon after the first event, with all that came until then.

    Args:
        on_events: the owner's callback; never called from within a call of its own.
    """

    def __init__(self, on_events: OnEvents) -> None:
        self._on_events = on_events
        self._loop = asyncio.get_running_loop()
        self._events: list[Event] = []

    def add(self, event: Event) -> None:
        """Append an event."""
        if not self._events:
            self._loop.call_soon(self.flush)
        self._events.append(event)

    def flush(self) -> None:
        """Hand over what is there."""
        if self._events:
            events, self._events = self._events, []
            self._on_events(events)

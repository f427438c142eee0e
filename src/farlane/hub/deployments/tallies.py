"""Tallies: the requests that a replica has, counted from when it has them in full until it says that they ended."""

from __future__ import annotations

from collections.abc import Callable

from farlane.domain.inference import InferenceReply
from farlane.domain.served import RequestTally, Served
from farlane.wire.v1 import serving_pb2

MAX_TALLIES = 4096
"""Requests of one replica that are counted at a time, those that nobody waits for any more too."""


class Tallies:
    """Counts the requests of one stream, as the node at its other end does.

    Args:
        on_served: hears of each that has ended.
    """

    def __init__(self, on_served: Callable[[Served], None]) -> None:
        self._on_served = on_served
        self._open: dict[int, RequestTally] = {}

    def sent(self, number: int, request_bytes: int) -> None:
        """Hear that a request was sent in full."""
        if len(self._open) >= MAX_TALLIES:  # the oldest was cancelled before the replica had begun it
            del self._open[next(iter(self._open))]
        self._open[number] = RequestTally(request_bytes=request_bytes)

    def arrived(self, part: serving_pb2.ReplyPart) -> None:
        """Hear a part of a reply."""
        tally = self._open.get(part.request)
        if tally is not None:
            tally.reply_bytes += len(part.data)

    def whole(self, number: int, reply: InferenceReply) -> None:
        """Hear a reply that is whole; those to requests that nobody waits for are not read."""
        tally = self._open.get(number)
        if tally is not None:
            tally.count(reply)

    def ended(self, ended: serving_pb2.RequestEnded) -> None:
        """Hear that nothing more comes of a request."""
        tally = self._open.pop(ended.request, None)
        if tally is not None:
            self._on_served(tally.ended(failed=ended.HasField("error")))

    def clear(self) -> None:
        """Forget what has not ended: the stream is gone."""
        self._open.clear()

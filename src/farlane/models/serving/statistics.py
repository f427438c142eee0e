"""What a replica counts about itself: requests, tokens, and how long they took."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram's buckets; one more bucket has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatistics:
    """One reading; counts are since the start."""

    queued: int
    """Requests that wait."""
    running: int
    """Requests in the model."""
    draining: bool
    answered: int
    refused: int
    """Turned away by a limit or while draining."""
    failed: int
    cancelled: int
    batches: int
    batched_requests: int
    prompt_tokens: int
    completion_tokens: int
    latency_sum_s: float
    latency_counts: tuple[int, ...]
    """Answered requests by `LATENCY_BOUNDS_S`, the last without bound."""


@dataclass(slots=True)
class Counters:
    """The running counts behind `ReplicaStatistics`."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    batches: int = 0
    batched_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_sum_s: float = 0.0
    latency_counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))

    def answer(self, latency_s: float) -> None:
        """Count a request that was answered."""
        self.answered += 1
        self.latency_sum_s += latency_s
        self.latency_counts[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    def read(self, *, queued: int, running: int, draining: bool) -> ReplicaStatistics:
        """Return a reading."""
        return ReplicaStatistics(
            queued=queued,
            running=running,
            draining=draining,
            answered=self.answered,
            refused=self.refused,
            failed=self.failed,
            cancelled=self.cancelled,
            batches=self.batches,
            batched_requests=self.batched_requests,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            latency_sum_s=self.latency_sum_s,
            latency_counts=tuple(self.latency_counts),
        )

"""Limits of callers and models, pure: buckets that fill with time, and requests at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from farlane.errors import Exhausted

MINUTE_S = 60.0
BUSY_RETRY_S = 1.0


@dataclass(slots=True)
class Bucket:
    """Holds a minute's worth and fills evenly; what is known only afterwards may draw it below zero.

    Args:
        per_minute: how much it gains in a minute, and holds at most; 0 for no limit.
        now: monotonic seconds.
    """

    per_minute: int
    now: float
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)

    def wait_s(self, now: float, amount: float) -> float:
        """Return how long until it holds an amount, in seconds; 0 where it does."""
        self._fill(now)
        if not self.per_minute or self.level >= amount:
            return 0.0
        return (amount - self.level) * MINUTE_S / self.per_minute

    def draw(self, now: float, amount: float) -> None:
        """Take an amount out, whether it is there or not."""
        self._fill(now)
        if self.per_minute:
            self.level -= amount

    def full_in_s(self, now: float) -> float:
        """Return how long until it is full again, in seconds."""
        self._fill(now)
        return (self.per_minute - self.level) * MINUTE_S / self.per_minute if self.per_minute else 0.0

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self.now) * self.per_minute / MINUTE_S
        self.level, self.now = min(float(self.per_minute), self.level + gained), now


@dataclass(frozen=True, slots=True)
class Rates:
    """What one organisation, or one model, may be asked in a minute; 0 is without limit."""

    requests: int = 0
    tokens: int = 0


class Rate:
    """The two buckets of one organisation or model."""

    def __init__(self, rates: Rates, now: float) -> None:
        self.requests, self.tokens = Bucket(rates.requests, now), Bucket(rates.tokens, now)

    def wait(self, now: float) -> tuple[float, str]:
        """Return how long the next request has to wait, in seconds, and for which of both."""
        requests, tokens = self.requests.wait_s(now, 1), self.tokens.wait_s(now, 1)
        return (requests, "requests") if requests >= tokens else (tokens, "tokens")

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers that tell a client where it stands."""
        found = {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket.per_minute:
                found[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                found[f"x-ratelimit-reset-{name}"] = f"{bucket.full_in_s(now):.3f}s"
                found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level)))
        return found


class RateLimits:
    """Every organisation's rate and every model's.

    A request is let in while both have room for it; its tokens are drawn when they are known, so that one may
    overdraw and the next ones wait.

    Args:
        organisation: of each organisation.
        model: of each model, whoever asks.
    """

    def __init__(self, organisation: Rates, model: Rates) -> None:
        self._rates = {"organisation": organisation, "model": model}
        self._all: dict[tuple[str, str], Rate] = {}

    def admit(self, now: float, organisation: str, model: str) -> None:
        """Count one request.

        Raises:
            Exhausted: it has to wait; fact `retry_after_s` says how long. Nothing is counted.
        """
        pair = self._pair(now, organisation, model)
        for what, name, rate in zip(self._rates, (organisation, model), pair, strict=True):
            wait_s, of = rate.wait(now)
            if wait_s > 0:
                limit = getattr(self._rates[what], of)
                raise Exhausted(
                    f"{what} {name!r} has used its {limit} {of} a minute; try again in {wait_s:.1f} s",
                    retry_after_s=wait_s,
                    limit=of,
                )
        for rate in pair:
            rate.requests.draw(now, 1)

    def spend(self, now: float, organisation: str, model: str, tokens: int) -> None:
        """Draw a request's tokens, once they are known."""
        for rate in self._pair(now, organisation, model):
            rate.tokens.draw(now, tokens)

    def headers(self, now: float, organisation: str) -> dict[str, str]:
        """Return the headers that tell an organisation where it stands."""
        return self._rate(now, "organisation", organisation).headers(now)

    def _pair(self, now: float, organisation: str, model: str) -> tuple[Rate, Rate]:
        return self._rate(now, "organisation", organisation), self._rate(now, "model", model)

    def _rate(self, now: float, what: str, name: str) -> Rate:
        found = self._all.get((what, name))
        if found is None:
            found = self._all[what, name] = Rate(self._rates[what], now)
        return found


class Concurrency:
    """How many requests run at the same time, in all and of each organisation.

    Args:
        total: of all.
        each: of one organisation.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self.running: dict[str, int] = {}

    @contextmanager
    def slot(self, organisation: str) -> Iterator[None]:
        """Hold one of them.

        Raises:
            Exhausted: none is free.
        """
        mine = self.running.get(organisation, 0)
        if mine >= self._each:
            raise _busy(f"organisation {organisation!r} has {mine} requests running, as many as it may")
        if sum(self.running.values()) >= self._total:
            raise _busy(f"the gateway answers {self._total} requests already, as many as it may at a time")
        self.running[organisation] = mine + 1
        try:
            yield
        finally:
            self.running[organisation] -= 1
            if not self.running[organisation]:
                del self.running[organisation]


class ByteBudget:
    """Bytes of bodies held at the same time, over all requests.

    Args:
        total: how many there may be.
    """

    def __init__(self, total: int) -> None:
        self._total, self.held = total, 0

    def take(self, size: int) -> None:
        """Count bytes that arrived.

        Raises:
            Exhausted: there is no room for them; they do not count.
        """
        if self.held + size > self._total:
            raise _busy("the bodies of other requests fill the gateway's memory")
        self.held += size

    def give_back(self, size: int) -> None:
        """Count bytes that are gone."""
        self.held -= size


def _busy(why: str) -> Exhausted:
    return Exhausted(f"{why}; try again in a moment", retry_after_s=BUSY_RETRY_S)

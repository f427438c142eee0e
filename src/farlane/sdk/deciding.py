"""Who decides where tasks go, as a client sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from farlane.sdk.connection import Connection
from farlane.wire.v1 import client_pb2


@dataclass(frozen=True, slots=True)
class DecisionSeconds:
    """How long decisions of one kind took. p99_s: an upper bound, None where they take longer than is told apart."""

    count: int
    mean_s: float
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class ShadowAgreement:
    """How a shadow rule compares. share: of the tasks that it would have sent to the same node, in [0, 1]."""

    rounds: int
    share: float


@dataclass(frozen=True, slots=True)
class DecidingStatus:
    """Who decides and why.

    policy: empty where one rule always decides; why, text, decided_at: of the last decision, unix seconds; process:
    ready, deciding, late, starting or resting, empty where there is none; decided: decisions by reason; seconds: by who
    answered; shadows: by rule; assessed: answers that told of drift and disagreement, both means in [0, 1];
    stale_tasks: placed by answers that came too late for them; logged, log_dropped: decisions in the log, and not.
    """

    policy: str
    rule: str
    why: str
    text: str
    decided_at: float
    process: str
    decided: dict[str, int]
    seconds: dict[str, DecisionSeconds]
    shadows: dict[str, ShadowAgreement]
    assessed: int
    drift: float
    disagreement: float
    stale_tasks: int
    logged: int
    log_dropped: int


async def deciding_status(connection: Connection) -> DecidingStatus:
    """Ask the hub behind a connection who decides."""
    told = await connection.call("GetDeciding", client_pb2.GetDecidingRequest(), "asking who decides")
    return DecidingStatus(
        told.policy, told.rule, told.why, told.text, told.decided_at, told.process,
        {each.why: each.count for each in told.decided},
        {
            each.who: DecisionSeconds(each.count, each.mean_s, each.p99_s if math.isfinite(each.p99_s) else None)
            for each in told.seconds
        },
        {each.rule: ShadowAgreement(each.rounds, each.share) for each in told.shadows},
        told.assessed, told.drift, told.disagreement, told.stale_tasks, told.logged, told.log_dropped,
    )  # fmt: skip

"""Standing: who decides at this moment, how often and why, as messages for people and programs."""

from __future__ import annotations

from farlane.hub.deciding.desk import Desk
from farlane.hub.deciding.guard import Why
from farlane.scheduler.policy import Policy
from farlane.wire.v1 import client_pb2


def decider_text(policy: Policy | Desk) -> str:
    """Return who decides, and why it is not the policy; empty where one rule always does."""
    if not isinstance(policy, Desk) or not policy.deciding:
        return ""
    if policy.tally.why is Why.POLICY:
        return f"the policy {policy.name} decides"
    reason = f"{policy.tally.why}: {policy.tally.text}" if policy.tally.text else policy.tally.why
    return f"the rule {policy.plan.rule.name} decides in place of {policy.name} ({reason})"


def deciding_status(policy: Policy | Desk, rounds: int) -> client_pb2.DecidingStatus:
    """Return how decisions are made. rounds: since the start, where one rule makes all of them."""
    if not isinstance(policy, Desk):
        counts = [client_pb2.DecisionCount(why=Why.RULE, count=rounds)] if rounds else []
        return client_pb2.DecidingStatus(rule=policy.name, why=Why.RULE, decided=counts)
    tally = policy.tally
    return client_pb2.DecidingStatus(
        policy=policy.name if policy.deciding else "", rule=policy.plan.rule.name, why=tally.why, text=tally.text,
        decided_at=tally.at, process=policy.process,
        decided=[client_pb2.DecisionCount(why=why, count=count) for why, count in tally.decided.most_common()],
        seconds=[
            client_pb2.DecisionSeconds(
                who=who, count=found.count, mean_s=found.total_s / max(1, found.count), p99_s=found.quantile(0.99)
            )
            for who, found in tally.seconds.items()
        ],
        shadows=[
            client_pb2.ShadowAgreement(rule=rule, rounds=shadow.rounds, share=shadow.share)
            for rule, shadow in tally.shadows.items()
        ],
        assessed=tally.assessed, drift=tally.mean_drift, disagreement=tally.mean_disagreement,
        stale_tasks=tally.stale, logged=tally.logged, log_dropped=tally.log_dropped,
    )  # fmt: skip

"""Opening: from the hub's settings to who decides, all names checked."""

from __future__ import annotations

from farlane.errors import InvalidSetting
from farlane.hub.deciding.client import WorkerPlan
from farlane.hub.deciding.desk import Desk, DeskPlan
from farlane.hub.deciding.naming import is_foreign, load_policy, warmed
from farlane.hub.settings import HubSettings
from farlane.kit.suggestions import hint
from farlane.scheduler.heuristics import HEURISTICS, Heuristic
from farlane.scheduler.policy import Policy

LOG = "decisions"
"""The folder of the decision log, below the hub's directory."""
RULES: dict[str, Heuristic] = {rule.name: rule for rule in HEURISTICS}


def rule_of(settings: HubSettings) -> Policy:
    """Return the rule that decides, or that stands in for the policy.

    Raises:
        InvalidSetting: a policy, its fallback or a shadow rule has no such name.
    """
    for name in settings.policy_shadow:
        _rule(name, "policy_shadow")
    if settings.policy in RULES:
        return RULES[settings.policy]
    if not is_foreign(settings.policy):
        load_policy(settings.policy)
    return _rule(settings.policy_fallback, "policy_fallback")


def policy_of(settings: HubSettings) -> Policy | Desk:
    """Return who decides: a rule, or a desk where there is more to ask.

    Raises:
        InvalidSetting: as `rule_of`.
    """
    rule, policy = rule_of(settings), settings.policy
    if policy in RULES and not settings.policy_shadow:
        return rule
    asked = "" if policy in RULES else policy
    worker = WorkerPlan(
        asked, settings.policy_shadow, settings.decision_budget_s, settings.decision_memory_bytes
    )
    own = warmed(load_policy(asked)) if asked and not is_foreign(asked) else None
    log = (settings.directory / LOG, settings.decision_log_bytes) if settings.decision_log_bytes else None
    return Desk(DeskPlan(rule, own, settings.decision_inline_pairs, worker), log)


def _rule(name: str, setting: str) -> Policy:
    found = RULES.get(name)
    if found is None:
        raise InvalidSetting(
            f"hub.{setting}: {name!r} is not a rule; {hint(name, RULES)}", setting=setting, value=name
        )
    return found

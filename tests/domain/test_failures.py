"""Failures: every kind has a rule, and the rule says in words who is to blame and who pays."""

from __future__ import annotations

import pytest

from farlane.domain.failures import RULES, Blame, Failure, FailureKind, FailureRule


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FailureKind.EXCEPTION, "publisher, paid"),
        (FailureKind.BUDGET, "publisher, not paid"),
        (FailureKind.NODE_LOST, "provider, not paid"),
        (FailureKind.BLOB, "network, not paid"),
    ],
)
def test_a_rule_says_who_is_to_blame_and_what_is_paid(kind: FailureKind, words: str) -> None:
    assert Failure(kind, "it ended").rule.words() == words


def test_the_words_of_a_rule_follow_its_two_fields() -> None:
    assert FailureRule(Blame.HUB, paid=True, again="free").words() == "hub, paid"
    assert FailureRule(Blame.HUB, paid=False, again="never").words() == "hub, not paid"


def test_a_publisher_neither_pays_nor_retries_for_what_is_not_its_fault() -> None:
    for kind, rule in RULES.items():
        if rule.blame is not Blame.PUBLISHER and kind is not FailureKind.PREEMPTED:
            assert (rule.paid, rule.again) == (False, "free"), kind


def test_what_ran_of_a_task_that_made_room_is_paid_and_it_moves() -> None:
    rule = RULES[FailureKind.PREEMPTED]
    assert (rule.blame, rule.paid, rule.again) == (Blame.HUB, True, "moved")

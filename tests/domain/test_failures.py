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


def test_every_kind_has_one_rule() -> None:
    assert set(RULES) == set(FailureKind)
    assert {rule.again for rule in RULES.values()} == {"free", "counted", "never"}


def test_a_publisher_neither_pays_nor_retries_for_what_is_not_its_fault() -> None:
    for kind, rule in RULES.items():
        if rule.blame is not Blame.PUBLISHER:
            assert (rule.paid, rule.again) == (False, "free"), kind

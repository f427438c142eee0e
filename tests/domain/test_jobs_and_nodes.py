"""Small tables of the domain: states, failure rules, labels, columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.failures import RULES, Blame, Failure, FailureKind
from farlane.domain.jobs import BlobRef, JobState
from farlane.domain.nodes import advertised_labels
from farlane.domain.records import Column
from farlane.testing.builders import a_node


def test_three_states_of_a_job_are_final() -> None:
    assert [state for state in JobState if state.final] == [
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.STOPPED,
    ]


def test_every_kind_of_failure_has_one_rule() -> None:
    assert set(RULES) == set(FailureKind)
    assert {rule.again for rule in RULES.values()} == {"free", "counted", "never", "moved"}
    assert Failure(FailureKind.BLOB, "gone").rule is RULES[FailureKind.BLOB]


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.PREEMPTED])
def test_who_is_to_blame_decides_who_pays(kind: FailureKind) -> None:
    """Only the publisher's own faults are paid for, and only they use up retries; to make room is nobody's fault."""
    rule = RULES[kind]
    publisher = rule.blame is Blame.PUBLISHER
    assert publisher or not rule.paid
    assert (rule.again == "free") == (not publisher)


def test_a_node_advertises_its_own_labels_and_the_built_in_ones() -> None:
    labels = advertised_labels(a_node("n1", labels=(("zone", "north"), ("name", "nick"))))
    assert labels == {
        ("zone", "north"), ("name", "nick"), ("name", "n1"), ("platform", "linux-x86_64"), ("python", "3.11"),
    }  # fmt: skip


columns = st.lists(st.binary(max_size=4), min_size=1, max_size=6).flatmap(
    lambda rows: st.builds(
        Column, st.just(rows),
        st.dictionaries(st.integers(0, len(rows) - 1), st.builds(BlobRef, st.sampled_from("abc"), st.integers(0, 9))),
    )
)  # fmt: skip


@given(columns, st.data())
def test_a_cut_holds_the_same_rows(column: Column, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(column.inline)))
    stop = data.draw(st.integers(start, len(column.inline)))
    cut = column.cut(start, stop)
    assert cut.inline == column.inline[start:stop]
    assert [cut.blobs.get(row) for row in range(stop - start)] == [
        column.blobs.get(row) for row in range(start, stop)
    ]
    assert len(cut.blobs) <= stop - start
    assert [cut.moved_bytes(row) for row in range(stop - start)] == [
        column.moved_bytes(row) for row in range(start, stop)
    ]


def test_all_of_a_column_is_the_column_itself() -> None:
    column = Column([b"a", b""], {1: BlobRef("cid", 9)})
    assert column.cut(0, 2) is column
    assert [column.moved_bytes(row) for row in range(2)] == [1, 9]

"""Intake: who asks is stamped on the job, and what can never run is refused with the reason."""

from __future__ import annotations

import pytest

from farlane.domain.jobs import CommandWork, JobSpec, ServeWork
from farlane.errors import InvalidJob
from farlane.hub.intake import MAX_NAME, MAX_RETRIES, MAX_TIMEOUT_MS, check, stamp
from farlane.kit.cid import cid_of
from farlane.testing.builders import a_command, a_job

NOW = 1_000.0


def test_a_job_belongs_to_who_submits_it_whatever_it_claims() -> None:
    spec = stamp(a_job(organisation="rich", publisher="rich/eve"), "lab", "lab/ada")
    assert spec == a_job(organisation="lab", publisher="lab/ada")


def test_nobody_submits_a_replica_as_a_job() -> None:
    spec = a_job(function=None, serve=ServeWork(cid_of(b"model"), "lab/chat"))
    with pytest.raises(InvalidJob, match="deploy it with `farlane serve`"):
        stamp(spec, "guests", "guests/eve")


@pytest.mark.parametrize(
    "spec",
    [
        a_job(),
        a_command(),
        a_job(name="n", priority=0, retries=0, timeout_ms=1, budget=1, deadline_at=NOW + 0.1),
        a_job(name="n" * MAX_NAME, priority=100, retries=MAX_RETRIES, timeout_ms=MAX_TIMEOUT_MS),
    ],
)
def test_what_could_run_is_admitted(spec: JobSpec) -> None:
    check(spec, NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": None}, "this one names 0 of them"),
        ({"command": CommandWork("ls")}, "this one names 2 of them"),
        (
            {"function": None, "command": CommandWork(" \n")},
            "`run` is empty; expected the command line to run",
        ),
        ({"name": ""}, "name has 0 characters; expected 1 to 200"),
        ({"name": "n" * (MAX_NAME + 1)}, "name has 201 characters"),
        ({"priority": -1}, "priority is -1; expected 0 to 100"),
        ({"priority": 101}, "priority is 101"),
        ({"retries": -1}, "retries is -1; expected 0 to 100"),
        ({"retries": MAX_RETRIES + 1}, "retries is 101"),
        ({"timeout_ms": 0}, "max_duration in ms is 0; expected 1 to"),
        ({"timeout_ms": MAX_TIMEOUT_MS + 1}, "max_duration in ms is"),
        ({"deadline_at": NOW}, "the deadline has already passed; expected a time in the future"),
        ({"budget": 0}, "the budget is 0; expected an amount above 0, or no budget at all"),
    ],
)
def test_what_can_never_run_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        check(a_job(**changes), NOW)


def test_a_refusal_names_the_field_for_programs() -> None:
    with pytest.raises(InvalidJob) as caught:
        check(a_job(priority=101), NOW)
    assert caught.value.facts == {"field": "priority", "value": 101}

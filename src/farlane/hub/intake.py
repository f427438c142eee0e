"""Intake: what a publisher asks for is stamped with who asks, checked, quoted and only then admitted."""

from __future__ import annotations

from dataclasses import replace

from farlane.domain.jobs import JobSpec
from farlane.errors import InvalidJob

MAX_RETRIES = 100
MAX_NAME = 200
MAX_TIMEOUT_MS = 30 * 86_400_000


def stamp(spec: JobSpec, organisation: str, publisher: str) -> JobSpec:
    """Return the specification with the caller's identity, whatever it claimed.

    Raises:
        InvalidJob: it is a replica, which the hub alone submits: whoever runs one gets the model and its requests.
    """
    if spec.serve is not None:
        raise InvalidJob("a model is served by a deployment and not by a job: deploy it with `farlane serve`")
    return replace(spec, organisation=organisation, publisher=publisher)


def check(spec: JobSpec, now: float) -> None:
    """Refuse what can never run.

    Raises:
        InvalidJob: with the field, what it was and what is expected.
    """
    if spec.kinds_of_work != 1:
        raise InvalidJob(
            f"a job runs exactly one of a function, a command and a model; this one names {spec.kinds_of_work} of them"
        )
    if spec.command is not None and not spec.command.run.strip():
        raise InvalidJob("`run` is empty; expected the command line to run")
    if not 1 <= len(spec.name) <= MAX_NAME:
        raise InvalidJob(f"the job's name has {len(spec.name)} characters; expected 1 to {MAX_NAME}")
    _in_range("priority", spec.priority, 0, 100)
    _in_range("retries", spec.retries, 0, MAX_RETRIES)
    _in_range("max_duration in ms", spec.timeout_ms, 1, MAX_TIMEOUT_MS)
    if spec.deadline_at is not None and spec.deadline_at <= now:
        raise InvalidJob("the deadline has already passed; expected a time in the future")
    if spec.budget is not None and spec.budget <= 0:
        raise InvalidJob("the budget is 0; expected an amount above 0, or no budget at all")


def _in_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidJob(f"{what} is {value}; expected {low} to {high}", field=what, value=value)

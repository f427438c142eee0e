"""Requirements: what makes two jobs alike in where they could run, whatever is free."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import labels_wanted
from farlane.domain.resources import Resources


@dataclass(frozen=True, slots=True)
class Requirement:
    """The part of a job's specification that decides eligibility; jobs with equal ones share one mask."""

    organisation: str
    resources: Resources
    python: str
    labels: tuple[tuple[str, str], ...]
    max_price: int | None
    readers: tuple[str, ...] = ()


def requirement_of(spec: JobSpec) -> Requirement:
    """Return a job's requirement."""
    python = spec.function.python if spec.function is not None else ""
    readers = spec.serve.readers if spec.serve is not None else ()
    return Requirement(
        spec.organisation, spec.resources, python, tuple(sorted(labels_wanted(spec))), spec.max_price, readers
    )
